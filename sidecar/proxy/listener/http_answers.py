"""Answers of the listeners, and the bytes of their heads (RFC 9112)."""

from __future__ import annotations

import time
from collections.abc import Iterable
from email.utils import formatdate
from http import HTTPStatus
from typing import Final

Header = tuple[str, str]

LAST_CHUNK: Final = b"0\r\n\r\n"

_REASONS: Final = {int(each): each.phrase for each in HTTPStatus}
_BODILESS: Final = frozenset({204, 304})


class Answer:
    """Answer to a client.

    Args:
        status: HTTP status.
        headers: names in their usual spelling, such as `Content-Type`, and values; of one name, the last value
            counts. `Content-Length`, `Date` and those of the connection are added.
        body: the whole body; None for a stream, whose parts follow.

    Attributes:
        closing: True when the connection must not serve another request.
        sent: True once the head is written.
        ended: True once nothing follows.
    """

    __slots__ = ("body", "closing", "ended", "headers", "sent", "status")

    def __init__(self, status: int, headers: Iterable[Header] = (), body: bytes | None = b"") -> None:
        self.status = status
        self.headers = headers
        self.body = body
        self.closing = False
        self.sent = False
        self.ended = False


class _Clock:
    """Text of the `Date` header, made once a second."""

    def __init__(self) -> None:
        self._second = 0
        self._text = ""

    def text(self) -> str:
        now = int(time.time())
        if now != self._second:
            self._second, self._text = now, formatdate(now, usegmt=True)  # RFC 9110 section 5.6.7
        return self._text


_CLOCK: Final = _Clock()


def answer_head(answer: Answer, *, chunks: bool, keep_alive: bool) -> bytes:
    """Return the head of an answer.

    Args:
        answer: its status, headers, and the length of its body where it has one.
        chunks: True for HTTP/1.1, False for HTTP/1.0.
        keep_alive: True when the connection serves another request after it.

    Raises:
        ValueError: a header would end its line, or holds a NUL.
    """
    status, body = answer.status, answer.body
    headers = dict(answer.headers)
    if body and "Content-Type" not in headers:
        headers["Content-Type"] = "application/octet-stream"  # RFC 9110 section 8.3
    fields = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    if fields.count("\n") != len(headers) or fields.count("\r") != len(headers) or "\0" in fields:
        raise ValueError("a header of the answer holds a line break or NUL")
    if body is None:
        fields += "Transfer-Encoding: chunked\r\n" if chunks else ""
    elif status not in _BODILESS:
        fields += f"Content-Length: {len(body)}\r\n"
    if keep_alive != chunks:  # RFC 9112 section 9.3: what the version does not imply
        fields += "Connection: keep-alive\r\n" if keep_alive else "Connection: close\r\n"
    line = f"HTTP/1.{1 if chunks else 0} {status} {_REASONS.get(status, '')}\r\n"
    return f"{line}{fields}Date: {_CLOCK.text()}\r\n\r\n".encode()


def chunk(data: bytes) -> bytes:
    """Return a chunk of a chunked body (RFC 9112 section 7.1)."""
    return b"%x\r\n%b\r\n" % (len(data), data)
