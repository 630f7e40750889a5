"""Streams that stay open, GET and subscriptions/listen: counted, and ended when their caller may listen no more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Final

from sidecar.errors import ErrorCode, Refusal
from sidecar.ledger.keys import AccountKeys, caller_keys, client_digest, consent_digest
from sidecar.model import Caller
from sidecar.outcome import Event
from sidecar.proxy.answer import UpstreamError
from sidecar.proxy.upstream import Outgoing

_LAST_WORDS: Final = 1.0  # seconds for a client to read why its stream has ended


class Ending(Enum):
    """Why this process ends a stream; the value is what its client reads in a comment."""

    TOKEN_EXPIRED = "the access token has expired"  # noqa: S105 - a sentence, not a password
    ACCESS_WITHDRAWN = "this client's access was withdrawn"
    ACCESS_UNCHECKED = "this client's access can not be checked at present"
    STOPPING = "the server is shutting down"


# What a client gets whose stream is ended before its head was sent.
_REFUSED = {
    Ending.TOKEN_EXPIRED: ErrorCode.TOKEN_INVALID,
    Ending.ACCESS_WITHDRAWN: ErrorCode.CONSENT_REVOKED,
    Ending.ACCESS_UNCHECKED: ErrorCode.STORE_UNAVAILABLE,
    Ending.STOPPING: ErrorCode.OVERLOADED,
}


class StreamEndedError(UpstreamError):
    """A stream was ended by this process, and not by the backend."""

    def __init__(self, ending: Ending) -> None:
        super().__init__(Event.STREAM_ENDED, ending.value, _REFUSED[ending])
        self.ending = ending


class OpenStream:
    """One stream: attach the request that it is read from, and it can be ended at any time.

    Args:
        caller: who listens.
        cut: ends it for a client that does not even take in why.

    Attributes:
        ending: why it was ended; None while it is open, or when it ended by itself.
        checked: when its caller was last known to be allowed to listen, on the event loop's clock.
    """

    def __init__(self, caller: Caller, cut: Callable[[], None]) -> None:
        self.caller = caller
        self._cut = cut
        self._last_words: asyncio.TimerHandle | None = None
        self.keys = caller_keys(caller)
        self._tags = {consent_digest(caller.subject, caller.client_id), client_digest(caller.client_id)}
        self._outgoing: Outgoing | None = None
        self.ending: Ending | None = None
        self.checked = asyncio.get_running_loop().time()

    def attach(self, outgoing: Outgoing) -> None:
        """Name the request whose answer the stream is."""
        self._outgoing = outgoing

    def named_by(self, tag: str) -> bool:
        """Whether a revocation that names this consent or client concerns it."""
        return tag in self._tags

    def end(self, ending: Ending) -> None:
        """End it: whoever reads it gets `StreamEndedError`. The first reason counts."""
        if self.ending is not None:
            return
        self.ending = ending
        if self._outgoing is not None and self._outgoing.answer is not None:
            self._outgoing.answer.fail(StreamEndedError(ending))
        self._last_words = asyncio.get_running_loop().call_later(_LAST_WORDS, self._cut)

    def close(self) -> None:
        """It is over: there is nothing left to cut."""
        if self._last_words is not None:
            self._last_words.cancel()

    def check(self) -> None:
        """Catch up with an end that came while there was no answer to fail.

        Raises:
            StreamEndedError: it has been ended.
        """
        if self.ending is not None:
            raise StreamEndedError(self.ending)


class OpenStreams:
    """All open streams of this process."""

    def __init__(self) -> None:
        self._by_account: dict[str, set[OpenStream]] = {}
        self._stopping = False

    def __len__(self) -> int:
        return sum(map(len, self._by_account.values()))

    @contextmanager
    def opened(self, caller: Caller, most: int, seconds: float, cut: Callable[[], None]) -> Iterator[OpenStream]:
        """Count a stream while it is open.

        Args:
            caller: who listens.
            most: streams that one account may have open here (`limits.streams_per_account`).
            seconds: until the caller's token expires.
            cut: see `OpenStream`.

        Raises:
            Refusal: `overloaded`: the account has too many, or this process is leaving.
        """
        stream = OpenStream(caller, cut)
        account = stream.keys.digest
        if self._stopping or len(self._by_account.get(account, ())) >= most:
            detail = None if self._stopping else f"This account has {most} streams open already; close one first."
            log = None if self._stopping else "limits.streams_per_account is reached"
            raise Refusal(ErrorCode.OVERLOADED, detail, log=log, retry_after=1)
        timer = asyncio.get_running_loop().call_later(seconds, stream.end, Ending.TOKEN_EXPIRED)
        siblings = self._by_account.setdefault(account, set())
        siblings.add(stream)
        try:
            yield stream
        finally:
            timer.cancel()
            stream.close()
            siblings.discard(stream)
            if not siblings:
                self._by_account.pop(account, None)

    def accounts(self) -> list[tuple[AccountKeys, list[OpenStream]]]:
        """The open streams by the account whose consent they need."""
        return [(next(iter(streams)).keys, list(streams)) for streams in self._by_account.values() if streams]

    def revoked(self, account: str, tag: str) -> None:
        """End the streams that a revocation concerns.

        Args:
            account: digest of the account.
            tag: digest of the consent, or of the client where it holds for every subject.
        """
        for stream in list(self._by_account.get(account, ())):
            if stream.named_by(tag):
                stream.end(Ending.ACCESS_WITHDRAWN)

    def end_all(self, ending: Ending) -> None:
        """End every stream; when this process is stopping, no other is opened."""
        self._stopping = self._stopping or ending is Ending.STOPPING
        for _, streams in self.accounts():
            for stream in streams:
                stream.end(ending)
