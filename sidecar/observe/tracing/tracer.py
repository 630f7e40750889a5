"""Choice of the requests that are traced, and the hand-over of their spans."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sidecar.observe.statuses import Status
from sidecar.observe.tracing.call_trace import CallTrace
from sidecar.observe.tracing.spans import Span, spans_of
from sidecar.observe.tracing.traceparent import read_traceparent
from sidecar.outcome import Exchange

_DIGITS = 13  # hexadecimal digits that a float holds exactly


class Tracer:
    """Tracer of a process.

    A request whose `traceparent` is sampled is traced, one whose caller does not sample is not; where a trace begins
    here, a part of them is, by the random request id.

    Args:
        sample: part of the traces that begin here, from 0 to 1.
        export: takes the spans of a finished request; must not block.
    """

    def __init__(self, sample: float, export: Callable[[Sequence[Span]], None]) -> None:
        self.sample = sample
        self._export = export

    def begin(self, method: str, traceparent: str | None, request_id: str) -> CallTrace | None:
        """Begin to trace a request; None for one that is not sampled.

        Args:
            method: its HTTP method.
            traceparent: its header.
            request_id: 32 random hexadecimal digits; the trace id where the trace begins here.
        """
        parent = read_traceparent(traceparent)
        if parent is not None:
            return CallTrace(method, parent.trace_id, parent) if parent.sampled else None
        return CallTrace(method, request_id, None) if drawn(request_id, self.sample) else None

    def finish(self, trace: CallTrace, exchange: Exchange, status: Status, seconds: float) -> None:
        """Export the spans of a request that has ended.

        A client without a valid token cannot have its requests traced: for them the ratio counts alone.

        Args:
            trace: the request's.
            exchange: its facts.
            status: its outcome.
            seconds: its duration.
        """
        if exchange.caller is None and not drawn(exchange.request_id, self.sample):
            return
        self._export(spans_of(trace, exchange, status, exchange.started + seconds))


def drawn(random_id: str, rate: float) -> bool:
    """Return True for this part of all random ids, the same for one id every time.

    Args:
        random_id: random hexadecimal digits.
        rate: the part, from 0 to 1.
    """
    return rate >= 1 or int(random_id[-_DIGITS:], 16) < rate * 16**_DIGITS
