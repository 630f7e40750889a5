"""Connections whose clients do not read their answers, on a real server without tokens."""

from __future__ import annotations

import asyncio
import socket

import pytest

from sidecar.proxy.listener.answering_connection import ClientRequest
from sidecar.proxy.listener.http_answers import Answer
from tests.proxy.listener.door import IDLE, Door, door
from tests.support.store import until

ASK = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
LAST = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
LARGE = b"x" * (1 << 20)
"""More than the kernel keeps for a client with small buffers."""


def client(place: Door) -> socket.socket:
    """A client that has asked nothing yet; its kernel takes little."""
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    made.connect(place.address)
    made.setblocking(False)
    return made


async def large(_: ClientRequest) -> Answer:
    return Answer(200, body=LARGE)


@pytest.mark.parametrize("asked", [ASK, LAST, ASK * 20, ASK + b"\0"], ids=["one", "the last", "many", "malformed"])
async def test_a_client_that_reads_no_answer_keeps_no_connection(asked: bytes):
    async with door(large) as place:
        with client(place) as unread:
            await asyncio.get_running_loop().sock_sendall(unread, asked)
            await until(lambda: place.open == 1)
            await until(lambda: place.open == 0)


async def test_a_client_that_reads_slowly_gets_all_of_its_answer():
    async with door(large) as place:
        with client(place) as slow:
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(slow, LAST)
            got, began = 0, loop.time()
            while chunk := await loop.sock_recv(slow, 64 * 1024):
                got += len(chunk)
                await asyncio.sleep(0.05)
            assert got > len(LARGE)
            assert loop.time() - began > 2 * IDLE, "it took longer than a client may read nothing"


async def test_a_handler_that_writes_a_stream_decides_itself_how_long_it_waits():
    written: list[bool] = []

    async def stream(request: ClientRequest) -> Answer:
        answer, connection = Answer(200, body=None), request.connection
        connection.begin_stream(request, answer)
        try:
            async with asyncio.timeout(3 * IDLE):
                while True:
                    connection.write_stream(request, LARGE)
                    await connection.drain()
        except TimeoutError:
            written.append(connection.transport is not None)
        return answer

    async with door(stream) as place:
        with client(place) as unread:
            await asyncio.get_running_loop().sock_sendall(unread, ASK)
            await until(lambda: bool(written))
            assert written == [True], "the connection was still there"
            await until(lambda: place.open == 0)
