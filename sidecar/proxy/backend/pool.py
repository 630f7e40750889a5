"""Pool of HTTP/1.1 connections to the backend; httptools parses the answers.

It replaces `aiohttp.ClientSession`, which costs more than everything else on the path of a call
(see `bench/`). It has no redirects, no cookies, no decompression, no pipelining, and no retry, because
a call that was sent may have run. A request is one `write`; from then on only the backend knows its
outcome, and `Outgoing.sent` is True whatever is raised afterwards, cancellation included.

Every failure is an `UpstreamError` that names the `Event` to settle by and the `ErrorCode` to answer
with. A connection serves another request only after an answer that ended exactly where its framing
said, so no caller can get bytes of another caller's answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from sidecar.config.tls_files import describe_tls_error
from sidecar.errors import ErrorCode
from sidecar.outcome import Event
from sidecar.proxy.backend.answer import BackendAnswer, UpstreamError
from sidecar.proxy.backend.answer_heads import KnownAnswers
from sidecar.proxy.backend.backend_connection import BackendConnection
from sidecar.proxy.backend.forwarding import header_lines
from sidecar.proxy.memory import MemoryLease, unbounded
from sidecar.system.dialing import dial
from sidecar.system.resolver import Resolver

__all__ = ["BackendAnswer", "BackendPool", "Outgoing", "UpstreamError"]

REUSE_WITHIN: Final = 1.5
"""Seconds that an idle connection stays usable. Backends close theirs after two (gunicorn) or five
(uvicorn, Node), and a request written at that moment is lost; it may have run or not."""
MAX_AGE: Final = 60.0
"""Seconds after which a connection carries nothing new, however busy it is: a service's addresses change."""
MAX_IDLE: Final = 256
"""Idle connections kept; after a burst, surplus connections are closed as their exchanges end."""
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


@dataclass(slots=True)
class Outgoing:
    """Request to the backend.

    Attributes:
        method: POST; GET and DELETE in the revisions that have sessions.
        headers: names and values as they go on the wire, ASCII; `Host`, `Content-Length`,
            `Accept-Encoding` and the configured `backend.headers` are added here.
        lines: more headers, as `header_lines` makes them; empty once they were sent.
        body: the serialised message; None for GET and DELETE, and once it was sent.
        deadline: when the whole exchange must have ended, on the event loop's clock; None never.
        send_by: when it must have been sent, where that is sooner than the whole exchange must have ended.
        sent: set by `BackendPool.send` just before the first byte is handed to the connection. While it
            is False nothing was sent, however the exchange ended (`Event.NOT_SENT`).
        answer: the answer that is arriving, from that moment on; failing it ends the exchange.
        memory: holds the bytes of the answer that have arrived. The maker of the request closes it.
        seconds: duration of the whole exchange; None until it has ended.
        notes: sentences for the log.
    """

    method: str
    headers: Iterable[tuple[str, str]]
    body: bytes | None = None
    deadline: float | None = None
    send_by: float | None = None
    memory: MemoryLease = field(default_factory=unbounded)
    lines: bytes = b""
    sent: bool = False
    answer: BackendAnswer | None = None
    seconds: float | None = None
    notes: tuple[str, ...] = ()


class BackendPool:
    """Pool of connections to the backend.

    Args:
        url: where every request goes: `http://` or `https://`, host, port and path.
        headers: added to every request, such as an API key for the backend.
        tls: the context for an `https` url; it verifies the backend.
        connect_timeout: seconds for name, TCP and TLS together.
        max_age: seconds; see `MAX_AGE`.
        resolver: looks up the addresses of the host.

    Attributes:
        url: as given.
    """

    def __init__(
        self,
        url: str,
        *,
        headers: Iterable[tuple[str, str]] = (),
        tls: ssl.SSLContext | None = None,
        connect_timeout: float = 5.0,
        max_age: float = MAX_AGE,
        resolver: Resolver | None = None,
    ) -> None:
        self.url = url
        parts = urlsplit(url)
        if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
            raise ValueError("the backend's url must be http:// or https:// and name a host")
        if not url.isascii() or " " in url:
            raise ValueError("the backend's url must be ASCII without spaces")
        self._host = parts.hostname
        self._port = parts.port or _DEFAULT_PORTS[parts.scheme]
        if (parts.scheme == "https") != (tls is not None):
            raise ValueError("an https:// url needs a TLS context, and no other takes one")
        self._tls = tls
        self._epoch = 0  # how often `tls` was replaced
        self._connect_timeout = connect_timeout
        self._max_age = max_age
        self._resolver = resolver or Resolver()
        self._target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._authority = parts.netloc.rpartition("@")[2]
        self.set_headers(headers)
        self._idle: deque[BackendConnection] = deque()
        self._known = KnownAnswers()
        self._sweep: asyncio.TimerHandle | None = None
        self._closed = False
        self.connected = False
        """True once a connection succeeded, for readiness; with TLS, once the backend has accepted it."""
        self.heard_at: float | None = None
        """Time of the last head of an answer, on the event loop's clock."""
        self.in_use = 0
        """Number of connections that carry an exchange now."""
        self.has_streams = True
        """False after the backend has answered a GET with 405: it has no GET streams."""

    @property
    def address(self) -> str:
        """Host and port of the backend, for messages to the operator."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{host}:{self._port}"

    @property
    def idle(self) -> int:
        """Number of connections that wait for a request."""
        return len(self._idle)

    def set_headers(self, headers: Iterable[tuple[str, str]]) -> None:
        """Replace the configured headers of all further requests.

        Raises:
            ValueError: a header holds a line break, NUL or non-ASCII text.
        """
        fixed = (("Host", self._authority), ("Accept-Encoding", "identity"), *headers)
        self._fixed = header_lines(fixed)
        self._posting = self._start("POST")

    def set_tls(self, tls: ssl.SSLContext) -> None:
        """Use another context; connections that were made with the old one carry no new request."""
        self._tls = tls
        self._epoch += 1
        self._drop_idle()

    async def send(self, outgoing: Outgoing) -> BackendAnswer:
        """Send one request and wait for the head of its answer.

        Cancelling breaks the connection. `outgoing.sent` is True once the request has been sent.

        Raises:
            UpstreamError: `NOT_SENT` when there was no connection, `TIMED_OUT`, `BACKEND_GONE`,
                `UNUSABLE`; for an answer in a content coding, by its status.
            ValueError: a header holds a line break, NUL or non-ASCII text; nothing was sent.
        """
        data = self._serialise(outgoing)
        due = outgoing.deadline if outgoing.send_by is None else outgoing.send_by
        connection = self._pooled(due) or await self._connect(due)
        self.in_use += 1
        outgoing.sent = True
        outgoing.answer = answer = connection.start(data, outgoing.deadline, outgoing.memory)
        outgoing.headers, outgoing.lines, outgoing.body = (), b"", None  # not kept for hours by an open stream
        try:
            while (arriving := answer.arriving()) is not None:
                await arriving
            self.connected = True
            self.heard_at = answer.last_byte
            if b"content-encoding" in answer.fields:
                _check_coding(answer, answer.fields[b"content-encoding"])
        except BaseException:
            answer.close()
            raise
        return answer

    async def probe(self, *, keep: bool = True) -> None:
        """Connect once; without TLS the connection is kept for the next request.

        In TLS 1.3 a client has finished the handshake before the server has looked at its certificate, so
        the connection is closed again to see whether the backend rejects it (RFC 8446 sections 4.4.2.4, 6.1).

        Args:
            keep: False closes the connection in any case: a server of one thread would wait for its request.

        Raises:
            UpstreamError: `NOT_SENT`: the backend cannot be reached.
        """
        connection = await self._connect(None)
        if self._tls is None:
            self.in_use += 1
            self._release(connection, keep)
            return
        with contextlib.suppress(TimeoutError):  # it neither rejected nor closed the connection
            async with asyncio.timeout(self._connect_timeout):
                refused = await connection.close_gracefully()
            if refused is not None:
                raise UpstreamError(
                    Event.NOT_SENT, f"cannot connect to the backend: {_describe_connect_error(refused)}"
                )
        self.connected = True

    def close(self) -> None:
        """Close idle connections, and others as their exchanges end. New exchanges still work."""
        self._closed = True
        self._drop_idle()

    def _drop_idle(self) -> None:
        while self._idle:
            self._idle.pop().drop()
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None

    def _serialise(self, outgoing: Outgoing) -> bytes:
        method, body = outgoing.method, outgoing.body
        start = self._posting if method == "POST" else self._start(method)
        headers = header_lines(outgoing.headers) if outgoing.headers else b""
        if body is None:
            return b"%b%b%b\r\n" % (start, outgoing.lines, headers)
        return b"%b%b%bContent-Length: %d\r\n\r\n%b" % (start, outgoing.lines, headers, len(body), body)

    def _start(self, method: str) -> bytes:
        """Return the part of a request that does not depend on its call."""
        return f"{method} {self._target} HTTP/1.1\r\n".encode("ascii") + self._fixed

    def _pooled(self, due: float | None) -> BackendConnection | None:
        """Return the connection used last, if it was used and made recently enough.

        Args:
            due: when the request must have been sent, on the event loop's clock; None never.

        Raises:
            UpstreamError: `NOT_SENT`: it is too late for the request.
        """
        while self._idle:
            connection = self._idle[-1]
            now = connection.loop.time()
            if due is not None and due <= now:
                raise _late()
            self._idle.pop()
            if connection.open and now - connection.idle_since < REUSE_WITHIN and now < connection.expires:
                return connection
            connection.drop()
        return None

    async def _connect(self, due: float | None) -> BackendConnection:
        loop = asyncio.get_running_loop()
        now = loop.time()
        if due is not None and due <= now:
            raise _late()
        patience = now + self._connect_timeout
        epoch = self._epoch
        try:
            async with asyncio.timeout_at(patience if due is None else min(patience, due)):
                connection = await dial(
                    lambda: BackendConnection(loop, self._release, self._forget, self._known),
                    self._host,
                    self._port,
                    tls=self._tls,
                    resolver=self._resolver,
                )
        except TimeoutError:
            code = ErrorCode.BACKEND_TIMEOUT if due is not None and due <= patience else None
            raise UpstreamError(Event.NOT_SENT, "connecting to the backend took too long", code) from None
        except OSError as error:  # ssl.SSLError is one too
            raise UpstreamError(
                Event.NOT_SENT, f"cannot connect to the backend: {_describe_connect_error(error)}"
            ) from None
        connection.epoch = epoch
        connection.expires = loop.time() + self._max_age
        self.connected = self.connected or self._tls is None
        if not connection.open:
            raise UpstreamError(Event.NOT_SENT, "the backend closed the connection before a request was sent")
        return connection

    def _release(self, connection: BackendConnection, reusable: bool) -> None:
        """Keep or close the connection of an exchange that has ended."""
        self.in_use -= 1
        over = self._closed or connection.epoch != self._epoch or connection.idle_since >= connection.expires
        if over or not reusable or len(self._idle) >= MAX_IDLE:
            connection.drop()
            return
        self._idle.append(connection)
        if self._sweep is None:
            self._sweep = connection.loop.call_later(REUSE_WITHIN, self._sweep_idle)

    def _forget(self, connection: BackendConnection) -> None:
        """Drop an idle connection that the backend has closed."""
        if connection in self._idle:
            self._idle.remove(connection)

    def _sweep_idle(self) -> None:
        self._sweep = None
        while self._idle:
            oldest = self._idle[0]
            end = oldest.idle_since + REUSE_WITHIN
            if end > oldest.loop.time():
                self._sweep = oldest.loop.call_at(end, self._sweep_idle)
                return
            self._idle.popleft().drop()


def _describe_connect_error(error: OSError) -> str:
    """Describe why there is no connection, without anything that the backend wrote."""
    return describe_tls_error(error) if isinstance(error, ssl.SSLError) else type(error).__name__


def _late() -> UpstreamError:
    return UpstreamError(Event.NOT_SENT, "the call's time was over before it was sent", ErrorCode.BACKEND_TIMEOUT)


def _check_coding(answer: BackendAnswer, coding: bytes) -> None:
    """Refuse an answer in a content coding: none was requested, and none can be read here."""
    if coding.strip().lower() == b"identity":
        return
    event = Event.UNUSABLE
    if answer.status >= 300:
        event = Event.HTTP_REFUSED if answer.status < 500 else Event.HTTP_FAILED
    raise UpstreamError(event, "the backend's answer has a content coding that was not asked for")
