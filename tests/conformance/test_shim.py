"""The shim adds a token and changes nothing else, in either direction, and hides no disconnect."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from tests.conformance.shim import Shim, authorized, reset

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]

REQUEST = (
    b"POST /mcp?x=%2e HTTP/1.1\r\nHOST: evil.example.com\r\norigin: http://evil.example.com\r\n"
    b"Mcp-Name:   padded  \r\nmcp-NAME: twice\r\nConnection: keep-alive\r\nContent-Length: 4\r\n\r\n"
)


@asynccontextmanager
async def between(serve: Serve) -> AsyncIterator[Ends]:
    """A client's connection through a shim to this server."""
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, Shim(lambda: "tok", target=server.sockets[0].getsockname()[:2]) as shim:
        reader, writer = await asyncio.open_connection("127.0.0.1", shim.port)
        try:
            async with asyncio.timeout(30):
                yield reader, writer
        finally:
            writer.transport.abort()


def test_a_head_keeps_everything_but_its_connection():
    assert authorized(REQUEST, "tok") == (
        b"POST /mcp?x=%2e HTTP/1.1\r\nHOST: evil.example.com\r\norigin: http://evil.example.com\r\n"
        b"Mcp-Name:   padded  \r\nmcp-NAME: twice\r\nContent-Length: 4\r\n"
        b"Authorization: Bearer tok\r\nConnection: close\r\n\r\n"
    )


def test_a_head_without_headers_gets_only_those_two():
    made = b"GET / HTTP/1.1\r\nAuthorization: Bearer tok\r\nConnection: close\r\n\r\n"
    assert authorized(b"GET / HTTP/1.1\r\n\r\n", "tok") == made


async def test_bytes_pass_as_they_are_in_both_directions():
    seen = asyncio.get_running_loop().create_future()
    answer = b"HTTP/1.1 200 OK\r\nX:  odd \r\nConnection: close\r\n\r\n" + bytes(range(256)) * 4000

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.set_result((await reader.readuntil(b"\r\n\r\n"), await reader.readexactly(4)))
        writer.write(answer)
        writer.close()

    async with between(serve) as (reader, writer):
        writer.write(REQUEST + b"\x00\xff\r\n")
        assert await reader.read() == answer
        assert await seen == (authorized(REQUEST, "tok"), b"\x00\xff\r\n")


async def test_data_is_forwarded_as_it_arrives():
    read = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"data: 1\n\n")
        await read.wait()  # a proxy that buffers waits for ever
        writer.write(b"data: 2\n\n")
        writer.close()

    async with between(serve) as (reader, writer):
        writer.write(REQUEST)
        assert await reader.readexactly(9) == b"data: 1\n\n"
        read.set()
        assert await reader.read() == b"data: 2\n\n"


async def test_a_client_s_disconnect_is_forwarded():
    left = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        try:
            while await reader.read(1000):
                pass
        except ConnectionError:
            pass
        left.set()

    async with between(serve) as (reader, writer):
        writer.write(REQUEST)
        await reader.readuntil(b"\r\n\r\n")
        writer.close()
        await left.wait()


async def test_a_server_s_reset_is_forwarded():
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\npart")
        await writer.drain()
        reset(writer)
        writer.transport.abort()

    async with between(serve) as (reader, writer):
        writer.write(REQUEST)
        with pytest.raises(ConnectionError):
            await reader.read()
