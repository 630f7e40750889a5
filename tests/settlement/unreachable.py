"""Backends that are unreachable, each for another reason; each yields the function that gives the URL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from tests.support.backend import Backend
from tests.support.store import free_port


@asynccontextmanager
async def no_listener() -> AsyncIterator[Callable[[Backend], str]]:
    """A port without a listener."""
    port = free_port()
    yield lambda backend: f"http://127.0.0.1:{port}{backend.path}"


@asynccontextmanager
async def nowhere() -> AsyncIterator[Callable[[Backend], str]]:
    """A name without an address (RFC 6761, section 6.4)."""
    yield lambda backend: f"http://backend.invalid:{backend.port}{backend.path}"


@asynccontextmanager
async def no_tls() -> AsyncIterator[Callable[[Backend], str]]:
    """The backend, met with TLS, which it does not speak."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listening:
        yield lambda backend: f"https://127.0.0.1:{listening.sockets[0].getsockname()[1]}{backend.path}"


@asynccontextmanager
async def never() -> AsyncIterator[Callable[[Backend], str]]:
    """A port that takes connections, and never says anything in the handshake of TLS."""
    writers = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        await reader.read()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listening:
        yield lambda backend: f"https://127.0.0.1:{listening.sockets[0].getsockname()[1]}{backend.path}"
        for writer in writers:
            writer.transport.abort()
