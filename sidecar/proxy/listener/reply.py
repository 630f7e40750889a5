"""Reply to the client of one exchange: a whole answer or a stream; nothing once it has disconnected."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from sidecar.protocol.sse import sse
from sidecar.proxy.listener.answering_connection import ClientRequest
from sidecar.proxy.listener.http_answers import Answer, Header

SERVER: Final = ("Server", "mcp-sidecar")
"""The `Server` header of every answer to a client."""

STREAM_HEADERS: Final = (
    ("Content-Type", "text/event-stream"),
    ("Cache-Control", "no-store"),
    ("X-Accel-Buffering", "no"),
)
"""Headers of every stream to a client."""

_ALWAYS: Final[tuple[Header, ...]] = (SERVER,)
_LAST_WORDS: Final = 1.0  # seconds beyond a call's deadline, for the message that it is over
_LARGE: Final = (
    16 * 1024
)  # bytes of an answer that may stay with an idle connection, and that the client need not read in time


class ClientReply:
    """Answer to the client. After `disconnect` every write is dropped, so the backend's answer can be read to its end.

    Args:
        request: the client's request.
        request_id: the sidecar's id of the request, for every answer.
        stall: seconds for a client to read the written bytes before it counts as disconnected.

    Attributes:
        disconnected: True once the client has disconnected.
        response: the answer so far; None before there is one.
        started: True once the head of a stream is sent: an error must then be sent inside the stream.
        early: True for a stream that has begun before the backend was asked: a whole answer becomes its last event.
        wrote: time of the last write, on the event loop's clock, also after the client has disconnected.
        deadline: loop time by which a call has to be over, its client's reading included: a client
            that reads slowly must not outlive the lease of its own call. None for other requests.
    """

    __slots__ = (
        "_always",
        "_closing",
        "_connection",
        "_request",
        "_request_id",
        "_stall",
        "deadline",
        "disconnected",
        "early",
        "response",
        "started",
        "wrote",
    )

    def __init__(self, request: ClientRequest, request_id: str, stall: float) -> None:
        self._request = request
        self._connection = request.connection
        self._always = _ALWAYS
        self._request_id = request_id
        self._stall = stall
        self._closing = False
        self.disconnected = False
        self.started = False
        self.early = False
        self.wrote = 0.0
        self.deadline: float | None = None
        self.response: Answer | None = None

    @property
    def unsent(self) -> int:
        """Number of bytes that are written and wait for the client to read."""
        return self._connection.unsent

    def add_header(self, name: str, value: str) -> None:
        """Add a header to the answer that follows."""
        self._always += ((name, value),)

    def add_headers(self, headers: tuple[Header, ...]) -> None:
        """Add headers to the answer that follows."""
        self._always += headers

    def close_after(self) -> None:
        """Close the connection after the answer: further bytes on it may be misread as a request."""
        self._closing = True

    def answer(self, status: int, headers: Iterable[Header], body: bytes) -> None:
        """Set the whole answer; the server sends it when the handler returns. In an early stream it is the last event.

        There its status and headers are lost, as the head is sent.
        """
        if self.early and self.response is not None:
            if not self.response.ended:
                self.response.body = sse.encode_document(body) if body else b""
            return
        self.response = Answer(status, tuple(headers) + self._always, body, self._request_id, self._closing)

    async def deliver(self, least: int = _LARGE) -> None:
        """Send an answer of at least `least` bytes now and not when the handler returns.

        The client must read it in time; then it is released. The same holds for a small one behind answers that the
        client has not read yet.
        """
        response = self.response
        if self.early:
            await self.end()
            return
        if self.disconnected or response is None or response.sent:
            return
        if len(response.body or b"") < least and not self._connection.unsent:
            return
        try:
            self._connection.send(self._request, response)
            await self._drained()
        except ConnectionError:
            self.disconnect()
        response.body = None

    async def start(self, status: int, headers: Iterable[Header], *, last: bool = False) -> None:
        """Send the head of a stream.

        Args:
            status: its HTTP status.
            headers: its headers.
            last: True when it may be open for hours: the connection serves nothing after it, and holds nothing for it.
        """
        connection = self._connection
        self.wrote = connection.loop.time()
        if self.disconnected or self.started:
            return
        response = Answer(status, (*headers, *self._always), None, self._request_id)
        response.closing = self._closing or last
        try:
            connection.begin_stream(self._request, response)
            if last:
                connection.release(self._request)
        except ConnectionError:
            self.disconnect()
        self.response = response
        self.started = True

    async def start_early(self) -> None:
        """Send the head of an event stream, before it is known how the call is answered."""
        await self.start(200, STREAM_HEADERS)
        self.early = True

    async def write(self, data: bytes) -> None:
        """Write to the stream, waiting while the client is slow; disconnect a client that stalls."""
        connection = self._connection
        self.wrote = connection.loop.time()
        if self.disconnected or self.response is None:
            return
        try:
            connection.write_stream(self._request, data)
            await self._drained()
        except ConnectionError:
            self.disconnect()

    async def end(self) -> None:
        """End the stream."""
        if self.disconnected or self.response is None or self.response.ended:
            return
        try:
            self._connection.end_stream(self._request, self.response)
            await self._drained()
        except ConnectionError:
            self.disconnect()

    async def _drained(self) -> None:
        """Wait while the client is slow to read; disconnect one that stalls."""
        if not self._connection.writing_paused:
            return
        loop = self._connection.loop
        until = loop.time() + self._stall
        if self.deadline is not None:
            until = min(until, self.deadline + _LAST_WORDS)
        timer = loop.call_at(until, self.disconnect)
        try:
            await self._connection.drain()
        finally:
            timer.cancel()

    def disconnect(self) -> None:
        """Treat the client as disconnected and abort its connection, so that a stalled one holds nothing."""
        self.disconnected = True
        self._connection.abort()
