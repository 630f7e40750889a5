"""Statuses: the summary of a request's code in log lines and metrics."""

from __future__ import annotations

from typing import Final

from sidecar.errors import ErrorCode, Gate
from sidecar.outcome import Event, Exchange
from sidecar.vocabulary import TextEnum


class Status(TextEnum):
    """Outcome of a request, as a summary of its code."""

    OK = "ok"
    ERROR = "error"  # the backend answered an error of its own
    REFUSED = "refused"  # by one of the gates
    FAILED = "failed"  # after all gates admitted it


_STATUS: Final = {
    "ok": Status.OK,
    Event.RESULT.value: Status.OK,
    Event.INPUT_REQUIRED.value: Status.OK,
    Event.TOOL_ERROR.value: Status.ERROR,
    Event.RPC_ERROR.value: Status.ERROR,
    Event.HTTP_REFUSED.value: Status.ERROR,
    Event.DEFERRED.value: Status.OK,
}


_OF_REFUSAL: Final = {code: Status.FAILED if code.row.gate is Gate.FORWARD else Status.REFUSED for code in ErrorCode}


def status_of(exchange: Exchange) -> Status:
    """Return the outcome of an exchange."""
    if exchange.refusal is not None:
        return _OF_REFUSAL[exchange.refusal.code]
    return _STATUS.get(exchange.code, Status.FAILED)


def status_of_refusal(code: ErrorCode) -> Status:
    """Return the outcome of a refused request."""
    return _OF_REFUSAL[code]


def status_of_event(code: str) -> Status:
    """Return the outcome of a request that was not refused, by its code: `ok`, or the value of an event."""
    return _STATUS.get(code, Status.FAILED)
