"""Writing half of a client's connection: answers in one write, and an end to those that the client does not read."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final, cast

from aiohttp import StreamReader
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_parser import HttpRequestParser, RawRequestMessage
from aiohttp.streams import EMPTY_PAYLOAD
from multidict import CIMultiDict, CIMultiDictProxy

from sidecar.identity.claims import bearer
from sidecar.proxy.listener.http_answers import LAST_CHUNK, Answer, answer_head, chunk
from sidecar.proxy.listener.request_heads import Arrived, KnownHeads, RequestHead, spent_head, usual_token

_SPENT: Final = spent_head()
_NO_HEADERS: Final[CIMultiDictProxy[str]] = CIMultiDictProxy(CIMultiDict())


class ClientRequest:
    """Request of a client.

    Args:
        head: the facts of its head.
        message: the parsed head; None for a known one, which is parsed when a header is asked for.
        content: the body, as it arrives.
        connection: the client's connection.
        data: a whole request with a known head, as it has arrived; its content is empty.
        arrival: the head's place in these bytes, or what a new head can be remembered by.

    Attributes:
        head: as given, until it is forgotten.
        method: as sent.
        content_length: its `Content-Length` in bytes; None without one.
        keeps_alive: True when the client lets the connection serve another request.
        chunks: True when the client reads chunked answers, which HTTP/1.0 does not have.
        answered: True once the head of its answer is written.
        body: the whole body of a request with a known head, until it is read.
    """

    __slots__ = (
        *("_arrival", "_data", "_headers", "_raw_headers", "_token", "answered", "body", "chunks", "connection"),
        *("content", "content_length", "head", "keeps_alive", "method"),
    )

    def __init__(
        self,
        head: RequestHead,
        message: RawRequestMessage | None,
        content: StreamReader,
        connection: AnsweringConnection,
        data: bytes = b"",
        arrival: Arrived | None = None,
    ) -> None:
        self.head = head
        self.method = head.method
        self.keeps_alive = head.keeps_alive
        self.chunks = head.chunks
        self.answered = False
        self.content = content
        self.connection = connection
        self._arrival = arrival
        self._data = data
        self._headers: CIMultiDictProxy[str] | None = None
        self._raw_headers: tuple[tuple[bytes, bytes], ...] = ()
        self._token: str | None = None
        self.body: bytes | None = None
        self.content_length: int | None = None
        if message is not None:
            self._headers, self._raw_headers = message.headers, message.raw_headers
            length = message.headers.get("Content-Length")
            self.content_length = None if length is None else int(length)  # the parser accepts digits only
        elif arrival is not None:
            self.body, self.content_length = data[arrival.end :], arrival.length

    @property
    def raw_path(self) -> str:
        """Request target, as sent."""
        return self.head.raw_path

    @property
    def version(self) -> tuple[int, int]:
        """HTTP version, such as (1, 1)."""
        return self.head.version

    @property
    def headers(self) -> CIMultiDictProxy[str]:
        """Its headers, without regard to case."""
        return self._headers if self._headers is not None else self._parsed().headers

    @property
    def raw_headers(self) -> tuple[tuple[bytes, bytes], ...]:
        """Names and values as bytes, in the order sent."""
        return self._raw_headers if self._headers is not None else self._parsed().raw_headers

    @property
    def can_read_body(self) -> bool:
        """True while a part of its body is not read."""
        return not self.content.at_eof()

    def access_token(self) -> str:
        """Return its access token.

        Raises:
            Refusal: `token_missing` or `token_invalid`; see `bearer`.
        """
        if self._token is None:
            usual, arrival = None, self._arrival
            if self._data and arrival is not None:
                usual = arrival.token or usual_token(self._data, arrival.end)
            self._token = bearer(self.headers.getall("Authorization", ())) if usual is None else usual.decode()
        return self._token

    def remember_head(self) -> None:
        """Remember a new head, which the gates have accepted."""
        arrival = self._arrival
        if arrival is None or (self._data and arrival.pattern is None) or not self.head.recurs:
            return
        values = None if self._data else self.headers.getall("Authorization", ())
        self.connection.heads.learn(arrival, self.head, values)

    def forget_head(self) -> None:
        """Drop the headers, and what has arrived."""
        self.head, self._headers, self._raw_headers, self._data = _SPENT, _NO_HEADERS, (), b""
        self._arrival, self._token, self.body, self.content = None, None, None, EMPTY_PAYLOAD

    def _parsed(self) -> RawRequestMessage:
        """Parse a known head: an unusual call needs its headers."""
        end = 0 if self._arrival is None else self._arrival.end
        messages, _, _ = HttpRequestParser(self.connection, self.connection.loop, 0).feed_data(self._data[:end])
        message: RawRequestMessage = messages[0][0]
        self._headers, self._raw_headers = message.headers, message.raw_headers
        return message


class AnsweringConnection(BaseProtocol):
    """Connection with its answers, and two timers: for a client that asks nothing and one that reads nothing.

    Args:
        loop: the event loop.
        idle: seconds until a connection closes that is idle, or on which the client reads nothing.
        heads: those of all connections of a listener that were accepted before.

    Attributes:
        loop: as given.
        heads: as given.
        closing: True when no further request is read.
        last: True when the answer in progress is the last one, because the process ends.
        serving: True from the arrival of a request until its answer is written and its body read.
        handling: True while a handler works on it, which has its own timeouts for a client that reads slowly.
    """

    __slots__ = (
        "_idle",
        "_idle_timer",
        "_since",
        "_stall",
        "_unsent",
        "_wire",
        "closing",
        "handling",
        "heads",
        "last",
        "loop",
        "serving",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, idle: float, heads: KnownHeads) -> None:
        super().__init__(loop)
        self.loop = loop
        self.heads = heads
        self.closing = False
        self.last = False
        self.serving = False
        self.handling = False
        self._idle = idle
        self._wire: asyncio.Transport | None = None  # until it is lost; `transport` only until it is closed
        self._since = 0.0  # when the connection became idle, on the event loop's clock
        self._idle_timer: asyncio.TimerHandle | None = None
        self._stall: asyncio.TimerHandle | None = None
        self._unsent = 0  # bytes, when that timer began

    def parse_with(self, parser: HttpRequestParser) -> None:
        """Set the parser of the requests; it needs the connection, so it is made after it."""
        self._parser = parser

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take over the connection, and wait for its first request."""
        self._wire = cast(asyncio.Transport, transport)
        super().connection_made(transport)
        self.rest()

    def connection_lost(self, exc: BaseException | None) -> None:
        """End the timers."""
        self._wire = self._parser = None
        self.closing = True
        for timer in (self._stall, self._idle_timer):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Wait for the client to read, within bounds."""
        super().pause_writing()
        self._watch()

    @property
    def unsent(self) -> int:
        """Number of bytes that are written and wait for the client to read."""
        return 0 if self._wire is None else self._wire.get_write_buffer_size()

    @property
    def peer_certificate(self) -> Mapping[str, Any] | None:
        """Verified certificate of the client, as `SSLSocket.getpeercert` describes it; None without one."""
        return None if self._wire is None else self._wire.get_extra_info("peercert") or None

    def close(self) -> None:
        """Close the connection once what was written is sent; a client that does not read it is disconnected."""
        self.closing = True
        if self.transport is not None:
            self.transport.close()
            self.transport = None
        self._watch()

    def abort(self) -> None:
        """Disconnect the client at once."""
        if self._wire is not None:
            self._wire.abort()

    def rest(self) -> None:
        """Wait for the next request."""
        self._since = self.loop.time()
        if self._idle_timer is None:
            self._idle_timer = self.loop.call_later(self._idle, self._check_idle)

    def _check_idle(self) -> None:
        self._idle_timer = None
        if self.serving or self._wire is None:
            return  # `rest` follows
        left = self._since + self._idle - self.loop.time()
        if left <= 0:
            self.close()
        else:
            self._idle_timer = self.loop.call_later(left, self._check_idle)

    def _watch(self) -> None:
        """Bound the wait for bytes that the client does not read."""
        if self._stall is not None:
            self._stall.cancel()
        self._stall = None
        if self._wire is not None:
            self._unsent = self._wire.get_write_buffer_size()
            self._stall = self.loop.call_later(self._idle, self._check_progress)

    def _check_progress(self) -> None:
        """Disconnect a client that has read nothing since the last check."""
        self._stall = None
        if self._wire is None or not (self._paused or self.closing):
            return
        if not self.handling and self._wire.get_write_buffer_size() >= self._unsent:
            self._wire.abort()
        else:
            self._watch()

    # --- answers ---

    def send(self, request: ClientRequest, answer: Answer) -> None:
        """Write a whole answer.

        Raises:
            ConnectionError: the connection is lost.
            ValueError: a header of the answer holds a line break or NUL; nothing was sent.
        """
        head = answer_head(answer, chunks=request.chunks, keep_alive=self.keeps_alive(request, answer))
        request.answered = answer.sent = answer.ended = True
        self._open().write(head if request.method == "HEAD" or not answer.body else head + answer.body)

    def begin_stream(self, request: ClientRequest, answer: Answer) -> None:
        """Write the head of a stream.

        Raises:
            ConnectionError: the connection is lost.
            ValueError: as for `send`.
        """
        if not request.chunks:
            answer.closing = True  # its end is the end of the connection
        head = answer_head(answer, chunks=request.chunks, keep_alive=self.keeps_alive(request, answer))
        request.answered = answer.sent = True
        self._open().write(head)

    def write_stream(self, request: ClientRequest, data: bytes) -> None:
        """Write a part of a stream; nothing for an empty one, which would end it.

        Raises:
            ConnectionError: the connection is lost.
        """
        if data:
            self._open().write(chunk(data) if request.chunks else data)

    def end_stream(self, request: ClientRequest, answer: Answer) -> None:
        """Write the end of a stream, with the last part where the answer has one.

        Raises:
            ConnectionError: the connection is lost.
        """
        answer.ended = True
        if answer.body:
            self.write_stream(request, answer.body)
        if request.chunks:
            self._open().write(LAST_CHUNK)

    def release(self, request: ClientRequest) -> None:
        """Drop the parser and the head of a request whose answer is a stream for hours: they are half of its memory.

        The connection serves no further request.
        """
        self._parser = None
        request.forget_head()
        if self._idle_timer is not None:
            self._idle_timer.cancel()
            self._idle_timer = None

    async def drain(self) -> None:
        """Wait while the client is slow to read.

        Raises:
            ConnectionError: the connection is lost.
        """
        if self._paused:
            await self._drain_helper()

    def keeps_alive(self, request: ClientRequest, answer: Answer) -> bool:
        """Return True when the connection serves another request after this one."""
        return request.keeps_alive and not (answer.closing or self.closing or self.last)

    def _open(self) -> asyncio.Transport:
        transport = self.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client has disconnected")
        return transport
