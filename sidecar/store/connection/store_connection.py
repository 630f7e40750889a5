"""One ordered, pipelined connection to the store, which reconnects by itself.

No command is sent twice. redis-py is not used: one command through it costs as much as all checks of a call.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from sidecar.store.connection.diagnosis import explain
from sidecar.store.connection.resp import (
    Argument,
    OnPush,
    PendingReply,
    RejectedError,
    RespTransport,
    Rewrite,
    StoreError,
    UnansweredError,
    UnsentError,
    Write,
)
from sidecar.store.connection.store_url import Address, StoreLocation
from sidecar.store.connection.unix_sockets import unix_socket
from sidecar.system.dialing import dial
from sidecar.system.threads import LimitedThreads

__all__ = ["Argument", "RejectedError", "StoreConnection", "StoreError", "UnansweredError", "UnsentError"]

CALL_TIMEOUT: Final = 1.0
"""Seconds until a reply is overdue. Together with `WAIT_TIMEOUT` it is well below the two seconds that callers wait."""

WAIT_TIMEOUT: Final = 0.5
"""Seconds that a command waits for a reconnection after the connection was lost."""

PRIMARY: Final = frozenset({b"master"})
"""Role, in a server's HELLO reply, of one that accepts writes."""

CONNECT_TIMEOUT: Final = 1.0
"""Timeout of one attempt to connect, in seconds."""

_BACKOFF: Final = (0.05, 1.0)  # first and longest pause between attempts to connect, in seconds


Send = Callable[..., asyncio.Future[Any]]
"""Sends the words of one command and returns its reply."""

Prepare = Callable[[Send], Awaitable[Rewrite | None]]
"""Awaited on every new connection before other commands may use it; an exception fails the attempt.

It may return how the connection changes each command that it sends from then on.
"""


class StoreConnection:
    """Connection to one server, kept open; it knows at any time whether it is connected.

    For a store of a single server it implements `topology.Servers`.

    Args:
        endpoint: address and credentials of the server.
        prepare: see `Prepare`.
        before_connect: awaited before every attempt (it starts the embedded store).
        timeout: seconds until a reply is overdue; then the connection is closed and opened again.
        on_push: called with messages, on a connection that `prepare` subscribes.
        locate: returns the address for each attempt; None uses the endpoint's first.
        roles: accepted roles of the server.
        attempt_timeout: seconds that one attempt to connect may take.

    Attributes:
        error: reason that there is no connection; None while connected.
        fault: exception of the last attempt to connect; None if it succeeded, or before the first.
        address: address of the last attempt.
        failed_attempts: number of failed attempts since the last connection.
        write: see `resp.Write`; it raises `UnsentError` while not connected.
        written: see `resp.RespTransport.written`; None while not connected.
    """

    def __init__(
        self,
        endpoint: StoreLocation,
        *,
        prepare: Prepare | None = None,
        before_connect: Callable[[], Awaitable[None]] | None = None,
        timeout: float = CALL_TIMEOUT,
        on_push: OnPush | None = None,
        locate: Callable[[], Awaitable[Address]] | None = None,
        roles: frozenset[bytes] = PRIMARY,
        attempt_timeout: float = CONNECT_TIMEOUT,
    ) -> None:
        self._endpoint = endpoint
        self._prepare = prepare
        self._before_connect = before_connect
        self._timeout = timeout
        self._on_push = on_push
        self._locate = locate
        self._roles = roles
        self._attempt_timeout = attempt_timeout
        self._threads = LimitedThreads("store socket")
        self._transport: RespTransport | None = None
        self.write: Write = self._unsent
        self.written: Callable[[], asyncio.Future[None] | None] = _nothing
        self._settled = asyncio.Event()  # cleared while a lost connection may come back within `WAIT_TIMEOUT`
        self._task: asyncio.Task[None] | None = None
        self.error: str | None = "not connected yet"
        self.fault: Exception | None = None
        self.address: Address | None = None
        self.failed_attempts = 0

    @property
    def up(self) -> bool:
        """True while connected: a command would be sent now."""
        return self._transport is not None

    @property
    def unreachable(self) -> int:
        """Number of unreachable primaries: 0 or 1."""
        return int(self._transport is None)

    @property
    def nodes(self) -> Sequence[StoreConnection]:
        """Primaries: this one."""
        return (self,)

    def at(self, key: str) -> StoreConnection:
        """Return the server that has a key: this one."""
        return self

    def redirect(self, error: RejectedError, key: str) -> StoreConnection | None:
        """Return the server that may run a rejected command, given its script; None if no server may now."""
        return self if error.code == "NOSCRIPT" else None

    def subscriber(self, prepare: Prepare, on_push: OnPush) -> StoreConnection:
        """Return another connection to the same store, not yet started, for a subscription."""
        return StoreConnection(self._endpoint, prepare=prepare, on_push=on_push)

    def open(self) -> None:
        """Start to connect, and stay connected until `close`."""
        if self._task is None:
            self._task = asyncio.create_task(self._keep_connected(), name="store connection")

    async def start(self, within: float = 10.0) -> None:
        """Connect, and stay connected until `close`.

        Raises:
            UnsentError: the store was unreachable for `within` seconds; attempts continue.
        """
        self.open()
        end = asyncio.get_running_loop().time() + within
        while not self.up:
            if asyncio.get_running_loop().time() >= end:
                raise UnsentError(f"the store cannot be reached: {self.error}")
            await asyncio.sleep(0.01)

    async def close(self) -> None:
        """Disconnect; pending commands fail with `UnansweredError`."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    def reconnect(self, reason: str) -> None:
        """Close the connection and open a new one; pending commands fail with `UnansweredError`."""
        if self._transport is not None:
            self._transport.abort(reason)

    async def retire(self) -> None:
        """Close once all pending commands are answered; for a server that gets no new commands."""
        try:
            with contextlib.suppress(StoreError):
                if self.up:
                    await self.send("PING")  # replies come in order
        finally:
            await self.close()

    def send(self, *command: Argument) -> asyncio.Future[Any]:
        """Send one command; the future returns its reply.

        Raises:
            UnsentError: not connected.
        """
        if self._transport is None:
            raise UnsentError(f"the store cannot be reached: {self.error}")
        return self._transport.send(command)

    def _unsent(self, command: bytes, reply: PendingReply, now: bool = True) -> None:
        raise UnsentError(f"the store cannot be reached: {self.error}")

    async def wait_reconnected(self) -> None:
        """Wait at most `WAIT_TIMEOUT` for a reconnection, if the connection was just lost."""
        if not self._settled.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(WAIT_TIMEOUT):  # `wait_for` may swallow a cancellation before 3.12
                    await self._settled.wait()

    async def call(self, *command: Argument) -> Any:
        """Send one command and return its reply, within `WAIT_TIMEOUT` and the reply timeout together.

        Raises:
            UnsentError: the command was not sent.
            UnansweredError: the command may have run.
            RejectedError: the server rejected the command.
        """
        await self.wait_reconnected()
        return await self.send(*command)

    async def _keep_connected(self) -> None:
        pause = _BACKOFF[0]
        try:
            while True:
                try:
                    async with asyncio.timeout(self._attempt_timeout):
                        transport = await self._open()
                except Exception as fault:  # noqa: BLE001 - any fault: this loop must go on
                    self.fault, self.error = fault, explain(fault, tls=self._endpoint.store_tls is not None)
                    self.failed_attempts += 1
                    self._settled.set()
                    await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - spreads attempts, hides nothing
                    pause = min(2 * pause, _BACKOFF[1])
                    continue
                self._transport, self.error, self.fault, self.failed_attempts = transport, None, None, 0
                self.write, self.written = transport.write, transport.written
                self._settled.set()
                pause = _BACKOFF[0]
                self.error = await transport.lost
                self._transport, self.write, self.written = None, self._unsent, _nothing
                self._settled.clear()
        finally:
            if self._transport is not None:
                self._transport.abort("the connection was closed")
            self._transport, self.write, self.written = None, self._unsent, _nothing
            self._settled.set()

    async def _open(self) -> RespTransport:
        if self._before_connect is not None:
            await self._before_connect()
        transport = await self._dial()
        try:
            await self._greet(transport)
            if self._prepare is not None:
                transport.rewrite = await self._prepare(lambda *command: transport.send(command))
        except BaseException as fault:
            transport.abort("the connection could not be prepared")
            if transport.rejection is not None and isinstance(fault, StoreError):
                raise transport.rejection from fault
            raise
        return transport

    async def _dial(self) -> RespTransport:
        end = self._endpoint
        if end.path:
            sock = await self._threads.run(unix_socket, end.path)
            return (await asyncio.get_running_loop().create_unix_connection(self._make_transport, sock=sock))[1]
        self.address = host, port = await self._locate() if self._locate is not None else end.addresses[0]
        return await dial(self._make_transport, host, port, tls=await end.tls(), resolver=end.resolver)

    def _make_transport(self) -> RespTransport:
        return RespTransport(self._timeout, self._on_push)

    async def _greet(self, transport: RespTransport) -> None:
        end = self._endpoint
        hello: tuple[Argument, ...] = ("HELLO", 2)
        if end.password:
            hello += ("AUTH", end.username or "default", end.password)
        reply = await transport.send((*hello, "SETNAME", "mcp-sidecar"))
        if not isinstance(reply, list):
            raise StoreError("the server does not speak the protocol")
        pairs = zip(reply[::2], reply[1::2], strict=False)
        facts = {name: value for name, value in pairs if isinstance(name, bytes)}
        role = facts.get(b"role", facts.get(b"mode", b""))  # a sentinel has no role but its mode
        if role not in self._roles:
            raise StoreError(f"the server is {_ROLES.get(role, 'of an unknown role')}")
        if facts.get(b"mode") == b"cluster" and not end.cluster:
            raise StoreError("the server is a node of a cluster; the URL of a cluster starts with redis+cluster://")
        await transport.send(("PING",))  # a server that still loads its data answers HELLO, but not PING
        if end.db:
            await transport.send(("SELECT", end.db))


def _nothing() -> None:
    """Return that nothing is buffered for a server that is not connected."""


_ROLES: Final[Mapping[Any, str]] = {
    b"master": "a primary",
    b"replica": "a replica",
    b"slave": "a replica",
    b"sentinel": "a sentinel",
}
