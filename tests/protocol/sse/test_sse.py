from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.protocol.sse import sse
from sidecar.protocol.sse.sse import ServerEvent

STREAM = (
    b"\xef\xbb\xbf: hello\r\n\r\n"
    b"id: 1\r\ndata:\r\n\r\n"
    b"event: message\rdata: one\rdata:two\rdata\r\r"
    b"retry: 1500\nid\n\n"
    b"unknown: x\n\n"
    b'data: {"a": "b: c"}\nid: 2\nid: a\0b\nretry: soon\n\n'
    b"\n\n\r\n"
    b"data: \xe2\x82\xac\n\n"
    b"data: cut off\n"
)
EVENTS = [
    ServerEvent("", "1"),
    ServerEvent("one\ntwo\n", event="message"),
    ServerEvent(id="", retry=1500, bare=True),
    ServerEvent('{"a": "b: c"}', "2"),
    ServerEvent("€"),
]


def parse(*chunks: bytes, limit: int = 1000) -> list[ServerEvent]:
    parser = sse.Parser(limit)
    return [event for chunk in chunks for event in parser.feed(chunk)]


def test_a_whole_stream():
    assert parse(STREAM) == EVENTS


def test_byte_by_byte():
    assert parse(*(STREAM[i : i + 1] for i in range(len(STREAM)))) == EVENTS


@given(st.lists(st.integers(0, len(STREAM)), max_size=12).map(sorted))
def test_chunks_do_not_matter(cuts: list[int]):
    bounds = [0, *cuts, len(STREAM)]
    assert parse(*(STREAM[a:b] for a, b in pairwise(bounds))) == EVENTS


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
def test_an_event_is_there_as_soon_as_its_blank_line_is(end: bytes):
    parser = sse.Parser(100)
    assert parser.feed(b"data: x" + end) == []
    assert parser.feed(end[:1]) == [ServerEvent("x")]
    assert parser.feed(end[1:] + b"data: y" + end + end) == [ServerEvent("y")]


lines = st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\r\n\0"))
events = st.builds(
    ServerEvent,
    st.lists(lines, min_size=1).map("\n".join),
    st.none() | lines,
    st.none() | lines.filter(bool),
    st.none() | st.integers(0, 10**9),
    st.just(False),
)


@given(st.lists(events))
def test_a_serialized_event_is_read_alike(written: list[ServerEvent]):
    assert parse(b"".join(event.encode() for event in written), limit=10**6) == written


def test_an_event_without_data_stays_without():
    assert ServerEvent(id="7", retry=5, bare=True).encode() == b"id: 7\nretry: 5\n\n"
    assert ServerEvent(id="7", bare=True).with_data("x").encode() == b"id: 7\ndata: x\n\n"


def test_other_data_keeps_the_rest():
    assert ServerEvent("a", "1", "message", 3).with_data("b") == ServerEvent("b", "1", "message", 3)


def test_encode_and_keepalive():
    assert parse(sse.KEEPALIVE, sse.encode(b'{"a":1}'), sse.KEEPALIVE) == [ServerEvent('{"a":1}', event="message")]


@pytest.mark.parametrize(
    "chunks",
    [
        [b"data: " + b"x" * 100],
        [b"data: " + b"x" * 100 + b"\n\n"],
        [b"data: x\n"] * 20,
        [b": comment\n"] * 20,
        [b"x"] * 101,
        [b"data: x\n" * 10, b"data: " + b"x" * 40],
    ],
    ids=["one chunk", "complete", "many lines", "comments", "no line end", "last line"],
)
def test_an_event_is_limited(chunks: list[bytes]):
    with pytest.raises(sse.EventTooLarge):
        parse(*chunks, limit=100)


def test_a_stream_is_not_limited():
    assert len(parse(*[b": ping\n\ndata: " + b"x" * 80 + b"\n\n"] * 50, limit=100)) == 50


def test_events_before_one_that_is_too_large_are_returned():
    parser = sse.Parser(50)
    assert parser.feed(b"data: a\n\ndata: b\n\ndata: " + b"x" * 60) == [ServerEvent("a"), ServerEvent("b")]
    with pytest.raises(sse.EventTooLarge):
        parser.feed(b"")


documents = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(documents, st.sampled_from(["\n", "\r\n", "\r"]), st.booleans())
def test_a_document_of_many_lines_is_one_event(document: object, ending: str, ascii_only: bool):
    text = json.dumps(document, indent=1, ensure_ascii=ascii_only).replace("\n", ending)
    (event,) = sse.Parser(10_000).feed(sse.encode_document(text.encode()))
    assert json.loads(event.data) == json.loads(text)
