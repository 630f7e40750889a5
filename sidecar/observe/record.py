"""Record each request once, at its end: its log line and its metrics. Gates never log or count."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

from sidecar.errors import ErrorCode, Refusal, ShadowRefusal
from sidecar.model import AmountKind, Caller
from sidecar.observe.detail import detail
from sidecar.observe.formats.usual_lines import UsualLines
from sidecar.observe.logs import Lines, encode
from sidecar.observe.metrics import CODES, Metrics
from sidecar.observe.plain_metrics import OTHER
from sidecar.observe.redact import cut, identifier, operand, sentence
from sidecar.observe.statuses import Status, status_of
from sidecar.observe.tracing.call_trace import CallTrace
from sidecar.observe.tracing.tracer import Tracer, drawn
from sidecar.observe.undeclared import UndeclaredTools
from sidecar.outcome import Event, Eviction, Exchange

# Members of enums as constants: as attributes of their classes they take ten times as long.
_OK, _FAILED = Status.OK, Status.FAILED
_INTERNAL: Final = ErrorCode.INTERNAL

_SETTLED_FIELDS: Final = (
    "request_id",
    "issuer",
    "account",
    "client_id",
    "tool",
    "status",
    "code",
    "rows",
    "credits",
    "notes",
)
_MAX_SHADOWS: Final = 4  # rules in one line: two of gate 4, a plan, and the first quota
_MAX_SHADOW_DETAIL: Final = 200
_MAX_NOTES: Final = 4  # notes in one line
_MAX_REMEMBERED: Final = 500  # callers; and names of the policy, and places in it
_NO_CALLER: Final = (None,) * 4


class Recorder:
    """Recorder of requests: writes the log lines and counts the metrics.

    Args:
        metrics: the metrics of this process.
        lines: the log.
        clock: the monotonic clock that `Exchange.started` was read from, in seconds.
        tracer: takes the spans of traced requests.
    """

    def __init__(
        self,
        metrics: Metrics,
        lines: Lines,
        clock: Callable[[], float] = time.monotonic,
        tracer: Tracer | None = None,
    ) -> None:
        self.tracer = tracer
        self._metrics = metrics
        self._lines = lines
        self._clock = clock
        self._undeclared = UndeclaredTools(lines, clock)
        self._usual = UsualLines(fields, encode)

    def settled(self, exchange: Exchange) -> None:
        """Record the settlement of a deferred call: its `call` line was written before its answer arrived."""
        self._metrics.count_money(exchange)
        if self._lines.wants("info"):
            line = fields(exchange, status_of(exchange), 0.0)
            self._lines.write("info", "settled", {name: line[name] for name in _SETTLED_FIELDS if name in line})

    def evicted(self, caller: Caller, eviction: Eviction) -> None:
        """Count and log an evicted session or task.

        Args:
            caller: the caller that opened a new one when the limit was reached; both are of one account.
            eviction: the evicted session or task.
        """
        self._metrics.evicted(eviction.kind.value)
        self._lines.event(
            f"{eviction.kind.value}_evicted",
            "warning",
            issuer=identifier(caller.issuer),
            account=identifier(caller.account),
            client_id=identifier(eviction.client_id),
            full=eviction.full,
        )

    def challenge_evicted(self, owner: tuple[str, str, str] | None) -> None:
        """Count and log an evicted scope challenge: the client will be challenged once more for the same scopes.

        Args:
            owner: issuer id, subject and client id of the challenged caller.
        """
        self._metrics.evicted("challenge")
        self._lines.event("challenge_evicted", "warning", client_id=identifier(owner[2]) if owner else None)

    def finish(self, exchange: Exchange, trace: CallTrace | None = None) -> None:
        """Count, log and trace one exchange; call it once, after the settlement was answered or given up."""
        ended = self._clock() if exchange.ended is None else exchange.ended
        seconds = ended - exchange.started if ended > exchange.started else 0.0
        status = status_of(exchange)
        self._metrics.count(exchange, status, seconds)
        lines, level = self._lines, _level(exchange, status)
        sample = lines.sample
        if lines.wants(level):
            if sample >= 1 or not is_ordinary(exchange, status, level):
                usual = None
                if lines.plain:
                    usual = self._usual.line(lines.moment(), level, exchange, status, seconds)
                lines.put(lines.render(level, "call", fields(exchange, status, seconds)) if usual is None else usual)
            elif drawn(exchange.request_id, sample):
                self._lines.write(level, "call", {**fields(exchange, status, seconds), "sample": sample})
        if exchange.refusal is not None:
            self._undeclared.note(exchange)
        if trace is not None and self.tracer is not None:
            self.tracer.finish(trace, exchange, status, seconds)


def is_ordinary(exchange: Exchange, status: Status, level: str) -> bool:
    """Return True for an allowed call without credits and without a problem: its line may be left out."""
    if status is not Status.OK or level != "info" or exchange.refusal is not None:
        return False
    if any(price.kind is AmountKind.CREDIT for price in exchange.reserved) or (
        exchange.receipt is not None and exchange.receipt.paid
    ):
        return False
    return not (exchange.shadow or exchange.notes or exchange.stream_end)


def fields(exchange: Exchange, status: Status, seconds: float) -> dict[str, Any]:
    """Return the fields of the `call` line: all of them, except `stream_end` and `notes` when they are empty."""
    caller, call, refusal, receipt = exchange.caller, exchange.call, exchange.refusal, exchange.receipt
    backend = exchange.backend_seconds
    issuer, account, client_id, scopes = (
        _shown(caller.issuer, caller.account, caller.client_id, caller.scopes) if caller else _NO_CALLER
    )
    line: dict[str, Any] = {
        "request_id": exchange.request_id,
        "issuer": issuer,
        "account": account,
        "client_id": client_id,
        "method": _short(exchange.method),
        "tool": _short(exchange.tool),
        "status": status,
        "code": exchange.code if exchange.code in CODES else OTHER,
        "gate": refusal.gate if refusal else None,
        "rule": _short(exchange.rule, 256),
        "http_status": exchange.http_status,
        "rows": exchange.rows,
        "credits": dict(receipt.paid) if receipt and not receipt.late else None,
        "latency_ms": int(seconds * 1e6 + 0.5) / 1000,  # `round` takes four times as long
        "backend_ms": None if backend is None else int(backend * 1e6 + 0.5) / 1000,
        "plan": _short(exchange.plan),
        "scopes": scopes,
        "revision": _short(exchange.policy_revision),
        "protocol": call.revision if call else None,
        "shadow": [_shadow(each) for each in exchange.shadow[:_MAX_SHADOWS]] if exchange.shadow else [],
        "trace_id": exchange.trace_id[:32] if exchange.trace_id else None,
        "detail": detail(refusal.specifics) if refusal else None,
    }
    if exchange.stream_end is not None:
        line["stream_end"] = exchange.stream_end
    if notes := _notes(exchange):
        line["notes"] = notes[:_MAX_NOTES]
    return line


@lru_cache(_MAX_REMEMBERED)
def _shown(issuer: str, account: str, client_id: str, scopes: frozenset[str]) -> tuple[str, str, str, str]:
    """Return issuer, account, client id and scopes of a caller as they are logged: most calls are by few callers."""
    return identifier(issuer), identifier(account), identifier(client_id), cut(" ".join(sorted(scopes)), 512)


def _notes(exchange: Exchange) -> list[str]:
    refusal, receipt = exchange.refusal, exchange.receipt
    notes = [_reason(refusal)] if refusal and refusal.log else []
    if exchange.notes:
        notes += map(sentence, exchange.notes)
    if exchange.hold_lost:
        notes.append("the store lost the hold before its lease ended; nothing was charged")
    elif receipt and receipt.late:
        notes.append("the hold was already resolved; nothing was applied")
    return notes


def _reason(refusal: Refusal) -> str:
    """Return the refusal's note; that of a token names values to compare, which free text would hide."""
    text = refusal.log or ""
    return operand(text, 400) if refusal.code is ErrorCode.TOKEN_INVALID else sentence(text)


def _shadow(refusal: ShadowRefusal) -> dict[str, Any]:
    """Return rule, code and detail of a rule in shadow mode that would have refused the call."""
    found: dict[str, Any] = {"rule": cut(refusal.rule, 128), "code": refusal.code.id}
    return found if refusal.detail is None else {**found, "detail": sentence(refusal.detail, _MAX_SHADOW_DETAIL)}


@lru_cache(_MAX_REMEMBERED)
def _short(text: str | None, limit: int = 128) -> str | None:
    return None if text is None else cut(text, limit)


def _level(exchange: Exchange, status: Status) -> str:
    refusal = exchange.refusal
    if refusal is None:
        if status is _OK and not exchange.hold_lost:
            return "info"
        is_expected = status is not _FAILED or exchange.code == Event.CLIENT_GONE.value
        return "info" if is_expected and not exchange.hold_lost else "warning"
    if refusal.code is _INTERNAL:
        return "error"
    return "warning" if refusal.code.row.status >= 500 else "info"
