"""A server of the public listener's kind, in front of a handler of the test's own."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from sidecar.config.settings.settings import Limits
from sidecar.proxy.listener.accepting.client_server import ClientServer
from sidecar.proxy.listener.answering_connection import ClientRequest
from sidecar.proxy.listener.http_answers import Answer

IDLE = 0.5
"""Seconds that a connection may be idle."""


@dataclass
class Door:
    """A server and its open connections."""

    address: tuple[str, int]
    server: ClientServer
    faults: list[int]
    """Statuses of the errors that no handler has answered."""

    @property
    def open(self) -> int:
        return len(self.server.connections)


@asynccontextmanager
async def door(handler: Callable[[ClientRequest], Awaitable[Answer]], idle: float = IDLE) -> AsyncIterator[Door]:
    """Listen with small buffers; errors are answered by their status alone."""
    faults: list[int] = []

    def error(status: int, _: BaseException | None) -> Answer:
        faults.append(status)
        return Answer(status)

    server = ClientServer(handler, error, Limits(), idle=idle)
    listening = socket.create_server(("127.0.0.1", 0))
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16 * 1024)
    opened = await asyncio.get_running_loop().create_server(server, sock=listening)
    try:
        yield Door(listening.getsockname(), server, faults)
    finally:
        opened.close()
        await server.shutdown(1)
