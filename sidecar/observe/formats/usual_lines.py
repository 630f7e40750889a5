"""Lines of usual calls: most of a line is the same for all calls of a caller to a tool, and its text is made once.

A usual call was admitted and has nothing to note, or its refusal recurs. Its line is that of `record.fields`, byte for
byte: the text is cut out of one such line, and only ids, times, durations, rows and credits are inserted.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Hashable, Mapping
from typing import Any, Final

import orjson

from sidecar.observe.logs import MAX_LINE
from sidecar.observe.statuses import Status
from sidecar.outcome import Exchange

MOST: Final = 500
"""Kinds of lines remembered, and as many of requests without a caller; then all are forgotten."""

_CUT: Final = '"truncated":true}\n'  # end of a line that was too long
_MARK: Final = secrets.token_hex(16)  # stands for a value: no client knows it, so none can send it
# Values that are inserted, in the order of a line: of a call that has reached the backend, and of another.
_FORWARDED: Final = ("ts", "request_id", "rows", "credits", "latency_ms", "backend_ms", "trace_id")
_ANSWERED_HERE: Final = ("ts", "request_id", "rows", "credits", "latency_ms")
_NULL: Final = "null"
_PARTS: Final = tuple([str(part / 1000)[1:] for part in range(1000)])  # of a millisecond: to print a float takes long

Fields = Callable[[Exchange, Status, float], Mapping[str, Any]]
Encode = Callable[[Mapping[str, Any]], bytes]
_Texts = dict[Hashable, list[str] | None]


class UsualLines:
    """Texts of the lines that were written last.

    Args:
        fields: returns the fields of a line.
        encode: returns a line, with its line end.
    """

    def __init__(self, fields: Fields, encode: Encode) -> None:
        self._fields = fields
        self._encode = encode
        self._known: _Texts = {}
        self._unverified: _Texts = {}  # apart: anyone can send what fills them

    def __len__(self) -> int:
        """Return the number of texts."""
        return len(self._known) + len(self._unverified)

    def line(self, moment: str, level: str, exchange: Exchange, status: Status, seconds: float) -> bytes | None:
        """Return the line of a usual call, with its line end; None for any other call.

        Args:
            moment: the time of the line.
            level: its level.
            exchange: the call.
            status: its outcome.
            seconds: its duration.
        """
        caller, call, refusal, receipt = exchange.caller, exchange.call, exchange.refusal, exchange.receipt
        request_id, trace_id, backend = exchange.request_id, exchange.trace_id, exchange.backend_seconds
        if (backend is None) is not (trace_id is None) or (refusal is not None and not refusal.recurs):
            return None
        if exchange.notes or exchange.shadow or exchange.hold_lost or exchange.stream_end is not None:
            return None
        if caller is not None and call is not None:
            known = self._known
            key: Hashable = (
                level, caller.issuer, caller.account, caller.client_id, caller.scopes, exchange.method, exchange.tool,
                status, exchange.code, exchange.rule, exchange.http_status, exchange.plan, exchange.policy_revision,
                call.revision, refusal, backend is None,
            )  # fmt: skip
        else:
            known, key = self._unverified, _unverified_key(level, exchange, status)
        parts = known.get(key)
        if parts is None and key is not None and key not in known:
            parts = self._learn(known, key, level, exchange, status)
        if parts is None or (receipt is not None and receipt.late) or not request_id.isalnum():
            return None
        rows, took = _NULL if exchange.rows is None else exchange.rows, _milliseconds(seconds)
        credits = _NULL if receipt is None else orjson.dumps({**receipt.paid}).decode()
        start, id_, row, money, latency, end = parts[:6]
        text = f'{start}"{moment}"{id_}"{request_id}"{row}{rows}{money}{credits}{latency}{took}{end}'
        if backend is not None and trace_id is not None:
            if trace_id is not request_id and not trace_id.isalnum():
                return None
            text = f'{text}{_milliseconds(backend)}{parts[6]}"{trace_id[:32]}"{parts[7]}'
        return text.encode() if text.isascii() and len(text) <= MAX_LINE and "\x7f" not in credits else None

    def _learn(self, known: _Texts, key: Hashable, level: str, exchange: Exchange, status: Status) -> list[str] | None:
        """Cut the text out of a line whose own values are replaced by a mark; None for one that is too long."""
        if len(known) >= MOST:
            known.clear()
        names = _ANSWERED_HERE if exchange.backend_seconds is None else _FORWARDED
        line = {"ts": _MARK, "level": level, "event": "call", **self._fields(exchange, status, 0.0)}
        text = self._encode({**line, **dict.fromkeys(names, _MARK)}).decode()
        parts = text.split(f'"{_MARK}"')
        found = parts if len(parts) == len(names) + 1 and not text.endswith(_CUT) else None
        known[key] = found
        return found


def _unverified_key(level: str, exchange: Exchange, status: Status) -> Hashable:
    """Return the key of a refused request without a caller; None for any other."""
    if exchange.caller is not None or exchange.call is not None or exchange.refusal is None:
        return None
    return (
        level, exchange.method, exchange.tool, status, exchange.code, exchange.rule, exchange.http_status,
        exchange.plan, exchange.policy_revision, exchange.refusal, exchange.backend_seconds is None,
    )  # fmt: skip


def _milliseconds(seconds: float) -> str:
    took = int(seconds * 1e6 + 0.5)
    return f"{took // 1000}{_PARTS[took % 1000]}"
