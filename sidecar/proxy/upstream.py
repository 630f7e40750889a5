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
import ssl
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from sidecar.errors import ErrorCode
from sidecar.model import Event
from sidecar.proxy.answer import Answer, UpstreamError
from sidecar.proxy.connection import Connection

__all__ = ["Answer", "Outgoing", "Upstream", "UpstreamError", "tls_context"]

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
        sent: set by `Upstream.send` just before the first byte is handed to the connection. While it
            is False nothing was sent, however the exchange ended (`Event.NOT_SENT`).
        answer: the answer that is arriving, from that moment on; failing it ends the exchange.
    """

    method: str
    headers: Iterable[tuple[str, str]]
    body: bytes | None = None
    deadline: float | None = None
    sent: bool = False
    answer: Answer | None = None


class Upstream:
    """The backend, as a pool of connections.

    Args:
        url: where every request goes: `http://` or `https://`, host, port and path.
        headers: added to every request, such as an API key for the backend.
        tls: the context for an `https` url; by default one that trusts the system's CAs.
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
        self._tls = (tls or tls_context()) if parts.scheme == "https" else None
        self._connect_timeout = connect_timeout
        self._target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        authority = parts.netloc.rpartition("@")[2]
        fixed = (("Host", authority), ("Accept-Encoding", "identity"), *headers)
        self._fixed = "".join(_lines(fixed))
        self._idle: deque[Connection] = deque()
        self._sweep: asyncio.TimerHandle | None = None
        self._closed = False
        self.connected = False
        """Whether a connection ever succeeded, as readiness asks."""
        self.in_use = 0
        """Connections that carry an exchange now."""

    @property
    def idle(self) -> int:
        """Connections waiting for a request."""
        return len(self._idle)

    async def send(self, outgoing: Outgoing) -> Answer:
        """Send one request and wait for the head of its answer.

        Cancelling breaks the connection. Whether the request went out is in `outgoing.sent`.

        Raises:
            UpstreamError: `NOT_SENT` when there was no connection, `TIMED_OUT`, `BACKEND_GONE`,
                `UNUSABLE`; for an answer in a content coding, by its status.
            ValueError: a header holds a line break, NUL or non-ASCII text; nothing was sent.
        """
        data = self._serialise(outgoing)
        if late := _late(outgoing.deadline):
            raise UpstreamError(Event.NOT_SENT, "the call's time was over before it was sent", late)
        connection = self._pooled() or await self._connect(outgoing.deadline)
        self.in_use += 1
        outgoing.sent = True
        outgoing.answer = answer = connection.start(data, outgoing.deadline)
        try:
            await answer.arrive()
            _check_coding(answer)
        except BaseException:
            answer.close()
            raise
        return answer

    async def probe(self) -> None:
        """Connect once, and keep the connection for the first request.

        Raises:
            UpstreamError: `NOT_SENT`: the backend cannot be reached.
        """
        self._keep(await self._connect(None))

    def close(self) -> None:
        """Close idle connections, and others as their exchanges end. Exchanges still begun here work."""
        self._closed = True
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
        try:
            async with asyncio.timeout_at(patience if deadline is None else min(patience, deadline)):
                _, connection = await loop.create_connection(
                    lambda: Connection(loop, self._release, self._forget), self._host, self._port, ssl=self._tls
                )
        except TimeoutError:
            raise UpstreamError(Event.NOT_SENT, "connecting to the backend took too long", _late(deadline)) from None
        except OSError as error:  # ssl.SSLError is one too
            raise UpstreamError(Event.NOT_SENT, f"cannot connect to the backend: {type(error).__name__}") from None
        self.connected = True
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
        if self._closed or len(self._idle) >= MAX_IDLE:
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


def tls_context(ca: Path | None = None, cert: Path | None = None, key: Path | None = None) -> ssl.SSLContext:
    """A context for the backend: trusts `ca` alone if given, else the system's; shows `cert` if given.

    Raises:
        OSError: a file cannot be read (`ssl.SSLError`, which is one, when it is not what it should be).
    """
    context = ssl.create_default_context(cafile=ca)
    if cert is not None:
        context.load_cert_chain(cert, key)
    return context


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
