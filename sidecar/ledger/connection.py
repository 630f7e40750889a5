"""One ordered, pipelined connection to the store, kept open.

Nothing is ever sent twice. No client library stands in between because redis-py's path for one command
costs as much as all of a call's checks.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from typing import Any, Final

from redis.asyncio.sentinel import Sentinel
from redis.exceptions import RedisError

from sidecar.ledger.endpoint import Address, Endpoint
from sidecar.ledger.sockets import connectable
from sidecar.ledger.wire import Argument, Pushed, RejectedError, StoreError, UnansweredError, UnsentError, Wire

__all__ = ["Argument", "Connection", "RejectedError", "StoreError", "UnansweredError", "UnsentError"]

CALL_TIMEOUT: Final = 1.0
"""Seconds a reply may take. With `WAIT_TIMEOUT` it stays well under the two seconds callers get."""

WAIT_TIMEOUT: Final = 0.5
"""Seconds a command waits for a connection that was lost a moment ago to come back."""

_CONNECT_TIMEOUT: Final = 1.0
_BACKOFF: Final = (0.05, 1.0)  # first and longest pause between attempts to connect, in seconds


class Connection:
    """Keeps one connection open, and says at any time whether it is.

    Args:
        endpoint: where the store is.
        prepare: awaited on every new connection before anyone else may use it, with a function that
            sends one command and gives its reply; what it raises counts as a failed attempt.
        before: awaited before every attempt (the embedded store is started here).
        timeout: seconds a reply may take; then the connection is given up.
        pushed: given what the server sends unasked, on a connection that `prepare` subscribes.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        prepare: Callable[[Callable[..., asyncio.Future[Any]]], Awaitable[None]] | None = None,
        before: Callable[[], Awaitable[None]] | None = None,
        timeout: float = CALL_TIMEOUT,
        pushed: Pushed | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._prepare = prepare
        self._before = before
        self._timeout = timeout
        self._pushed = pushed
        self._wire: Wire | None = None
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
                async with asyncio.timeout(WAIT_TIMEOUT):  # `wait_for` may swallow a cancellation before 3.12
                    await self._decided.wait()

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

    async def _open(self) -> Wire:
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

    async def _dial(self) -> Wire:
        loop, end = asyncio.get_running_loop(), self._endpoint
        if end.path:
            with connectable(end.path) as path:
                return (await loop.create_unix_connection(self._make_wire, path))[1]
        host, port = await _primary(end) if end.service else end.addresses[0]
        return (await loop.create_connection(self._make_wire, host, port, ssl=end.tls))[1]

    def _make_wire(self) -> Wire:
        return Wire(self._timeout, self._pushed)

    async def _greet(self, wire: Wire) -> None:
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
