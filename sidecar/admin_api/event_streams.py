"""Answers of server-sent events: a bounded number at a time, each for a bounded time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from typing import Final

import orjson

from sidecar.admin_api.api_problems import ApiCode, ApiProblem
from sidecar.admin_api.api_requests import ApiRequest
from sidecar.admin_api.operations.journal_routes import entry_document
from sidecar.admin_api.programs import Program
from sidecar.ledger.journal.entries import Entry
from sidecar.management.failures import ManagementError, store_failures
from sidecar.protocol.sse.sse import KEEPALIVE, MEDIA_TYPE, ServerEvent
from sidecar.proxy.listener.http_answers import Answer

MAX_STREAMS: Final = 8
"""Streams at one time: each reads the store every second."""
MAX_AGE: Final = 3600.0
"""Seconds of one stream; its program then follows on with `Last-Event-ID`."""
KEEPALIVE_EVERY: Final = 15.0
"""Seconds between two comments on a silent stream."""
READ_WITHIN: Final = 30.0
"""Seconds in which a program must read what was written."""

_HEADERS: Final = (
    *(("Content-Type", MEDIA_TYPE), ("Cache-Control", "no-store"), ("X-Content-Type-Options", "nosniff")),
    ("X-Accel-Buffering", "no"),
)


class EventStreams:
    """Open streams of the API.

    Args:
        is_current: returns True while a program may go on.
    """

    def __init__(self, is_current: Callable[[Program], bool]) -> None:
        self._is_current = is_current
        self._open = 0
        self._closing = asyncio.Event()

    def close(self) -> None:
        """End every stream."""
        self._closing.set()

    async def serve(self, events: AsyncGenerator[Entry | None], request: ApiRequest, request_id: str) -> Answer:
        """Send events until the program disconnects, its time is over, or it has lost its permission.

        Raises:
            ApiProblem: `overloaded`, when there are too many streams.
        """
        if self._open >= MAX_STREAMS or self._closing.is_set():
            raise ApiProblem(ApiCode.OVERLOADED)
        self._open += 1
        answer = Answer(200, _HEADERS, None, request_id)
        answer.closing = True
        connection = request.http.connection
        try:
            connection.begin_stream(request.http, answer)
            connection.write_stream(request.http, KEEPALIVE)
            async with asyncio.timeout(MAX_AGE), contextlib.aclosing(events):
                await self._send(events, request)
        except (TimeoutError, ManagementError, ConnectionError):
            pass  # over, or the store cannot be read: the program connects again with the id of its last entry
        except Exception:
            connection.abort()  # no other answer may follow the one that has begun
            raise
        finally:
            self._open -= 1
        return answer

    async def _send(self, events: AsyncGenerator[Entry | None], request: ApiRequest) -> None:
        connection, loop = request.http.connection, asyncio.get_running_loop()
        wrote = loop.time()
        with store_failures():
            async for entry in events:
                if self._closing.is_set() or not self._is_current(request.program):
                    return
                data = KEEPALIVE if entry is None else _event(entry)
                if entry is None and loop.time() - wrote < KEEPALIVE_EVERY:
                    continue
                wrote = loop.time()
                connection.write_stream(request.http, data)
                try:
                    async with asyncio.timeout(READ_WITHIN):
                        await connection.drain()
                except TimeoutError:
                    connection.abort()
                    return


def _event(entry: Entry) -> bytes:
    return ServerEvent(orjson.dumps(entry_document(entry)).decode(), entry.id, "entry").encode()
