"""Answers of the listeners, and the bytes of their heads (RFC 9112)."""

from __future__ import annotations

import time
from collections.abc import Iterable
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import Final

Header = tuple[str, str]

REQUEST_ID: Final = "X-Request-Id"

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
        request_id: the value of `X-Request-Id`, hexadecimal digits; None for an answer without one.
        closing: True when the connection must not serve another request.

    Attributes:
        sent: True once the head is written.
        ended: True once nothing follows.
    """

    __slots__ = ("body", "closing", "ended", "headers", "request_id", "sent", "status")

    def __init__(
        self,
        status: int,
        headers: Iterable[Header] = (),
        body: bytes | None = b"",
        request_id: str | None = None,
        closing: bool = False,
    ) -> None:
        self.status = status
        self.headers = headers
        self.body = body
        self.request_id = request_id
        self.closing = closing
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
    head = _lines(status, tuple(answer.headers), bool(body), chunks, keep_alive)
    if body is None:
        length = "Transfer-Encoding: chunked\r\n" if chunks else ""
    else:
        length = "" if status in _BODILESS else f"Content-Length: {len(body)}\r\n"
    own = "" if answer.request_id is None else f"{REQUEST_ID}: {answer.request_id}\r\n"
    return f"{head}{own}{length}Date: {_CLOCK.text()}\r\n\r\n".encode()


@lru_cache(256)
def _lines(status: int, headers: tuple[Header, ...], has_body: bool, chunks: bool, keep_alive: bool) -> str:
    """Return the part of a head that many answers share."""
    fields = dict(headers)
    if has_body and "Content-Type" not in fields:
        fields["Content-Type"] = "application/octet-stream"  # RFC 9110 section 8.3
    lines = "".join([f"{name}: {value}\r\n" for name, value in fields.items()])
    if lines.count("\n") != len(fields) or lines.count("\r") != len(fields) or "\0" in lines:
        raise ValueError("a header of the answer holds a line break or NUL")
    if keep_alive != chunks:  # RFC 9112 section 9.3: what the version does not imply
        lines += "Connection: keep-alive\r\n" if keep_alive else "Connection: close\r\n"
    return f"HTTP/1.{1 if chunks else 0} {status} {_REASONS.get(status, '')}\r\n{lines}"


def chunk(data: bytes) -> bytes:
    """Return a chunk of a chunked body (RFC 9112 section 7.1)."""
    return b"%x\r\n%b\r\n" % (len(data), data)
