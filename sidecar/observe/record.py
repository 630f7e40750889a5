"""One request, observed once: its log line and its numbers. Gates never log or count."""

from __future__ import annotations

import time
from collections.abc import Callable
from enum import StrEnum
from typing import Any, Final

from sidecar.errors import ErrorCode, Gate
from sidecar.observe.logs import Lines
from sidecar.observe.metrics import CODES, OTHER, Metrics
from sidecar.observe.redact import cut, identifier, sentence
from sidecar.outcome import Event, Exchange

_SETTLED: Final = ("request_id", "issuer", "account", "client_id", "tool", "status", "code", "rows", "credits", "notes")
_SHADOWS: Final = 8  # rules named in one line
_NOTES: Final = 4


class Status(StrEnum):
    """What became of a request, for people who do not know the codes."""

    OK = "ok"
    ERROR = "error"  # the backend answered an error of its own
    REFUSED = "refused"  # by one of the gates
    FAILED = "failed"  # behind the gates


_STATUS: Final = {
    "ok": Status.OK,
    Event.RESULT.value: Status.OK,
    Event.INPUT_REQUIRED.value: Status.OK,
    Event.TOOL_ERROR.value: Status.ERROR,
    Event.RPC_ERROR.value: Status.ERROR,
    Event.HTTP_REFUSED.value: Status.ERROR,
    Event.DEFERRED.value: Status.OK,
}


class Recorder:
    """Where every exchange ends.

    Args:
        metrics: counts it.
        lines: writes its line.
        clock: the monotonic clock that `Exchange.started` was read from, in seconds.
    """

    def __init__(self, metrics: Metrics, lines: Lines, clock: Callable[[], float] = time.monotonic) -> None:
        self._metrics = metrics
        self._lines = lines
        self._clock = clock

    def settled(self, exchange: Exchange) -> None:
        """Count and log what a call has cost whose answer passed on another stream, long after its own line."""
        self._metrics.count_money(exchange)
        if self._lines.wants("info"):
            line = fields(exchange, status_of(exchange), 0.0)
            self._lines.write("info", "settled", {name: line[name] for name in _SETTLED if name in line})

    def finish(self, exchange: Exchange) -> None:
        """Count and log one exchange that has ended; call it once, when its receipt is known."""
        ended = self._clock() if exchange.ended is None else exchange.ended
        seconds = max(0.0, ended - exchange.started)
        status = status_of(exchange)
        self._metrics.count(exchange, status.value, seconds)
        level = _level(exchange, status)
        if self._lines.wants(level):
            self._lines.write(level, "call", fields(exchange, status, seconds))


def status_of(exchange: Exchange) -> Status:
    """What became of it."""
    if exchange.refusal is not None:
        return Status.FAILED if exchange.refusal.gate is Gate.FORWARD else Status.REFUSED
    return _STATUS.get(exchange.code, Status.FAILED)


def fields(exchange: Exchange, status: Status, seconds: float) -> dict[str, Any]:
    """The fields of the line, always all of them; `stream_end` and `notes` only when there is something to say."""
    caller, refusal, receipt, backend = exchange.caller, exchange.refusal, exchange.receipt, exchange.backend_seconds
    line: dict[str, Any] = {
        "request_id": exchange.request_id,
        "issuer": identifier(caller.issuer) if caller else None,
        "account": identifier(caller.account) if caller else None,
        "client_id": identifier(caller.client_id) if caller else None,
        "method": _short(exchange.method),
        "tool": _short(exchange.tool),
        "status": status.value,
        "code": exchange.code if exchange.code in CODES else OTHER,
        "gate": refusal.gate.value if refusal else None,
        "rule": _short(exchange.rule, 256),
        "http_status": exchange.http_status,
        "rows": exchange.rows,
        "credits": dict(receipt.paid) if receipt and not receipt.late else None,
        "latency_ms": round(seconds * 1000, 3),
        "backend_ms": None if backend is None else round(backend * 1000, 3),
        "plan": _short(exchange.plan),
        "scopes": cut(" ".join(sorted(caller.scopes)), 512) if caller else None,
        "revision": _short(exchange.policy_revision),
        "protocol": exchange.call.revision.value if exchange.call else None,
        "shadow": [cut(rule, 128) for rule in exchange.shadow[:_SHADOWS]],
        "trace_id": _short(exchange.trace_id),
    }
    notes = [refusal.log] if refusal and refusal.log else []
    notes += exchange.notes
    if exchange.forgotten:
        notes.append("the store has lost the hold before its lease ended; nothing was charged")
    elif receipt and receipt.late:
        notes.append("the hold had been resolved before; nothing was applied")
    if exchange.stream_end is not None:
        line["stream_end"] = exchange.stream_end
    if notes:
        line["notes"] = [sentence(note) for note in notes[:_NOTES]]
    return line


def _short(text: str | None, limit: int = 128) -> str | None:
    return None if text is None else cut(text, limit)


def _level(exchange: Exchange, status: Status) -> str:
    refusal = exchange.refusal
    if refusal is None:
        quiet = status is not Status.FAILED or exchange.code == Event.CLIENT_GONE.value
        return "info" if quiet and not exchange.forgotten else "warning"
    if refusal.code is ErrorCode.INTERNAL:
        return "error"
    return "warning" if refusal.code.row.status >= 500 else "info"
