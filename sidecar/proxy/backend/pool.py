"""The way to the backend: pooled HTTP/1.1 connections whose answers httptools parses.

Own connections instead of `aiohttp.ClientSession`, whose convenience costs more than everything
else on the path of a call (see `bench/`). What is left out is left out on purpose: no
redirects, no cookies, no decompression, no pipelining, and never a second try, because a call that
was sent may have run. A request is one `write`; from then on its outcome is the backend's to tell,
and `Outgoing.sent` says so whatever is raised afterwards, cancellation included.

Every failure is an `UpstreamError` that names the `Event` to settle by and the `ErrorCode` to answer
with. A connection serves another request only after an answer that ended exactly where its framing
said, so no bytes of one caller's answer can be taken for another's.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from sidecar.config.certificates import tls_words
from sidecar.errors import ErrorCode
from sidecar.outcome import Event
from sidecar.proxy.answer import Answer, UpstreamError
from sidecar.proxy.connection import Connection

__all__ = ["Answer", "Outgoing", "Upstream", "UpstreamError"]

REUSE_WITHIN: Final = 1.5
"""Seconds that an idle connection stays usable. Backends close theirs after two (gunicorn) or five
(uvicorn, Node), and a request written at that moment is lost without anybody knowing whether it ran."""
MAX_IDLE: Final = 256
"""Idle connections kept; a burst's others are closed when they are done."""
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


@dataclass(slots=True)
class Outgoing:
    """One request to the backend.

    Attributes:
        method: POST; GET and DELETE in the revisions that have sessions.
        headers: names and values as they go on the wire, ASCII; `Host`, `Content-Length`,
            `Accept-Encoding` and the configured `backend.headers` are added here.
        body: the re-serialised message; None for GET and DELETE.
        deadline: when the whole exchange must have ended, on the event loop's clock; None never.
        send_by: when it must have been sent, where that is sooner than the whole exchange must have ended.
        sent: set by `Upstream.send` just before the first byte is handed to the connection. While it
            is False nothing was sent, however the exchange ended (`Event.NOT_SENT`).
        answer: the answer that is arriving, from that moment on; failing it ends the exchange.
    """

    method: str
    headers: Iterable[tuple[str, str]]
    body: bytes | None = None
    deadline: float | None = None
    send_by: float | None = None
    sent: bool = False
    answer: Answer | None = None


class Upstream:
    """The backend, as a pool of connections.

    Args:
        url: where every request goes: `http://` or `https://`, host, port and path.
        headers: added to every request, such as an API key for the backend.
        tls: the context for an `https` url; it verifies the backend.
        connect_timeout: seconds for name, TCP and TLS together.
    """

    def __init__(
        self,
        url: str,
        *,
        headers: Iterable[tuple[str, str]] = (),
        tls: ssl.SSLContext | None = None,
        connect_timeout: float = 5.0,
    ) -> None:
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
        self._target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._authority = parts.netloc.rpartition("@")[2]
        self.set_headers(headers)
        self._idle: deque[Connection] = deque()
        self._sweep: asyncio.TimerHandle | None = None
        self._closed = False
        self.connected = False
        """Whether a connection ever succeeded, as readiness asks; with TLS, whether the backend took it."""
        self.in_use = 0
        """Connections that carry an exchange now."""

    @property
    def idle(self) -> int:
        """Connections waiting for a request."""
        return len(self._idle)

    def set_headers(self, headers: Iterable[tuple[str, str]]) -> None:
        """Add these and no others to every request from now on.

        Raises:
            ValueError: a header holds a line break, NUL or non-ASCII text.
        """
        fixed = (("Host", self._authority), ("Accept-Encoding", "identity"), *headers)
        self._fixed = "".join(_lines(fixed))

    def set_tls(self, tls: ssl.SSLContext) -> None:
        """Meet the backend with another context; connections made with the one before carry nothing new."""
        self._tls = tls
        self._epoch += 1
        self._drop_idle()

    async def send(self, outgoing: Outgoing) -> Answer:
        """Send one request and wait for the head of its answer.

        Cancelling breaks the connection. Whether the request went out is in `outgoing.sent`.

        Raises:
            UpstreamError: `NOT_SENT` when there was no connection, `TIMED_OUT`, `BACKEND_GONE`,
                `UNUSABLE`; for an answer in a content coding, by its status.
            ValueError: a header holds a line break, NUL or non-ASCII text; nothing was sent.
        """
        data = self._serialise(outgoing)
        due = outgoing.deadline if outgoing.send_by is None else outgoing.send_by
        if late := _late(due):
            raise UpstreamError(Event.NOT_SENT, "the call's time was over before it was sent", late)
        connection = self._pooled() or await self._connect(due)
        self.in_use += 1
        outgoing.sent = True
        outgoing.answer = answer = connection.start(data, outgoing.deadline)
        try:
            await answer.arrive()
            self.connected = True
            _check_coding(answer)
        except BaseException:
            answer.close()
            raise
        return answer

    async def probe(self) -> None:
        """Connect once; without TLS the connection is kept for the first request.

        In TLS 1.3 a client has finished the handshake before the server has looked at its certificate, so
        the connection is closed again to see how the backend takes it (RFC 8446 sections 4.4.2.4, 6.1).

        Raises:
            UpstreamError: `NOT_SENT`: the backend cannot be reached.
        """
        connection = await self._connect(None)
        if self._tls is None:
            self._keep(connection)
            return
        with contextlib.suppress(TimeoutError):  # it neither refused nor hung up
            async with asyncio.timeout(self._connect_timeout):
                refused = await connection.hang_up()
            if refused is not None:
                raise UpstreamError(Event.NOT_SENT, f"cannot connect to the backend: {_words(refused)}")
        self.connected = True

    def close(self) -> None:
        """Close idle connections, and others as their exchanges end. Exchanges still begun here work."""
        self._closed = True
        self._drop_idle()

    def _drop_idle(self) -> None:
        while self._idle:
            self._idle.pop().drop()
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None

    def _serialise(self, outgoing: Outgoing) -> bytes:
        lines = _lines(outgoing.headers)
        if outgoing.body is not None:
            lines.append(f"Content-Length: {len(outgoing.body)}\r\n")
        head = f"{outgoing.method} {self._target} HTTP/1.1\r\n{self._fixed}{''.join(lines)}\r\n"
        return head.encode("ascii") + (outgoing.body or b"")

    def _pooled(self) -> Connection | None:
        """The connection used last, if it is young enough; then all older ones are too old as well."""
        while self._idle:
            connection = self._idle.pop()
            if connection.open and connection.loop.time() - connection.idle_since < REUSE_WITHIN:
                return connection
            connection.drop()
        return None

    async def _connect(self, deadline: float | None) -> Connection:
        loop = asyncio.get_running_loop()
        patience = loop.time() + self._connect_timeout
        epoch = self._epoch
        try:
            async with asyncio.timeout_at(patience if deadline is None else min(patience, deadline)):
                _, connection = await loop.create_connection(
                    lambda: Connection(loop, self._release, self._forget), self._host, self._port, ssl=self._tls
                )
        except TimeoutError:
            raise UpstreamError(Event.NOT_SENT, "connecting to the backend took too long", _late(deadline)) from None
        except OSError as error:  # ssl.SSLError is one too
            raise UpstreamError(Event.NOT_SENT, f"cannot connect to the backend: {_words(error)}") from None
        connection.epoch = epoch
        self.connected = self.connected or self._tls is None
        if not connection.open:
            raise UpstreamError(Event.NOT_SENT, "the backend closed the connection before a request was sent")
        return connection

    def _release(self, connection: Connection, reusable: bool) -> None:
        """An exchange has ended."""
        self.in_use -= 1
        if reusable:
            self._keep(connection)
        else:
            connection.drop()

    def _keep(self, connection: Connection) -> None:
        if self._closed or connection.epoch != self._epoch or len(self._idle) >= MAX_IDLE:
            connection.drop()
            return
        connection.idle_since = connection.loop.time()
        self._idle.append(connection)
        if self._sweep is None:
            self._sweep = connection.loop.call_later(REUSE_WITHIN, self._sweep_idle)

    def _forget(self, connection: Connection) -> None:
        """An idle connection was closed by the backend."""
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


def _words(error: OSError) -> str:
    """Why there is no connection; nothing that the backend wrote."""
    return tls_words(error) if isinstance(error, ssl.SSLError) else type(error).__name__


def _lines(headers: Iterable[tuple[str, str]]) -> list[str]:
    """Header lines. A value that could end its line would let a caller write headers of its own."""
    lines = [f"{name}: {value}\r\n" for name, value in headers]
    text = "".join(lines)
    if text.count("\n") != len(lines) or text.count("\r") != len(lines) or "\0" in text or not text.isascii():
        raise ValueError("a header for the backend holds a line break, NUL or non-ASCII text")
    return lines


def _late(deadline: float | None) -> ErrorCode | None:
    """The refusal of a call whose deadline has passed; None while there is time."""
    over = deadline is not None and deadline <= asyncio.get_running_loop().time()
    return ErrorCode.BACKEND_TIMEOUT if over else None


def _check_coding(answer: Answer) -> None:
    """Refuse an answer in a content coding: none was asked for, and nothing here could read it."""
    coding = answer.header("content-encoding")
    if coding is None or coding.strip().lower() == "identity":
        return
    event = Event.UNUSABLE
    if answer.status >= 300:
        event = Event.HTTP_REFUSED if answer.status < 500 else Event.HTTP_FAILED
    raise UpstreamError(event, "the backend's answer has a content coding that was not asked for")
