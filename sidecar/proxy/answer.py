"""The backend's answer while it arrives: filled by a connection, read by whoever relays it.

It holds everything its reader needs, so the connection can serve the next request the moment the last
byte has arrived, while this answer is still being read.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from sidecar.errors import ErrorCode, Refusal
from sidecar.outcome import Event

if TYPE_CHECKING:
    from sidecar.proxy.connection import Connection

Headers = tuple[tuple[str, str], ...]

_BUFFER: Final = 256 * 1024  # unread bytes of an answer at which the backend is made to wait
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
