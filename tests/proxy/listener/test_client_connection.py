"""Connections of clients: requests one after another, as HTTP/1.0 and 1.1 say, and what ends them."""

from __future__ import annotations

import asyncio
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from sidecar.proxy.listener.answering_connection import ClientRequest
from sidecar.proxy.listener.http_answers import Answer
from tests.proxy.listener.door import Door, door
from tests.support.store import until

Handler = Callable[[ClientRequest], Awaitable[Answer]]
Ask = Callable[[bytes], Awaitable[bytes]]
PATIENT = 60.0
"""Seconds of idleness that no test waits for."""


def answered(status: int = 200, body: bytes = b"") -> Answer:
    return Answer(status, [("Content-Type", "text/plain"), ("Server", "s")], body)


async def echo(request: ClientRequest) -> Answer:
    """Answer with the method, the path and the body."""
    return answered(body=f"{request.method} {request.raw_path} ".encode() + await request.content.read())


@asynccontextmanager
async def connected(place: Door) -> AsyncIterator[tuple[StreamReader, StreamWriter]]:
    reader, writer = await asyncio.open_connection(*place.address)
    try:
        yield reader, writer
    finally:
        writer.close()


async def answer(reader: StreamReader, *, bodiless: bool = False) -> tuple[str, dict[str, str], bytes]:
    """Read one answer: its status line, its headers and its body."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:-2])}
    body = b"" if bodiless else await reader.readexactly(int(fields.get("content-length", 0)))
    return head[0], fields, body


def request(path: str, *fields: str, method: str = "GET", version: str = "1.1", body: bytes = b"") -> bytes:
    lines = [f"{method} {path} HTTP/{version}", "Host: x", *fields]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


async def test_requests_on_one_connection_are_answered_one_after_another():
    async with door(echo, PATIENT) as place, connected(place) as (reader, writer):
        for number in range(3):
            writer.write(request(f"/{number}", method="POST", body=b"b" * number))
            status, fields, body = await answer(reader)
            assert (status, body) == ("HTTP/1.1 200 OK", b"POST /%d " % number + b"b" * number)
            assert "connection" not in fields
            assert set(fields) == {"content-length", "content-type", "date", "server"}
        assert place.open == 1


async def test_more_requests_than_the_parser_queues_are_answered_in_their_order():
    async with door(echo, PATIENT) as place, connected(place) as (reader, writer):
        writer.write(b"".join(request(f"/{number}") for number in range(100)))
        for number in range(100):
            assert (await answer(reader))[2] == b"GET /%d " % number


@pytest.mark.parametrize(
    ("version", "fields", "connection", "stays"),
    [
        ("1.1", (), None, True),
        ("1.1", ("Connection: close",), "close", False),
        ("1.0", (), None, False),
        ("1.0", ("Connection: keep-alive",), "keep-alive", True),
    ],
)
async def test_a_connection_stays_open_as_its_client_asks(
    version: str, fields: tuple[str, ...], connection: str | None, *, stays: bool
):
    async with door(echo, PATIENT) as place, connected(place) as (reader, writer):
        writer.write(request("/1", *fields, version=version))
        status, answered, _ = await answer(reader)
        assert (status, answered.get("connection")) == (f"HTTP/{version} 200 OK", connection)
        if stays:
            writer.write(request("/2", *fields, version=version))
            assert (await answer(reader))[2] == b"GET /2 "
        else:
            assert await reader.read() == b""


async def test_an_answer_that_closes_is_the_last_one():
    async def refuse(_: ClientRequest) -> Answer:
        made = answered(403)
        made.closing = True
        return made

    async with door(refuse, PATIENT) as place, connected(place) as (reader, writer):
        writer.write(request("/1") + request("/2"))
        assert (await answer(reader))[1]["connection"] == "close"
        assert await reader.read() == b""


async def test_answers_without_a_body_keep_the_connection_in_step():
    async def handler(request: ClientRequest) -> Answer:
        return answered(204) if request.raw_path == "/204" else answered(body=b"body")

    async with door(handler, PATIENT) as place, connected(place) as (reader, writer):
        writer.write(request("/head", method="HEAD") + request("/204") + request("/last"))
        assert (await answer(reader, bodiless=True))[1]["content-length"] == "4"
        status, fields, _ = await answer(reader, bodiless=True)
        assert (status, fields.get("content-length")) == ("HTTP/1.1 204 No Content", None)
        assert (await answer(reader))[2] == b"body"


async def test_a_client_that_disconnects_cancels_its_request():
    ended: list[str] = []
    begun = asyncio.Event()

    async def handler(_: ClientRequest) -> Answer:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise
        return answered()

    async with door(handler, PATIENT) as place, connected(place) as (_, writer):
        writer.write(request("/"))
        await begun.wait()
        writer.transport.abort()
        await until(lambda: place.open == 0)
        assert ended == ["cancelled"]


async def test_the_rest_of_a_body_that_nothing_reads_is_discarded():
    async def handler(request: ClientRequest) -> Answer:
        return answered(body=b"unread" if request.raw_path == "/1" else b"next")

    async with door(handler, PATIENT) as place, connected(place) as (reader, writer):
        writer.write(request("/1", "Content-Length: 200000", method="POST") + b"b" * 100_000)
        assert (await answer(reader))[2] == b"unread"
        writer.write(b"b" * 100_000 + request("/2"))
        assert (await answer(reader))[2] == b"next"


async def test_input_that_cannot_be_parsed_is_answered_after_what_came_before():
    begun, gate = asyncio.Event(), asyncio.Event()

    async def handler(request: ClientRequest) -> Answer:
        begun.set()
        await gate.wait()
        return await echo(request)

    async with door(handler, PATIENT) as place, connected(place) as (reader, writer):
        writer.write(request("/1"))
        await begun.wait()
        writer.write(b"nonsense\r\n\r\n")
        gate.set()
        assert (await answer(reader))[2] == b"GET /1 "
        status, fields, _ = await answer(reader)
        assert (status, fields.get("connection")) == ("HTTP/1.1 400 Bad Request", "close")
        assert await reader.read() == b""


async def test_a_declined_upgrade_is_followed_by_further_requests():
    async with door(echo, PATIENT) as place, connected(place) as (reader, writer):
        writer.write(request("/1", "Connection: upgrade", "Upgrade: websocket") + request("/2"))
        assert (await answer(reader))[2] == b"GET /1 "
        assert (await answer(reader))[2] == b"GET /2 "


async def test_a_fault_is_answered_by_its_status_and_closes():
    async def handler(_: ClientRequest) -> Answer:
        raise ZeroDivisionError

    async with door(handler, PATIENT) as place, connected(place) as (reader, writer):
        writer.write(request("/1") + request("/2"))
        assert (await answer(reader))[0] == "HTTP/1.1 500 Internal Server Error"
        assert await reader.read() == b""


async def test_a_fault_behind_a_sent_answer_sends_no_second_one():
    async def handler(request: ClientRequest) -> Answer:
        request.connection.send(request, answered(body=b"sent"))
        raise ZeroDivisionError

    async with door(handler, PATIENT) as place, connected(place) as (reader, writer):
        writer.write(request("/1") + request("/2"))
        assert (await answer(reader))[2] == b"sent"
        assert await reader.read() == b""


async def test_an_idle_connection_is_closed_and_a_busy_one_is_not():
    async with door(echo) as place, connected(place) as (reader, writer):
        writer.write(request("/1"))
        await answer(reader)
        assert place.open == 1
        await until(lambda: place.open == 0)
        assert await reader.read() == b""


async def test_a_server_that_shuts_down_sends_the_answer_in_progress():
    begun, gate = asyncio.Event(), asyncio.Event()

    async def handler(_: ClientRequest) -> Answer:
        begun.set()
        await gate.wait()
        return answered(body=b"the last")

    async with door(handler, PATIENT) as place, connected(place) as (reader, writer):
        writer.write(request("/1") + request("/2"))
        await begun.wait()
        stopping = asyncio.create_task(place.server.shutdown(10))
        await until(lambda: all(each.last for each in place.server.connections))
        gate.set()
        assert (await answer(reader))[2] == b"the last"
        assert await reader.read() == b""
        await stopping


async def test_an_answer_is_sent_once():
    async def handler(request: ClientRequest) -> Answer:
        made = answered(body=b"once")
        request.connection.send(request, made)
        return made

    async with door(handler, PATIENT) as place, connected(place) as (reader, writer):
        writer.write(request("/1") + request("/2"))
        assert [(await answer(reader))[2] for _ in range(2)] == [b"once", b"once"]


async def test_a_header_cannot_be_split_into_two():
    async def handler(_: ClientRequest) -> Answer:
        return Answer(200, [("Allow", "GET\r\nSet-Cookie: a=b")])

    async with door(handler, PATIENT) as place, connected(place) as (reader, writer):
        writer.write(request("/1"))
        assert await reader.read() == b""


async def test_the_last_value_of_a_header_counts():
    async def handler(_: ClientRequest) -> Answer:
        return Answer(200, [("Allow", "GET"), ("Allow", "POST"), ("Vary", "Cookie"), ("Vary", "Origin")])

    async with door(handler, PATIENT) as place, connected(place) as (reader, writer):
        writer.write(request("/1"))
        _, fields, _ = await answer(reader)
        assert (fields["allow"], fields["vary"]) == ("POST", "Origin")
