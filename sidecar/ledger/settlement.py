"""Settlement of a reserved call: (event, tool) -> action, and the effect of the action on the account.

Pure. The pipeline uses the first half; the second is the model of `lua/settlement.lua` and of the scripts that resolve
holds of dead owners.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

from sidecar.ledger import approval_records
from sidecar.ledger.accounts import AccountState, HeldAmount, Hold, ResolvedCall
from sidecar.ledger.windows import Counter, window_at
from sidecar.model import MAX_AMOUNT, AmountKind, OnUnknown
from sidecar.outcome import CHARGE_RESERVE, Action, Charge, Event, Receipt, Resolution

# Members of enums as constants: as attributes of their classes they take ten times as long.
_TOOL_ERROR: Final = Event.TOOL_ERROR

Cost = Callable[[AccountState, HeldAmount, int], int]
"""Computes the cost of the amount at an index, and marks the items that it charges as paid."""

EXPIRY_BATCH: Final = 16
"""Most expired holds that one script resolves."""

MAX_FOLLOWED_EVENTS: Final = 64
"""Most events of one deferred call that are remembered."""

_CERTAIN: Final = {
    Event.RESULT: Action.CHARGE_RESULT,
    Event.RPC_ERROR: Action.RELEASE,
    Event.INPUT_REQUIRED: Action.RELEASE,
    Event.TASK_STARTED: Action.CHARGE_RESERVE,
    Event.HTTP_REFUSED: Action.RELEASE,
    Event.NOT_SENT: Action.RELEASE,
    Event.TOO_LARGE: Action.CHARGE_RESERVE,
    Event.STREAM_ENDED: Action.CHARGE_RESERVE,
    Event.DEFERRED: Action.DEFER,
    Event.CLIENT_GONE: Action.CHARGE_RESERVE,
}
_UNKNOWN: Final = {OnUnknown.SETTLE: Action.CHARGE_RESERVE, OnUnknown.RELEASE: Action.RELEASE}
UNKNOWN_OUTCOMES: Final = frozenset(
    {Event.HTTP_FAILED, Event.TIMED_OUT, Event.BACKEND_GONE, Event.UNUSABLE, Event.OWNER_DIED}
)
"""Events after which the outcome at the backend is unknown: the tool's `on_unknown` decides."""


NOT_RUN: Final = frozenset({400, 401, 403, 404, 405, 406, 411, 413, 415, 421, 422, 429, 431})
"""4xx statuses that mean that the backend did not run the call; it may have run before any other status."""


def status_event(status: int) -> Event:
    """Return the event of a response with an HTTP status other than 2xx."""
    return Event.HTTP_REFUSED if status < 400 or status in NOT_RUN else Event.HTTP_FAILED


def action(event: Event, on_unknown: OnUnknown, charge_errors: bool = False) -> Action:
    """Return the action of an event on the hold of its call (contract, section 5).

    A stream that ends cleanly without its response charges the reserve: the backend has finished. If the client can
    resume the stream, the hold is deferred instead, so that the result is charged when it passes. A task charges the
    reserve too: the call is running, and fetching its result later costs nothing more.

    Args:
        event: end of the call.
        on_unknown: setting of the tool.
        charge_errors: whether results with `isError` are charged like other results.
    """
    if event is _TOOL_ERROR:
        return Action.CHARGE_RESULT if charge_errors else Action.RELEASE
    if event in UNKNOWN_OUTCOMES:
        return _UNKNOWN[on_unknown]
    return _CERTAIN[event]


# --- the model of the scripts ------------------------------------------------------------------


def settle(
    before: AccountState, call_id: str, charges: Sequence[Charge] | None, *, now: int, lease: int
) -> tuple[Receipt, AccountState]:
    """Charge one call exactly once, also when commands arrive late or twice.

    Args:
        before: the account; it is not changed.
        call_id: the call.
        charges: charge per demand; a missing one, or None for all, charges the reserve.
        now: time of the store's clock, in milliseconds since the epoch.
        lease: milliseconds for which the outcome is remembered.
    """
    return _resolve(before, call_id, Resolution.SETTLED, partial(_cost, charges=charges or ()), now, lease)


def release(
    before: AccountState, call_id: str, *, forwarded: bool = False, now: int, lease: int
) -> tuple[Receipt, AccountState]:
    """Return the units that one call has reserved; one that was not forwarded also gives its approval back.

    Args:
        before: the account; it is not changed.
        call_id: the call; without a hold, a tombstone rejects its late admission.
        forwarded: whether the call was sent to the backend: then fixed amounts stay charged.
        now: time of the store's clock, in milliseconds since the epoch.
        lease: milliseconds for which the outcome is remembered.
    """
    cost = _released if forwarded else _nothing
    receipt, state = _resolve(before, call_id, Resolution.RELEASED, cost, now, lease)
    known = before.resolved.get(call_id)
    if not forwarded and (known is None or known.until <= now):  # once
        approval_records.give_back(state.approvals, call_id, now)
    return receipt, state


def _resolve(
    before: AccountState, call_id: str, how: Resolution, cost: Cost, now: int, lease: int
) -> tuple[Receipt, AccountState]:
    state = before.copy(now)
    done = state.resolved.get(call_id)
    if done is not None:
        return (done.receipt if done.how == how else _LATE), state
    hold = state.holds.pop(call_id, None)
    receipt = _LATE if hold is None else _apply(state, hold, cost, now)
    state.resolved[call_id] = ResolvedCall(Resolution.LATE if hold is None else how, receipt, now + lease)
    return receipt, state


_LATE: Final = Receipt(late=True)


def expire(state: AccountState, now: int) -> int:
    """Resolve, in place, the first holds with expired leases; return their number."""
    over = sorted((hold.until, call_id.encode(), call_id) for call_id, hold in state.holds.items() if hold.until <= now)
    for _, _, call_id in over[:EXPIRY_BATCH]:
        hold = state.holds.pop(call_id)
        charged = hold.deferred is not None or hold.on_unknown is OnUnknown.SETTLE
        _apply(state, hold, partial(_cost, charges=()) if charged else _released, now)
        if not charged and hold.request is not None:
            state.lapsed.add(hold.request)
    return min(len(over), EXPIRY_BATCH)


def defer(
    before: AccountState, call_id: str, context: str, events: tuple[str, ...] = (), *, now: int
) -> tuple[bool, AccountState]:
    """Keep a hold open for a response that may still arrive; False without a hold.

    Args:
        before: the account; it is not changed.
        call_id: the call.
        context: pricing context of the response.
        events: events from which the stream can be resumed, as in `Hold.events`; no second call has any of them.
        now: time of the store's clock, in milliseconds since the epoch.
    """
    state = before.copy(now)
    hold = state.holds.get(call_id)
    if hold is None:
        return False, state
    state.holds[call_id] = replace(hold, deferred=context, events=hold.events or events)
    return True, state


def follow(before: AccountState, resumed: str, events: tuple[str, ...], *, now: int) -> tuple[bool, AccountState]:
    """Add the events of a resumed stream to its deferred call, so that it can be resumed too; False without one.

    Args:
        before: the account; it is not changed.
        resumed: `keys.event_digest` of the event that the stream was resumed from.
        events: `keys.event_digest` of its own events.
        now: time of the store's clock, in milliseconds since the epoch.
    """
    state = before.copy(now)
    for call_id, hold in state.holds.items():
        if resumed in hold.events:
            older = [event for event in hold.events if event not in events]
            state.holds[call_id] = replace(hold, events=(*older, *dict.fromkeys(events))[-MAX_FOLLOWED_EVENTS:])
            return True, state
    return False, state


def recall(
    before: AccountState, request: str, costs: bool, resumed: str = "", *, now: int
) -> tuple[tuple[str, str, OnUnknown, bool] | None, AccountState]:
    """Find the deferred call of a response on another stream; None when there is nothing to settle.

    Args:
        before: the account; it is not changed.
        request: `keys.request_digest` of the request that was answered.
        costs: whether the response is a result with a price: then a call that its dead owner has not deferred is
            charged when its lease expires.
        resumed: `keys.event_digest` of the event that the stream was resumed from; empty for none.
        now: time of the store's clock, in milliseconds since the epoch.

    Returns:
        Call id, pricing context, `on_unknown`, and whether the stream is the call's own.
    """
    state = before.copy(now)
    for call_id, hold in state.holds.items():
        if hold.request == request:
            if hold.deferred:
                return (call_id, hold.deferred, hold.on_unknown, resumed in hold.events), state
            if costs and hold.deferred is None:
                state.holds[call_id] = replace(hold, deferred="")
            break
    return None, state


def _apply(state: AccountState, hold: Hold, cost: Cost, now: int) -> Receipt:
    paid: dict[str, int] = {}
    used: dict[str, int] = {}
    for index, amount in enumerate(hold.amounts):
        units = cost(state, amount, index)
        _settle(state, amount, units, now)
        total = paid if amount.kind is AmountKind.CREDIT else used
        total[amount.name] = total.get(amount.name, 0) + units
    return Receipt(paid, used)


def _nothing(state: AccountState, amount: HeldAmount, index: int) -> int:
    return 0


def _released(state: AccountState, amount: HeldAmount, index: int) -> int:
    return _cost(state, amount, index, ()) if amount.fixed else 0


def _cost(state: AccountState, amount: HeldAmount, index: int, charges: Sequence[Charge]) -> int:
    charge = charges[index] if index < len(charges) and not amount.fixed else CHARGE_RESERVE
    if amount.items is not None and not charge.unmarked:
        delivered = amount.items if charge.items is None else set(charge.items)
        fresh = {(amount.kind, amount.name, item) for item in amount.items if item in delivered} - state.paid
        state.paid |= fresh
        return amount.each * len(fresh)
    if charge.amount is None:
        return amount.reserved
    # Returned rows count in full, even past the limit; credits are never charged beyond the reserve.
    return charge.amount if amount.kind is AmountKind.QUOTA else min(charge.amount, amount.reserved)


def _settle(state: AccountState, amount: HeldAmount, cost: int, now: int) -> None:
    """Replace a reserved amount by its cost; expired windows are not changed."""
    change = cost - amount.reserved
    counters = state.quotas
    if amount.kind is AmountKind.CREDIT:
        counters = state.included
        back = min(-change, amount.from_balance)
        change += back
        if amount.from_balance:
            balance = state.balances.get(amount.name, 0)
            total = state.totals.get(amount.name, 0) - (amount.from_balance - back)
            # A hold that was edited by hand must not raise a balance above the pool's total.
            state.balances[amount.name] = max(balance, min(balance + back, total))
            state.totals[amount.name] = total
    for window, number in amount.windows.items():
        counter = counters.get((amount.name, window))
        if counter is not None and counter.window == number >= window_at(window, now)[0]:
            counters[amount.name, window] = Counter(number, min(MAX_AMOUNT, max(0, counter.used + change)))
