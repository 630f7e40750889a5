"""One transport to the store: commands are written in order, and replies are read in that order.

A failed command has one of three kinds of error: it was never sent (`UnsentError`), it was sent and may have run
(`UnansweredError`), or the server rejected it (`RejectedError`).
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol, cast

import hiredis

from sidecar.config.tls_files import describe_tls_error

Argument = str | bytes | int
OnPush = Callable[[list[Any]], None]
Rewrite = Callable[[bytes], bytes]

# libuv runs timers before reads: after a stall of this process the reply may be unread.
_GRACE: Final = 0.05
# Error replies of a server that must not be used for now. Reconnecting finds the reason.
_RECONNECT_CODES: Final = frozenset({"READONLY", "LOADING", "MASTERDOWN", "NOAUTH", "NOPERM"})
_PUSHES: Final = frozenset({b"message", b"pmessage", b"smessage"})
_NOTHING: Final = object()
_NO_FUNCTION: Final = "ERR Function not found"


class StoreError(Exception):
    """The store did not run a command, or is unusable."""


class UnsentError(StoreError):
    """No byte of the command left this process: it has not run and will not."""


class UnansweredError(StoreError):
    """The command was sent and not answered: it may have run, or may still run."""


class RejectedError(StoreError):
    """The server rejected the command; `code` is the first word of its error reply, such as OOM or NOSCRIPT.

    For a function that the server does not have it is NOSCRIPT, too.
    """

    def __init__(self, message: str) -> None:
        # The reply to an unknown command quotes its arguments: a password, names of accounts.
        super().__init__(message.partition(", with args beginning with")[0])
        self.code = "NOSCRIPT" if message == _NO_FUNCTION else message.partition(" ")[0]


def pack(words: Sequence[Argument]) -> bytes:
    """Return a command as it is sent."""
    return cast("bytes", hiredis.pack_command(tuple(words)))  # type: ignore[arg-type]  # its stub has one-element tuples


class PendingReply(Protocol):
    """Receiver of one reply: a future, or an object with these two methods of one."""

    def set_result(self, result: Any, /) -> None:
        """Receive the reply."""

    def set_exception(self, exception: BaseException, /) -> None:
        """Receive a `RejectedError` or `UnansweredError`."""


class Write(Protocol):
    """Sends one encoded command, as `RespTransport.write`."""

    def __call__(self, command: bytes, reply: PendingReply, now: bool = True) -> None:
        """Send it, or raise `UnsentError`."""


class RespTransport(asyncio.Protocol):
    """Transport with its pending commands.

    Args:
        timeout: seconds until a reply is overdue; then the transport is closed.
        on_push: called with messages of subscriptions; None without any.

    Attributes:
        lost: done, with the reason, when the transport is closed.
        rejection: error that the server sent before any command, such as too many clients.
        rewrite: changes each encoded command before it is sent; None sends it as it is.
    """

    def __init__(self, timeout: float, on_push: OnPush | None) -> None:
        self._on_push = on_push
        self._loop = asyncio.get_running_loop()
        self._timeout = timeout
        self._reader = hiredis.Reader(notEnoughData=_NOTHING, errors=None, replyError=RejectedError)
        self._pending: deque[tuple[PendingReply, float]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._overdue: PendingReply | None = None
        self._transport: asyncio.Transport | None = None
        self.lost: asyncio.Future[str] = self._loop.create_future()
        self.rejection: RejectedError | None = None
        self.rewrite: Rewrite | None = None
        self._unwritten: list[bytes] = []
        self._waiting: list[asyncio.Future[None]] = []  # for these to be written
        self._is_busy = False  # the last buffered commands were several
        self._reason = "the connection was closed"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own does not inherit from it

    def send(self, command: tuple[Argument, ...]) -> asyncio.Future[Any]:
        """Send one command; the future returns its reply.

        Raises:
            UnsentError: the transport is closed.
        """
        reply = self._loop.create_future()
        self.write(pack(command), reply)
        return reply

    def write(self, command: bytes, reply: PendingReply, now: bool = True) -> None:
        """Send one encoded command.

        Args:
            command: the command.
            reply: receives the reply.
            now: False buffers it until this turn of the event loop ends, if there is more to send: one write costs as
                much as all other work for a command, but a turn more is time that a single call would wait.

        Raises:
            UnsentError: the transport is closed.
        """
        if self._transport is None or self._transport.is_closing():
            raise UnsentError("the store is not connected")
        if self.rewrite is not None:
            command = self.rewrite(command)
        if self._unwritten:
            self._unwritten.append(command)
            if now:
                self.flush()
        elif now or not (self._is_busy or len(self._pending) > 1):
            self._transport.write(command)
        else:
            self._loop.call_soon(self.flush)
            self._unwritten.append(command)
        deadline = self._loop.time() + self._timeout
        self._pending.append((reply, deadline))
        if self._timer is None:
            self._timer = self._loop.call_at(deadline, self._check_deadline)

    def written(self) -> asyncio.Future[None] | None:
        """Return what is done once no command given to `write` so far is buffered here; None if none is."""
        if not self._unwritten:
            return None
        waiting = self._loop.create_future()
        self._waiting.append(waiting)
        return waiting

    def flush(self) -> None:
        """Write buffered commands, in order; those of a closed transport have failed."""
        unwritten, self._unwritten = self._unwritten, []
        waiting, self._waiting = self._waiting, []
        try:
            if unwritten:
                self._is_busy = len(unwritten) > 1
            if unwritten and self._transport is not None and not self._transport.is_closing():
                self._transport.writelines(unwritten)
        finally:
            for each in waiting:
                if not each.done():  # its caller was cancelled
                    each.set_result(None)

    def data_received(self, data: bytes) -> None:
        """Give each reply to the oldest pending command."""
        try:
            self._reader.feed(data)
            while (reply := self._reader.gets()) is not _NOTHING:
                if self._on_push is not None and _is_push(reply):
                    self._on_push(reply)
                elif type(reply) is RejectedError:
                    self._on_error(reply)
                else:
                    try:
                        self._pending.popleft()[0].set_result(reply)
                    except asyncio.InvalidStateError:  # a future whose caller was cancelled
                        continue
        except (hiredis.ProtocolError, IndexError):
            self.abort("the server does not speak the protocol")

    def _on_error(self, error: RejectedError) -> None:
        if not self._pending:
            self.rejection = error
            self.abort(str(error))
            return
        _fail(self._pending.popleft()[0], error)
        if error.code in _RECONNECT_CODES:
            self.abort("the server is not the one to use now")

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail all pending commands."""
        if self._timer is not None:
            self._timer.cancel()
        if isinstance(exc, ssl.SSLError):  # in TLS 1.3 a client's certificate is refused after it has connected
            self._reason = f"the store refuses this client: {describe_tls_error(exc)}"
        if not self.lost.done():
            self.lost.set_result(self._reason)
        lost, self._pending = self._pending, deque()  # a receiver may send at once
        for pending, _ in lost:
            _fail(pending, UnansweredError(self._reason))

    def abort(self, reason: str) -> None:
        """Close at once; pending commands fail with `UnansweredError`."""
        self._reason = reason
        if self._transport is not None:
            self._transport.abort()

    def _check_deadline(self) -> None:
        # One timer watches the oldest command: all others were sent later, and replies come in order.
        self._timer = None
        if not self._pending:
            return
        pending, deadline = self._pending[0]
        if self._loop.time() < deadline:
            self._timer = self._loop.call_at(deadline, self._check_deadline)
        elif self._overdue is not pending:
            self._overdue = pending
            self._timer = self._loop.call_later(_GRACE, self._check_deadline)
        else:
            self.abort("the store did not answer in time")


def _is_push(reply: Any) -> bool:
    """Return whether this is a message of a subscription: in RESP2 they come between replies."""
    return isinstance(reply, list) and bool(reply) and reply[0] in _PUSHES


def _fail(pending: PendingReply, error: StoreError) -> None:
    with contextlib.suppress(asyncio.InvalidStateError):
        pending.set_exception(error)
        if isinstance(pending, asyncio.Future):
            pending.exception()  # a cancelled caller must not cause a warning on stderr
