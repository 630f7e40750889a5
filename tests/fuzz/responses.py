"""HTTP answers of the backend: the same whatever the chunks, and never another answer's bytes."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from random import Random
from typing import Final, cast

from sidecar.outcome import Event
from sidecar.proxy.backend.answer import Headers, UpstreamError
from sidecar.proxy.backend.answer_heads import KnownAnswers
from sidecar.proxy.backend.backend_connection import BackendConnection
from tests.fuzz.mutate import pieces

SNIPPETS: Final = (
    *(b"HTTP/1.1 200 OK\r\n", b"HTTP/1.0 200 OK\r\n", b"HTTP/1.1 204 No\r\n\r\n", b"HTTP/1.1 304 No\r\n\r\n"),
    *(
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\n",
        b"HTTP/1.1 999 X\r\n",
        b"HTTP/2 200\r\n",
        b"ICY 200\r\n",
    ),
    *(b"Content-Length: 0\r\n", b"Content-Length: 5\r\n", b"Content-Length: 5, 5\r\n", b"Content-Length: -1\r\n"),
    *(b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: gzip, chunked\r\n", b"Transfer-Encoding: identity\r\n"),
    *(b"Connection: close\r\n", b"Connection: keep-alive\r\n", b"Content-Type: text/event-stream\r\n", b"X: \x00\r\n"),
    *(b"Upgrade: h2c\r\nConnection: upgrade\r\n", b"Content-Encoding: gzip\r\n", b" folded\r\n", b"5\r\nhello\r\n"),
    *(
        b"0\r\n\r\n",
        b"0\r\nX: y\r\n\r\n",
        b"5;ext\r\n",
        b"fffffffffffffffff\r\n",
        b"\r\n",
        b"\n",
        b"\r",
        b"\r\n\r\n",
        b"{}",
    ),
    *(b"{}", b"hello", b"x" * 100, b"HTTP/2 200\r\n", b"ICY 200\r\n"),
)

REQUEST: Final = b"POST / HTTP/1.1\r\n\r\n"
# Spelt as no head that is remembered, so that the one before it still is.
NEXT: Final = b"HTTP/1.1 200 OK\r\nX-Next: 1\r\nCONTENT-LENGTH: 4\r\n\r\nnext"


@dataclass
class Transport:
    """The little of a transport that a connection uses."""

    open: bool = True
    written: list[bytes] = field(default_factory=list)

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def abort(self) -> None:
        self.open = False

    def is_closing(self) -> bool:
        return not self.open

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


@dataclass(frozen=True, slots=True)
class Outcome:
    """Outcome of one request: an answer or the event to settle by, and if the connection stays open."""

    status: int
    headers: Headers
    body: bytes | None
    event: Event | None
    alive: bool


def check(data: bytes, random: Random) -> None:
    """Hold chunks against the whole, and what was read against its framing."""
    with asyncio.Runner() as runner:
        known = KnownAnswers()
        whole, again = runner.run(outcome([data], known)), runner.run(outcome([data], known))
        cut = runner.run(outcome(pieces(random, data), known))
    assert again == whole  # whether it is parsed again, or its head is known
    assert (cut.status, cut.headers, cut.body, cut.event) == (whole.status, whole.headers, whole.body, whole.event)
    # Line ends behind an answer are ignored, unless no request waits for an answer.
    assert whole.alive or not cut.alive
    assert whole.status == 0 or 200 <= whole.status <= 599
    lengths = {int(value) for name, value in whole.headers if name == "content-length"}
    if whole.body is not None and lengths and whole.status not in (204, 304):
        assert lengths == {len(whole.body)}


async def outcome(chunks: list[bytes], known: KnownAnswers) -> Outcome:
    """Send one request on a connection that answers with these bytes and is closed behind them.

    Args:
        chunks: what arrives.
        known: of the backend.
    """
    transport, kept = Transport(), list[bool]()
    connection = BackendConnection(
        asyncio.get_running_loop(), lambda _, reusable: kept.append(reusable), lambda _: None, known
    )
    connection.connection_made(cast(asyncio.Transport, transport))
    answer = connection.start(REQUEST, None)
    for chunk in chunks:
        if chunk and transport.open:
            connection.data_received(chunk)
    alive = kept == [True] and transport.open
    if alive:
        await _check_next(connection)
    connection.connection_lost(None)
    try:
        assert answer.arriving() is None
        body = await answer.read(10_000)
    except UpstreamError as error:
        return Outcome(answer.status, answer.headers, None, error.event, alive)
    return Outcome(answer.status, answer.headers, body, None, alive)


async def _check_next(connection: BackendConnection) -> None:
    """On a connection that is kept the next request gets its own answer, whatever came before."""
    answer = connection.start(REQUEST, None)
    connection.data_received(NEXT)
    assert answer.arriving() is None
    assert (answer.status, answer.header("x-next")) == (200, "1")
    assert await answer.read(100) == b"next"
