"""How a call ended: what became of it, what is done with its hold, what it cost, and the record of it all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from sidecar.errors import Refusal
from sidecar.model import Call, Caller, Price


class Event(Enum):
    """What can become of a forwarded call; `ledger.settlement` says what each one costs."""

    RESULT = "result"
    TOOL_ERROR = "tool_error"  # a result with isError
    RPC_ERROR = "rpc_error"  # a JSON-RPC error
    INPUT_REQUIRED = "input_required"
    TASK_STARTED = "task_started"  # a task was handed back instead of the result
    HTTP_REFUSED = "http_refused"  # 3xx or 4xx
    HTTP_FAILED = "http_failed"  # 5xx
    NOT_SENT = "not_sent"  # the owner knows that no byte was sent
    TIMED_OUT = "timed_out"  # after sending
    BACKEND_GONE = "backend_gone"  # the connection broke after sending
    UNUSABLE = "unusable"  # 2xx without a usable response
    TOO_LARGE = "too_large"
    STREAM_ENDED = "stream_ended"  # a POST stream ended cleanly without its response
    DEFERRED = "deferred"  # a POST stream ended without its response, and the client can resume it
    CLIENT_GONE = "client_gone"  # the client left and the result was not seen
    OWNER_DIED = "owner_died"  # the lease ran out


class Action(Enum):
    """What is done with a hold."""

    CHARGE_RESULT = "charge_result"  # the true price, computed from the result
    CHARGE_RESERVE = "charge_reserve"
    RELEASE = "release"
    DEFER = "defer"  # stays reserved until the response passes on another stream, or the lease ends


@dataclass(frozen=True, slots=True)
class Charge:
    """What one demand really cost, in the order of the call's demands.

    `amount` units of a plain demand; for a demand with items, the items that were delivered (the
    store charges those not yet paid). Both None: charge what was reserved.
    """

    amount: int | None = None
    items: tuple[str, ...] | None = None


CHARGE_RESERVE: Final = Charge()


@dataclass(frozen=True, slots=True)
class Receipt:
    """What the store says a settled or released call cost, per name.

    `paid` are credits per pool, `used` quota units per quota; `late` is True when the hold had
    been resolved before and nothing was applied.
    """

    paid: Mapping[str, int] = field(default_factory=dict)
    used: Mapping[str, int] = field(default_factory=dict)
    late: bool = False


@dataclass(slots=True)
class Exchange:
    """One request from its first byte to its log line: what `observe` is told, and nothing else.

    Times are from the monotonic clock, in seconds.
    """

    request_id: str
    started: float
    ended: float | None = None  # when the answer was ready; the store's receipt may come later
    call: Call | None = None
    caller: Caller | None = None
    tool: str | None = None  # only ever a tool that the policy declares
    method: str | None = None  # only ever a method that the policy or the protocol knows
    code: str = "ok"
    refusal: Refusal | None = None
    http_status: int | None = None
    rule: str | None = None
    rows: int | None = None
    reserved: Sequence[Price] = ()
    receipt: Receipt | None = None
    forgotten: bool = False  # the store no longer knew the hold, although its lease had not ended
    action: Action | None = None
    backend_seconds: float | None = None
    plan: str | None = None
    policy_revision: str | None = None
    trace_id: str | None = None
    shadow: tuple[str, ...] = ()
    stream_end: str | None = None  # why an open stream was ended by this process
    notes: list[str] = field(default_factory=list)  # for the log only: what was wrong when settling
