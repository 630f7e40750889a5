"""A thread that posts spans to a collector from a bounded queue, so that no call waits for one."""

from __future__ import annotations

import http.client
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol
from urllib.parse import urlsplit

from sidecar import __version__
from sidecar.observe.tracing.spans import Span
from sidecar.vocabulary import TextEnum

MAX_SPANS: Final = 8192
"""The most spans that wait; further ones are dropped."""
BATCH: Final = 512
"""Spans of one request to the collector."""
PAUSE: Final = 1.0
"""Seconds from one batch to the next, so that calls share requests."""
TIMEOUT: Final = 10.0
"""Seconds that the collector may be silent."""
ATTEMPTS: Final = 3
"""Requests for one batch; after the last one it is dropped."""
FIRST_WAIT: Final = 1.0
"""Seconds before the second attempt; they double with each one."""
FLUSH_WITHIN: Final = 2.0
"""Seconds for exporting the last spans when the process ends."""
_MAX_ANSWER: Final = 1 << 16
_RETRYABLE: Final = frozenset({429, 502, 503, 504})  # OTLP 1, section "Retryable Response Codes"


class SpanOutcome(TextEnum):
    """Outcome of a span after its request has ended."""

    EXPORTED = "exported"
    QUEUE_FULL = "queue_full"
    FAILED = "failed"  # the collector could not be reached
    REJECTED = "rejected"  # by the collector


class Encoder(Protocol):
    """Encoder of spans."""

    def encode(self, spans: Sequence[Span]) -> bytes:
        """Return the body of a request to a collector."""


class SpanExporter:
    """Exporter to one collector.

    Args:
        endpoint: the collector's URL for traces.
        encoder: makes the bodies.
        rejected: reads from the body of an answer how many spans the collector has rejected.
        headers: added to each request; may be secret.
        tls: the context for an https URL.
        counted: takes outcomes and numbers of spans; also called in the thread.
        reported: takes a problem in words, or None when exports work again; called in the thread.
    """

    def __init__(
        self,
        endpoint: str,
        encoder: Encoder,
        rejected: Callable[[bytes], int],
        *,
        headers: Mapping[str, str],
        tls: ssl.SSLContext | None,
        counted: Callable[[SpanOutcome, int], None],
        reported: Callable[[str | None], None],
    ) -> None:
        parts = urlsplit(endpoint)
        self._host, self._port = parts.hostname or "", parts.port
        self._path = (parts.path if len(parts.path) > 1 else "/v1/traces") + (f"?{parts.query}" if parts.query else "")
        self._encoder, self._rejected, self._tls = encoder, rejected, tls
        self._headers = {
            **headers,
            "Content-Type": "application/x-protobuf",
            "User-Agent": f"mcp-policy-sidecar/{__version__}",
        }
        self._counted, self._reported = counted, reported
        self._queue: deque[Span] = deque()
        self._changed = threading.Condition(threading.RLock())
        self._thread: threading.Thread | None = None
        self._busy = False
        self._flushing = False
        self._connection: http.client.HTTPConnection | None = None

    def put(self, spans: Sequence[Span]) -> None:
        """Queue spans of one request, or drop them all when there is no room. The first call starts the thread."""
        with self._changed:
            fits = len(self._queue) + len(spans) <= MAX_SPANS
            if fits:
                self._queue.extend(spans)
                self._changed.notify_all()
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name="traces", daemon=True)
                    self._thread.start()
        if not fits:
            self._counted(SpanOutcome.QUEUE_FULL, len(spans))

    def flush(self, within: float) -> bool:
        """Wait until no span is left, at most `within` seconds; return whether none is. Not for the event loop."""
        with self._changed:
            self._flushing = True
            self._changed.notify_all()
            done = self._changed.wait_for(lambda: not self._queue and not self._busy, within)
            self._flushing = False
            return done

    def _run(self) -> None:
        while True:
            batch = self._next()
            problem = self._export(batch)
            self._reported(problem)
            with self._changed:
                self._busy = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._flushing or len(self._queue) >= BATCH, PAUSE)

    def _next(self) -> list[Span]:
        with self._changed:
            self._changed.wait_for(lambda: bool(self._queue))
            self._busy = True
            return [self._queue.popleft() for _ in range(min(BATCH, len(self._queue)))]

    def _export(self, batch: Sequence[Span]) -> str | None:
        """Send a batch, and again while that may help; return the last problem."""
        body = self._encoder.encode(batch)
        problem: str | None = None
        for attempt in range(ATTEMPTS):
            if attempt:
                time.sleep(FIRST_WAIT * 2 ** (attempt - 1))
            try:
                status, answer = self._post(body)
            except (OSError, http.client.HTTPException, ValueError) as error:
                problem = f"{self._host}: {type(error).__name__}"
                continue
            if status == 200:
                refused = min(self._rejected(answer), len(batch))
                self._counted(SpanOutcome.EXPORTED, len(batch) - refused)
                if refused:
                    self._counted(SpanOutcome.REJECTED, refused)
                return f"{self._host} rejected {refused} spans" if refused else None
            problem = f"{self._host} answered {status}"
            if status not in _RETRYABLE:
                self._counted(SpanOutcome.REJECTED, len(batch))
                return problem
        self._counted(SpanOutcome.FAILED, len(batch))
        return problem

    def _post(self, body: bytes) -> tuple[int, bytes]:
        """Send one request; redirects are not followed, because the headers may be secret."""
        connection = self._connection or self._connect()
        self._connection = None
        try:
            connection.request("POST", self._path, body, self._headers)
            response = connection.getresponse()
            answer = response.read(_MAX_ANSWER)
        except BaseException:
            connection.close()
            raise
        if response.isclosed():
            self._connection = connection
        else:  # more than is read here
            connection.close()
        return response.status, answer

    def _connect(self) -> http.client.HTTPConnection:
        if self._tls is None:
            return http.client.HTTPConnection(self._host, self._port, timeout=TIMEOUT)
        return http.client.HTTPSConnection(self._host, self._port, timeout=TIMEOUT, context=self._tls)
