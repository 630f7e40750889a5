"""Heads of requests, and memory of those that were accepted before: most clients send the same head with each call.

A head is found by the digest of its bytes, without the digits of its `Content-Length`. What is kept of it are facts
that depend on these bytes alone; the headers are not, so no token stays in memory longer than its request. A request
with a known head is not parsed again. Nothing else is left out: facts that a reload changes name what they were
derived from, and tokens are looked up for every call.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final

from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import RawRequestMessage
from aiohttp.http_writer import HttpVersion11
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from sidecar.protocol.headers import McpHeaders
from sidecar.vocabulary import record

LONGEST: Final = 4096
"""Bytes of a head that may be remembered."""
MOST: Final = 1024
"""Heads remembered; the oldest is forgotten first."""

_END: Final = b"\r\n\r\n"
_LENGTHS: Final = (b"\r\nContent-Length: ", b"\r\ncontent-length: ")
_MARKED: Final = len(_LENGTHS[0])
_DIGITS: Final = 9  # more than any body may have


class RequestHead:
    """Facts of one head.

    Args:
        message: the parsed head.

    Attributes:
        method: as sent.
        raw_path: the request target, as sent.
        version: HTTP version, such as (1, 1).
        chunks: True when the client reads chunked answers, which HTTP/1.0 does not have.
        keeps_alive: True when the client lets the connection serve another request.
        traceparent: the header of this name; None without one.
        accepted_by: the request filter that has accepted it, for a client that is no browser.
        token: digest of its access token.
        described: its headers that describe the message.
    """

    __slots__ = (
        *("accepted_by", "chunks", "described", "keeps_alive", "method", "raw_path", "token", "traceparent"),
        "version",
    )

    def __init__(self, message: RawRequestMessage) -> None:
        self.method: str = message.method
        self.raw_path: str = message.path
        self.version: tuple[int, int] = message.version
        self.chunks = self.version >= (1, 1)
        self.keeps_alive = not message.should_close
        self.traceparent: str | None = message.headers.get("traceparent")
        self.accepted_by: object = None
        self.token: bytes | None = None
        self.described: McpHeaders | None = None

    @property
    def recurs(self) -> bool:
        """True when it is worth remembering: it was accepted, and is not of one call only."""
        return self.accepted_by is not None and self.traceparent is None


def spent_head() -> RequestHead:
    """Return a head without facts, for requests that need those of their own no more."""
    none = CIMultiDictProxy[str](CIMultiDict())
    return RequestHead(RawRequestMessage("", "", HttpVersion11, none, (), True, None, False, False, URL()))


@record
class Arrived:
    """Request with a `Content-Length` whose head is the beginning of what has arrived.

    Attributes:
        key: of its head.
        end: bytes of its head.
        length: bytes of its body.
    """

    key: bytes
    end: int
    length: int


def arrived(data: bytes) -> Arrived | None:
    """Find the end and the key of the head that bytes begin with; None for an incomplete, long or unusual one."""
    end = data.find(_END, 0, LONGEST) + len(_END)
    for name in _LENGTHS:
        start = data.find(name, 0, end) + _MARKED
        if start >= _MARKED:
            break
    else:
        return None
    stop = data.find(b"\r", start, end)
    digits = data[start:stop]
    if end < len(_END) or len(digits) > _DIGITS or not digits.isdigit():
        return None
    return Arrived(sha256(data[:start] + data[stop:end]).digest(), end, int(digits))


class Arrivals:
    """Count of what arrives on a connection: only between two requests may a known head begin.

    The parser holds what it has read of a head, and does not tell. So bytes are counted here, while all requests state
    their length and each begins with new bytes; after any other one this is never known again, and all are parsed.

    Attributes:
        known: True while it is counted.
    """

    __slots__ = ("_due", "_last", "known")

    def __init__(self) -> None:
        self.known = True
        self._due = 0  # bytes of the request in progress that have not arrived
        self._last: Arrived | None = None

    def begin(self, data: bytes) -> Arrived | None:
        """Count bytes; return the request that begins with them."""
        self._last = found = arrived(data) if not self._due else None
        if found is not None:
            self._due = found.end + found.length
        self._due -= len(data)
        self.known = self._due >= 0
        return found

    def skip(self) -> None:
        """Take the whole request that begins with the last bytes past the parser."""
        self._last = None

    def confirm(self, heads: list[RawRequestMessage | HttpProcessingError]) -> Arrived | None:
        """Compare the request that was counted with what the parser has found; return it where it is that alone."""
        last, self._last = self._last, None
        if last is None and not heads:
            return None  # a part of a body
        self.known = self.known and last is not None and len(heads) == 1 and _has_length(heads[0], last.length)
        return last if self.known else None


def _has_length(head: RawRequestMessage | HttpProcessingError, length: int) -> bool:
    if isinstance(head, HttpProcessingError) or head.upgrade or head.chunked:
        return False
    return head.headers.get("Content-Length", "").lstrip("0") == str(length or "")


class KnownHeads:
    """Heads that were accepted before, by their keys."""

    def __init__(self) -> None:
        self._heads: dict[bytes, RequestHead] = {}
        self.get = self._heads.get

    def __len__(self) -> int:
        return len(self._heads)

    def learn(self, key: bytes, head: RequestHead) -> None:
        """Remember a head."""
        if len(self._heads) >= MOST:
            del self._heads[next(iter(self._heads))]
        self._heads[key] = head

    def clear(self) -> None:
        """Forget all heads, because the bounds of the parser have changed."""
        self._heads.clear()
