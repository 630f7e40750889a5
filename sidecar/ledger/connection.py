"""One ordered, pipelined connection to the store.

Commands are written as they are given and answered in that order. Nothing is ever sent twice, and
a command that failed says which of three things happened: it was never sent (`UnsentError`), it was sent
and nobody knows whether it ran (`UnansweredError`), or the server said no (`RejectedError`). No client library
stands in between because redis-py's path for one command costs as much as all of a call's checks.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final, cast

import hiredis
from redis.asyncio.sentinel import Sentinel
from redis.exceptions import RedisError

from sidecar.ledger.endpoint import Address, Endpoint

Argument = str | bytes | int

CALL_TIMEOUT: Final = 1.0
"""Seconds a reply may take. With `WAIT_TIMEOUT` it stays well under the two seconds callers get."""

WAIT_TIMEOUT: Final = 0.5
"""Seconds a command waits for a connection that was lost a moment ago to come back."""

_CONNECT_TIMEOUT: Final = 1.0
_BACKOFF: Final = (0.05, 1.0)  # first and longest pause between attempts to connect, in seconds
# libuv runs timers before it reads: after a stall of this process the reply may be waiting unread.
_SECOND_LOOK: Final = 0.05
# What a server says that is, for the time being, not the one to talk to.
_GO_ELSEWHERE: Final = frozenset({"READONLY", "LOADING", "MASTERDOWN", "NOAUTH"})


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
        super().__init__(message)
        self.code = message.partition(" ")[0]


class _Wire(asyncio.Protocol):
    """One transport, and the replies that are owed on it."""

    def __init__(self, timeout: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._timeout = timeout
        self._reader = hiredis.Reader(notEnoughData=_NOTHING, errors=None)
        self._owed: deque[tuple[asyncio.Future[Any], float]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._suspect: asyncio.Future[Any] | None = None
        self._transport: asyncio.Transport | None = None
        self.lost: asyncio.Future[str] = self._loop.create_future()
        self._unwritten: list[bytes] = []
        self._why = "the connection was closed"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own does not inherit from it

    def send(self, command: tuple[Argument, ...], *, now: bool = True) -> asyncio.Future[Any]:
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
        try:
            self._reader.feed(data)
            while (reply := self._reader.gets()) is not _NOTHING:
                future, _ = self._owed.popleft()
                if not future.done():
                    _resolve(future, reply)
                if isinstance(reply, hiredis.ReplyError) and RejectedError(str(reply)).code in _GO_ELSEWHERE:
                    self.abort("the server is not the one to use now")
        except (hiredis.ProtocolError, IndexError):
            self.abort("the server does not speak the protocol")

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
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


def _resolve(future: asyncio.Future[Any], reply: Any) -> None:
    if isinstance(reply, hiredis.ReplyError):
        future.set_exception(RejectedError(str(reply)))
        future.exception()
    else:
        future.set_result(reply)


class Connection:
    """Keeps one connection open, and says at any time whether it is.

    Args:
        endpoint: where the store is.
        prepare: awaited on every new connection before anyone else may use it, with a function that
            sends one command and gives its reply; what it raises counts as a failed attempt.
        before: awaited before every attempt (the embedded store is started here).
        timeout: seconds a reply may take; then the connection is given up.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        prepare: Callable[[Callable[..., asyncio.Future[Any]]], Awaitable[None]] | None = None,
        before: Callable[[], Awaitable[None]] | None = None,
        timeout: float = CALL_TIMEOUT,
    ) -> None:
        self._endpoint = endpoint
        self._prepare = prepare
        self._before = before
        self._timeout = timeout
        self._wire: _Wire | None = None
        self._decided = asyncio.Event()  # set unless a lost connection may be back in a moment
        self._task: asyncio.Task[None] | None = None
        self.error: str | None = "not connected yet"

    @property
    def up(self) -> bool:
        """Whether a command given now would be sent."""
        return self._wire is not None

    async def start(self, within: float = 10.0) -> None:
        """Connect, and keep connected until `close`.

        Raises:
            UnsentError: the store could not be reached within so many seconds; attempts go on.
        """
        if self._task is None:
            self._task = asyncio.create_task(self._keep(), name="store connection")
        end = asyncio.get_running_loop().time() + within
        while not self.up:
            if asyncio.get_running_loop().time() >= end:
                raise UnsentError(f"the store cannot be reached: {self.error}")
            await asyncio.sleep(0.01)

    async def close(self) -> None:
        """Disconnect; commands without an answer fail as `UnansweredError`."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    def send(self, *command: Argument, now: bool = True) -> asyncio.Future[Any]:
        """Write one command; the future gives its reply.

        Args:
            command: its words.
            now: False lets it wait for others until this turn of the event loop ends: one write
                costs as much as all else that is done for a command.

        Raises:
            UnsentError: there is no connection at this moment.
        """
        if self._wire is None:
            raise UnsentError(f"the store cannot be reached: {self.error}")
        return self._wire.send(command, now=now)

    async def settled(self) -> None:
        """Wait, at most `WAIT_TIMEOUT`, while a connection that was just lost may come back."""
        if not self._decided.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._decided.wait(), WAIT_TIMEOUT)

    async def call(self, *command: Argument) -> Any:
        """`send` and wait for the reply; never longer than `WAIT_TIMEOUT` and the timeout together.

        Raises:
            StoreError: which of its kinds says what is known.
        """
        await self.settled()
        return await self.send(*command)

    async def _keep(self) -> None:
        pause = _BACKOFF[0]
        try:
            while True:
                try:
                    async with asyncio.timeout(_CONNECT_TIMEOUT):
                        wire = await self._open()
                except (OSError, StoreError, RedisError, TimeoutError) as fault:
                    self.error = str(fault) or "the store did not answer in time"
                    self._decided.set()
                    await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - spreads attempts, hides nothing
                    pause = min(2 * pause, _BACKOFF[1])
                    continue
                self._wire, self.error = wire, None
                self._decided.set()
                pause = _BACKOFF[0]
                self.error = await wire.lost
                self._wire = None
                self._decided.clear()
        finally:
            if self._wire is not None:
                self._wire.abort("the connection was closed")
            self._wire = None
            self._decided.set()

    async def _open(self) -> _Wire:
        if self._before is not None:
            await self._before()
        wire = await self._dial()
        try:
            await self._greet(wire)
            if self._prepare is not None:
                await self._prepare(lambda *command: wire.send(command))
        except BaseException:
            wire.abort("the connection could not be prepared")
            raise
        return wire

    async def _dial(self) -> _Wire:
        loop, end = asyncio.get_running_loop(), self._endpoint
        if end.path:
            return (await loop.create_unix_connection(lambda: _Wire(self._timeout), end.path))[1]
        host, port = await _primary(end) if end.service else end.addresses[0]
        return (await loop.create_connection(lambda: _Wire(self._timeout), host, port, ssl=end.tls))[1]

    async def _greet(self, wire: _Wire) -> None:
        end = self._endpoint
        hello: tuple[Argument, ...] = ("HELLO", 2)
        if end.password:
            hello += ("AUTH", end.username or "default", end.password)
        reply = await wire.send((*hello, "SETNAME", "mcp-sidecar"))
        facts = dict(zip(reply[::2], reply[1::2], strict=False))
        if facts.get(b"role") != b"master":
            raise UnsentError("the server is a replica")
        await wire.send(("PING",))  # HELLO is answered while a server still loads its data; PING is not
        if end.db:
            await wire.send(("SELECT", end.db))


async def _primary(endpoint: Endpoint) -> Address:
    """Ask the sentinels, in turn, where the primary is."""
    sentinels = Sentinel(  # type: ignore[no-untyped-call]  # redis-py leaves it untyped
        list(endpoint.addresses), sentinel_kwargs={"socket_timeout": 0.3, "socket_connect_timeout": 0.3, "retry": None}
    )
    try:
        host, port = await sentinels.discover_master(endpoint.service)
        return str(host), int(port)
    finally:
        for each in sentinels.sentinels:
            await each.aclose()
