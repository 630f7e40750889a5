"""One HTTP/1.1 connection to the backend, and the answer that arrives on it.

The connection feeds httptools, which fills the `Answer` of the exchange in progress. The answer holds
everything its reader needs, so the connection can serve the next request the moment the last byte has
arrived, while this answer is still being read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, cast

import httptools

from sidecar.errors import ErrorCode, Refusal
from sidecar.model import Event

Headers = tuple[tuple[str, str], ...]

MAX_HEAD: Final = 64 * 1024
"""Bytes of a response head, interim responses included."""
_BUFFER: Final = 256 * 1024  # unread bytes of an answer at which the backend is made to wait
_UNFRAMED: Final = frozenset({204, 304})  # statuses that never have a body
_CODES: Final = {
    Event.TIMED_OUT: ErrorCode.BACKEND_TIMEOUT,
    Event.TOO_LARGE: ErrorCode.RESPONSE_TOO_LARGE,
}


class UpstreamError(Exception):
    """The backend gave no usable answer.

    Args:
        event: what became of the call, to settle by.
        log: a sentence for the operator's log; it holds nothing that the backend sent.
        code: the refusal to answer with; by default the one that belongs to the event.
    """

    def __init__(self, event: Event, log: str, code: ErrorCode | None = None) -> None:
        super().__init__(log)
        self.event = event
        self.log = log
        self.code = code or _CODES.get(event, ErrorCode.BACKEND_UNAVAILABLE)

    def refusal(self) -> Refusal:
        """The refusal that tells the caller."""
        return Refusal(self.code, log=self.log)


class Answer:
    """The backend's answer, from its head on. Close it, or read it to its end; both may be done.

    One reader at a time; a reader that is cancelled may be followed by another, nothing is lost.

    Attributes:
        status: the final HTTP status, 200 to 599 (interim 1xx are skipped).
        headers: names in lower case, values as Latin-1 text, in the order received.
        last_byte: when the backend last sent anything, on the event loop's clock.
    """

    __slots__ = (
        "_arrived",
        "_complete",
        "_connection",
        "_deadline",
        "_error",
        "_size",
        "_waiter",
        "headers",
        "last_byte",
        "status",
    )

    def __init__(self, connection: Connection, deadline: float | None) -> None:
        self.status = 0
        self.headers: Headers = ()
        self.last_byte = connection.loop.time()
        self._connection: Connection | None = connection
        self._arrived: list[bytes] = []
        self._size = 0  # bytes in _arrived
        self._complete = False
        self._error: UpstreamError | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._deadline = None if deadline is None else connection.loop.call_at(deadline, self._expire)

    def header(self, name: str) -> str | None:
        """The value of a header (lower-case name); repeated ones joined by commas, None if absent."""
        values = [value for key, value in self.headers if key == name]
        return ", ".join(values) if values else None

    @property
    def media_type(self) -> str:
        """The media type in lower case, without parameters; empty when there is none."""
        return (self.header("content-type") or "").partition(";")[0].strip().lower()

    async def read(self, limit: int) -> bytes:
        """The whole body, of at most `limit` bytes.

        Raises:
            UpstreamError: `TOO_LARGE` beyond the limit, `TIMED_OUT` at the deadline, `BACKEND_GONE`
                when the connection breaks, `UNUSABLE` for broken framing.
        """
        if self._declared() > limit:
            self.fail(UpstreamError(Event.TOO_LARGE, f"the answer declares more than {limit} bytes"))
        parts: list[bytes] = []
        size = 0
        while True:
            size += self._size
            parts += self._take()
            if size > limit:
                self.fail(UpstreamError(Event.TOO_LARGE, f"the answer is larger than {limit} bytes"))
            if self._error is not None:
                raise self._error
            if self._complete:
                return parts[0] if len(parts) == 1 else b"".join(parts)
            await self._wait(None)

    async def chunk(self, within: float | None = None) -> bytes | None:
        """The bytes that have arrived: `b""` at the clean end, None after `within` silent seconds.

        Silence loses nothing: call again. What arrived before a failure is returned before the
        failure is raised; the size of a stream is the reader's to count.

        Raises:
            UpstreamError: as `read`, without `TOO_LARGE`.
        """
        if not (self._arrived or self._complete or self._error):
            await self._wait(within)
        if self._arrived:
            return b"".join(self._take())
        if self._error is not None:
            raise self._error
        return b"" if self._complete else None

    def close(self) -> None:
        """Break the connection unless the answer has ended (in 2026-07-28 this cancels the call)."""
        if not (self._complete or self._error):
            self.fail(UpstreamError(Event.CLIENT_GONE, "the answer was closed before its end"))

    # --- between this answer, its connection and `Upstream` ---

    async def arrive(self) -> None:
        """Wait for the head."""
        while not (self.status or self._error):
            await self._wait(None)
        if self._error is not None:
            raise self._error

    def head(self, status: int, headers: Headers) -> None:
        """The head has arrived."""
        self.status = status
        self.headers = headers
        self._wake()

    def body(self, data: bytes) -> bool:
        """Bytes have arrived; says whether the backend should wait before it sends more."""
        self._arrived.append(data)
        self._size += len(data)
        self._wake()
        return self._size > _BUFFER

    def complete(self) -> None:
        """The answer has ended where its framing said."""
        self._complete = True
        self._detach()

    def fail(self, error: UpstreamError) -> None:
        """The answer cannot be had; its connection is broken. The first failure counts."""
        if self._complete or self._error is not None:
            self._error = self._error or error  # an answer that is too large, but whole, is refused too
            return
        self._error = error
        connection = self._connection
        self._detach()
        if connection is not None:
            connection.abandon()

    def _detach(self) -> None:
        self._connection = None
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        self._wake()

    def _expire(self) -> None:
        self.fail(UpstreamError(Event.TIMED_OUT, "the backend did not finish its answer in time"))

    def _declared(self) -> int:
        length = self.header("content-length")
        return int(length) if length is not None else 0  # the parser took nothing but digits

    def _take(self) -> list[bytes]:
        arrived, self._arrived, self._size = self._arrived, [], 0
        if self._connection is not None:
            self._connection.resume()
        return arrived

    async def _wait(self, within: float | None) -> None:
        """Until something happens, or `within` seconds have passed."""
        loop = asyncio.get_running_loop()
        self._waiter = waiter = loop.create_future()
        timer = None if within is None else loop.call_later(within, self._wake)
        try:
            await waiter
        finally:
            if self._waiter is waiter:  # else this reader was cancelled and the next one waits already
                self._waiter = None
            if timer is not None:
                timer.cancel()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Connection(asyncio.Protocol):
    """One connection; carries one exchange at a time.

    Args:
        loop: the event loop.
        released: called when an exchange has ended, with whether the connection may carry another.
        lost: called when the connection was closed while idle.
    """

    __slots__ = (
        "_answer",
        "_ended",
        "_fault",
        "_head_bytes",
        "_headers",
        "_keep_alive",
        "_lost",
        "_parser",
        "_paused",
        "_released",
        "_surplus",
        "_transport",
        "_until_eof",
        "idle_since",
        "loop",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        released: Callable[[Connection, bool], None],
        lost: Callable[[Connection], None],
    ) -> None:
        self.loop = loop
        self.idle_since = 0.0
        self._released = released
        self._lost = lost
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._answer: Answer | None = None
        self._paused = False
        self._reset_message()
        self._surplus = False  # bytes that belong to no answer have arrived
        self._fault: str | None = None  # what makes the answer unusable; callbacks cannot raise
        self._head_bytes = 0

    def _reset_message(self) -> None:
        self._headers: list[tuple[str, str]] = []
        self._ended = False
        self._until_eof = False
        self._keep_alive = False

    def start(self, data: bytes, deadline: float | None) -> Answer:
        """Send a request on an open connection, and return the answer that will arrive."""
        self._answer = answer = Answer(self, deadline)
        self._head_bytes = 0
        self._reset_message()
        if self._transport is not None:
            self._transport.write(data)
        return answer

    @property
    def open(self) -> bool:
        """Whether a request can be written."""
        return self._transport is not None and not self._transport.is_closing()

    def drop(self) -> None:
        """Close the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    def abandon(self) -> None:
        """The exchange failed: the connection cannot be used again."""
        self._answer = None
        self._released(self, False)

    def resume(self) -> None:
        """Let the backend send again."""
        if self._paused and self._transport is not None and not self._transport.is_closing():
            self._paused = False
            self._transport.resume_reading()

    # --- asyncio.Protocol ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance

    def data_received(self, data: bytes) -> None:
        """Feed the parser, then see whether the answer has ended."""
        answer = self._answer
        if answer is None:  # nobody asked for anything
            self._surplus = True
            self.drop()
            return
        answer.last_byte = self.loop.time()
        if not answer.status:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._fault = "the backend switched protocols"
        except httptools.HttpParserError:
            self._surplus = True
            self._fault = self._fault or "the backend's answer is not well-formed HTTP"
        if self._answer is answer:  # else a callback's waiter closed it
            self._conclude(answer)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is closed: the end of an answer without a length, else its failure."""
        self._transport = None
        answer = self._answer
        if answer is None:
            self._lost(self)
        elif answer.status and self._until_eof and exc is None:
            self._finish(answer, reusable=False)
        else:
            answer.fail(UpstreamError(Event.BACKEND_GONE, "the backend closed the connection before its answer ended"))

    def _conclude(self, answer: Answer) -> None:
        if self._ended:
            reusable = self._keep_alive and not self._surplus and self.open
            if self._transport is not None and self._transport.get_write_buffer_size():
                reusable = False  # answered before the request was read
            self._finish(answer, reusable=reusable)
        elif self._fault is not None:
            answer.fail(UpstreamError(Event.UNUSABLE, self._fault))
        elif not answer.status and self._head_bytes > MAX_HEAD:
            answer.fail(UpstreamError(Event.UNUSABLE, "the head of the backend's answer is too large"))

    def _finish(self, answer: Answer, *, reusable: bool) -> None:
        self.resume()
        self._answer = None
        answer.complete()
        self._released(self, reusable)

    # --- httptools ---

    def on_message_begin(self) -> None:
        """A status line begins."""
        if self._ended:
            self._surplus = True

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header, or one trailer, which is dropped."""
        if self._answer is not None and not self._answer.status and not self._ended:
            self._headers.append((name.decode("latin-1").lower(), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        """The head is complete; judge it before anybody sees it."""
        answer, status = self._answer, self._parser.get_status_code()
        if answer is None or self._ended or status < 200:
            return
        headers = tuple(self._headers)
        codings = [value.strip().lower() for name, value in headers if name == "transfer-encoding"]
        if status > 599:
            self._fault = "the backend answered with a status outside 200 to 599"
        elif codings not in ([], ["chunked"]):
            self._fault = "the backend's answer has a transfer coding other than chunked"
        elif sum(len(name) + len(value) for name, value in headers) > MAX_HEAD:
            self._fault = "the head of the backend's answer is too large"
        if self._fault is not None:
            return
        framed = codings or status in _UNFRAMED or any(name == "content-length" for name, _ in headers)
        self._until_eof = not framed
        self._keep_alive = self._parser.should_keep_alive()
        answer.head(status, headers)

    def on_body(self, data: bytes) -> None:
        """Bytes of the body."""
        answer = self._answer
        if answer is None or self._ended or self._fault is not None:
            return
        wait = answer.body(data)
        if wait and not self._paused and self._transport is not None and not self._transport.is_closing():
            self._paused = True
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        """The message has ended; an interim one is forgotten."""
        if self._answer is not None and self._answer.status:
            self._ended = True
        else:
            self._headers = []
