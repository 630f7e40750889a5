"""HTTP/1.1 connection to the backend: httptools parses arriving bytes into the answer, unless its head is known.

Callbacks of the parser cannot raise, so a fault that they find is stored and handled after each feed.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Callable
from itertools import chain
from typing import Final, cast

import httptools

from sidecar.config.tls_files import describe_tls_error
from sidecar.outcome import Event
from sidecar.proxy.backend.answer import BackendAnswer, UpstreamError
from sidecar.proxy.backend.answer_heads import KnownAnswers
from sidecar.proxy.memory import MemoryLease

MAX_HEAD: Final = 64 * 1024
"""Bytes of a response head, interim responses included."""
# Alerts with which a TLS server refuses a client (RFC 8446 section 6.2).
_REFUSING: Final = re.compile(r".*_ALERT_(.*CERTIFICATE.*|UNKNOWN_CA|ACCESS_DENIED|HANDSHAKE_FAILURE|DECRYPT_ERROR)")
_LARGE_HEAD: Final = "the head of the backend's answer is too large"
_NO_FIELDS: Final[dict[bytes, bytes]] = {}
_UNFRAMED: Final = frozenset({204, 304})  # statuses that never have a body


class BackendConnection(asyncio.Protocol):
    """Connection to the backend; it carries one exchange at a time.

    Args:
        loop: the event loop.
        released: called when an exchange has ended, with whether the connection may carry another.
        lost: called when the connection was closed while idle.
        known: the head of the last usual answer.
    """

    __slots__ = (
        "_alarm",
        "_alarm_at",
        "_answer",
        "_ended",
        "_fault",
        "_fields",
        "_head_bytes",
        "_heard",
        "_keep_alive",
        "_known",
        "_lost",
        "_parser",
        "_paused",
        "_peer_closed",
        "_released",
        "_repeated",
        "_surplus",
        "_transport",
        "_until_eof",
        "epoch",
        "expires",
        "idle_since",
        "loop",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        released: Callable[[BackendConnection, bool], None],
        lost: Callable[[BackendConnection], None],
        known: KnownAnswers,
    ) -> None:
        self.loop = loop
        self.idle_since = 0.0
        self.epoch = 0
        self.expires = 0.0
        self._released = released
        self._lost = lost
        self._known = known
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._answer: BackendAnswer | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = 0.0
        self._paused = False
        self._fields: dict[bytes, bytes] = {}  # headers of the head that is arriving, names in lower case
        self._repeated: list[tuple[bytes, bytes]] | None = None  # headers whose name is in `_fields` already
        self._ended = False
        self._until_eof = False
        self._keep_alive = False
        self._surplus = False  # bytes that belong to no answer have arrived
        self._fault: str | None = None  # why the answer is unusable; callbacks cannot raise
        self._head_bytes = 0
        self._heard = False  # True once the backend has sent anything
        self._peer_closed: asyncio.Future[Exception | None] | None = None

    def start(self, data: bytes, deadline: float | None, memory: MemoryLease | None = None) -> BackendAnswer:
        """Send a request on an open connection, and return the answer that will arrive."""
        self._answer = answer = BackendAnswer(self, deadline, memory)
        self._head_bytes = 0
        self._fields, self._repeated = {}, None
        self._ended = self._until_eof = self._keep_alive = False
        if deadline is None:
            if self._alarm is not None:  # of an earlier exchange; this one may be open for hours
                self._alarm.cancel()
                self._alarm = None
        elif self._alarm is None or deadline < self._alarm_at:
            self._set_alarm(deadline)
        if self._transport is not None:
            self._transport.write(data)
        return answer

    def _set_alarm(self, at: float) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm, self._alarm_at = self.loop.call_at(at, self._on_alarm), at

    def _on_alarm(self) -> None:
        """Fail the answer at its deadline. One timer serves many exchanges: it is set again for a later deadline."""
        answer, self._alarm = self._answer, None
        if answer is None or answer.deadline is None:
            return
        if answer.deadline > self._alarm_at:
            self._set_alarm(answer.deadline)
        else:
            answer.fail(UpstreamError(Event.TIMED_OUT, "the backend did not finish its answer in time"))

    @property
    def open(self) -> bool:
        """True while a request can be written."""
        return self._transport is not None and not self._transport.is_closing()

    def drop(self) -> None:
        """Close the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    async def close_gracefully(self) -> ssl.SSLError | None:
        """Close the connection in order, wait for the backend to close it too, and return the TLS error, if any."""
        if self._transport is None:
            return None
        self._peer_closed = self.loop.create_future()
        self._transport.close()
        try:
            error = await self._peer_closed
        finally:
            self.drop()
        return error if isinstance(error, ssl.SSLError) else None

    def abandon(self) -> None:
        """End a failed exchange; the connection cannot be used again."""
        self._answer = None
        self._released(self, False)

    def resume(self) -> None:
        """Let the backend send again."""
        if self._paused and self._transport is not None and not self._transport.is_closing():
            self._paused = False
            self._transport.resume_reading()

    # --- asyncio.Protocol ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the transport."""
        self.idle_since = self.loop.time()
        self._transport = cast(asyncio.Transport, transport)  # uvloop's transport does not inherit from it

    def data_received(self, data: bytes) -> None:
        """Feed the parser, then see whether the answer has ended."""
        answer = self._answer
        self._heard = True
        if answer is None:  # no request is in progress
            self._surplus = True
            self.drop()
            return
        answer.last_byte = self.idle_since = self.loop.time()
        if self._head_bytes:
            self._parse(answer, data)
        elif (usual := self._known.read(data)) is not None:
            self._keep_alive = self._ended = True
            answer.head(200, usual[0])
            if usual[1]:
                answer.body(usual[1])
        else:
            self._parse(answer, data)
            if self._ended and self._keep_alive and answer.status == 200:
                self._known.remember(data, answer.fields, answer.declared)
        if self._answer is answer:  # else a callback's waiter closed it
            self._conclude(answer)

    def _parse(self, answer: BackendAnswer, data: bytes) -> None:
        if not answer.status:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._fault = "the backend switched protocols"
        except httptools.HttpParserError:
            self._surplus = True
            self._fault = self._fault or "the backend's answer is not well-formed HTTP"

    def connection_lost(self, exc: Exception | None) -> None:
        """End an answer without a length; fail any other."""
        self._transport = None
        if self._alarm is not None:
            self._alarm.cancel()
        if self._peer_closed is not None and not self._peer_closed.done():
            self._peer_closed.set_result(exc)
        answer = self._answer
        if answer is None:
            self._lost(self)
        elif isinstance(exc, ssl.SSLError) and not self._heard and _REFUSING.fullmatch(exc.reason or ""):
            # In TLS 1.3 the request follows a handshake that only this side considers complete. The backend has
            # rejected it and has not read the request.
            answer.fail(UpstreamError(Event.NOT_SENT, f"the backend refuses this client: {describe_tls_error(exc)}"))
        elif answer.status and self._until_eof and exc is None:
            self._finish(answer, False)
        else:
            answer.fail(UpstreamError(Event.BACKEND_GONE, "the backend closed the connection before its answer ended"))

    def _conclude(self, answer: BackendAnswer) -> None:
        """End the answer if its end was found, or let its reader see what has arrived."""
        transport = self._transport
        if self._ended:
            reusable = self._keep_alive and not self._surplus
            if transport is None or transport.get_write_buffer_size():
                reusable = False  # closed, or answered before the request was read
            if self._paused:
                self.resume()
            self._finish(answer, reusable)
        elif self._fault is not None:
            answer.fail(UpstreamError(Event.UNUSABLE, self._fault))
        elif answer.status:
            answer.wake()
        elif self._head_bytes > MAX_HEAD:
            answer.fail(UpstreamError(Event.UNUSABLE, _LARGE_HEAD))

    def _finish(self, answer: BackendAnswer, reusable: bool) -> None:
        self._answer = None
        answer.complete()
        self._released(self, reusable)

    # --- httptools ---

    def on_message_begin(self) -> None:
        """Note a second message on the connection."""
        if self._ended:
            self._surplus = True

    def on_header(self, name: bytes, value: bytes) -> None:
        """Add a header; drop a trailer."""
        answer = self._answer
        if answer is None or self._ended:
            return
        if answer.status:
            # A trailer that is named like framing would still frame the next answer.
            self._surplus = True
        elif (name := name.lower()) in self._fields:
            if self._repeated is None:
                self._repeated = []
            self._repeated.append((name, value))
        else:
            self._fields[name] = value

    def on_headers_complete(self) -> None:
        """Check the complete head before a reader gets it."""
        answer, status = self._answer, self._parser.get_status_code()
        if answer is None or self._ended or status < 200:
            return
        fields = self._fields if not self._repeated else _joined(self._fields, self._repeated)
        coding = fields[b"transfer-encoding"].strip().lower() if b"transfer-encoding" in fields else None
        if status > 599:
            self._fault = "the backend answered with a status outside 200 to 599"
        elif coding not in (None, b"chunked"):
            self._fault = "the backend's answer has a transfer coding other than chunked"
        elif self._head_bytes > MAX_HEAD and self._head_size() > MAX_HEAD:
            self._fault = _LARGE_HEAD
        if self._fault is not None:
            return
        self._until_eof = not (coding or status in _UNFRAMED or b"content-length" in fields)
        self._keep_alive = self._parser.should_keep_alive()
        self._fields, self._repeated = _NO_FIELDS, None  # from now on they are the answer's
        answer.head(status, fields)

    def _head_size(self) -> int:
        return sum(len(name) + len(value) for name, value in chain(self._fields.items(), self._repeated or ()))

    def on_body(self, data: bytes) -> None:
        """Add bytes of the body."""
        answer = self._answer
        if answer is None or self._ended or self._fault is not None:
            return
        wait = answer.body(data)
        if wait and not self._paused and self._transport is not None and not self._transport.is_closing():
            self._paused = True
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        """End the message; forget an interim one."""
        if self._answer is not None and self._answer.status:
            self._ended = True
        else:
            self._fields, self._repeated = {}, None


def _joined(fields: dict[bytes, bytes], repeated: list[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Return headers with the values of repeated ones joined by commas."""
    values = {name: [value] for name, value in fields.items()}
    for name, value in repeated:
        values[name].append(value)
    return {name: b", ".join(each) for name, each in values.items()}
