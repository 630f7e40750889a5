"""Server-sent events, byte by byte (WHATWG HTML, section 9.2): chunks in, whole events out.

Events are taken apart and written anew, so what a client reads is what was read here, and a line
ending or a comment that two readers would treat differently never reaches it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Final

MEDIA_TYPE: Final = "text/event-stream"
KEEPALIVE: Final = b": keepalive\n\n"
"""A comment, which every client ignores."""

_LINE_END: Final = re.compile(rb"\r\n|\r|\n")
_BOM: Final = b"\xef\xbb\xbf"
_DIGITS: Final = re.compile(r"[0-9]+")


class EventTooLarge(Exception):  # noqa: N818 - a fact about a stream, not a failure of this program
    """One event, or one line, is longer than the limit."""


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """One event of a stream.

    Attributes:
        data: lines joined by a line feed.
        id: the event's own id; None without one (an empty id resets the last one).
        event: its type; None for the default, `message`.
        retry: milliseconds before a client reconnects.
        bare: there is no data at all, so clients only note the id and the retry time.
    """

    data: str = ""
    id: str | None = None
    event: str | None = None
    retry: int | None = None
    bare: bool = False

    def with_data(self, data: str) -> ServerEvent:
        """The same event with other data."""
        return replace(self, data=data, bare=False)

    def encode(self) -> bytes:
        """The event as it goes on the wire."""
        lines = [] if self.event is None else [f"event: {self.event}"]
        if self.id is not None:
            lines.append(f"id: {self.id}")
        if self.retry is not None:
            lines.append(f"retry: {self.retry}")
        if not self.bare:
            lines += [f"data: {line}" for line in self.data.split("\n")]
        return ("\n".join(lines) + "\n\n").encode()


def comment(text: str) -> bytes:
    """A comment of one line, for people who look at the stream."""
    return f": {text}\n\n".encode()


def encode(data: bytes) -> bytes:
    """One event of type `message` holding one JSON document, which has no raw line breaks."""
    return b"event: message\ndata: " + data + b"\n\n"


class Parser:
    """Turns the chunks of one stream into events; an event cut off by the end of the stream is dropped.

    Args:
        limit: bytes of one event, comments included.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._buffer = bytearray()
        self._searched = 0
        self._lines: list[bytes] = []
        self._size = 0  # bytes in `_lines`
        self._begun = False
        self._swallow = False  # the last line ended in CR: an LF that follows belongs to it
        self._gave_up = False

    def feed(self, chunk: bytes) -> list[ServerEvent]:
        """The events that this chunk completes, in order; an empty one, at the stream's end, completes none.

        Raises:
            EventTooLarge: the event that is being read is larger than the limit. What the same chunk
                completed before it is returned first; the next call raises then.
        """
        if self._gave_up:
            raise EventTooLarge
        self._buffer += chunk
        events: list[ServerEvent] = []
        try:
            self._read(events)
        except EventTooLarge:
            if not events:
                raise
            self._gave_up = True
        return events

    def _read(self, events: list[ServerEvent]) -> None:
        """Append the events that the buffer completes."""
        if not self._skip_mark():
            return
        start = 0
        if self._swallow and self._buffer:
            start = int(self._buffer[0] == 0x0A)
            self._swallow = False
        search = max(start, self._searched)
        while match := _LINE_END.search(self._buffer, search):
            line = bytes(self._buffer[start : match.start()])
            start = search = match.end()
            # Dispatch now: waiting for the second half of a CRLF would hold back the event.
            self._swallow = match[0] == b"\r" and start == len(self._buffer)
            event = self._line(line)
            if event is not None:
                events.append(event)
        del self._buffer[:start]
        self._searched = len(self._buffer)
        self._check(len(self._buffer))

    def _skip_mark(self) -> bool:
        """Drop a byte order mark at the very beginning; False while it may still be arriving."""
        if self._begun:
            return True
        if len(self._buffer) < len(_BOM) and _BOM.startswith(self._buffer):
            return False
        if self._buffer.startswith(_BOM):
            del self._buffer[: len(_BOM)]
        self._begun = True
        return True

    def _line(self, line: bytes) -> ServerEvent | None:
        if line:
            self._check(len(line))
            self._size += len(line)
            if not line.startswith(b":"):
                self._lines.append(line)
            return None
        lines, self._lines, self._size = self._lines, [], 0
        return _event(lines) if lines else None

    def _check(self, more: int) -> None:
        if self._size + more > self._limit:
            raise EventTooLarge


def _event(lines: list[bytes]) -> ServerEvent | None:
    data: list[str] = []
    id_: str | None = None
    kind: str | None = None
    retry: int | None = None
    for line in lines:
        name, _, value = line.decode("utf-8", "replace").partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            data.append(value)
        elif name == "event":
            kind = value or None
        elif name == "id" and "\0" not in value:
            id_ = value
        elif name == "retry" and _DIGITS.fullmatch(value):
            retry = int(value[:18])
    if not data and id_ is None and retry is None:
        return None  # nothing that a client would notice
    return ServerEvent("\n".join(data), id_, kind, retry, bare=not data)
