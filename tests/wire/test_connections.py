"""Several requests on one connection, smuggled requests, and requests that arrive in pieces."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.rig import LEGACY, MODERN
from tests.support.store import until
from tests.wire.expected import (
    BAD_TOKEN,
    FORWARDED,
    HTTP,
    NO_PATH,
    NO_TOKEN,
    UNPARSABLE,
    Refused,
    kept,
)
from tests.wire.sent import BOTH, GOOD, Changes, call, request
from tests.wire.test_http import CHUNKED, chunks
from tests.wire.wire import Wire, check_request, replies

pytestmark = pytest.mark.asyncio(loop_scope="module")

OPEN: Changes = {"Connection": []}
"""A connection that is kept for another request."""
OTHER = call(arguments='{"second":true}')
OTHERS = kept('{"second":true}')


def smuggled() -> bytes:
    """A second request, without a token of its own."""
    fields = [("Host", "127.0.0.1"), ("Accept", "*/*"), ("Content-Type", "application/json"), ("Connection", "close")]
    body = GOOD.body(LEGACY)
    return request([*fields, ("Content-Length", str(len(body)))], body)


async def in_turn(wire: Wire, *pieces: bytes) -> bytes:
    """Send each piece once the one before it was answered; all that came back until the connection was closed."""
    address = wire.rig.sidecar.addresses["listen"]
    reader, writer = await asyncio.open_connection(address.host, address.port)
    answers = b""
    try:
        async with asyncio.timeout(30):
            for number, piece in enumerate(pieces):
                writer.write(piece)
                while len(replies(answers, cut=True)) <= number and (more := await reader.read(65536)):
                    answers += more
            return answers + await reader.read()
    finally:
        writer.transport.abort()


# Behind a good call on a connection that is kept: what follows, and what it must lead to.
GARBAGE = {
    "letters": b"canary\r\n\r\n",
    "a brace": b"}\r\n\r\n",
    "another document": GOOD.body(LEGACY) + b"\r\n\r\n",
    "NUL": b"\0\0\0\0\r\n\r\n",
    "a TLS hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "a last chunk": b"0\r\n\r\n",
}
BEHIND: dict[str, tuple[bytes, Refused]] = {
    **{name: (tail, HTTP) for name, tail in GARBAGE.items()},
    "a request without a token": (smuggled(), NO_TOKEN),
    "a request for another path": (
        b"POST /admin HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        NO_PATH,
    ),
}


@pytest.mark.parametrize("revision", BOTH)
@pytest.mark.parametrize(("tail", "outcome"), BEHIND.values(), ids=BEHIND)
async def test_bytes_after_a_body_are_a_request_of_their_own(wire: Wire, tail: bytes, outcome: Refused, revision: str):
    answer = await in_turn(wire, wire.request(revision, GOOD, OPEN), tail)
    await wire.check(answer, revision, FORWARDED, outcome)


@pytest.mark.parametrize("revision", BOTH)
@pytest.mark.parametrize("tail", GARBAGE.values(), ids=GARBAGE)
async def test_garbage_in_the_same_piece_as_a_request_refuses_both(wire: Wire, tail: bytes, revision: str):
    answer = await in_turn(wire, wire.request(revision, GOOD, OPEN) + tail)
    await wire.check(answer, revision, HTTP)


@pytest.mark.parametrize("revision", BOTH)
async def test_a_request_behind_the_last_one_refuses_both(wire: Wire, revision: str):
    """`Connection: close` says that there is no other."""
    await wire.check(await wire.send(wire.request(revision) + wire.request(revision, OTHER)), revision, HTTP)


@pytest.mark.parametrize("revision", BOTH)
async def test_requests_in_a_row_are_answered_in_order(wire: Wire, revision: str):
    sent = wire.request(revision, GOOD, OPEN) + wire.request(revision, OTHER, OPEN) + wire.request(revision)
    await wire.check(await wire.send(sent), revision, FORWARDED, OTHERS, FORWARDED)


async def test_a_refusal_within_a_row_does_not_stop_the_others(wire: Wire):
    bad = wire.request(MODERN, GOOD, {**OPEN, "Authorization": "Bearer x"})
    sent = wire.request(MODERN, GOOD, OPEN) + bad + wire.request(MODERN, OTHER)
    await wire.check(await wire.send(sent), MODERN, FORWARDED, BAD_TOKEN, OTHERS)


async def test_a_malformed_request_ends_a_row(wire: Wire):
    bad = wire.request(MODERN, GOOD, {**OPEN, "X A": "x"})
    answer = await in_turn(wire, wire.request(MODERN, GOOD, OPEN), bad + wire.request(MODERN, OTHER))
    await wire.check(answer, MODERN, FORWARDED, HTTP)


@pytest.mark.parametrize("revision", BOTH)
async def test_a_length_that_cuts_the_body_short(wire: Wire, revision: str):
    """The rest is no request, whatever it holds."""
    inner = smuggled()
    body = GOOD.body(revision)[:-1] + inner
    sent = wire.request(revision, GOOD, {**OPEN, "Content-Length": str(len(body) - len(inner))}, body=body)
    await wire.check(await wire.send(sent), revision, UNPARSABLE, NO_TOKEN)


@pytest.mark.parametrize("revision", BOTH)
async def test_a_request_within_a_body_is_text(wire: Wire, revision: str):
    inner = smuggled().decode().replace("\r\n", "\\r\\n").replace('"', '\\"')
    message = call(arguments=f'{{"note":"{inner}"}}')
    await wire.check(await wire.post(revision, message), revision, kept(f'{{"note":"{inner}"}}'))


@pytest.mark.parametrize("revision", BOTH)
async def test_a_request_within_chunks_is_refused_with_them(wire: Wire, revision: str):
    body = chunks(GOOD.body(revision), smuggled())
    await wire.check(await wire.send(wire.request(revision, GOOD, CHUNKED, body=body)), revision, UNPARSABLE)


@pytest.mark.parametrize("upgrade", ["websocket", "h2c"])
async def test_a_connection_that_asks_for_an_upgrade_stays_http_1_1(wire: Wire, upgrade: str):
    """Java's client asks for h2c on its first request, and goes on in HTTP/1.1 when it gets no 101."""
    wish: Changes = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": upgrade, "HTTP2-Settings": "AAMAAABkAAQ"}
    answer = await in_turn(wire, wire.request(LEGACY, GOOD, wish), wire.request(LEGACY, OTHER))
    await wire.check(answer, LEGACY, FORWARDED, OTHERS)


@pytest.mark.parametrize(("revision", "step"), [(MODERN, 1), (LEGACY, 7)])
async def test_a_request_may_arrive_in_any_two_pieces(wire: Wire, revision: str, step: int):
    """Every byte boundary of the request, some at a time."""
    whole = wire.request(revision)
    cuts, answers = range(1, len(whole), step), list[bytes]()
    for start in range(0, len(cuts), 50):
        answers += await asyncio.gather(*(in_pieces(wire, whole, cut) for cut in cuts[start : start + 50]))
    assert all(answer.startswith(b"HTTP/1.1 200 ") for answer in answers)
    await until(lambda: wire.logged >= len(cuts))
    received = wire.rig.backend.received
    assert len(received) == len(cuts)
    for one in received:
        assert one.body.decode() == FORWARDED.text(revision)
        check_request(one, revision, wire.rig.backend.port)
    await wire.check_books([FORWARDED] * len(cuts))


@pytest.mark.parametrize("revision", BOTH)
async def test_a_hostile_request_may_arrive_in_any_two_pieces(wire: Wire, revision: str):
    """Two lengths, and a chunked body: refused wherever the first piece ends."""
    whole = wire.request(revision, GOOD, {"Transfer-Encoding": "chunked"}, body=chunks(GOOD.body(revision)))
    cuts = range(1, len(whole), 3)
    answers = await asyncio.gather(*(in_pieces(wire, whole, cut) for cut in cuts))
    # A connection that is closed before all was read is reset, and its answer may be lost with it.
    assert all(answer[9:13] in (b"400 ", b"") for answer in answers)
    assert any(answers)
    assert wire.rig.backend.received == []
    await wire.check_books([])


async def in_pieces(wire: Wire, data: bytes, cut: int) -> bytes:
    """Send this in two pieces; the server runs on this loop, and reads the first before there is a second."""
    address = wire.rig.sidecar.addresses["listen"]
    reader, writer = await asyncio.open_connection(address.host, address.port)
    try:
        writer.write(data[:cut])
        for _ in range(3):
            await asyncio.sleep(0)
        writer.write(data[cut:])
        async with asyncio.timeout(30):
            return await reader.read()
    except ConnectionResetError:
        return b""
    finally:
        writer.transport.abort()
