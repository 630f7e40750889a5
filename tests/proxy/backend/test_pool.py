"""The way to the backend against a real socket whose other end a test writes byte by byte."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from collections.abc import AsyncIterator
from typing import Any

import pytest

from sidecar.errors import ErrorCode
from sidecar.outcome import Event
from sidecar.proxy.backend import backend_connection as connection_module
from sidecar.proxy.backend import pool as upstream_module
from sidecar.proxy.backend.pool import BackendAnswer, BackendPool, Outgoing, UpstreamError
from tests.support import backend as scripted
from tests.support.backend import Backend, Turn

LIMIT = 1 << 20
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


@pytest.fixture
async def backend() -> AsyncIterator[Backend]:
    async with Backend() as backend:
        yield backend


@pytest.fixture
async def upstream(backend: Backend) -> AsyncIterator[BackendPool]:
    upstream = BackendPool(backend.url)
    yield upstream
    upstream.close()
    assert upstream.in_use == 0, "an exchange was not ended"


def call(tool: str = "list_taxonomy", within: float | None = 5.0, **arguments: Any) -> Outgoing:
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}
    deadline = None if within is None else asyncio.get_running_loop().time() + within
    headers = (("Content-Type", "application/json"), ("X-Request-Id", "r-1"))
    return Outgoing("POST", headers, json.dumps(message).encode(), deadline)


async def body_of(upstream: BackendPool, outgoing: Outgoing | None = None, limit: int = LIMIT) -> bytes:
    answer = await upstream.send(outgoing or call())
    return await answer.read(limit)


async def failure(upstream: BackendPool, outgoing: Outgoing | None = None, limit: int = LIMIT) -> UpstreamError:
    with pytest.raises(UpstreamError) as caught:
        await body_of(upstream, outgoing, limit)
    return caught.value


async def drain(answer: BackendAnswer) -> bytes:
    parts = []
    while data := await answer.chunk(60.0):
        parts.append(data)
    assert data == b""
    return b"".join(parts)


async def until(condition: Any) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - what is waited for happens on the other side of a socket
            await asyncio.sleep(0.005)


# --- requests ------------------------------------------------------------------------------------


async def test_a_request_is_exactly_what_was_asked_for(backend: Backend):
    upstream = BackendPool(backend.url + "?tenant=a", headers=[("X-Api-Key", "k")])
    outgoing = call()
    body = outgoing.body
    await body_of(upstream, outgoing)
    received = backend.last
    assert outgoing.sent
    assert (received.method, received.target, received.body) == ("POST", "/mcp?tenant=a", body)
    assert outgoing.body is None, "an open stream would hold it"
    assert dict(received.headers) == {
        "host": f"127.0.0.1:{backend.port}",
        "accept-encoding": "identity",
        "x-api-key": "k",
        "content-type": "application/json",
        "x-request-id": "r-1",
        "content-length": str(len(body or b"")),
    }
    upstream.close()


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_requests_without_a_body_carry_no_length(backend: Backend, upstream: BackendPool, method: str):
    answer = await upstream.send(Outgoing(method, ()))
    assert answer.status == 405
    assert (backend.last.method, backend.last.header("content-length"), backend.last.body) == (method, None, b"")


@pytest.mark.parametrize("value", ["a\r\nX-MCP-Account: other", "a\nb", "a\rb", "a\0b", "zoë"])
async def test_a_header_that_could_become_two_is_never_sent(backend: Backend, upstream: BackendPool, value: str):
    outgoing = Outgoing("POST", [("Mcp-Param-City", value)], b"{}")
    with pytest.raises(ValueError, match="line break, NUL or non-ASCII"):
        await upstream.send(outgoing)
    assert not outgoing.sent
    assert backend.connections == 0


@pytest.mark.parametrize("url", ["ftp://host/", "http:///mcp", "mcp", "http://host/a b", "http://höst/"])
def test_urls_that_cannot_be_called_are_refused_at_once(url: str):
    with pytest.raises(ValueError, match="url must be"):
        BackendPool(url)


async def test_a_configured_header_is_checked_as_well():
    with pytest.raises(ValueError, match="line break"):
        BackendPool("http://127.0.0.1/", headers=[("X-Api-Key", "a\nb")])


# --- answers -------------------------------------------------------------------------------------


async def test_an_answer_has_its_status_headers_and_body(backend: Backend, upstream: BackendPool):
    backend.once(scripted.http(418, b"short", ("Mcp-Session-Id", "s"), ("X-Twice", "1"), ("X-Twice", "2")))
    answer = await upstream.send(call())
    assert answer.status == 418
    assert answer.header("mcp-session-id") == "s"
    assert answer.header("x-twice") == "1, 2"
    assert answer.header("absent") is None
    assert answer.media_type == "application/json"
    assert await answer.read(LIMIT) == b"short"


@pytest.mark.parametrize(
    ("value", "media"), [("Application/JSON; charset=utf-8", "application/json"), ("", ""), (None, "")]
)
async def test_media_types_are_compared_without_parameters(
    backend: Backend, upstream: BackendPool, value: str | None, media: str
):
    backend.once(scripted.http(200, b"{}", media=value))
    assert (await upstream.send(call())).media_type == media


@pytest.mark.parametrize(
    "pieces",
    [
        [OK + b"Content-Length: 5\r\n\r\nhello"],
        [OK + b"Content-Length: 5\r\n\r\nhe", b"llo"],
        [OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n", b"3\r\nllo\r\n0\r\n", b"\r\n"],
        [OK + b"Transfer-Encoding: chunked\r\n\r\n5;ext=1\r\nhello\r\n0\r\nX-Trailer: 1\r\n\r\n"],
        [OK + b"\r\nhel", b"lo"],  # HTTP/1.0 style: the end of the connection is the end of the body
        [b"HTTP/1.0 200 OK\r\n\r\nhello"],
        [
            b"HTTP/1.1 100 Continue\r\n\r\n",
            b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\n" + OK + b"Content-Length: 5\r\n\r\nhello",
        ],
        [bytes([byte]) for byte in OK + b"Content-Length: 5\r\n\r\nhello"],
    ],
    ids=["length", "split", "chunked", "extension and trailer", "until the end", "http 1.0", "interim", "byte by byte"],
)
async def test_every_framing_gives_the_same_body(backend: Backend, upstream: BackendPool, pieces: list[bytes]):
    backend.once(scripted.raw(*pieces, pause=0.002), scripted.raw(*pieces, pause=0.002))
    assert await body_of(upstream) == b"hello"
    await until(lambda: upstream.idle == 0)
    answer = await upstream.send(call())
    assert await drain(answer) == b"hello"
    assert not {"x-trailer", "link"} & {name for name, _ in answer.headers}


async def test_an_answer_without_a_body_ends_at_its_head(backend: Backend, upstream: BackendPool):
    backend.once(scripted.raw(b"HTTP/1.1 204 None\r\n\r\n", close=False))
    assert await body_of(upstream) == b""
    assert upstream.idle == 1


@pytest.mark.parametrize(
    "data",
    [
        b"garbage\r\n\r\n",
        b"HTTP/1.1 200 OK\nContent-Length: 2\n\n{}",
        OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{} ",
        OK + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        OK + b"Content-Length: -2\r\n\r\n{}",
        OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n",
        b"HTTP/1.1 101 Switching\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/1.1 999 Odd\r\nContent-Length: 2\r\n\r\n{}",
        OK + b"X: " + b"x" * connection_module.MAX_HEAD + b"\r\nContent-Length: 2\r\n\r\n{}",
        OK + b"X: " + b"x" * (connection_module.MAX_HEAD * 4),
        b"HTTP/1.1 100 Continue\r\n\r\n" * 10_000,
        OK + b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}",
    ],
    ids=[
        *("garbage", "bare lf", "two lengths", "length and chunks", "negative length", "transfer coding"),
        *("chunk size", "protocol switch", "status", "large head", "endless head", "endless interim", "coded"),
    ],
)
async def test_answers_that_parsers_could_read_differently_are_unusable(
    backend: Backend, upstream: BackendPool, data: bytes
):
    backend.once(scripted.raw(data))
    error = await failure(upstream)
    assert (error.event, error.code) == (Event.UNUSABLE, ErrorCode.BACKEND_UNAVAILABLE)
    assert "x" * 9 not in error.log


@pytest.mark.parametrize(
    ("status", "event"), [(404, Event.HTTP_REFUSED), (307, Event.HTTP_REFUSED), (503, Event.HTTP_FAILED)]
)
async def test_a_coded_answer_is_settled_by_its_status(
    backend: Backend, upstream: BackendPool, status: int, event: Event
):
    backend.once(scripted.http(status, b"x", ("Content-Encoding", "br")))
    assert (await failure(upstream)).event is event


async def test_redirects_and_cookies_are_answers_like_any_other(backend: Backend, upstream: BackendPool):
    backend.once(scripted.http(307, b"", ("Location", backend.url), ("Set-Cookie", "a=b")))
    answer = await upstream.send(call())
    assert (answer.status, await answer.read(LIMIT)) == (307, b"")
    await body_of(upstream)
    assert len(backend.received) == 2
    assert backend.last.header("cookie") is None


# --- what becomes of a call ----------------------------------------------------------------------


async def test_without_a_listener_nothing_is_sent():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        upstream = BackendPool(f"http://127.0.0.1:{unused.getsockname()[1]}/mcp")
        outgoing = call()
        error = await failure(upstream, outgoing)
    assert (error.event, error.code) == (Event.NOT_SENT, ErrorCode.BACKEND_UNAVAILABLE)
    assert not outgoing.sent
    assert not upstream.connected
    assert error.refusal().code is ErrorCode.BACKEND_UNAVAILABLE


async def _unanswered_handshake() -> tuple[asyncio.Server, str, asyncio.Event]:
    """An address where TCP connects and TLS never gets an answer."""
    connected = asyncio.Event()

    async def ignore(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connected.set()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(ignore, "127.0.0.1", 0)
    return server, f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/", connected


@pytest.mark.parametrize(
    ("connect_timeout", "within", "code"),
    [(0.05, 60.0, ErrorCode.BACKEND_UNAVAILABLE), (60.0, 0.3, ErrorCode.BACKEND_TIMEOUT)],
)
async def test_connecting_has_its_own_patience_and_the_call_s(connect_timeout: float, within: float, code: ErrorCode):
    server, url, _ = await _unanswered_handshake()
    upstream = BackendPool(url, tls=ssl.create_default_context(), connect_timeout=connect_timeout)
    outgoing = call(within=within)  # last: its time runs from here
    error = await failure(upstream, outgoing)
    assert (error.event, error.code, outgoing.sent) == (Event.NOT_SENT, code, False)
    server.close()


async def test_connecting_ends_when_it_would_be_too_late_to_send():
    server, url, _ = await _unanswered_handshake()
    upstream, outgoing = BackendPool(url, tls=ssl.create_default_context()), call()
    outgoing.deadline, outgoing.send_by = None, asyncio.get_running_loop().time() + 0.3
    error = await failure(upstream, outgoing)
    assert (error.event, error.code, outgoing.sent) == (Event.NOT_SENT, ErrorCode.BACKEND_TIMEOUT, False)
    server.close()


async def test_a_call_cancelled_while_connecting_was_not_sent():
    server, url, connected = await _unanswered_handshake()
    outgoing = call()
    task = asyncio.create_task(BackendPool(url, tls=ssl.create_default_context()).send(outgoing))
    await connected.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not outgoing.sent
    server.close()


async def test_a_call_whose_time_is_over_is_not_sent(backend: Backend, upstream: BackendPool):
    await upstream.probe()
    outgoing = call(within=0)
    error = await failure(upstream, outgoing)
    assert (error.event, error.code, outgoing.sent) == (Event.NOT_SENT, ErrorCode.BACKEND_TIMEOUT, False)
    assert backend.received == []


@pytest.mark.parametrize(
    "behaviour",
    [scripted.reset(), scripted.hang_up(), scripted.truncated(), scripted.raw(b"HTTP/1.1 200 O"), scripted.raw(OK)],
    ids=["reset", "closed", "truncated", "within the head", "before the head's end"],
)
async def test_a_broken_connection_leaves_the_outcome_unknown(
    backend: Backend, upstream: BackendPool, behaviour: scripted.Behaviour
):
    backend.once(behaviour)
    outgoing = call()
    error = await failure(upstream, outgoing)
    assert (error.event, error.code) == (Event.BACKEND_GONE, ErrorCode.BACKEND_UNAVAILABLE)
    assert outgoing.sent
    assert len(backend.received) == 1, "a call must never be sent twice"


async def test_a_body_until_the_end_that_is_reset_is_not_complete(backend: Backend, upstream: BackendPool):
    async def behave(turn: Turn) -> None:
        await turn.write(OK + b"\r\nhal")
        await asyncio.sleep(0.05)
        turn.reset()

    backend.once(behave)
    assert (await failure(upstream)).event is Event.BACKEND_GONE


@pytest.mark.parametrize("start", [b"", OK, OK + b"Content-Length: 9\r\n\r\nhalf"], ids=["silence", "head", "body"])
async def test_the_deadline_holds_for_the_whole_answer(backend: Backend, upstream: BackendPool, start: bytes):
    async def behave(turn: Turn) -> None:
        await turn.write(start)
        await turn.hang_up()

    await upstream.probe()
    backend.once(behave)
    error = await failure(upstream, call(within=0.5))
    assert (error.event, error.code) == (Event.TIMED_OUT, ErrorCode.BACKEND_TIMEOUT)
    await until(lambda: backend.hang_ups)


async def test_a_deadline_does_not_outlive_its_exchange(backend: Backend, upstream: BackendPool):
    assert await body_of(upstream, call(within=2.0))
    backend.once(scripted.delayed(2.2, scripted.default()))
    assert await body_of(upstream), "the first call's deadline broke the second, on the same connection"
    assert backend.connections == 1


@pytest.mark.parametrize("before", [2.0, 60.0, None], ids=["sooner", "later", "none"])
async def test_the_deadline_of_an_earlier_exchange_does_not_move_the_next_one(
    backend: Backend, upstream: BackendPool, before: float | None
):
    assert await body_of(upstream, call(within=before))
    backend.once(scripted.silent())
    assert (await failure(upstream, call(within=2.5))).event is Event.TIMED_OUT
    assert backend.connections == 1


async def test_cancelling_breaks_the_connection_and_knows_it_was_sent(backend: Backend, upstream: BackendPool):
    backend.once(scripted.silent())
    outgoing = call()
    task = asyncio.create_task(upstream.send(outgoing))
    await until(lambda: backend.received)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert outgoing.sent
    await until(lambda: backend.hang_ups)


async def test_a_cancelled_reader_loses_nothing(backend: Backend, upstream: BackendPool):
    gate = asyncio.Event()

    async def behave(turn: Turn) -> None:
        await turn.write(OK + b"Content-Length: 6\r\n\r\none")
        await gate.wait()
        await turn.write(b"two")

    backend.once(behave)
    answer = await upstream.send(call())
    assert await answer.chunk() == b"one"
    reader = asyncio.create_task(answer.chunk())
    await asyncio.sleep(0.01)
    reader.cancel()
    gate.set()
    assert await drain(answer) == b"two"


@pytest.mark.parametrize("head", [b"Content-Length: 100\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n64\r\n", b"\r\n"])
async def test_an_answer_beyond_the_limit_is_refused(backend: Backend, upstream: BackendPool, head: bytes):
    tail = b"\r\n0\r\n\r\n" if b"chunked" in head else b""
    whole = scripted.raw(OK + head + b"x" * 100 + tail, close=head == b"\r\n")
    backend.once(whole, whole)
    error = await failure(upstream, limit=99)
    assert (error.event, error.code) == (Event.TOO_LARGE, ErrorCode.RESPONSE_TOO_LARGE)
    assert len(await body_of(upstream, limit=100)) == 100


async def test_a_giant_answer_is_cut_off_at_the_limit(backend: Backend, upstream: BackendPool):
    async def behave(turn: Turn) -> None:
        await turn.write(OK + b"\r\n")
        while True:
            await turn.write(b"x" * 65536)

    backend.once(behave)
    error = await failure(upstream, limit=LIMIT)
    assert error.event is Event.TOO_LARGE


# --- streams -------------------------------------------------------------------------------------


async def test_a_stream_is_read_as_it_arrives_and_silence_loses_nothing(backend: Backend, upstream: BackendPool):
    gate = asyncio.Event()

    async def behave(turn: Turn) -> None:
        await turn.open_stream()
        await turn.event({"n": 1})
        await gate.wait()
        await turn.event({"n": 2})
        await turn.end_stream()

    backend.once(behave)
    answer = await upstream.send(call(within=None))
    assert answer.media_type == "text/event-stream"
    assert await answer.chunk(60.0) == b'event: message\ndata: {"n": 1}\n\n'
    before = answer.last_byte
    assert await answer.chunk(0.02) is None
    assert await answer.chunk(0.02) is None
    assert answer.last_byte == before
    gate.set()
    assert await drain(answer) == b'event: message\ndata: {"n": 2}\n\n'
    assert answer.last_byte > before
    assert await answer.chunk() == b""
    assert upstream.idle == 1


async def test_what_arrived_before_a_failure_is_read_before_it(backend: Backend, upstream: BackendPool):
    async def behave(turn: Turn) -> None:
        await turn.open_stream()
        await turn.event({"n": 1})
        turn.close()

    backend.once(behave)
    answer = await upstream.send(call())
    await asyncio.sleep(0.05)
    assert await answer.chunk() == b'event: message\ndata: {"n": 1}\n\n'
    with pytest.raises(UpstreamError) as caught:
        await answer.chunk()
    assert caught.value.event is Event.BACKEND_GONE


async def test_a_slow_reader_makes_the_backend_wait(backend: Backend, upstream: BackendPool):
    written = 0

    async def behave(turn: Turn) -> None:
        nonlocal written
        await turn.open_stream()
        for _ in range(512):
            await turn.chunk(b"x" * 65536)
            written += 65536
        await turn.end_stream()

    backend.once(behave)
    answer = await upstream.send(call(within=None))
    await asyncio.sleep(0.3)
    assert written < 24 << 20, "32 MB went into memory although there is no reader"
    assert len(await drain(answer)) == 32 << 20
    assert await body_of(upstream), "a connection that had been paused serves the next call"
    assert backend.connections == 1


async def test_closing_a_stream_tells_the_backend(backend: Backend):
    backend.sessions = True
    upstream = BackendPool(backend.url)
    answer = await upstream.send(Outgoing("GET", [("Accept", "text/event-stream")]))
    await until(lambda: backend.streams)
    assert upstream.in_use == 1
    answer.close()
    answer.close()
    assert upstream.in_use == 0
    await until(lambda: backend.hang_ups)
    with pytest.raises(UpstreamError):
        await answer.chunk()


async def test_many_streams_and_a_call_among_them(backend: Backend):
    backend.sessions = True
    upstream = BackendPool(backend.url)
    answers = [await upstream.send(Outgoing("GET", ())) for _ in range(300)]
    assert await body_of(upstream)
    for number, turn in enumerate(backend.streams):
        await turn.event({"n": number})
    seen = {await answer.chunk(60.0) for answer in answers}
    assert len(seen) == 300
    for answer in answers:
        answer.close()
    assert upstream.in_use == 0
    upstream.close()


# --- the pool ------------------------------------------------------------------------------------


async def test_connections_are_used_again(backend: Backend, upstream: BackendPool):
    for _ in range(5):
        await body_of(upstream)
    assert (backend.connections, upstream.idle) == (1, 1)
    await asyncio.gather(*(body_of(upstream) for _ in range(20)))
    assert backend.connections <= 20
    assert {json.loads(received.body)["id"] for received in backend.received} == {1}


async def test_parallel_calls_get_their_own_answers(backend: Backend, upstream: BackendPool):
    async def one(number: int) -> None:
        data = json.loads(await body_of(upstream, call("enrich_shopify_domains", domains=[f"shop-{number}"])))
        assert data["result"]["structuredContent"] == {"rows": [{"domain": f"shop-{number}"}]}

    for _ in range(5):
        await asyncio.gather(*(one(number) for number in range(40)))
    assert backend.connections <= 40


@pytest.mark.parametrize(
    "tail",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison",
        b"garbage",
        b"\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison",
    ],
)
@pytest.mark.parametrize("apart", [False, True])
async def test_bytes_beyond_an_answer_never_reach_the_next_caller(
    backend: Backend, upstream: BackendPool, tail: bytes, apart: bool
):
    first = OK + b"Content-Length: 2\r\n\r\n{}"
    backend.once(scripted.raw(*([first, tail] if apart else [first + tail]), pause=0.05, close=False))
    assert await body_of(upstream) == b"{}"
    await until(lambda: upstream.idle == 0)
    assert b"poison" not in await body_of(upstream)
    assert backend.connections == 2


@pytest.mark.parametrize(
    "data",
    [
        OK + b"Connection: close\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}",
    ],
)
async def test_a_backend_that_will_close_is_not_asked_again(backend: Backend, upstream: BackendPool, data: bytes):
    backend.once(scripted.raw(data, close=False))
    assert await body_of(upstream) == b"{}"
    assert upstream.idle == 0


async def test_an_answer_before_the_request_was_read_ends_the_connection(backend: Backend, upstream: BackendPool):
    async def early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(10)
        writer.write(b"HTTP/1.1 413 Large\r\nContent-Length: 0\r\n\r\n")
        await asyncio.sleep(5)

    server = await asyncio.start_server(early, "127.0.0.1", 0)
    other = BackendPool(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
    answer = await other.send(Outgoing("POST", (), b"x" * (32 << 20)))
    assert answer.status == 413
    assert await answer.read(LIMIT) == b""
    assert (other.idle, other.in_use) == (0, 0)
    server.close()


async def test_an_idle_connection_that_the_backend_closes_is_forgotten(backend: Backend, upstream: BackendPool):
    gate = asyncio.Event()

    async def behave(turn: Turn) -> None:
        await turn.write(OK + b"Content-Length: 2\r\n\r\n{}")
        await gate.wait()
        turn.close()

    backend.once(behave)
    await body_of(upstream)
    assert upstream.idle == 1
    gate.set()
    await until(lambda: upstream.idle == 0)
    assert await body_of(upstream)


async def test_idle_connections_are_not_used_beyond_their_age(
    backend: Backend, upstream: BackendPool, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(upstream_module, "REUSE_WITHIN", 0.05)
    await asyncio.gather(*(body_of(upstream) for _ in range(3)))
    assert 1 <= upstream.idle <= 3
    await until(lambda: upstream.idle == 0)
    used = backend.connections
    await body_of(upstream)
    assert backend.connections == used + 1


async def test_a_connection_that_aged_while_the_loop_was_busy_is_not_used(
    backend: Backend, upstream: BackendPool, monkeypatch: pytest.MonkeyPatch
):
    await body_of(upstream)
    monkeypatch.setattr(upstream_module, "REUSE_WITHIN", 0.0)
    await body_of(upstream)
    assert backend.connections == 2


async def test_only_so_many_connections_are_kept(
    backend: Backend, upstream: BackendPool, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(upstream_module, "MAX_IDLE", 2)
    gate = asyncio.Event()
    backend.on("list_taxonomy", scripted.after(gate, scripted.default()))
    calls = [asyncio.create_task(body_of(upstream)) for _ in range(5)]
    await until(lambda: len(backend.received) == 5)
    gate.set()
    await asyncio.gather(*calls)
    assert upstream.idle == 2


async def test_closing_lets_exchanges_end_and_keeps_no_connection(backend: Backend, upstream: BackendPool):
    gate = asyncio.Event()
    await upstream.probe()
    backend.once(scripted.after(gate, scripted.default()))
    running = asyncio.create_task(body_of(upstream))
    await until(lambda: backend.received)
    upstream.close()
    gate.set()
    assert await running
    assert upstream.idle == 0
    assert await body_of(upstream), "a request that holds the old snapshot still gets through"
    assert upstream.idle == 0


async def test_a_probe_connects_and_leaves_a_connection(backend: Backend, upstream: BackendPool):
    assert not upstream.connected
    await upstream.probe()
    assert upstream.connected
    await body_of(upstream)
    assert backend.connections == 1


async def test_a_backend_that_comes_back_is_found(backend: Backend, upstream: BackendPool):
    await body_of(upstream)
    await backend.stop()
    await until(lambda: upstream.idle == 0)
    assert (await failure(upstream)).event is Event.NOT_SENT
    await backend.start()
    assert await body_of(upstream)
