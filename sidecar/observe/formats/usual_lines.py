"""Lines of usual calls: most of a line is the same for all calls of a caller to a tool, and its text is made once.

A usual call was admitted, costs nothing, and has nothing to note. Its line is that of `record.fields`, byte for byte:
the text is cut out of one such line, and only ids, times and durations are inserted.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Hashable, Mapping
from typing import Any, Final

from sidecar.observe.statuses import Status
from sidecar.outcome import Exchange

MOST: Final = 500
"""Kinds of lines remembered; then all are forgotten."""

_CUT: Final = '"truncated":true}\n'  # end of a line that was too long
_MARK: Final = secrets.token_hex(16)  # stands for a value: no client knows it, so none can send it
_VARIABLE: Final = dict.fromkeys(("request_id", "latency_ms", "backend_ms", "trace_id"), _MARK)

Fields = Callable[[Exchange, Status, float], Mapping[str, Any]]
Encode = Callable[[Mapping[str, Any]], bytes]
_Parts = tuple[str, str, str, str, str, str]


class UsualLines:
    """Texts of the lines that were written last.

    Args:
        fields: returns the fields of a line.
        encode: returns a line, with its line end.
    """

    def __init__(self, fields: Fields, encode: Encode) -> None:
        self._fields = fields
        self._encode = encode
        self._known: dict[Hashable, _Parts | None] = {}

    def __len__(self) -> int:
        """Return the number of texts."""
        return len(self._known)

    def line(self, moment: str, level: str, exchange: Exchange, status: Status, seconds: float) -> bytes | None:
        """Return the line of a usual call, with its line end; None for any other call.

        Args:
            moment: the time of the line.
            level: its level.
            exchange: the call.
            status: its outcome.
            seconds: its duration.
        """
        caller, call, request_id, trace_id = exchange.caller, exchange.call, exchange.request_id, exchange.trace_id
        backend = exchange.backend_seconds
        if caller is None or call is None or backend is None or trace_id is None or exchange.refusal is not None:
            return None
        if exchange.notes or exchange.shadow or exchange.stream_end is not None or exchange.receipt is not None:
            return None
        ids = request_id + trace_id
        if exchange.rows is not None or exchange.hold_lost or not (ids.isalnum() and ids.isascii()):
            return None
        key = (
            *(level, caller.issuer, caller.account, caller.client_id, caller.scopes, exchange.method, exchange.tool),
            *(status, exchange.code, exchange.rule, exchange.http_status, exchange.plan, exchange.policy_revision),
            call.revision,
        )
        parts = self._known[key] if key in self._known else self._learn(key, level, exchange, status)
        if parts is None or len(ids) > 2 * len(_MARK):
            return None
        start, id_, latency, own, trace, end = parts
        took, waited = int(seconds * 1e6 + 0.5) / 1000, int(backend * 1e6 + 0.5) / 1000
        trace_id = trace_id[:32]
        return f'{start}"{moment}"{id_}"{request_id}"{latency}{took}{own}{waited}{trace}"{trace_id}"{end}'.encode()

    def _learn(self, key: Hashable, level: str, exchange: Exchange, status: Status) -> _Parts | None:
        """Cut the text out of a line whose own values are replaced by a mark; None for one that is too long."""
        if len(self._known) >= MOST:
            self._known.clear()
        line = {"ts": _MARK, "level": level, "event": "call", **self._fields(exchange, status, 0.0), **_VARIABLE}
        text = self._encode(line).decode()
        parts = text.split(f'"{_MARK}"')
        found = None
        if len(parts) == len(_VARIABLE) + 2 and not text.endswith(_CUT):  # no value is longer than the mark
            start, id_, latency, own, trace, end = parts
            found = (start, id_, latency, own, trace, end)
        self._known[key] = found
        return found
