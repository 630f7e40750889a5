"""Reading of the request body: bounded in size and in time, and only once its caller is known."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Final

from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web import RequestPayloadError

from sidecar.errors import ErrorCode, Refusal
from sidecar.proxy.listener.answering_connection import ClientRequest
from sidecar.proxy.listener.request_filter import too_large
from sidecar.proxy.memory import MemoryLease, decoded_size

PATIENCE: Final = 30.0
"""Seconds that a whole body may take: a slow one holds memory."""

MAX_READING: Final = 256
"""Bodies of one account that are read at one time: a slow account does not delay others."""


class BodyReaders:
    """Number of bodies that each account is sending now."""

    def __init__(self) -> None:
        self._reading: Counter[str] = Counter()

    async def read(self, request: ClientRequest, account: str, limit: int, memory: MemoryLease) -> bytes:
        """Read a body, as `read_body`; one that arrives later than its head counts for its account until it is read.

        Args:
            request: the request.
            account: the digest of the account that sends it.
            limit: as `read_body`.
            memory: as `read_body`.

        Raises:
            Refusal: `overloaded`: the account is sending too many bodies; as `read_body`.
        """
        if request.content.is_eof():
            return arrived_body(request, limit, memory)
        if self._reading[account] >= MAX_READING:
            raise Refusal(ErrorCode.OVERLOADED, retry_after=1)
        self._reading[account] += 1
        try:
            return await read_body(request, limit, memory)
        finally:
            self._reading[account] -= 1
            if not self._reading[account]:
                del self._reading[account]


async def read_body(request: ClientRequest, limit: int, memory: MemoryLease, patience: float = PATIENCE) -> bytes:
    """Read a body of at most `limit` bytes, within `patience` seconds.

    The lease holds the bytes that have arrived, and in the end those of the decoded message.

    Raises:
        Refusal: `body_too_large`, `body_timeout`, `request_malformed` when its framing is broken, `overloaded`
            when it does not fit the budget: before it is read where its length says so.
    """
    if not memory.fits(request.content_length or 0):
        raise memory_exhausted()
    if request.headers.get("Expect", "").lower() == "100-continue" and request.version >= (1, 1):
        # RFC 9110 section 10.1.1: the client sends its body only after this.
        await request.connection.drain()
        if request.connection.transport is not None:
            request.connection.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    body = bytearray()
    try:
        async with asyncio.timeout(patience):
            while chunk := await request.content.readany():
                body += chunk
                if len(body) > limit:
                    raise too_large(limit)
                if not memory.grow(len(chunk)):
                    raise memory_exhausted()
    except TimeoutError:
        raise Refusal(ErrorCode.BODY_TIMEOUT) from None
    except (HttpProcessingError, RequestPayloadError):
        raise Refusal(ErrorCode.REQUEST_MALFORMED) from None
    return _kept(bytes(body), memory)


def arrived_body(request: ClientRequest, limit: int, memory: MemoryLease) -> bytes:
    """Return a body that has arrived completely, most often with its head: it waits for nothing."""
    body, request.body = request.body, None
    if body is None:
        try:
            body = request.content.read_nowait()
        except (HttpProcessingError, RequestPayloadError):
            raise Refusal(ErrorCode.REQUEST_MALFORMED) from None
    if len(body) > limit:
        raise too_large(limit)
    return _kept(body, memory)


def _kept(body: bytes, memory: MemoryLease) -> bytes:
    if not memory.keep(decoded_size(body)):
        raise memory_exhausted()
    return body


def memory_exhausted() -> Refusal:
    """Build the refusal of bytes that the memory budget has no room for."""
    return Refusal(ErrorCode.OVERLOADED, log="limits.memory is reached", retry_after=1)
