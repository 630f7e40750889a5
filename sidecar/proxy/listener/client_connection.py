"""Connection of a client: one task serves its requests, in their order.

aiohttp's own request handler takes two tasks and some seventy function calls a request, quotes requests that it
cannot parse, and does not notice a disconnected client by default. What is kept of it: its parser in C, and the flow
control of bodies (`BaseProtocol`, `StreamReader`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from aiohttp import StreamReader
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import HttpRequestParser, RawRequestMessage
from aiohttp.streams import EMPTY_PAYLOAD
from aiohttp.web import RequestPayloadError

from sidecar.proxy.listener.answering_connection import AnsweringConnection, ClientRequest
from sidecar.proxy.listener.http_answers import Answer, answer_head
from sidecar.proxy.listener.request_heads import Arrivals, Arrived, KnownHeads, RequestHead

MAX_HEADS: Final = 4
"""A request's head may be this many times as long as `limits.header`; a longer one closes the connection."""
MAX_BEHIND: Final = 64 * 1024
"""Bytes of further requests that may wait on a connection while one is served; more close it (RFC 9112 section 9.3.2:
clients should not send any behind a POST)."""
READ_AHEAD: Final = 32 * 1024
"""Bytes of a body that may be read ahead of its reader; a connection is paused at twice as many."""

_QUEUED: Final = 32  # parsed requests that wait on a connection, which is paused then
_LINGER: Final = 10.0  # seconds to read a body that is not needed any more, so that its client reads the answer

Handler = Callable[[ClientRequest], Awaitable[Answer]]
ErrorAnswer = Callable[[int, BaseException | None], Answer]


class ConnectionServer(Protocol):
    """Parts of the listener's server that its connections use; `ClientServer` documents them."""

    handle: Handler
    error: ErrorAnswer
    idle: float
    loop: asyncio.AbstractEventLoop
    connections: set[ClientConnection]
    heads: KnownHeads
    max_header: int
    last: bool


class ClientConnection(AnsweringConnection):
    """One connection.

    Args:
        server: its handler serves the requests.
        ended: called when the connection is lost, once it was handed over.

    Attributes:
        met: True once the connection was handed over.
    """

    __slots__ = (
        *("_arrivals", "_behind", "_body", "_ended", "_head", "_idle_until", "_server", "_tail", "_task", "_waiting"),
        "met",
    )

    def __init__(self, server: ConnectionServer, ended: Callable[[], None]) -> None:
        super().__init__(server.loop, server.idle, server.heads)
        self._server = server
        self._ended = ended
        self.met = False
        self._waiting: list[ClientRequest | HttpProcessingError] = []  # requests that are not served yet
        self._task: asyncio.Task[None] | None = None  # serves them
        self._idle_until: asyncio.Future[None] | None = None  # the next request arrives; None while it serves
        self._head = 0  # bytes of a head that is not complete yet
        self._body: StreamReader | None = None  # body of the last request
        self._behind = 0  # bytes of requests that were sent before the one in progress was answered
        self._tail = b""  # bytes after a request for another protocol, which are read after its refusal
        self._arrivals = Arrivals()
        parser = HttpRequestParser(
            self,
            server.loop,
            READ_AHEAD,
            max_line_size=server.max_header,
            max_field_size=server.max_header,
            payload_exception=RequestPayloadError,
            auto_decompress=False,
            max_msg_queue_size=_QUEUED,
        )
        self.parse_with(parser)

    # --- events of the transport ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take over the connection."""
        self.met = True
        super().connection_made(transport)
        self._server.connections.add(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Cancel the request in progress, and report the end of the connection."""
        super().connection_lost(exc)
        self._waiting.clear()
        if self._task is None:
            self._server.connections.discard(self)
        else:
            self._task.cancel()
        self._ended()

    def data_received(self, data: bytes) -> None:
        """Feed the parser, and bound its buffers: the parser itself limits single headers and single bodies only."""
        if self.closing or (self._arrivals.known and self._is_known(data)):
            return
        was_serving = self.serving
        if self._upgraded:
            self._tail += data
        else:
            self._parse(data)
        if not (self._waiting or self._tail):
            self._behind = 0
        elif was_serving:
            self._behind += len(data)
            if self._behind > MAX_BEHIND:
                self.close()

    def _is_known(self, data: bytes) -> bool:
        """Serve a whole request with a known head, and return True; return False for one that is to be parsed."""
        arrival = self._arrivals.begin(data)
        if arrival is not None and not self.serving and arrival.end + arrival.length == len(data):
            head = self.heads.get(arrival.key) or self.heads.find(data, arrival)
            if head is not None:
                self._arrivals.skip()
                self._waiting.append(ClientRequest(head, None, EMPTY_PAYLOAD, self, data, arrival))
                self._begin()
                return True
        return False

    def resume_reading(self, resume_parser: bool = True) -> None:
        """Read on, if reading was paused: each body asks for it at its end."""
        if self._reading_paused:
            super().resume_reading(resume_parser)

    def _parse(self, data: bytes) -> None:
        if self._parser is None:
            return
        try:
            parsed, self._upgraded, tail = self._parser.feed_data(data)
        except HttpProcessingError as error:
            parsed, tail = [(error, EMPTY_PAYLOAD)], b""
        arrival = self._arrivals.confirm([head for head, _ in parsed])
        if not parsed:
            if self._body is None or self._body.is_eof():
                self._head += len(data)
                if self._head > MAX_HEADS * self._server.max_header:
                    self.close()
            return
        self._tail = tail
        self._head = 0
        self._body = parsed[-1][1]
        self._waiting += [self._request(*each, arrival) for each in parsed]
        if len(self._waiting) >= _QUEUED and not self._buffer_paused:
            self._pause_reading_for_buffer()
        if not self.serving:
            self._begin()

    def _request(
        self, head: RawRequestMessage | HttpProcessingError, body: StreamReader, arrival: Arrived | None
    ) -> ClientRequest | HttpProcessingError:
        if isinstance(head, HttpProcessingError):
            return head
        return ClientRequest(RequestHead(head), head, body, self, arrival=arrival)

    def _begin(self) -> None:
        self.serving = True
        idle_until, self._idle_until = self._idle_until, None
        if idle_until is None:
            self._task = self.loop.create_task(self._serve())
        elif not idle_until.done():
            idle_until.set_result(None)

    def release(self, request: ClientRequest) -> None:
        """Drop what the parser holds; see `AnsweringConnection.release`."""
        super().release(request)
        self._waiting.clear()
        self._body = None

    # --- requests ---

    async def _serve(self) -> None:
        """Serve the requests that arrive, in their order, until the connection ends: a task for each costs more."""
        try:
            while not self.closing:
                if not self._waiting:
                    self.serving = False
                    self.rest()
                    self._idle_until = self.loop.create_future()
                    await self._idle_until
                    continue
                self.last = self.last or self._server.last
                request = self._next()
                if isinstance(request, HttpProcessingError):
                    self._answer_error(request)
                    continue
                self.handling = True
                try:
                    answer = await self._server.handle(request)
                except Exception as error:  # noqa: BLE001 - a fault ends in an answer, or cuts off the one begun
                    answer = self._faulty(request, error)
                finally:
                    self.handling = False
                if not self._is_sent(request, answer):
                    self.closing = True
                    continue
                body = request.content
                if self._paused or not (body is EMPTY_PAYLOAD or body.is_eof()):
                    await self._finish(body)
                if not self.keeps_alive(request, answer):
                    self.closing = True
                elif self._upgraded:
                    self._decline_upgrade()
                del request, answer, body  # not kept while the connection rests, or its next answer is a stream
        finally:
            self._end_serving()

    def _end_serving(self) -> None:
        self.serving, self._task, self._idle_until = False, None, None
        if self._wire is None:
            self._server.connections.discard(self)
        elif self.closing:
            self.close()
        else:
            self.rest()

    def _next(self) -> ClientRequest | HttpProcessingError:
        """Take the next request from those that have arrived."""
        first = self._waiting.pop(0)
        self._refill()
        return first

    def _is_sent(self, request: ClientRequest, answer: Answer) -> bool:
        """Send what the handler has not sent of its answer; return False when it cannot be sent."""
        if self.transport is None:
            return False
        try:
            if not answer.sent:
                self.send(request, answer)
            elif not answer.ended:
                self.end_stream(request, answer)
        except ConnectionError:
            return False
        except ValueError as error:  # a header that would have become two; nothing was sent, and the log says so
            self._server.error(500, error)
            return False
        return True

    async def _finish(self, body: StreamReader) -> None:
        """Wait for the client to read its answer; then read and drop the rest of the body for a while.

        To close at once could lose the answer.
        """
        try:
            await self.drain()
            async with asyncio.timeout(_LINGER):
                while not body.is_eof():
                    await body.readany()
        except (ConnectionError, TimeoutError, HttpProcessingError, RequestPayloadError):
            self.closing = True

    def _faulty(self, request: ClientRequest, error: Exception) -> Answer:
        """Return the answer to a request whose handler has failed; break off one that has begun."""
        answer = self._server.error(500, error)
        answer.closing = True
        if request.answered:
            self.abort()
        return answer

    def _answer_error(self, error: HttpProcessingError) -> None:
        """Answer bytes that are no request."""
        self.closing = True
        answer = self._server.error(400, error)
        if self.transport is not None:
            self.transport.write(answer_head(answer, chunks=True, keep_alive=False) + (answer.body or b""))

    def _refill(self) -> None:
        """Free a place among the parsed requests; the parser has paused when there was none."""
        if self._parser is not None:
            self._parser.message_consumed()
            if self._buffer_paused and len(self._waiting) <= _QUEUED // 2:
                self._parse(b"")
                if len(self._waiting) < _QUEUED:
                    self._resume_reading_for_buffer()

    def _decline_upgrade(self) -> None:
        """Read on in HTTP after the answer to a request for another protocol (RFC 9110 section 7.8)."""
        if self._parser is None:
            return
        self._parser.set_upgraded(False)
        self._upgraded = False
        tail, self._tail = self._tail, b""
        self._parse(tail)

    async def shutdown(self, grace: float) -> None:
        """Close once the request in progress is answered; cancel it after `grace` seconds."""
        task, self.last = self._task, True
        if task is not None:
            _, running = await asyncio.wait([task], timeout=grace if self.serving else 0)
            if running:
                task.cancel()
                await asyncio.wait([task], timeout=_LINGER)
        self.close()
