"""The request body: bounded in size and in time, read only once its caller is known."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web import BaseRequest
from aiohttp.web_exceptions import HTTPException

from sidecar.errors import ErrorCode, Refusal
from sidecar.model import Caller
from sidecar.proxy.transport import too_large

PATIENCE: Final = 30.0
"""Seconds a whole body may take: a slow one holds memory."""

MAX_READING: Final = 256
"""Bodies of one account that are read at one time: what one sends slowly is no other's trouble."""


class Readers:
    """Who is sending bodies now."""

    def __init__(self) -> None:
        self._reading: Counter[tuple[str, str]] = Counter()

    @contextmanager
    def place(self, caller: Caller) -> Iterator[None]:
        """Hold a place while a body of this caller's account is read.

        Raises:
            Refusal: `overloaded`: the account has too many bodies under way.
        """
        key = (caller.issuer_id, caller.account)
        if self._reading[key] >= MAX_READING:
            raise Refusal(ErrorCode.OVERLOADED, retry_after=1)
        self._reading[key] += 1
        try:
            yield
        finally:
            self._reading[key] -= 1
            if not self._reading[key]:
                del self._reading[key]


async def read_body(request: BaseRequest, limit: int, patience: float = PATIENCE) -> bytes:
    """Read a body of at most `limit` bytes, within `patience` seconds.

    Raises:
        Refusal: `body_too_large`, `body_timeout`, `request_malformed` when its framing is broken.
    """
    if request.headers.get("Expect", "").lower() == "100-continue" and request.version >= (1, 1):
        # RFC 9110 section 10.1.1: the client holds its body back until it is asked for.
        await request.writer.drain()
        if request.transport is not None:
            request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    body = bytearray()
    try:
        async with asyncio.timeout(patience):
            while chunk := await request.content.readany():
                body += chunk
                if len(body) > limit:
                    raise too_large(limit)
    except TimeoutError:
        raise Refusal(ErrorCode.BODY_TIMEOUT) from None
    except (HttpProcessingError, HTTPException):
        raise Refusal(ErrorCode.REQUEST_MALFORMED) from None
    return bytes(body)
