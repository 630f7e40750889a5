"""Vocabulary of finished calls: event, action on the hold, charge, receipt, and the record for `observe`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Final

from sidecar.errors import Refusal, ShadowRefusal
from sidecar.model import Call, Caller, Price
from sidecar.vocabulary import TextEnum, record


class Event(TextEnum):
    """Outcome of a forwarded call; `ledger.settlement` says what each one costs."""

    RESULT = "result"
    TOOL_ERROR = "tool_error"  # a result with isError
    RPC_ERROR = "rpc_error"  # a JSON-RPC error
    INPUT_REQUIRED = "input_required"
    TASK_STARTED = "task_started"  # the backend answered with a task instead of the result
    HTTP_REFUSED = "http_refused"  # 3xx, or a 4xx by which the backend says that the call did not run
    HTTP_FAILED = "http_failed"  # 5xx, or any other 4xx
    NOT_SENT = "not_sent"  # no byte was sent to the backend
    TIMED_OUT = "timed_out"  # after sending
    BACKEND_GONE = "backend_gone"  # the connection broke after sending
    UNUSABLE = "unusable"  # 2xx without a usable response
    TOO_LARGE = "too_large"
    STREAM_ENDED = "stream_ended"  # a POST stream ended cleanly without its response
    DEFERRED = "deferred"  # a POST stream ended without its response, and the client can resume it
    CLIENT_GONE = "client_gone"  # the client disconnected before the result was seen
    OWNER_DIED = "owner_died"  # the lease ran out


class Action(TextEnum):
    """Action on a hold."""

    CHARGE_RESULT = "charge_result"  # the true price, computed from the result
    CHARGE_RESERVE = "charge_reserve"
    RELEASE = "release"
    DEFER = "defer"  # stays reserved until the response arrives on another stream, or the lease ends


class Resolution(TextEnum):
    """Resolution of a call that the store keeps and journals."""

    SETTLED = "settled"
    RELEASED = "released"
    LATE = "late"  # its hold had been resolved already


@record
class Charge:
    """Actual cost of one demand; charges have the order of the call's demands.

    `amount` units of a plain demand; for a demand with items, the delivered items (the store charges
    the unpaid ones). Both None: charge the reserve; for a demand with items, mark the requested items
    as paid unless `unmarked`.
    """

    amount: int | None = None
    items: tuple[str, ...] | None = None
    unmarked: bool = False


CHARGE_RESERVE: Final = Charge()

CHARGE_UNMARKED: Final = Charge(unmarked=True)
"""Charge of the reserve for a result that does not name its delivered items: no item is marked as paid."""


@record
class Receipt:
    """Cost of a settled or released call per name, as the store reports it.

    `paid` are credits per pool, `used` are units per quota; `late` is True when the hold had been
    resolved before, so that nothing was applied.
    """

    paid: Mapping[str, int] = field(default_factory=dict)
    used: Mapping[str, int] = field(default_factory=dict)
    late: bool = False


class Bound(TextEnum):
    """Kind of a backend's id that is bound to a caller; the value appears in store keys and log events."""

    SESSION = "session"
    TASK = "task"


@record
class Eviction:
    """Evicted binding, which made room for a new one of the same account.

    Attributes:
        digest: digest of the id.
        subject: with `client_id`, the caller that it belonged to.
        full: the list that was full, `caller` or `account`.
    """

    kind: Bound
    digest: str
    subject: str
    client_id: str
    full: str


@record
class Exchange:
    """Record of one request that has ended: the only input of `observe`, built once.

    Times are from the monotonic clock, in seconds.
    """

    request_id: str
    started: float
    ended: float | None = None  # the answer was ready; the store's receipt may arrive later
    call: Call | None = None
    caller: Caller | None = None
    tool: str | None = None  # a declared tool, or None
    method: str | None = None  # a method of the policy or the protocol, or None
    code: str = "ok"
    refusal: Refusal | None = None
    http_status: int | None = None
    rule: str | None = None
    rows: int | None = None
    reserved: Sequence[Price] = ()
    receipt: Receipt | None = None
    hold_lost: bool = False  # the store lost the hold before its lease expired
    action: Action | None = None
    backend_seconds: float | None = None
    plan: str | None = None
    policy_revision: str | None = None
    trace_id: str | None = None
    shadow: tuple[ShadowRefusal, ...] = ()
    stream_end: str | None = None  # the reason for which this process ended an open stream
    notes: Sequence[str] = ()  # faults of the settlement, for the log only
    asked_seconds: float = 0.0  # waited for a person to confirm the call
