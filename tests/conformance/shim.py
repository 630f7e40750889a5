"""A proxy that adds a bearer token to every request, which the conformance suite cannot do itself.

It works on bytes. But for that header, and one that lets a connection carry one request only, what
clients send arrives as they have sent it: Host, Origin, the spelling of names and the blanks round
values. What comes back is passed on as it arrives, and a disconnect on one side is visible
on the other.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable
from typing import Final, Self

_HEAD: Final = 64 * 1024  # bytes; the sidecar's own limit is lower
_END: Final = b"\r\n\r\n"


class Shim:
    """A listener on loopback in front of the sidecar.

    Args:
        token: gives the token for each request.
        target: host and port of the sidecar; may be set before the first request instead.

    Attributes:
        port: where it listens.
    """

    def __init__(self, token: Callable[[], str], *, target: tuple[str, int] = ("", 0)) -> None:
        self.target = target
        self._token = token
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._server: asyncio.Server | None = None
        self._connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, sock=self._listener, limit=_HEAD)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()
        for writer in self._connections.values():
            writer.transport.abort()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections[task] = writer
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                await self._exchange(reader, writer)
        finally:
            writer.transport.abort()
            del self._connections[task]

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(_END)
        up_reader, up_writer = await asyncio.open_connection(*self.target)
        try:
            up_writer.write(authorized(head, self._token()))
            # The first end closes both sides: a client that leaves, or an answer that is complete.
            inward = asyncio.create_task(_pump(reader, up_writer))
            outward = asyncio.create_task(_pump(up_reader, writer))
            try:
                await asyncio.wait((inward, outward), return_when=asyncio.FIRST_COMPLETED)
            finally:
                inward.cancel()
                outward.cancel()
                await asyncio.gather(inward, outward, return_exceptions=True)
            if not outward.cancelled() and outward.exception() is not None:
                reset(writer)
            writer.close()  # what has arrived is sent first
            await writer.wait_closed()
        finally:
            up_writer.transport.abort()


def authorized(head: bytes, token: str) -> bytes:
    """A request's head with a token, for a connection that ends with it.

    Args:
        head: request line and headers, with the empty line.
        token: what goes into `Authorization`; a header of this name that is there already stays, so
            that two of them are what the sidecar sees.
    """
    line, *fields = head.removesuffix(_END).split(b"\r\n")
    kept = [field for field in fields if not _is_connection(field)]
    added = [b"Authorization: Bearer " + token.encode(), b"Connection: close"]
    return b"\r\n".join([line, *kept, *added]) + _END


def _is_connection(field: bytes) -> bool:
    return field.partition(b":")[0].strip().lower() in (b"connection", b"keep-alive")


def reset(writer: asyncio.StreamWriter) -> None:
    """Let the end of a connection be a reset, which no client takes for the end of an answer."""
    connection: socket.socket = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
