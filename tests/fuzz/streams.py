"""Server-sent events: the same whatever the chunks, and those of a reader that takes the stream whole."""

from __future__ import annotations

import re
from random import Random
from typing import Final

from sidecar.protocol.sse.sse import EventTooLarge, Parser, ServerEvent
from tests.fuzz.mutate import pieces

SNIPPETS: Final = (
    *(
        b"\n",
        b"\r",
        b"\r\n",
        b"\n\n",
        b"\r\r",
        b"\r\n\r\n",
        b"\n\r",
        b":",
        b": ",
        b" ",
        b"\0",
        b"\xef\xbb\xbf",
        b"\xff",
    ),
    *(b"data", b"data:", b"data: ", b"data:  x", b"id", b"id:", b"id: 1", b"event:", b"event: message", b"retry:"),
    *(b"retry: 10", b"retry: 1x", b"retry: " + b"9" * 30, b"retry: \xd9\xa1", b": comment", b"\xe2\x80\xa8", b"\xc3"),
    *(
        b"\x0b",
        b"\x0c",
        b"\x85",
        b"\xc2\x85",
        b"Data: x",
        b"data : x",
        b'{"a":"b"}',
        b"\xed\xa0\x80",
        b"\xf0\x9f\x98\x80",
    ),
)
ENOUGH: Final = 10_000
LITTLE: Final = 64


def check(data: bytes, random: Random) -> None:
    """Hold chunks against the whole, the whole against the reference, and what is written against both."""
    cut = pieces(random, data)
    events, _ = parsed(cut, ENOUGH)
    assert events == reference(data)
    written = b"".join(event.encode() for event in events)
    assert parsed([written], ENOUGH) == (events, False)
    assert parsed(cut, LITTLE) == parsed([data], LITTLE)


def parsed(chunks: list[bytes], limit: int) -> tuple[list[ServerEvent], bool]:
    """The events, and whether the stream was given up because one was too large."""
    parser, events = Parser(limit), list[ServerEvent]()
    try:
        for chunk in [*chunks, b""]:
            events += parser.feed(chunk)
    except EventTooLarge:
        return events, True
    return events, False


def reference(data: bytes) -> list[ServerEvent]:
    """WHATWG HTML section 9.2.6, read off line by line."""
    text = data.decode("utf-8", "replace").removeprefix("\ufeff")
    *lines, _ = re.split("\r\n|\r|\n", text)
    events: list[ServerEvent] = []
    fields: dict[str, list[str]] = {}
    for line in lines:
        if line:
            name, _, value = line.partition(":")
            fields.setdefault(name, []).append(value.removeprefix(" "))
        elif fields:
            events += _event(fields)
            fields = {}
    return events


def _event(fields: dict[str, list[str]]) -> list[ServerEvent]:
    data = fields.get("data")
    ids = [value for value in fields.get("id", []) if "\0" not in value]
    retries = [value for value in fields.get("retry", []) if value.isascii() and value.isdigit()]
    if data is None and not ids and not retries:
        return []
    return [
        ServerEvent(
            "\n".join(data or []),
            ids[-1] if ids else None,
            fields.get("event", [""])[-1] or None,
            int(retries[-1][:18]) if retries else None,
            bare=data is None,
        )
    ]
