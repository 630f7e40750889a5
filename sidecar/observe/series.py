"""Series of `mcp_sidecar_requests_total` that start at 0: a rate misses the first count of a new series.

Each tool has a series for every code that its calls can end in, while the tools are few. Beyond `MAX_SERIES` the
scrape would grow without use, and only the codes that alerts query start at 0, or, with still more tools, none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sidecar.errors import ErrorCode, Gate
from sidecar.observe.statuses import Status, status_of_event, status_of_refusal
from sidecar.outcome import Event

MAX_SERIES: Final = 2_000
"""Tools times codes that start at 0."""

MAX_STARTED: Final = 500
"""Names with which a counter starts at 0: half of its budget; the other half is for what occurs."""

_TOOL_GATES: Final = frozenset({Gate.CONSENT, Gate.ACCOUNT, Gate.BUDGET, Gate.FORWARD})
# Refusals of the other gates that a call meets after its tool was found.
_OF_A_TOOL: Final = (
    *(ErrorCode.TOOL_UNKNOWN, ErrorCode.INSUFFICIENT_SCOPE, ErrorCode.ARGUMENTS_REFUSED),
    *(ErrorCode.CONFIRMATION_REQUIRED, ErrorCode.PARAMS_MALFORMED, ErrorCode.CAPABILITY_MISSING),
    *(ErrorCode.CONFIRMATION_DECLINED, ErrorCode.CONFIRMATION_UNAVAILABLE, ErrorCode.CONFIRMATION_EXPIRED),
    *(ErrorCode.SESSION_UNKNOWN, ErrorCode.OVERLOADED, ErrorCode.TOKEN_INVALID),
)


def _refused(*codes: ErrorCode) -> dict[str, Status]:
    return {code.id: status_of_refusal(code) for code in codes}


_QUERIED: Final[Mapping[str, Status]] = {
    "ok": Status.OK,
    **_refused(*(code for code in ErrorCode if code.row.gate is Gate.FORWARD), ErrorCode.STORE_UNAVAILABLE),
}

UNDECLARED_CODES: Final[Mapping[str, Status]] = {**_QUERIED, **_refused(ErrorCode.TOOL_UNKNOWN)}
"""Codes of undeclared tools that start at 0, with their statuses."""

TOOL_CODES: Final[Mapping[str, Status]] = {
    **_QUERIED,
    **_refused(*_OF_A_TOOL, *(code for code in ErrorCode if code.row.gate in _TOOL_GATES)),
    **{event.value: status_of_event(event.value) for event in Event if event is not Event.RESULT},  # that one is `ok`
}
"""Every code that the call of a declared tool can end in, with its status."""


def first_codes(tools: int) -> Mapping[str, Status]:
    """Return the codes that start at 0 for each of so many declared tools, with their statuses."""
    return next((codes for codes in (TOOL_CODES, _QUERIED) if tools * len(codes) <= MAX_SERIES), {})
