"""Thousands of interleavings of the model, in which nothing is ever wrong; and mistakes, which are found in them."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from sidecar.ledger import admission, settlement
from sidecar.ledger.accounts import AccountState, ResolvedCall
from sidecar.ledger.windows import Counter as Used
from sidecar.ledger.windows import window_at
from sidecar.model import AdmissionCode, AdmissionReply, AmountKind, Application, OnUnknown
from sidecar.outcome import Action, Event, Receipt, Resolution
from tests.ledger.simulation.rules import Rules, ViolationError
from tests.ledger.simulation.run import run

pytestmark = pytest.mark.timeout(300)  # the machine may be busy with something else

SEEDS = 3000
_AT_ONCE = 500
_FOUND_WITHIN = 1000
"""Seeds among which every mistake must show itself at least once."""


@pytest.mark.parametrize("first", range(0, SEEDS, _AT_ONCE))
def test_every_order_of_events_keeps_the_ledger_consistent(first: int):
    met: Counter[str] = Counter()
    for seed in range(first, first + _AT_ONCE):
        met += run(seed).met
    # Else it would prove little: what a ledger is bent by has to come about.
    assert {what for what in _BENDS if not met[what]} == set()


_BENDS = {
    *(code.name for code in AdmissionCode if code.name in {"ADMITTED", "RESOLVED_ALREADY", "REQUEST_IN_FLIGHT"}),
    *(
        "INSUFFICIENT_CREDITS",
        "QUOTA_EXCEEDED",
        "CONSENT_REVOKED",
        "CONSENT_MISSING",
        "ACCOUNT_DISABLED",
        "PLAN_REQUIRED",
    ),
    *("settled", "released", "repeated", "released without a hold", "settled after its lease"),
    *("expired, settled, orphaned", "expired, released, orphaned", "expired, settled, deferred"),
    *("settled after the store had lost them", "counters restarted by a clock that went back"),
    *("failover", "items another call has paid meanwhile", "windows that have ended", "followed"),
    *("recalled on its own stream", "recalled on another stream", "recalled before its owner has deferred it"),
}


# --- mistakes ----------------------------------------------------------------------------------

State = AccountState


def _spends_what_is_held(before: State, asked: Application, now: int) -> tuple[AdmissionReply, State]:
    """An admission that looks at the total instead of the balance."""
    rich = replace(before, balances=dict(before.totals))
    answer, after = admission.admit(rich, asked, now)
    taken = {pool: before.totals[pool] - after.balances[pool] for pool in before.totals}
    return answer, replace(after, balances={pool: units - taken[pool] for pool, units in before.balances.items()})


def _admits_what_is_resolved(before: State, asked: Application, now: int) -> tuple[AdmissionReply, State]:
    """An admission that looks for no tombstone."""
    answer, after = admission.admit(replace(before, resolved={}), asked, now)
    return answer, replace(after, resolved=before.copy(now).resolved)


def _admits_one_request_twice(before: State, asked: Application, now: int) -> tuple[AdmissionReply, State]:
    """An admission that does not ask whose request is in flight."""
    answer, after = admission.admit(before, replace(asked, request=None), now)
    if answer.held:
        after.holds[asked.call_id] = replace(after.holds[asked.call_id], request=asked.request)
    return answer, after


def _takes_a_part(before: State, asked: Application, now: int) -> tuple[AdmissionReply, State]:
    """An admission that was refused keeps what it had taken by then."""
    answer, after = admission.admit(before, asked, now)
    if answer.refused:
        _, after = admission.admit(after, replace(asked, demands=asked.demands[: answer.refused]), now)
        after.holds.pop(asked.call_id, None)
    return answer, after


def _begins_a_window_anew(before: State, asked: Application, now: int) -> tuple[AdmissionReply, State]:
    """An admission that counts by the clock alone, which was set back."""
    state = before.copy(now)
    for counters in (state.quotas, state.included):
        for (name, window), counter in list(counters.items()):
            if counter.window > window_at(window, now)[0]:
                del counters[name, window]
    return admission.admit(state, asked, now)


def _forgets_that_it_settled(before: State, call: str, charges: Any, *, now: int, lease: int) -> tuple[Receipt, State]:
    """A settle that is given twice finds no hold the second time."""
    receipt, after = settlement.settle(before, call, charges, now=now, lease=lease)
    after.resolved.pop(call, None)
    return receipt, after


def _settles_again(before: State, call: str, charges: Any, *, now: int, lease: int) -> tuple[Receipt, State]:
    """A settle that leaves the hold for the lease to resolve once more."""
    receipt, after = settlement.settle(before, call, charges, now=now, lease=lease)
    if not receipt.late and call in before.holds:
        after.holds[call] = before.holds[call]
    return receipt, after


def _settles_beyond_the_reserve(before: State, call: str, charges: Any, **times: int) -> tuple[Receipt, State]:
    """A settle that believes whatever a result says."""
    state = before.copy(times["now"])
    if (hold := state.holds.get(call)) is not None and charges:
        over = max((charge.amount or 0) - each.reserved for charge, each in zip(charges, hold.amounts, strict=True))
        amounts = tuple(replace(each, reserved=each.reserved + max(0, over)) for each in hold.amounts)
        state.holds[call] = replace(hold, amounts=amounts)
    return settlement.settle(state, call, charges, **times)


def _charges_items_again(before: State, call: str, charges: Any, **times: int) -> tuple[Receipt, State]:
    """A settle that does not look who has paid meanwhile."""
    receipt, after = settlement.settle(replace(before, paid=set()), call, charges, **times)
    return receipt, replace(after, paid=before.paid | after.paid)


def _leaves_no_tombstone(before: State, call: str, **given: Any) -> tuple[Receipt, State]:
    """A release that finds no hold leaves nothing behind."""
    receipt, after = settlement.release(before, call, **given)
    return receipt, after if call in before.holds else before


def _gives_back_to_any_window(before: State, call: str, **given: Any) -> tuple[Receipt, State]:
    """A release that gives to the window of now what was taken from another."""
    hold, state = before.holds.get(call), before.copy(given["now"])
    if hold is not None:
        now = {window: window_at(window, given["now"])[0] for each in hold.amounts for window in each.windows}
        amounts = (replace(each, windows={window: now[window] for window in each.windows}) for each in hold.amounts)
        state.holds[call] = replace(hold, amounts=tuple(amounts))
        for amount, window in ((each, window) for each in hold.amounts for window in each.windows):
            counters = state.quotas if amount.kind is AmountKind.QUOTA else state.included
            if counters[amount.name, window].window != now[window]:
                counters[amount.name, window] = Used(now[window], 0)
    return settlement.release(state, call, **given)


def _gives_fixed_amounts_back(before: State, call: str, *, forwarded: bool, **times: int) -> tuple[Receipt, State]:
    """A release that forgets whether the call was forwarded."""
    return settlement.release(before, call, forwarded=False, **times)


def _releases_what_is_deferred(state: State, now: int) -> int:
    """A lease that asks `on_unknown` only."""
    state.holds = {call: replace(hold, deferred=None) for call, hold in state.holds.items()}
    return settlement.expire(state, now)


def _expires_early(state: State, now: int) -> int:
    """A lease that is over a millisecond too soon."""
    return settlement.expire(state, now + 1)


def _expires_for_nothing(state: State, now: int) -> int:
    """A lease that releases whatever the tool says."""
    released = {
        call: replace(hold, on_unknown=OnUnknown.RELEASE) if hold.until <= now else hold
        for call, hold in state.holds.items()
    }
    state.holds = released
    return settlement.expire(state, now)


def _remembers_what_expired(state: State, now: int) -> int:
    """A lease whose end the late settle takes for its own."""
    over = [call for call, hold in state.holds.items() if hold.until <= now]
    count = settlement.expire(state, now)
    state.resolved |= {call: ResolvedCall(Resolution.SETTLED, Receipt({}, {}), now + 1000) for call in over}
    return count


def _defers_for_nobody(before: State, call: str, *given: Any, now: int) -> tuple[bool, State]:
    """A deferral that is forgotten."""
    return call in before.holds, before


def _recalls_from_the_living(before: State, request: str, *given: Any, now: int) -> tuple[Any, State]:
    """A response takes a call from its owner, which has not deferred it."""
    state = before.copy(now)
    for call, hold in state.holds.items():
        if hold.request == request:
            return (call, "context", hold.on_unknown, False), state
    return None, state


def _charges_errors(event: Event, on_unknown: OnUnknown, charge_errors: bool) -> Action:
    """A sidecar to which an error is a result."""
    return settlement.action(Event.RESULT if event is Event.RPC_ERROR else event, on_unknown, charge_errors)


def _gives_up_what_is_unknown(event: Event, on_unknown: OnUnknown, charge_errors: bool) -> Action:
    """A sidecar that never asks what the tool says of unknown outcomes."""
    return settlement.action(event, OnUnknown.RELEASE, charge_errors)


_MISTAKES: Sequence[Rules] = (
    *(
        Rules(admit=wrong)
        for wrong in (
            _spends_what_is_held,
            _admits_what_is_resolved,
            _admits_one_request_twice,
            _takes_a_part,
            _begins_a_window_anew,
        )
    ),
    *(
        Rules(settle=wrong)
        for wrong in (
            _forgets_that_it_settled,
            _settles_again,
            _settles_beyond_the_reserve,
            _charges_items_again,
        )
    ),
    *(Rules(release=each) for each in (_leaves_no_tombstone, _gives_back_to_any_window, _gives_fixed_amounts_back)),
    *(
        Rules(expire=wrong)
        for wrong in (_releases_what_is_deferred, _expires_early, _expires_for_nothing, _remembers_what_expired)
    ),
    Rules(defer=_defers_for_nobody),
    Rules(recall=_recalls_from_the_living),
    *(Rules(action=wrong) for wrong in (_charges_errors, _gives_up_what_is_unknown)),
    Rules(repeats=False),
    Rules(undoes=False),
)


def _name(rules: Rules) -> str:
    """Return the name of the wrong rule."""
    right = Rules()
    [wrong] = [name for name in Rules.__dataclass_fields__ if getattr(rules, name) != getattr(right, name)]
    function = getattr(rules, wrong)
    return function.__name__.strip("_") if callable(function) else f"not {wrong}"


def _run_all(rules: Rules) -> None:
    for seed in range(_FOUND_WITHIN):
        run(seed, rules)


@pytest.mark.parametrize("rules", _MISTAKES, ids=[_name(each) for each in _MISTAKES])
def test_a_mistake_in_the_ledger_is_found(rules: Rules):
    with pytest.raises(ViolationError, match=r"--seed \d+ --trace"):
        _run_all(rules)


# --- by hand -----------------------------------------------------------------------------------


def test_a_seed_always_gives_the_same_run():
    traces: list[list[str]] = [[], []]
    for lines in traces:
        run(5, trace=lines.append)
    assert traces[0] == traces[1]
    assert any("Admit" in line for line in traces[0])


def test_a_seed_is_rerun_by_hand_with_its_trace():
    words = [sys.executable, "-m", "tests.ledger.simulation", "--seed", "5", "--trace"]
    outcomes = {
        subprocess.run(words, capture_output=True, text=True, check=True).stdout.split("1 runs in")[0] for _ in "ab"
    }
    [trace] = outcomes  # whatever the order of sets in a process
    assert "nothing goes wrong" in trace
