"""Answer of the backend while it arrives: a connection fills it, a relay reads it.

It holds everything its reader needs, so the connection can serve the next request the moment the last
byte has arrived, while this answer is still being read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import lru_cache
from typing import Final, Protocol

from sidecar.errors import ErrorCode, Refusal
from sidecar.outcome import Event
from sidecar.proxy.memory import MemoryLease

Headers = tuple[tuple[str, str], ...]
Fields = Mapping[bytes, bytes]

_BUFFER: Final = 256 * 1024  # unread bytes of an answer at which the backend is made to wait
_NO_FIELDS: Final[Fields] = {}
_CODES: Final = {
    Event.TIMED_OUT: ErrorCode.BACKEND_TIMEOUT,
    Event.TOO_LARGE: ErrorCode.RESPONSE_TOO_LARGE,
}


class AnswerSource(Protocol):
    """Connection that an answer arrives on."""

    loop: asyncio.AbstractEventLoop

    def resume(self) -> None:
        """Resume reading from the backend."""

    def abandon(self) -> None:
        """Close the connection; its answer is not read to the end."""


class UpstreamError(Exception):
    """Failure of the backend to give a usable answer.

    Args:
        event: the outcome of the call, to settle by.
        log: a sentence for the operator's log; it holds nothing that the backend sent.
        code: the refusal to answer with; by default the one that belongs to the event.
        retry_after: seconds after which the backend asks for a retry.
    """

    def __init__(
        self, event: Event, log: str, code: ErrorCode | None = None, *, retry_after: int | None = None
    ) -> None:
        super().__init__(log)
        self.event = event
        self.log = log
        self.code = code or _CODES.get(event, ErrorCode.BACKEND_UNAVAILABLE)
        self.retry_after = retry_after

    def refusal(self) -> Refusal:
        """Build the refusal to answer with."""
        return Refusal(self.code, log=self.log, retry_after=self.retry_after)


class AnswerMemoryError(UpstreamError):
    """Lack of memory for the answer. The call was made, and is charged as for a too large answer."""

    def __init__(self) -> None:
        super().__init__(Event.TOO_LARGE, "limits.memory is reached by the answer", ErrorCode.OVERLOADED)

    def refusal(self) -> Refusal:
        """Build the refusal; it says that a retry is a second call."""
        detail = "This server is busy and could not take in the answer; the call was made, and may be charged."
        return Refusal(self.code, detail, log=self.log)


class BackendAnswer:
    """Answer of the backend, from its head on. Close it, or read it to its end, or both.

    It has one reader at a time. When a reader is cancelled, another may follow: nothing is lost.

    Attributes:
        deadline: when it must have ended, on the event loop's clock; None never.
        status: the final HTTP status, 200 to 599 (interim 1xx are skipped).
        fields: the headers as they were sent, names in lower case; the values of repeated ones are joined by commas.
        declared: bytes of the body by its `Content-Length`; 0 without one.
        last_byte: when the backend last sent anything, on the event loop's clock.
        memory: holds all arrived bytes, read or not; the reader releases the bytes that it has processed.
        unread: number of bytes that have arrived and are not read yet.
    """

    __slots__ = (
        "_arrived",
        "_complete",
        "_connection",
        "_error",
        "_loop",
        "_waiter",
        "_whole",
        "deadline",
        "declared",
        "fields",
        "last_byte",
        "memory",
        "status",
        "unread",
    )

    def __init__(self, connection: AnswerSource, deadline: float | None, memory: MemoryLease | None = None) -> None:
        self._loop = connection.loop
        self.deadline = deadline
        self.status = 0
        self.fields: Fields = _NO_FIELDS
        self.declared = 0
        self.last_byte = 0.0
        self._connection: AnswerSource | None = connection
        self.memory = memory
        # One buffer: as a list, an answer in chunks of a few bytes would take a multiple of its size.
        self._arrived: bytes | bytearray = b""
        self.unread = 0
        self._whole = False  # a reader wants all of it, so the backend need not wait
        self._complete = False
        self._error: UpstreamError | None = None
        self._waiter: asyncio.Future[None] | None = None

    @property
    def headers(self) -> Headers:
        """All headers, values as Latin-1 text, in the order received."""
        return tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in self.fields.items())

    def header(self, name: str) -> str | None:
        """Return the value of a header (lower-case name); repeated ones are joined by commas, None if absent."""
        value = self.fields.get(name.encode())
        return None if value is None else value.decode("latin-1")

    @property
    def media_type(self) -> str:
        """Media type in lower case, without parameters; empty when there is none."""
        return _media_type(self.fields[b"content-type"]) if b"content-type" in self.fields else ""

    @property
    def arrived(self) -> bytes | bytearray | None:
        """The whole body, which stays unread; None unless all of it has arrived without a failure."""
        return self._arrived if self._complete and self._error is None else None

    async def read(self, limit: int) -> bytes:
        """Read the whole body, of at most `limit` bytes.

        Raises:
            UpstreamError: `TOO_LARGE` beyond the limit, `TIMED_OUT` at the deadline, `BACKEND_GONE`
                when the connection breaks, `UNUSABLE` for broken framing.
            AnswerMemoryError: there is no room for it.
        """
        if self.declared > limit:
            self.fail(UpstreamError(Event.TOO_LARGE, f"the answer declares more than {limit} bytes"))
        if not self._complete:
            self._expect_rest()
        while True:
            if self.unread > limit:
                self.fail(UpstreamError(Event.TOO_LARGE, f"the answer is larger than {limit} bytes"))
            if self._error is not None:
                raise self._error
            if self._complete:
                return self._take()
            await self._woken()

    async def chunk(self, within: float | None = None) -> bytes | None:
        """Return the bytes that have arrived: `b""` at the clean end, None after `within` silent seconds.

        Silence loses nothing: call again. What arrived before a failure is returned before the
        failure is raised. The reader counts the size of a stream.

        Raises:
            UpstreamError: as `read`, without `TOO_LARGE`.
        """
        waiter = self.waiting()
        if waiter is not None:
            timer = None if within is None else self._loop.call_later(within, self.wake)
            try:
                await waiter
            finally:
                if timer is not None:
                    timer.cancel()
        return self.taken()

    def waiting(self) -> asyncio.Future[None] | None:
        """Return what to wait for until `taken` has anything to return or to raise; None when it has.

        It ends without anything after `wake`.
        """
        return None if self._arrived or self._complete or self._error else self._woken()

    def taken(self) -> bytes | None:
        """Return the bytes that have arrived, as `chunk` does, without waiting."""
        if self._arrived:
            return self._take()
        if self._error is not None:
            raise self._error
        return b"" if self._complete else None

    def forget_head(self) -> None:
        """Drop the headers of a stream that may be open for hours."""
        self.fields = _NO_FIELDS

    def wake(self) -> None:
        """Let a reader that waits in `chunk` return at once, with None where no bytes have arrived."""
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def close(self) -> None:
        """Break the connection unless the answer has ended (in 2026-07-28 this cancels the call)."""
        if not (self._complete or self._error):
            self.fail(UpstreamError(Event.CLIENT_GONE, "the answer was closed before its end"))

    # --- between this answer, its connection and the pool; the connection wakes the reader once for all it received ---

    def arriving(self) -> asyncio.Future[None] | None:
        """Return what to wait for until the head has arrived; None once it has.

        Raises:
            UpstreamError: the exchange has failed.
        """
        if self._error is not None:
            raise self._error
        return None if self.status else self._woken()

    def head(self, status: int, fields: Fields) -> None:
        """Store the head that has arrived."""
        self.status = status
        self.fields = fields
        if b"content-length" in fields:
            self.declared = int(fields[b"content-length"])  # the parser accepts digits only

    def body(self, data: bytes) -> bool:
        """Add bytes that have arrived; True when the backend should wait before it sends more."""
        size = len(data)
        if self.memory is not None and not self.memory.grow(size):
            self.fail(AnswerMemoryError())
            return False
        if not self.unread:
            self._arrived = data
        else:
            if isinstance(self._arrived, bytes):
                self._arrived = bytearray(self._arrived)
            self._arrived += data
        self.unread += size
        return self.unread > _BUFFER and not self._whole

    def complete(self) -> None:
        """End the answer where its framing says."""
        self._complete = True
        self._connection = None
        self.wake()

    def fail(self, error: UpstreamError) -> None:
        """Fail the answer and break its connection. The first failure counts."""
        if self._complete or self._error is not None:
            self._error = self._error or error  # an answer that is too large, but complete, is refused too
            return
        self._error = error
        connection, self._connection = self._connection, None
        self.wake()
        if connection is not None:
            connection.abandon()

    def _expect_rest(self) -> None:
        """Let the backend send the rest of a body that is read as a whole, where there is room for it."""
        if self.memory is not None and not self.memory.fits(self.declared - self.unread):
            self.fail(AnswerMemoryError())
        self._whole = True
        if self._connection is not None:
            self._connection.resume()

    def _take(self) -> bytes:
        arrived, self._arrived, self.unread = self._arrived, b"", 0
        if self._connection is not None:
            self._connection.resume()
        return bytes(arrived)

    def _woken(self) -> asyncio.Future[None]:
        """Return a future that ends with the next head, bytes, end or failure; a cancelled reader may leave its own."""
        self._waiter = waiter = self._loop.create_future()
        return waiter


@lru_cache(16)  # a backend has one or two
def _media_type(value: bytes) -> str:
    return value.decode("latin-1").partition(";")[0].strip().lower()
