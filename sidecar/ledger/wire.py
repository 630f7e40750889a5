"""One transport to the store: commands written as they are given, replies read in that order.

A command that failed says which of three things happened: it was never sent (`UnsentError`), it was sent
and nobody knows whether it ran (`UnansweredError`), or the server said no (`RejectedError`).
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable
from typing import Any, Final, cast

import hiredis

from sidecar.config.certificates import tls_words

Argument = str | bytes | int
Pushed = Callable[[list[Any]], None]

# libuv runs timers before it reads: after a stall of this process the reply may be waiting unread.
_SECOND_LOOK: Final = 0.05
# What a server says that is, for the time being, not the one to talk to. Connecting anew finds out why.
_GO_ELSEWHERE: Final = frozenset({"READONLY", "LOADING", "MASTERDOWN", "NOAUTH", "NOPERM"})
_PUSHES: Final = frozenset({b"message", b"pmessage", b"smessage"})
_NOTHING: Final = object()
_pack = cast("Callable[[tuple[Argument, ...]], bytes]", hiredis.pack_command)  # its stub has one-element tuples


class StoreError(Exception):
    """The store did not do what it was asked."""


class UnsentError(StoreError):
    """No byte of the command left this process: it has not run and will not."""


class UnansweredError(StoreError):
    """The command was sent and no answer came: it may have run, or may still run."""


class RejectedError(StoreError):
    """The server answered with an error; `code` is its first word, such as OOM or NOSCRIPT."""

    def __init__(self, message: str) -> None:
        # A command that a server does not know is answered with its arguments: a password, names of accounts.
        super().__init__(message.partition(", with args beginning with")[0])
        self.code = message.partition(" ")[0]


class Wire(asyncio.Protocol):
    """One transport, and the replies that are owed on it.

    Args:
        timeout: seconds a reply may take; then the transport is given up.
        pushed: given what the server sends unasked; None where nothing is subscribed.

    Attributes:
        lost: says why, when the transport is closed.
        turned_away: what the server said before it was asked anything, such as that it has too many clients.
    """

    def __init__(self, timeout: float, pushed: Pushed | None) -> None:
        self._pushed = pushed
        self._loop = asyncio.get_running_loop()
        self._timeout = timeout
        self._reader = hiredis.Reader(notEnoughData=_NOTHING, errors=None)
        self._owed: deque[tuple[asyncio.Future[Any], float]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._suspect: asyncio.Future[Any] | None = None
        self._transport: asyncio.Transport | None = None
        self.lost: asyncio.Future[str] = self._loop.create_future()
        self.turned_away: RejectedError | None = None
        self._unwritten: list[bytes] = []
        self._why = "the connection was closed"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own does not inherit from it

    def send(self, command: tuple[Argument, ...], *, now: bool = True) -> asyncio.Future[Any]:
        """Write one command; the future gives its reply.

        Raises:
            UnsentError: the transport is closed.
        """
        if self._transport is None or self.lost.done() or self._transport.is_closing():
            raise UnsentError("the store is not connected")
        if not self._unwritten and not now:
            self._loop.call_soon(self.flush)
        self._unwritten.append(_pack(command))
        if now:
            self.flush()
        future: asyncio.Future[Any] = self._loop.create_future()
        deadline = self._loop.time() + self._timeout
        self._owed.append((future, deadline))
        if self._timer is None:
            self._timer = self._loop.call_at(deadline, self._look)
        return future

    def flush(self) -> None:
        """Write what has been given and not yet written, in its order."""
        if self._unwritten and self._transport is not None:
            self._transport.write(b"".join(self._unwritten))
            self._unwritten.clear()

    def data_received(self, data: bytes) -> None:
        """Hand out replies, each to whoever has waited longest."""
        try:
            self._reader.feed(data)
            while (reply := self._reader.gets()) is not _NOTHING:
                if self._pushed is not None and _is_push(reply):
                    self._pushed(reply)
                    continue
                if not self._owed and isinstance(reply, hiredis.ReplyError):
                    self.turned_away = RejectedError(str(reply))
                    self.abort(str(self.turned_away))
                    return
                future, _ = self._owed.popleft()
                if not future.done():
                    _resolve(future, reply)
                if isinstance(reply, hiredis.ReplyError) and RejectedError(str(reply)).code in _GO_ELSEWHERE:
                    self.abort("the server is not the one to use now")
        except (hiredis.ProtocolError, IndexError):
            self.abort("the server does not speak the protocol")

    def connection_lost(self, exc: Exception | None) -> None:
        """Closed: what is owed will never be answered."""
        if self._timer is not None:
            self._timer.cancel()
        if isinstance(exc, ssl.SSLError):  # in TLS 1.3 a client's certificate is refused after it has connected
            self._why = f"the store refuses this client: {tls_words(exc)}"
        if not self.lost.done():
            self.lost.set_result(self._why)
        for future, _ in self._owed:
            if not future.done():
                future.set_exception(UnansweredError(self._why))
                future.exception()  # a caller that has left need not be told on stderr
        self._owed.clear()

    def abort(self, why: str) -> None:
        """Close at once: everything owed is `UnansweredError`."""
        self._why = why
        if self._transport is not None:
            self._transport.abort()

    def _look(self) -> None:
        # One timer watches the oldest command: the others were sent later, and answers come in order.
        self._timer = None
        if not self._owed:
            return
        future, deadline = self._owed[0]
        if self._loop.time() < deadline:
            self._timer = self._loop.call_at(deadline, self._look)
        elif self._suspect is not future:
            self._suspect = future
            self._timer = self._loop.call_later(_SECOND_LOOK, self._look)
        else:
            self.abort("the store did not answer in time")


def _is_push(reply: Any) -> bool:
    """Whether nobody asked for it: a subscribed connection gets these between its replies (RESP2)."""
    return isinstance(reply, list) and bool(reply) and reply[0] in _PUSHES


def _resolve(future: asyncio.Future[Any], reply: Any) -> None:
    if isinstance(reply, hiredis.ReplyError):
        future.set_exception(RejectedError(str(reply)))
        future.exception()
    else:
        future.set_result(reply)
