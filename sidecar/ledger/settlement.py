"""What becomes of a reserved call: (event, tool) -> action, and what the action does to the account.

Pure: the first half is what the pipeline asks, the second is the model of `lua/resolve.lua` and of
what scripts do to holds whose owner died.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

from sidecar.ledger.accounts import AccountState, Amount, Done, Hold
from sidecar.ledger.windows import Counter, window_at
from sidecar.model import MAX_AMOUNT, AmountKind, OnUnknown
from sidecar.outcome import CHARGE_RESERVE, Action, Charge, Event, Receipt

Cost = Callable[[AccountState, Amount, int], int]
"""What the amount of that index costs; items it charges are marked paid."""

EXPIRED_AT_ONCE: Final = 16
"""How many holds of dead owners one script resolves at most; `lua/ledger.lua` says the same."""

FOLLOWED: Final = 64
"""Events of one deferred call that are remembered; `lua/follow.lua` says the same."""

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
"""Events after which nobody knows what the backend did: the tool's `on_unknown` decides."""


def action(event: Event, on_unknown: OnUnknown, charge_errors: bool = False) -> Action:
    """What an event does to the hold of its call (contract, section 5).

    A stream that ended cleanly without its response charges the reserve: the backend worked to its end. Where
    the client can resume it, the hold is deferred instead, so that the result is charged when it is seen.
    A task that was handed back charges it too: the call is running, and its result can be had later at no
    further price.

    Args:
        event: what happened.
        on_unknown: the tool's.
        charge_errors: whether the tool's own errors (`isError`) are charged like results.
    """
    if event is Event.TOOL_ERROR:
        return Action.CHARGE_RESULT if charge_errors else Action.RELEASE
    if event in UNKNOWN_OUTCOMES:
        return _UNKNOWN[on_unknown]
    return _CERTAIN[event]


# --- the model of the scripts ------------------------------------------------------------------


def settle(
    before: AccountState, call_id: str, charges: Sequence[Charge] | None, *, now: int, lease: int
) -> tuple[Receipt, AccountState]:
    """Charge one call, exactly once, whatever arrives late or twice.

    Args:
        before: the account; it is not changed.
        call_id: the call.
        charges: what each demand cost; missing ones, or all for None, cost what was reserved.
        now: the store's clock, in milliseconds since the epoch.
        lease: milliseconds for which the outcome is remembered.
    """
    return _resolve(before, call_id, "settled", partial(_cost, charges=charges or ()), now, lease)


def release(
    before: AccountState, call_id: str, *, forwarded: bool = False, now: int, lease: int
) -> tuple[Receipt, AccountState]:
    """Give back what one call reserved; arguments as in `settle`.

    Args:
        before: the account; it is not changed.
        call_id: the call; without a hold a tombstone keeps its late admission out.
        forwarded: whether it was sent: then fixed amounts stay consumed.
        now: the store's clock, in milliseconds since the epoch.
        lease: milliseconds for which the outcome is remembered.
    """
    return _resolve(before, call_id, "released", _released if forwarded else _nothing, now, lease)


def _resolve(
    before: AccountState, call_id: str, how: str, cost: Cost, now: int, lease: int
) -> tuple[Receipt, AccountState]:
    state = before.copy(now)
    done = state.done.get(call_id)
    if done is not None:
        return (done.receipt if done.how == how else _LATE), state
    hold = state.holds.pop(call_id, None)
    receipt = _LATE if hold is None else _apply(state, hold, cost, now)
    state.done[call_id] = Done("late" if hold is None else how, receipt, now + lease)
    return receipt, state


_LATE: Final = Receipt(late=True)


def expire(state: AccountState, now: int) -> int:
    """Resolve, in place, the first holds whose lease has run out; returns how many."""
    over = sorted((hold.until, call_id.encode(), call_id) for call_id, hold in state.holds.items() if hold.until <= now)
    for _, _, call_id in over[:EXPIRED_AT_ONCE]:
        hold = state.holds.pop(call_id)
        charged = hold.deferred is not None or hold.on_unknown is OnUnknown.SETTLE
        _apply(state, hold, partial(_cost, charges=()) if charged else _released, now)
    return min(len(over), EXPIRED_AT_ONCE)


def defer(
    before: AccountState, call_id: str, context: str, events: tuple[str, ...] = (), *, now: int
) -> tuple[bool, AccountState]:
    """Keep a hold open for a response that may still come; False when there is no such hold.

    Args:
        before: the account; it is not changed.
        call_id: the call.
        context: what pricing the response needs.
        events: where its stream can be resumed, as `Hold.events`; none of them is another call's.
        now: the store's clock, in milliseconds since the epoch.
    """
    state = before.copy(now)
    hold = state.holds.get(call_id)
    if hold is None:
        return False, state
    state.holds[call_id] = replace(hold, deferred=context, events=hold.events or events)
    return True, state


def follow(before: AccountState, resumed: str, events: tuple[str, ...], *, now: int) -> tuple[bool, AccountState]:
    """A stream that resumed a deferred call's can itself be resumed; False when it resumed none.

    Args:
        before: the account; it is not changed.
        resumed: `keys.event_digest` of the event that it was resumed from.
        events: the same of its own events.
        now: the store's clock, in milliseconds since the epoch.
    """
    state = before.copy(now)
    for call_id, hold in state.holds.items():
        if resumed in hold.events:
            older = [event for event in hold.events if event not in events]
            state.holds[call_id] = replace(hold, events=(*older, *dict.fromkeys(events))[-FOLLOWED:])
            return True, state
    return False, state


def recall(
    before: AccountState, request: str, costs: bool, resumed: str = "", *, now: int
) -> tuple[tuple[str, str, OnUnknown, bool] | None, AccountState]:
    """The deferred call whose response has passed on another stream; None when none is to be settled.

    Args:
        before: the account; it is not changed.
        request: `keys.request_digest` of the request that was answered.
        costs: whether the response is a result that costs something: then a call that its owner has not
            deferred, because it died, is charged at its lease's end.
        resumed: `keys.event_digest` of the event that the stream was resumed from; empty for none.
        now: the store's clock, in milliseconds since the epoch.

    Returns:
        the call's id, what pricing its response needs, its `on_unknown`, and whether the stream is the call's own.
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


def _nothing(state: AccountState, amount: Amount, index: int) -> int:
    return 0


def _released(state: AccountState, amount: Amount, index: int) -> int:
    return _cost(state, amount, index, ()) if amount.fixed else 0


def _cost(state: AccountState, amount: Amount, index: int, charges: Sequence[Charge]) -> int:
    charge = charges[index] if index < len(charges) and not amount.fixed else CHARGE_RESERVE
    if amount.items is not None:
        delivered = amount.items if charge.items is None else set(charge.items)
        fresh = {(amount.kind, amount.name, item) for item in amount.items if item in delivered} - state.paid
        state.paid |= fresh
        return amount.each * len(fresh)
    if charge.amount is None:
        return amount.reserved
    # Rows that were really returned count in full, even past the limit; credits never beyond the reserve.
    return charge.amount if amount.kind is AmountKind.QUOTA else min(charge.amount, amount.reserved)


def _settle(state: AccountState, amount: Amount, cost: int, now: int) -> None:
    """Turn what was reserved into what it cost; windows that have ended are left alone."""
    change = cost - amount.reserved
    counters = state.quotas
    if amount.kind is AmountKind.CREDIT:
        counters = state.included
        back = min(-change, amount.from_balance)
        change += back
        if amount.from_balance:
            balance = state.balances.get(amount.name, 0)
            total = state.totals.get(amount.name, 0) - (amount.from_balance - back)
            # Whatever somebody has written into a hold, it lifts no balance above the pool's total.
            state.balances[amount.name] = max(balance, min(balance + back, total))
            state.totals[amount.name] = total
    for window, number in amount.windows.items():
        counter = counters.get((amount.name, window))
        if counter is not None and counter.window == number >= window_at(window, now)[0]:
            counters[amount.name, window] = Counter(number, min(MAX_AMOUNT, max(0, counter.used + change)))
