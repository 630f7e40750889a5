"""Heads of requests, and memory of those that were accepted before: most clients send the same head with each call.

A head is found by the digest of its bytes, without the digits of its `Content-Length`. What is kept of it are facts
that depend on these bytes alone; the headers are not, so no token stays in memory longer than its request. A request
with a known head is not parsed again. Nothing else is left out: facts that a reload changes name what they were
derived from, and tokens are looked up for every call.

A new head of which all but the token was accepted before is known, too: clients get new tokens, and send them in the
same head. The parser reads lines, and letters of tokens end none, so both heads have the same lines but this one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, TypeVar

from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import RawRequestMessage
from aiohttp.http_writer import HttpVersion11
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from sidecar.protocol.headers import McpHeaders, length_digits
from sidecar.vocabulary import record

LONGEST: Final = 4096
"""Bytes of a head that may be remembered."""
MOST: Final = 1024
"""Heads remembered, and as many without their tokens; the oldest is forgotten first."""

_Fact = TypeVar("_Fact")
_END: Final = b"\r\n\r\n"
# RFC 6750 section 2.1, as almost all clients write it; the parser reads every other spelling.
_BEARER: Final = re.compile(rb"\r\n[Aa]uthorization: Bearer ([A-Za-z0-9._~+/-]++=*+)\r\n")


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

    def with_token(self, digest: bytes | None) -> RequestHead:
        """Return the facts of the same head with another token."""
        head: RequestHead = RequestHead.__new__(RequestHead)
        head.method, head.raw_path, head.version = self.method, self.raw_path, self.version
        head.chunks, head.keeps_alive, head.traceparent = self.chunks, self.keeps_alive, self.traceparent
        head.accepted_by, head.token, head.described = self.accepted_by, digest, self.described
        return head

    @property
    def recurs(self) -> bool:
        """True when it is worth remembering: it was accepted, and is not of one call only."""
        return self.accepted_by is not None and self.traceparent is None


def spent_head() -> RequestHead:
    """Return a head without facts, for requests that need those of their own no more."""
    none = CIMultiDictProxy[str](CIMultiDict())
    return RequestHead(RawRequestMessage("", "", HttpVersion11, none, (), True, None, False, False, URL()))


@dataclass(slots=True, eq=False, repr=False)  # neither a log line nor a traceback may contain a token
class Arrived:
    """Request with a `Content-Length` whose head is the beginning of what has arrived.

    Attributes:
        key: of its head.
        end: bytes of its head.
        length: bytes of its body.
        digits: place of its length in the head.
        pattern: the key of all heads that differ in their token only; None until it is found, and for unusual tokens.
        token: the token; None like `pattern`.
    """

    key: bytes
    end: int
    length: int
    digits: tuple[int, int]
    pattern: bytes | None = None
    token: bytes | None = None

    def find_pattern(self, data: bytes) -> None:
        """Find pattern and token of the head, with which these bytes begin."""
        start, stop = self.digits
        text = data[:start] + data[stop : self.end]
        found = _BEARER.search(text)
        if found is not None:
            start, stop = found.span(1)
            self.pattern = sha256(text[:start] + text[stop:]).digest()
            self.token = text[start:stop]


def usual_token(head: bytes, end: int) -> bytes | None:
    """Return the token of an accepted head, which has one only, of `end` bytes; None where it is unusual."""
    found = _BEARER.search(head, 0, end)
    return None if found is None else found[1]


def arrived(data: bytes) -> Arrived | None:
    """Find the end and the key of the head that bytes begin with; None for an incomplete, long or unusual one."""
    end = data.find(_END, 0, LONGEST) + len(_END)
    digits = None if end < len(_END) else length_digits(data, end)
    if digits is None:
        return None
    start, stop = digits
    return Arrived(sha256(data[:start] + data[stop:end]).digest(), end, int(data[start:stop]), digits)


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


@record
class _Pattern:
    """Facts of all heads that differ in their token only.

    Attributes:
        head: the facts, without a token; never changed.
        longest: bytes of the longest token with which `head.accepted_by` has accepted it: headers are bounded.
    """

    head: RequestHead
    longest: int


class KnownHeads:
    """Heads that were accepted before, by their keys, and by those without their tokens."""

    def __init__(self) -> None:
        self._heads: dict[bytes, RequestHead] = {}
        self._patterns: dict[bytes, _Pattern] = {}
        self.get = self._heads.get

    def __len__(self) -> int:
        return len(self._heads)

    def find(self, data: bytes, arrival: Arrived) -> RequestHead | None:
        """Return the facts of a head that is not known, if all but its token is; None for any other.

        Args:
            data: what has arrived.
            arrival: the head's place in it.
        """
        arrival.find_pattern(data)
        if arrival.pattern is None or arrival.token is None:
            return None
        known, token = self._patterns.get(arrival.pattern), arrival.token
        return None if known is None or len(token) > known.longest else known.head.with_token(sha256(token).digest())

    def learn(self, arrival: Arrived, head: RequestHead, authorization: Sequence[str] | None) -> None:
        """Remember a head.

        Args:
            arrival: its keys.
            head: its facts.
            authorization: the value of every `Authorization` header; None of a head that was found by its pattern.
        """
        _put(self._heads, arrival.key, head)
        pattern, token = arrival.pattern, arrival.token
        if pattern is None or token is None:
            return
        if authorization is not None and authorization != [f"Bearer {token.decode()}"]:
            return
        known = self._patterns.get(pattern)
        if known is None or known.head.accepted_by is not head.accepted_by or len(token) > known.longest:
            _put(self._patterns, pattern, _Pattern(head.with_token(None), len(token)))

    def clear(self) -> None:
        """Forget all heads, because the bounds of the parser have changed."""
        self._heads.clear()
        self._patterns.clear()


def _put(known: dict[bytes, _Fact], key: bytes, fact: _Fact) -> None:
    if len(known) >= MOST and key not in known:
        del known[next(iter(known))]
    known[key] = fact
