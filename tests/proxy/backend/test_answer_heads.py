"""Answers whose head was accepted before: they must be what they would be without that memory."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.proxy.backend.answer import AnswerMemoryError
from sidecar.proxy.backend.answer_heads import KnownAnswers
from sidecar.proxy.backend.pool import BackendPool, Outgoing
from sidecar.proxy.memory import MemoryBudget
from tests.fuzz.responses import Outcome, outcome
from tests.support.backend import Backend, raw

DATE = b"Tue, 01 Dec 2026 03:00:00 GMT"
HEAD = b"HTTP/1.1 200 OK\r\nDate: " + DATE + b"\r\nContent-Length: %d\r\nContent-Type: text/plain\r\n\r\n"


def answer(body: bytes, head: bytes = HEAD) -> bytes:
    return head % len(body) + body


def learnt(data: bytes) -> KnownAnswers:
    """Return the memory after one answer."""
    known = KnownAnswers()
    asyncio.run(outcome([data], known))
    return known


# --- what is known -------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [b"", b"x", b"hello", b"y" * 100_000, b"\r\n\r\n", HEAD % 3 + b"abc"])
def test_an_answer_with_the_head_of_the_last_one_is_not_parsed(body: bytes):
    known = learnt(answer(b"first"))
    fields, read = known.read(answer(body)) or ({}, None)
    assert read == body
    assert list(fields.items()) == [
        (b"date", DATE),
        (b"content-length", b"%d" % len(body)),
        (b"content-type", b"text/plain"),
    ]


@pytest.mark.parametrize(
    "data",
    [
        answer(b"hello")[:-1],
        answer(b"hello") + b"\r\n",
        answer(b"hello") + answer(b"hello"),
        answer(b"hello").replace(b": 5", b": +5"),
        answer(b"hello").replace(b": 5", b": 5 "),
        answer(b"hello").replace(b": 5", b": 5_0"),
        answer(b"hello").replace(b": 5", b": 4"),
        answer(b"hello").replace(b": 5", b": "),
        answer(b"hello").replace(b": 5", b": " + b"0" * 5000 + b"5"),
        answer(b"hello").replace(b": 5\r\n", b": 5\r\nContent-Length: 5\r\n"),
        answer(b"hello").replace(b"03:00:00", b"03:00:01"),
        answer(b"hello").replace(b"200 OK", b"201 OK"),
        answer(b"hello").replace(b"text/plain\r\n", b"text/plain\r\nConnection: close\r\n"),
        answer(b"hello").replace(b"\r\n\r\n", b"\r\nX: y\r\n\r\n"),
        answer(b"hello").partition(b"\r\n\r\n")[0],
        b"H",
    ],
)
def test_any_other_bytes_are_left_to_the_parser(data: bytes):
    assert learnt(answer(b"first")).read(data) is None


@pytest.mark.parametrize(
    "line", [b"Connection: close", b"Set-Cookie: a=b", b"Mcp-Session-Id: s-1", b"X: " + b"x" * 4096]
)
def test_an_answer_with_such_a_line_is_not_remembered(line: bytes):
    data = answer(b"hello").replace(b"Date:", line + b"\r\nDate:")
    assert learnt(data).read(data) is None


@pytest.mark.parametrize(("usual", "unusual"), [(b"200 OK", b"404 No"), (b"HTTP/1.1", b"HTTP/1.0")])
def test_the_head_of_an_unusual_answer_is_not_remembered(usual: bytes, unusual: bytes):
    data = answer(b"hello").replace(usual, unusual)
    assert learnt(data).read(data) is None


def test_the_head_of_an_answer_with_bytes_behind_it_is_not_remembered():
    assert learnt(answer(b"hello") + b"\r\n\r\n").read(answer(b"other")) is None


@pytest.mark.parametrize("data", [b"\0", b"\0\r", b"\x005\r", b"\0\r\n\r\n"])
def test_nothing_is_known_before_the_first_answer(data: bytes):
    assert KnownAnswers().read(data) is None


def test_the_head_of_an_interim_answer_is_never_that_of_an_answer():
    interim, final = b"HTTP/1.1 103 Early Hints\r\nContent-Length: %d\r\n\r\n", answer(b"hello")
    known = learnt(interim % 0 + final)
    assert known.read(answer(final, interim)) is None


def test_only_an_answer_that_arrives_at_once_is_remembered():
    known, data = KnownAnswers(), answer(b"hello")
    asyncio.run(outcome([data[:30], data[30:]], known))
    assert known.read(data) is None


@pytest.mark.parametrize("start", [HEAD % len(answer(b"inner")), b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: "])
def test_the_rest_of_an_answer_is_never_an_answer_with_the_known_head(start: bytes):
    chunks, known = [start, answer(b"inner")], learnt(answer(b"first"))
    assert asyncio.run(outcome(chunks, known)) == asyncio.run(outcome(chunks, KnownAnswers()))


# --- the same as parsed --------------------------------------------------------------------------

_PIECES = st.sampled_from(
    [
        *(b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 404 No\r\n", b"Content-Length: %d\r\n", b"content-length: %d\r\n"),
        *(b"Content-Length: 3\r\n", b"Content-Length: %d \r\n", b"Content-Length: 0%d\r\n", b" folded\r\n"),
        *(b"Date: a\r\n", b"Date: b\r\n", b"X: \r\n", b"Set-Cookie: a\r\nSet-Cookie: b\r\n"),
        *(b"Connection: close\r\n", b"\r\n", b"\n"),
    ]
)
_BODIES = st.sampled_from([b"", b"abc", b"0123456789", b"\r\n\r\n", b"\r\n", b"HTTP/1.1 200 OK\r\n\r\n"])
_USUAL = st.sampled_from([b"Date: a\r\n", b"Date: b\r\n", b"X: \r\n", b"content-type: text/plain\r\n"])


@st.composite
def _answers(draw: st.DrawFn) -> bytes:
    body = draw(_BODIES)
    if draw(st.booleans()):
        fields = [*draw(st.lists(_USUAL, max_size=2)), b"Content-Length: %d\r\n", *draw(st.lists(_USUAL, max_size=1))]
        head = b"".join((b"HTTP/1.1 200 OK\r\n", *fields, b"\r\n"))
    else:
        head = b"".join((*draw(st.lists(_PIECES, max_size=5)), b"\r\n"))
    size = len(body) + draw(st.sampled_from([0, 0, 0, 0, 1, -1]))
    return head.replace(b"%d", b"%d" % max(0, size)) + body + draw(st.sampled_from([b"", b"", b"", b"\r\n", b"x"]))


@settings(max_examples=400, deadline=None)
@given(st.lists(_answers(), min_size=2, max_size=5))
def test_answers_in_turn_are_each_what_they_are_alone(turns: list[bytes]):
    async def all_of_them() -> tuple[list[Outcome], list[Outcome]]:
        known = KnownAnswers()
        remembering = [await outcome([data], known) for data in turns]
        return remembering, [await outcome([data], KnownAnswers()) for data in turns]

    remembering, parsed = asyncio.run(all_of_them())
    assert remembering == parsed


# --- over sockets --------------------------------------------------------------------------------


def _call() -> Outgoing:
    return Outgoing("POST", (), b"{}", asyncio.get_running_loop().time() + 30)


async def test_calls_on_one_connection_get_their_own_answers_known_and_parsed_in_turn():
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    short = b"HTTP/1.1 404 No\r\nContent-Length: 2\r\n\r\nno"
    async with Backend() as backend:
        upstream = BackendPool(backend.url)
        for body in (b"1", b"22", b"1", chunked, b"22", b"4" * 50_000, short, b"", chunked, b"22"):
            known = body not in (chunked, short)
            backend.once(raw(answer(body) if known else body, close=False))
            received = await upstream.send(_call())
            expected = {chunked: (200, b"abc"), short: (404, b"no")}.get(body, (200, body))
            assert (received.status, await received.read(1 << 20)) == expected
            assert not known or received.header("content-length") == str(len(body))
        assert backend.connections == 1
        upstream.close()


async def test_memory_is_taken_for_an_answer_with_a_known_head_too():
    async with Backend() as backend:
        upstream = BackendPool(backend.url)
        budget = MemoryBudget()
        for room in (10_000, 500):
            backend.once(raw(answer(b"x" * 1000), close=False))
            outgoing = _call()
            outgoing.memory = budget.lease("ada", room)
            with contextlib.nullcontext() if room > 1000 else pytest.raises(AnswerMemoryError):
                await (await upstream.send(outgoing)).read(1 << 20)
            outgoing.memory.close()
        assert (upstream.in_use, upstream.idle, budget.used) == (0, 0, 0)
        upstream.close()
