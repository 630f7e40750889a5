"""Cost of each event, for every tool; and settling on the pure model."""

from __future__ import annotations

import pytest

from sidecar.ledger import admission, settlement
from sidecar.ledger.accounts import AccountState, Consent
from sidecar.ledger.settlement import action
from sidecar.ledger.windows import Counter, window_at
from sidecar.model import AmountKind, Application, OnUnknown
from sidecar.outcome import CHARGE_UNMARKED, Action, Charge, Event, Receipt
from tests.store.support import CALLER, LEASE, NOW, application, demand, reveal

_CHARGED = Action.CHARGE_RESULT
_RESERVE = Action.CHARGE_RESERVE
_RELEASED = Action.RELEASE

# Contract, section 5, row by row: with on_unknown settle, and with release.
TABLE = {
    Event.RESULT: (_CHARGED, _CHARGED),
    Event.TOOL_ERROR: (_RELEASED, _RELEASED),
    Event.RPC_ERROR: (_RELEASED, _RELEASED),
    Event.INPUT_REQUIRED: (_RELEASED, _RELEASED),
    Event.TASK_STARTED: (_RESERVE, _RESERVE),
    Event.HTTP_REFUSED: (_RELEASED, _RELEASED),
    Event.NOT_SENT: (_RELEASED, _RELEASED),
    Event.TOO_LARGE: (_RESERVE, _RESERVE),
    Event.STREAM_ENDED: (_RESERVE, _RESERVE),
    Event.CLIENT_GONE: (_RESERVE, _RESERVE),
    Event.DEFERRED: (Action.DEFER, Action.DEFER),
    Event.HTTP_FAILED: (_RESERVE, _RELEASED),
    Event.TIMED_OUT: (_RESERVE, _RELEASED),
    Event.BACKEND_GONE: (_RESERVE, _RELEASED),
    Event.UNUSABLE: (_RESERVE, _RELEASED),
    Event.OWNER_DIED: (_RESERVE, _RELEASED),
}


@pytest.mark.parametrize("event", Event)
def test_every_event_has_its_row(event: Event):
    assert (action(event, OnUnknown.SETTLE), action(event, OnUnknown.RELEASE)) == TABLE[event]


def test_tools_may_charge_their_own_errors_and_nothing_else():
    assert action(Event.TOOL_ERROR, OnUnknown.RELEASE, True) is Action.CHARGE_RESULT
    assert action(Event.RPC_ERROR, OnUnknown.RELEASE, True) is Action.RELEASE


# --- the model ---------------------------------------------------------------------------------


def _admitted(asked: Application, balance: int = 10, plan: str = "growth") -> AccountState:
    state = AccountState(plan=plan, balances={"contact": balance}, totals={"contact": balance})
    state.consents[CALLER.subject, CALLER.client_id] = Consent()
    answer, after = admission.admit(state, asked, NOW)
    assert answer.held
    return after


def test_included_credits_go_first_and_the_balance_gets_its_part_back_first():
    asked = application("c", demand("contact", 6))
    held = _admitted(asked)
    month, _ = window_at("month", NOW)
    assert held.balances == {"contact": 8}
    assert held.included == {("contact", "month"): Counter(month, 4)}
    receipt, after = settlement.settle(held, "c", [Charge(3)], now=NOW, lease=LEASE)
    assert receipt == Receipt({"contact": 3}, {})
    assert after.balances == {"contact": 10}
    assert after.included == {("contact", "month"): Counter(month, 3)}
    assert after.imbalance() == {}


def test_windows_that_have_ended_are_left_alone():
    held = _admitted(application("c", demand("contact", 6), demand("rows", 5)))
    later = NOW + 40 * 86_400_000
    _, after = settlement.release(held, "c", now=later, lease=LEASE)
    assert after.balances == {"contact": 10}
    assert after.included == held.included == {("contact", "month"): Counter(window_at("month", NOW)[0], 4)}
    new_month, _ = window_at("month", later)
    held.quotas["rows", "month"] = Counter(new_month, 2)
    _, after = settlement.release(held, "c", now=later, lease=LEASE)
    assert after.quotas["rows", "month"] == Counter(new_month, 2)


def test_credits_never_cost_more_than_the_reserve_but_returned_rows_count_in_full():
    held = _admitted(application("c", demand("contact", 2), demand("rows", 5)))
    receipt, after = settlement.settle(held, "c", [Charge(99), Charge(99)], now=NOW, lease=LEASE)
    assert receipt == Receipt({"contact": 2}, {"rows": 99})
    assert after.quotas["rows", "month"].used == 99


def test_a_fixed_amount_is_consumed_by_a_call_that_was_forwarded():
    held = _admitted(application("c", demand("requests", fixed=True), demand("rows", 5)))
    for forwarded, used in ((True, 1), (False, 0)):
        receipt, after = settlement.release(held, "c", forwarded=forwarded, now=NOW, lease=LEASE)
        assert receipt.used == {"requests": used, "rows": 0}
        assert after.quotas["requests", "minute"].used == used


def test_the_second_of_two_calls_for_one_item_gets_its_credit_back():
    first = _admitted(application("c1", reveal("a", "b")))
    answer, both = admission.admit(first, application("c2", reveal("b", "c")), NOW)
    assert [price.needed for price in answer.prices] == [2]
    one, state = settlement.settle(both, "c1", [Charge(items=("a", "b"))], now=NOW, lease=LEASE)
    two, state = settlement.settle(state, "c2", [Charge(items=("b",))], now=NOW, lease=LEASE)
    assert (one.paid, two.paid) == ({"contact": 2}, {"contact": 0})
    answer, _ = admission.admit(state, application("c3", reveal("a", "b", "c")), NOW)
    assert answer.prices[0].needed == 1
    assert (AmountKind.CREDIT, "contact", "c") not in state.paid


def test_items_without_a_reservation_cost_nothing_and_are_not_marked():
    held = _admitted(application("c", reveal("a", "b", each=2)))
    receipt, after = settlement.settle(held, "c", [Charge(items=("a", "z"))], now=NOW, lease=LEASE)
    assert receipt.paid == {"contact": 2}
    assert {item for _, _, item in after.paid} == {"a"}


def test_a_reserve_charged_without_marking_leaves_every_item_to_be_paid():
    held = _admitted(application("c", reveal("a", "b", each=2)))
    receipt, after = settlement.settle(held, "c", [CHARGE_UNMARKED], now=NOW, lease=LEASE)
    assert receipt.paid == {"contact": 4}
    assert after.paid == set()


def test_a_repetition_gets_the_first_answer_and_anything_else_is_late():
    held = _admitted(application("c", demand("contact", 2)))
    first, state = settlement.settle(held, "c", None, now=NOW, lease=LEASE)
    again, same = settlement.settle(state, "c", None, now=NOW, lease=LEASE)
    other, still = settlement.release(state, "c", now=NOW, lease=LEASE)
    assert first == again == Receipt({"contact": 2}, {})
    assert other == Receipt(late=True)
    assert state == same == still


@pytest.mark.parametrize(("on_unknown", "paid"), [(OnUnknown.SETTLE, 2), (OnUnknown.RELEASE, 0)])
def test_a_dead_owner_s_hold_is_resolved_by_the_next_call_with_a_price(on_unknown: OnUnknown, paid: int):
    held = _admitted(application("c", demand("contact", 6), demand("requests", fixed=True), on_unknown=on_unknown))
    _, same = admission.admit(held, application("free"), NOW + LEASE)
    assert same.holds.keys() == {"c"}
    answer, after = admission.admit(held, application("next", demand("contact", 15)), NOW + LEASE)
    assert not answer.held
    assert not after.holds
    assert after.totals == {"contact": 10 - paid}
    assert after.imbalance() == {}
    receipt, _ = settlement.settle(after, "c", None, now=NOW + LEASE, lease=LEASE)
    assert receipt.late


def test_a_deferred_hold_settles_at_its_reserve_whatever_on_unknown_says():
    held = _admitted(application("c", demand("contact", 6), on_unknown=OnUnknown.RELEASE))
    there, held = settlement.defer(held, "c", "{}", now=NOW)
    assert there
    assert settlement.expire(held, NOW + LEASE) == 1
    assert held.totals == {"contact": 8}


def test_a_hold_is_not_resolved_by_others_before_its_lease_expires():
    held = _admitted(application("c", demand("contact")))
    assert settlement.expire(held, NOW + LEASE - 1) == 0
