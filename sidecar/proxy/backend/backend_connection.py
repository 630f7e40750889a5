"""One HTTP/1.1 connection to the backend: httptools reads what arrives into the answer in progress.

Callbacks of the parser cannot raise, so what they find wrong is noted and judged after each feed.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Callable
from typing import Final, cast

import httptools

from sidecar.config.certificates import tls_words
from sidecar.outcome import Event
from sidecar.proxy.answer import Answer, UpstreamError

MAX_HEAD: Final = 64 * 1024
"""Bytes of a response head, interim responses included."""
# Alerts with which a TLS server refuses a client (RFC 8446 section 6.2).
_REFUSING: Final = re.compile(r".*_ALERT_(.*CERTIFICATE.*|UNKNOWN_CA|ACCESS_DENIED|HANDSHAKE_FAILURE|DECRYPT_ERROR)")
_UNFRAMED: Final = frozenset({204, 304})  # statuses that never have a body


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
        "_gone",
        "_head_bytes",
        "_headers",
        "_heard",
        "_keep_alive",
        "_lost",
        "_parser",
        "_paused",
        "_released",
        "_surplus",
        "_transport",
        "_until_eof",
        "epoch",
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
        self.epoch = 0
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
        self._heard = False  # whether the backend ever sent anything
        self._gone: asyncio.Future[Exception | None] | None = None

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

    async def hang_up(self) -> ssl.SSLError | None:
        """Close the connection in order, and wait for the backend to do so; what TLS had against it, if anything."""
        if self._transport is None:
            return None
        self._gone = self.loop.create_future()
        self._transport.close()
        try:
            error = await self._gone
        finally:
            self.drop()
        return error if isinstance(error, ssl.SSLError) else None

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
        self._heard = True
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
        if self._gone is not None and not self._gone.done():
            self._gone.set_result(exc)
        answer = self._answer
        if answer is None:
            self._lost(self)
        elif isinstance(exc, ssl.SSLError) and not self._heard and _REFUSING.fullmatch(exc.reason or ""):
            # In TLS 1.3 the request follows a handshake that only this side takes for complete. The
            # backend did not: it has read nothing of what came behind.
            answer.fail(UpstreamError(Event.NOT_SENT, f"the backend refuses this client: {tls_words(exc)}"))
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
        if self._answer is None or self._ended:
            return
        if self._answer.status:
            # One that is named like framing would still frame the next answer.
            self._surplus = True
        else:
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
