"""Server-sent events, byte by byte (WHATWG HTML, section 9.2): chunks in, whole events out.

Events are parsed and serialized again, so the client reads the same event as the sidecar. Line endings and comments
that two readers would treat differently never reach the client.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

MEDIA_TYPE: Final = "text/event-stream"
KEEPALIVE: Final = b": keepalive\n\n"
"""A comment, which every client ignores."""

_LF: Final = 0x0A
_COLON: Final = 0x3A
_BOM: Final = b"\xef\xbb\xbf"
_LINE: Final = 48  # bytes of memory that a line takes in addition to its text
_DIGITS: Final = re.compile(r"[0-9]+")


class EventTooLarge(Exception):  # noqa: N818 - a fact about a stream, not a failure of this program
    """Event, or line, that is longer than the limit."""


class ServerEvent(NamedTuple):
    """One event of a stream.

    Attributes:
        data: lines joined by a line feed.
        id: the event's own id; None without one (an empty id resets the last one).
        event: its type; None for the default, `message`.
        retry: milliseconds before a client reconnects.
        bare: without data, so clients only note the id and the retry time.
    """

    data: str = ""
    id: str | None = None
    event: str | None = None
    retry: int | None = None
    bare: bool = False

    def with_data(self, data: str) -> ServerEvent:
        """Return the same event with other data."""
        return self._replace(data=data, bare=False)

    def encode(self) -> bytes:
        """Return the event as bytes for the wire."""
        lines = [] if self.event is None else [f"event: {self.event}"]
        if self.id is not None:
            lines.append(f"id: {self.id}")
        if self.retry is not None:
            lines.append(f"retry: {self.retry}")
        head = "".join(f"{line}\n" for line in lines).encode()
        if self.bare:
            return head + b"\n"
        # Copied as rarely as possible: it may be as large as any answer.
        data = self.data.encode()
        return b"".join((head, b"data: ", data.replace(b"\n", b"\ndata: "), b"\n\n"))


def comment(text: str) -> bytes:
    """Return a comment of one line, for people who inspect the stream."""
    return f": {text}\n\n".encode()


def encode(data: bytes) -> bytes:
    """Return one event of type `message` with one JSON document, which has no raw line breaks."""
    return b"event: message\ndata: " + data + b"\n\n"


def encode_document(document: bytes) -> bytes:
    """Return one event with one JSON document, in which raw line breaks are blanks between values."""
    return encode(document.replace(b"\r", b" ").replace(b"\n", b" "))


class Parser:
    """Parser of one stream's chunks; an event that the end of the stream cuts off is dropped.

    Args:
        limit: bytes of one event, comments included.
    """

    __slots__ = ("_begun", "_buffer", "_gave_up", "_limit", "_lines", "_searched", "_size", "_swallow")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._buffer = bytearray()
        self._searched = 0
        self._lines: list[bytes] | None = None  # of the incomplete event; most streams are idle
        self._size = 0  # bytes in `_lines`
        self._begun = False
        self._swallow = False  # the last line ended in CR: skip an LF that follows
        self._gave_up = False

    @property
    def held(self) -> int:
        """Return the bytes that the incomplete event takes."""
        return len(self._buffer) + self._size + _LINE * len(self._lines or ())

    def feed(self, chunk: bytes) -> list[ServerEvent]:
        """Return the events that this chunk completes, in order; an empty chunk completes none.

        Raises:
            EventTooLarge: the incomplete event is larger than the limit. Events that the same chunk completed
                before it are returned first; the next call raises.
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
        if self._swallow and self._buffer:
            if self._buffer[0] == _LF:
                del self._buffer[:1]
            self._swallow = False
        end = 1 + max(self._buffer.rfind(mark, self._searched) for mark in (b"\n", b"\r"))
        if end:
            text = bytes(self._buffer[:end])
            # Dispatch now: waiting for the second half of a CRLF would delay the event.
            self._swallow = text.endswith(b"\r") and end == len(self._buffer)
            del self._buffer[:end]
            self._take(text.replace(b"\r\n", b"\n").replace(b"\r", b"\n") if b"\r" in text else text, events)
        self._searched = len(self._buffer)
        self._check(len(self._buffer))

    def _take(self, text: bytes, events: list[ServerEvent]) -> None:
        """Append the events that whole lines complete."""
        for line in text.split(b"\n")[:-1]:
            if line:
                self._check(len(line))
                self._size += len(line)
                if line[0] != _COLON:
                    if self._lines is None:
                        self._lines = []
                    self._lines.append(line)
                continue
            self._size = 0
            if self._lines:
                lines, self._lines = self._lines, None
                event = _event(lines)
                if event is not None:
                    events.append(event)

    def _skip_mark(self) -> bool:
        """Drop a byte order mark at the beginning; return False while it may still be incomplete."""
        if self._begun:
            return True
        if len(self._buffer) < len(_BOM) and _BOM.startswith(self._buffer):
            return False
        if self._buffer.startswith(_BOM):
            del self._buffer[: len(_BOM)]
        self._begun = True
        return True

    def _check(self, more: int) -> None:
        if self._size + more > self._limit:
            raise EventTooLarge


def _event(lines: list[bytes]) -> ServerEvent | None:
    data: list[str] = []
    id_: str | None = None
    kind: str | None = None
    retry: int | None = None
    for line in lines:
        colon = line.find(b":")
        name = line if colon < 0 else line[:colon]
        start = len(line) if colon < 0 else colon + 1
        value = line[start + line.startswith(b" ", start) :].decode("utf-8", "replace")
        if name == b"data":
            data.append(value)
        elif name == b"event":
            kind = value or None
        elif name == b"id" and "\0" not in value:
            id_ = value
        elif name == b"retry" and _DIGITS.fullmatch(value):
            retry = int(value[:18])
    if not data and id_ is None and retry is None:
        return None  # clients would ignore it
    return ServerEvent("\n".join(data), id_, kind, retry, bare=not data)
