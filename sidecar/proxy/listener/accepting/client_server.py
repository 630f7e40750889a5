"""Server of a listener: it makes the connections of its clients, and ends them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from sidecar.config.settings.settings import Limits
from sidecar.proxy.listener.client_connection import ClientConnection, ErrorAnswer, Handler
from sidecar.proxy.listener.request_heads import KnownHeads

IDLE_CONNECTION: Final = 75.0
"""Seconds until a client's connection is closed that is idle, or on which the client reads nothing of an answer."""


class ClientServer:
    """Server of one listener.

    Args:
        handle: serves one request, and is cancelled when its client disconnects.
        error: answers an error that no handler has answered; gets its HTTP status and the exception.
        limits: `header` bounds the request line and each header.
        idle: seconds; see `IDLE_CONNECTION`.

    Attributes:
        connections: open connections, and closed ones whose last request has not ended.
        loop: the event loop.
        heads: heads of requests that were accepted before.
        max_header: bytes of a request line and of a header, for connections that begin from now on.
        last: True when each connection ends with its next answer, because the process will end.
    """

    def __init__(self, handle: Handler, error: ErrorAnswer, limits: Limits, idle: float = IDLE_CONNECTION) -> None:
        self.handle = handle
        self.error = error
        self.idle = idle
        self.loop = asyncio.get_running_loop()
        self.connections: set[ClientConnection] = set()
        self.heads = KnownHeads()
        self.last = False
        self.limit(limits)

    def limit(self, limits: Limits) -> None:
        """Bound the heads of connections that begin from now on."""
        self.max_header = limits.header
        self.heads.clear()

    def connection(self, ended: Callable[[], None]) -> ClientConnection:
        """Make the protocol of a new connection; `ended` is called when it is lost."""
        return ClientConnection(self, ended)

    def __call__(self) -> ClientConnection:
        """Make the protocol of a connection that is not counted."""
        return self.connection(lambda: None)

    async def shutdown(self, grace: float) -> None:
        """End all connections: requests in progress have `grace` seconds."""
        await asyncio.gather(*(each.shutdown(grace) for each in list(self.connections)))
