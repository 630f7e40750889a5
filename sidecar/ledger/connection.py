"""One ordered, pipelined connection to the store, kept open.

Nothing is ever sent twice. No client library stands in between because redis-py's path for one command
costs as much as all of a call's checks.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from sidecar.ledger.diagnosis import explain
from sidecar.ledger.endpoint import Address, Endpoint
from sidecar.ledger.sockets import connectable
from sidecar.ledger.wire import Argument, Pushed, RejectedError, StoreError, UnansweredError, UnsentError, Wire

__all__ = ["Argument", "Connection", "RejectedError", "StoreError", "UnansweredError", "UnsentError"]

CALL_TIMEOUT: Final = 1.0
"""Seconds a reply may take. With `WAIT_TIMEOUT` it stays well under the two seconds callers get."""

WAIT_TIMEOUT: Final = 0.5
"""Seconds a command waits for a connection that was lost a moment ago to come back."""

PRIMARY: Final = frozenset({b"master"})
"""The role, as servers tell it, of one that takes writes."""

CONNECT_TIMEOUT: Final = 1.0
"""Seconds that one attempt to connect may take."""

_BACKOFF: Final = (0.05, 1.0)  # first and longest pause between attempts to connect, in seconds


Send = Callable[..., asyncio.Future[Any]]
"""Sends the words of one command and gives its reply."""

Prepare = Callable[[Send], Awaitable[None]]
"""Awaited on every new connection before anyone else may use it; what it raises counts as a failed attempt."""


class Connection:
    """Keeps one connection open, and says at any time whether it is.

    A store of one server is one of these; `topology.Servers` says what it has in common with the others.

    Args:
        endpoint: where the server is.
        prepare: see `Prepare`.
        before: awaited before every attempt (the embedded store is started here).
        timeout: seconds a reply may take; then the connection is given up.
        pushed: given what the server sends unasked, on a connection that `prepare` subscribes.
        where: asked for the address at every attempt; None: the endpoint's first.
        roles: what a server may say that it is.
        attempt: seconds that one attempt to connect may take.

    Attributes:
        error: why there is no connection; None while there is one.
        fault: what the last attempt to connect failed with; None when it did not, or there was none.
        address: where the newest attempt went.
        failed: how many attempts have failed since there was a connection.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        prepare: Prepare | None = None,
        before: Callable[[], Awaitable[None]] | None = None,
        timeout: float = CALL_TIMEOUT,
        pushed: Pushed | None = None,
        where: Callable[[], Awaitable[Address]] | None = None,
        roles: frozenset[bytes] = PRIMARY,
        attempt: float = CONNECT_TIMEOUT,
    ) -> None:
        self._endpoint = endpoint
        self._prepare = prepare
        self._before = before
        self._timeout = timeout
        self._pushed = pushed
        self._where = where
        self._roles = roles
        self._attempt = attempt
        self._wire: Wire | None = None
        self._decided = asyncio.Event()  # set unless a lost connection may be back in a moment
        self._task: asyncio.Task[None] | None = None
        self.error: str | None = "not connected yet"
        self.fault: Exception | None = None
        self.address: Address | None = None
        self.failed = 0

    @property
    def up(self) -> bool:
        """Whether a command given now would be sent."""
        return self._wire is not None

    @property
    def away(self) -> int:
        """How many servers that take writes cannot be asked now."""
        return int(self._wire is None)

    @property
    def nodes(self) -> Sequence[Connection]:
        """Every server that takes writes."""
        return (self,)

    def at(self, key: str) -> Connection:
        """The server that has a key."""
        return self

    def told(self, error: RejectedError, key: str) -> Connection | None:
        """Where a command may be sent once more that was refused, with what it lacks; None: nowhere now."""
        return self if error.code == "NOSCRIPT" else None

    def beside(self, prepare: Prepare, pushed: Pushed) -> Connection:
        """Another connection to the same store, not yet started, that hears what is published there."""
        return Connection(self._endpoint, prepare=prepare, pushed=pushed)

    def open(self) -> None:
        """Begin to connect, and keep connected until `close`."""
        if self._task is None:
            self._task = asyncio.create_task(self._keep(), name="store connection")

    async def start(self, within: float = 10.0) -> None:
        """Connect, and keep connected until `close`.

        Raises:
            UnsentError: the store could not be reached within so many seconds; attempts go on.
        """
        self.open()
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

    def leave(self, why: str) -> None:
        """Give the connection up, and connect anew; commands without an answer fail as `UnansweredError`."""
        if self._wire is not None:
            self._wire.abort(why)

    async def retire(self) -> None:
        """Close once everything that was sent is answered; for a server that nothing new is sent to."""
        try:
            with contextlib.suppress(StoreError):
                if self.up:
                    await self.send("PING")  # answers come in order
        finally:
            await self.close()

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
                    async with asyncio.timeout(self._attempt):
                        wire = await self._open()
                except Exception as fault:  # noqa: BLE001 - whatever it was: nobody else would connect again
                    self.fault, self.error = fault, explain(fault, tls=self._endpoint.trust is not None)
                    self.failed += 1
                    self._decided.set()
                    await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - spreads attempts, hides nothing
                    pause = min(2 * pause, _BACKOFF[1])
                    continue
                self._wire, self.error, self.fault, self.failed = wire, None, None, 0
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
        except BaseException as fault:
            wire.abort("the connection could not be prepared")
            if wire.turned_away is not None and isinstance(fault, StoreError):
                raise wire.turned_away from fault
            raise
        return wire

    async def _dial(self) -> Wire:
        loop, end = asyncio.get_running_loop(), self._endpoint
        if end.path:
            with connectable(end.path) as path:
                return (await loop.create_unix_connection(self._make_wire, path))[1]
        self.address = host, port = await self._where() if self._where is not None else end.addresses[0]
        return (await loop.create_connection(self._make_wire, host, port, ssl=end.tls))[1]

    def _make_wire(self) -> Wire:
        return Wire(self._timeout, self._pushed)

    async def _greet(self, wire: Wire) -> None:
        end = self._endpoint
        hello: tuple[Argument, ...] = ("HELLO", 2)
        if end.password:
            hello += ("AUTH", end.username or "default", end.password)
        reply = await wire.send((*hello, "SETNAME", "mcp-sidecar"))
        if not isinstance(reply, list):
            raise StoreError("the server does not speak the protocol")
        pairs = zip(reply[::2], reply[1::2], strict=False)
        facts = {name: value for name, value in pairs if isinstance(name, bytes)}
        role = facts.get(b"role", facts.get(b"mode", b""))  # a sentinel has no role but its mode
        if role not in self._roles:
            raise StoreError(f"the server is {_ROLES.get(role, 'of an unknown role')}")
        if facts.get(b"mode") == b"cluster" and not end.cluster:
            raise StoreError("the server is a node of a cluster, whose URL starts with redis+cluster://")
        await wire.send(("PING",))  # HELLO is answered while a server still loads its data; PING is not
        if end.db:
            await wire.send(("SELECT", end.db))


_ROLES: Final[Mapping[Any, str]] = {
    b"master": "a primary",
    b"replica": "a replica",
    b"slave": "a replica",
    b"sentinel": "a sentinel",
}
