"""Listening sockets that accept no more connections than this process can hold.

Event loops accept until there are no descriptors, log an error for each connection that they cannot accept, and
leave no descriptor for the calls in flight. Here a full listener stops accepting: clients wait in the kernel's
queue until a connection ends.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from enum import StrEnum
from functools import partial
from itertools import cycle
from typing import Final

from sidecar.config.settings.addresses import Address
from sidecar.config.settings.settings import Limits
from sidecar.observe.metrics import Metrics
from sidecar.observe.repeats import Repeats
from sidecar.proxy.listener.accepting.binding import BoundAddress, bind
from sidecar.proxy.listener.accepting.client_server import ClientServer
from sidecar.proxy.listener.accepting.unix_binding import BoundSocket
from sidecar.system.descriptors import Descriptors

HANDSHAKE_WITHIN: Final = 15.0
"""Seconds of a TLS handshake."""

_AT_ONCE: Final = 32  # connections accepted in one turn of the event loop
_REST: Final = 1.0  # seconds without accepting after the kernel has refused a descriptor
_ENDED: Final = frozenset({errno.ECONNABORTED, errno.EAGAIN, errno.EINTR, errno.EPROTO, errno.EPERM})


Bound = BoundAddress | BoundSocket
"""Listening sockets of one address."""


class Pause(StrEnum):
    """Reason why no more connections are accepted at the moment."""

    LIMIT = "limit"  # clients hold as many as they may
    DESCRIPTORS = "descriptors"  # the kernel gives no more descriptors


class Acceptor:
    """Accept connections for one server.

    Args:
        bound: the addresses; closed with it.
        server: serves the connections.
        most: connections at one time.
        paused: called with the reason each time that accepting stops.

    Attributes:
        open: number of accepted connections that have not ended.
    """

    def __init__(
        self, bound: Iterable[Bound], server: ClientServer, most: int, paused: Callable[[Pause], None]
    ) -> None:
        self._bound = tuple(bound)
        self.server = server
        self._most = most
        self._paused = paused
        self._loop = asyncio.get_running_loop()
        self._accepting = False
        self._stopped = False
        self._rest: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._handshakes: set[asyncio.Task[None]] = set()
        self.open = 0

    def start(self) -> None:
        """Accept from now on."""
        self._resume()

    def stop(self) -> None:
        """Stop accepting; the server ends open connections."""
        self._stopped = True
        self._pause()
        if self._rest is not None:
            self._rest.cancel()
        for task in list(self._handshakes):
            task.cancel()
        for each in self._bound:
            each.close()

    def add(self, bound: Sequence[Bound]) -> None:
        """Accept on further sockets as well, such as those of a worker that has died."""
        if self._stopped:
            return
        self._bound = (*self._bound, *bound)
        if self._accepting:
            self._watch(bound)

    def remove(self, bound: Sequence[Bound]) -> None:
        """Stop accepting on sockets that were added; they stay open."""
        if self._accepting:
            self._ignore(bound)
        self._bound = tuple(each for each in self._bound if each not in bound)

    def _resume(self) -> None:
        self._rest = None
        if self._accepting or self._stopped:
            return
        self._accepting = True
        self._watch(self._bound)

    def _pause(self) -> None:
        if not self._accepting:
            return
        self._accepting = False
        self._ignore(self._bound)

    def _watch(self, bound: Iterable[Bound]) -> None:
        for address in bound:
            for each in address.sockets:
                self._loop.add_reader(each.fileno(), self._accept, each, address.tls)

    def _ignore(self, bound: Iterable[Bound]) -> None:
        for address in bound:
            for each in address.sockets:
                self._loop.remove_reader(each.fileno())

    def _accept(self, listener: socket.socket, tls: ssl.SSLContext | None) -> None:
        for _ in range(_AT_ONCE):
            if self.open >= self._most:
                self._pause()  # until a connection ends
                self._paused(Pause.LIMIT)
                return
            try:
                accepted, _ = listener.accept()
            except OSError as error:
                if error.errno not in _ENDED:  # EMFILE, ENFILE, ENOBUFS, ENOMEM
                    self._pause()
                    self._rest = self._loop.call_later(_REST, self._resume)
                    self._paused(Pause.DESCRIPTORS)
                return
            self.open += 1
            task = self._loop.create_task(self._serve(accepted, tls))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            if tls is not None:
                self._handshakes.add(task)
                task.add_done_callback(self._handshakes.discard)

    async def _serve(self, accepted: socket.socket, tls: ssl.SSLContext | None) -> None:
        """Hand one connection to the server; it counts until the server loses it, or could not take it."""
        connection = self.server.connection(self._ended)
        within = None if tls is None else HANDSHAKE_WITHIN
        try:
            accepted.setblocking(False)
            accepted.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            await self._loop.connect_accepted_socket(
                lambda: connection, accepted, ssl=tls, ssl_handshake_timeout=within
            )
        except (OSError, RuntimeError):
            pass  # the client has disconnected (a RuntimeError under uvloop), or its TLS fails
        finally:
            if not connection.met:
                accepted.close()
                self._ended()

    def _ended(self) -> None:
        self.open -= 1
        if self._rest is None and self.open < self._most:
            self._resume()


class Listeners:
    """Listeners of this process, each with its share of the descriptors.

    Args:
        stack: closes them, in reverse order.
        metrics: count the pauses of accepting.
        repeats: the log, which reports a pause once a minute.

    Attributes:
        most: connections at one time, by the listener's name.
        addresses: the bound TCP addresses of each: port 0 has become a port.
    """

    def __init__(self, stack: AsyncExitStack, metrics: Metrics, repeats: Repeats) -> None:
        share = Descriptors.available()
        self.most = {"listen": share.clients, "admin": share.admin, "admin_api": share.admin}
        self.addresses: dict[str, list[Address]] = {}
        self._bound: dict[str, Sequence[Bound]] = {}
        self._limit = share.limit
        self._stack = stack
        self._paused = metrics.accepts_paused
        self._repeats = repeats
        self._acceptors: dict[str, Acceptor] = {}
        self._tls: Sequence[ssl.SSLContext | None] = ()
        self._shared: list[Bound] = []
        metrics.begin(metrics.accepts_paused, self.most, [each.value for each in Pause])

    @property
    def connections(self) -> int:
        """Number of open connections of clients."""
        return self._acceptors["listen"].open

    def words(self, name: str) -> str:
        """Return the addresses of one listener for the log."""
        return ", ".join(str(each.address) for each in self._bound[name])

    def limit(self, limits: Limits) -> None:
        """Bound the heads of connections that begin from now on."""
        for acceptor in self._acceptors.values():
            acceptor.server.limit(limits)

    async def open(
        self,
        name: str,
        addresses: Sequence[Address],
        tls: Sequence[ssl.SSLContext | None],
        server: ClientServer,
        grace: Callable[[], float],
        bound: Sequence[Bound] | None = None,
    ) -> None:
        """Serve on these addresses until the end, when requests in flight have as many seconds as `grace` returns then.

        Args:
            name: of the listener.
            addresses: to listen on.
            tls: the context of each; None for plain HTTP.
            server: serves the connections.
            grace: seconds.
            bound: the addresses, if they are bound already.

        Raises:
            OSError: one of them cannot be listened on.
        """
        bound = list(await bind(addresses, tls)) if bound is None else _with_tls(bound, tls)
        self._tls = tls
        acceptor = self._acceptors[name] = Acceptor(bound, server, self.most[name], partial(self._report, name))
        # The time is asked for when it begins: a reload may have changed it.
        self._stack.push_async_callback(lambda: server.shutdown(grace()))
        self._stack.callback(acceptor.stop)  # runs first
        acceptor.start()
        self._bound[name] = bound
        self.addresses[name] = [each.address for each in bound if isinstance(each.address, Address)]

    def accept(self, bound: Sequence[BoundAddress]) -> None:
        """Accept clients on these sockets of workers, and on none that were given before.

        Args:
            bound: for each worker one entry for each address of `listen`.
        """
        acceptor = self._acceptors["listen"]
        acceptor.remove(self._shared)
        self._shared = _with_tls(bound, self._tls)
        acceptor.add(self._shared)

    def keep_no_connections(self) -> None:
        """Answer from now on with `Connection: close`: clients then connect to another sidecar."""
        self._acceptors["listen"].server.last = True

    def _report(self, listener: str, reason: Pause) -> None:
        self._paused.labels(listener, reason.value).inc()
        self._repeats.event("accepts_paused", "warning", listener=listener, why=reason.value, limit=self._limit)


def _with_tls(bound: Iterable[Bound], tls: Sequence[ssl.SSLContext | None]) -> list[Bound]:
    """Return the sockets with the contexts of their addresses; a unix socket has none."""
    return [
        replace(each, tls=context) if isinstance(each, BoundAddress) else each
        for each, context in zip(bound, cycle(tls), strict=False)
    ]
