"""Ids and times of one sampled request, noted while it passes through the pipeline."""

from __future__ import annotations

import secrets
import time

from sidecar.observe.tracing.traceparent import TraceParent

_NANOSECONDS = 1_000_000_000


class CallTrace:
    """Sampled request. Times are seconds of the monotonic clock, None for a part that did not begin.

    Args:
        method: the HTTP method.
        trace_id: 32 hexadecimal digits.
        parent: the caller's span; None where the trace begins here.

    Attributes:
        span_id: the request's own span.
        store_began: the request to the store was about to be sent.
        store_ended: its answer had arrived.
        backend_id: the span of the exchange with the backend.
        backend_began: the request to the backend was ready.
        backend_url: the backend's URL.
    """

    __slots__ = (
        "_epoch",
        "backend_began",
        "backend_id",
        "backend_url",
        "method",
        "parent",
        "span_id",
        "store_began",
        "store_ended",
        "trace_id",
    )

    def __init__(self, method: str, trace_id: str, parent: TraceParent | None) -> None:
        self.method = method
        self.trace_id = trace_id
        self.parent = parent
        self.span_id = new_span_id()
        self.store_began: float | None = None
        self.store_ended: float | None = None
        self.backend_id: str | None = None
        self.backend_began: float | None = None
        self.backend_url = ""
        # One reading for all spans of the request: a clock that is set meanwhile must not reverse them.
        self._epoch = time.time_ns() - int(time.monotonic() * _NANOSECONDS)

    def forward(self, url: str) -> tuple[str, str]:
        """Begin the exchange with the backend.

        Args:
            url: the backend's.

        Returns:
            The trace id, and the `traceparent` for the backend.
        """
        self.backend_id = new_span_id()
        self.backend_began = time.monotonic()
        self.backend_url = url
        return self.trace_id, f"00-{self.trace_id}-{self.backend_id}-01"

    def moment(self, monotonic: float) -> int:
        """Return a time as nanoseconds since the epoch."""
        return self._epoch + int(monotonic * _NANOSECONDS)


def new_span_id() -> str:
    """Return 16 random hexadecimal digits that are not all zero."""
    while (made := secrets.token_hex(8)) == "0" * 16:
        pass
    return made
