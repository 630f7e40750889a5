"""Open streams (GET and subscriptions/listen): limit them per account, and end those whose caller lost its access.

A stream ends when its token expires, its consent is revoked, its consent cannot be checked, or the process stops.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import Enum
from typing import Final

from sidecar.errors import ErrorCode, Refusal
from sidecar.model import Caller
from sidecar.outcome import Event
from sidecar.proxy.backend.answer import UpstreamError
from sidecar.proxy.backend.pool import Outgoing
from sidecar.proxy.relay.list_changes import ListChanges
from sidecar.store.commands.keys import EVERY_CLIENT_TAG, AccountKeys, caller_keys, client_digest, consent_digest
from sidecar.system.shared_timers import SharedTimer, SharedTimers

_DISCONNECT_AFTER: Final = 1.0  # seconds for a client to read why its stream has ended


class StreamEnding(Enum):
    """Reason why this process ends a stream; the value is the comment that its client reads."""

    TOKEN_EXPIRED = "the access token has expired"  # noqa: S105 - a sentence, not a password
    ACCESS_WITHDRAWN = "this client's access was withdrawn"
    ACCESS_UNCHECKED = "this client's access cannot be checked right now"
    STOPPING = "the server is shutting down"


# Before the head of a stream is sent, its client gets one of these errors instead of a comment.
_REFUSED = {
    StreamEnding.TOKEN_EXPIRED: ErrorCode.TOKEN_INVALID,
    StreamEnding.ACCESS_WITHDRAWN: ErrorCode.CONSENT_REVOKED,
    StreamEnding.ACCESS_UNCHECKED: ErrorCode.STORE_UNAVAILABLE,
    StreamEnding.STOPPING: ErrorCode.OVERLOADED,
}


class StreamEndedError(UpstreamError):
    """The stream was ended by this process, not by the backend."""

    def __init__(self, ending: StreamEnding) -> None:
        super().__init__(Event.STREAM_ENDED, ending.value, _REFUSED[ending])
        self.ending = ending


class OpenStream:
    """One open stream, which another task may end at any time.

    Args:
        caller: the caller that listens.
        disconnect: closes the client's connection, in case the client does not read the end of its stream.
        timers: those of all open streams.

    Attributes:
        timers: as given.
        ending: why this process ended the stream; None otherwise.
        checked_at: start of the last check of its caller's consent, on the event loop's clock.
    """

    __slots__ = (
        "_disconnect",
        "_disconnect_timer",
        "_expiry",
        "_lists",
        "_outgoing",
        "_tags",
        "caller",
        "checked_at",
        "ending",
        "keys",
        "timers",
    )

    def __init__(self, caller: Caller, disconnect: Callable[[], None], timers: SharedTimers) -> None:
        self.caller = caller
        self.timers = timers
        self._disconnect = disconnect
        self._disconnect_timer: SharedTimer | None = None
        self._expiry: SharedTimer | None = None
        self.keys = caller_keys(caller)
        self._tags = (
            consent_digest(caller.subject, caller.client_id),
            client_digest(caller.client_id),
            EVERY_CLIENT_TAG,
        )
        self._outgoing: Outgoing | None = None
        self._lists: ListChanges | None = None
        self.ending: StreamEnding | None = None
        self.checked_at = asyncio.get_running_loop().time()

    def attach(self, outgoing: Outgoing, lists: ListChanges) -> None:
        """Set the backend request whose answer this stream relays, and the lists whose changes it announces."""
        self._outgoing = outgoing
        self._lists = lists

    @property
    def lists(self) -> ListChanges | None:
        """The lists whose changes it announces; None before the head of its answer has arrived, and at its end."""
        answer = None if self._outgoing is None else self._outgoing.answer
        return self._lists if answer is not None and answer.status and self.ending is None else None

    def announce(self) -> None:
        """Write the pending changes of lists now and not with the backend's next event."""
        if self._outgoing is not None and self._outgoing.answer is not None:
            self._outgoing.answer.wake()

    def is_revoked_by(self, tag: str) -> bool:
        """Return True when a revocation's tag is the digest of its consent or client, or names all clients."""
        return tag in self._tags

    def end(self, ending: StreamEnding) -> None:
        """End the stream: reading its answer raises `StreamEndedError`. Later calls change nothing."""
        if self.ending is not None:
            return
        self.ending = ending
        if self._outgoing is not None and self._outgoing.answer is not None:
            self._outgoing.answer.fail(StreamEndedError(ending))
        self._disconnect_timer = self._call_in(_DISCONNECT_AFTER, self._disconnect)

    def expire_in(self, seconds: float) -> None:
        """End the stream when its caller's token expires."""
        self._expiry = self._call_in(seconds, self._expire)

    def close(self) -> None:
        """Cancel the timers of a stream that is over."""
        for timer in (self._expiry, self._disconnect_timer):
            if timer is not None:
                timer.cancel()

    def _expire(self) -> None:
        self.end(StreamEnding.TOKEN_EXPIRED)

    def _call_in(self, seconds: float, callback: Callable[[], None]) -> SharedTimer:
        return self.timers.call_at(asyncio.get_running_loop().time() + seconds, callback)

    def check(self) -> None:
        """Raise if the stream was ended before it had an answer, which `end` could not fail.

        Raises:
            StreamEndedError: the stream was ended.
        """
        if self.ending is not None:
            raise StreamEndedError(self.ending)


class OpenStreams:
    """Open streams of this process, by account.

    Attributes:
        withdrawn: called with the caller of each stream that has ended because its access was withdrawn.
    """

    def __init__(self) -> None:
        self.withdrawn: Callable[[Caller], None] = lambda _: None
        self._timers = SharedTimers()
        self._by_account: dict[str, dict[OpenStream, None]] = {}  # in the order of their opening
        self._stopping = False

    def __len__(self) -> int:
        return sum(map(len, self._by_account.values()))

    def open(self, caller: Caller, limit: int, expires_in: float, disconnect: Callable[[], None]) -> OpenStream:
        """Register a stream until it is closed.

        Args:
            caller: the caller that listens.
            limit: streams that one account may have open in this process (`limits.streams_per_account`).
            expires_in: seconds until the caller's token expires.
            disconnect: see `OpenStream`.

        Raises:
            Refusal: `overloaded`: the account has reached its limit, or this process is shutting down.
        """
        stream = OpenStream(caller, disconnect, self._timers)
        account = stream.keys.digest
        if self._stopping or len(self._by_account.get(account, ())) >= limit:
            detail = None if self._stopping else f"This account has {limit} streams open already; close one first."
            log = None if self._stopping else "limits.streams_per_account is reached"
            raise Refusal(ErrorCode.OVERLOADED, detail, log=log, retry_after=1)
        stream.expire_in(expires_in)
        self._by_account.setdefault(account, {})[stream] = None
        return stream

    def close(self, stream: OpenStream) -> None:
        """Forget a stream that is over."""
        stream.close()
        account = stream.keys.digest
        siblings = self._by_account.get(account, {})
        siblings.pop(stream, None)
        if not siblings:
            self._by_account.pop(account, None)
        if stream.ending is StreamEnding.ACCESS_WITHDRAWN:
            self.withdrawn(stream.caller)

    def by_account(self) -> list[tuple[AccountKeys, list[OpenStream]]]:
        """Return the open streams of each account, with the keys of its records."""
        return [(next(iter(streams)).keys, list(streams)) for streams in self._by_account.values() if streams]

    def end_revoked(self, account: str, tag: str) -> None:
        """End the streams of a revoked consent or client.

        Args:
            account: digest of the account.
            tag: digest of the consent, or of the client when it is revoked for every subject; `EVERY_CLIENT_TAG`.
        """
        for stream in list(self._by_account.get(account, ())):
            if stream.is_revoked_by(tag):
                stream.end(StreamEnding.ACCESS_WITHDRAWN)

    def end_all(self, ending: StreamEnding) -> None:
        """End every stream; after `STOPPING`, refuse new ones."""
        self._stopping = self._stopping or ending is StreamEnding.STOPPING
        for _, streams in self.by_account():
            for stream in streams:
                stream.end(ending)
