from __future__ import annotations

from typing import Any

import pytest

from sidecar.ledger import receipts
from sidecar.ledger.accounts import AccountState, Consent
from sidecar.ledger.admission import admit
from sidecar.ledger.settlement import release, settle
from sidecar.model import AmountKind, Demand, Price
from sidecar.outcome import CHARGE_RESERVE, CHARGE_UNMARKED, Action, Charge, Receipt
from tests.store.support import CALLER, NOW, application, demand, reveal

REQUEST = Price(AmountKind.QUOTA, "requests", 1, 60, 60, "minute", 12)
FIXED = demand("requests", fixed=True)
ROWS = Price(AmountKind.QUOTA, "rows", 10, 12, 20, "month", 900)
CREDITS = Price(AmountKind.CREDIT, "contact", 3, 5, resets_in=900)


def made(action: Action, demands: list[Demand], prices: list[Price], charges: list[Charge] | None = None) -> Any:
    known = receipts.costs(action, demands, prices, charges)
    return receipts.receipt("r-1", prices, known, None)


def test_a_receipt_says_what_was_spent_and_what_is_left():
    demands = [FIXED, demand("rows", 10), demand("contact", 3)]
    charges = [CHARGE_RESERVE, Charge(4), Charge(2)]
    assert made(Action.CHARGE_RESULT, demands, [REQUEST, ROWS, CREDITS], charges) == {
        "request_id": "r-1",
        "quotas": {
            "requests": {"spent": 1, "left": 59, "limit": 60, "window": "minute", "resets_in": 12},
            "rows": {"spent": 4, "left": 8, "limit": 20, "window": "month", "resets_in": 900},
        },
        "credits": {"contact": {"spent": 2, "left": 3, "resets_in": 900}},
    }


@pytest.mark.parametrize(
    ("action", "charges", "rows", "credits"),
    [
        (Action.RELEASE, None, (0, 12), (0, 5)),
        (Action.CHARGE_RESERVE, None, (10, 2), (3, 2)),
        (Action.CHARGE_RESULT, None, (10, 2), (3, 2)),
        (Action.CHARGE_RESULT, [CHARGE_RESERVE, Charge(0), Charge(0)], (0, 12), (0, 5)),
        (Action.CHARGE_RESULT, [CHARGE_RESERVE, Charge(11), Charge(9)], (11, 1), (3, 2)),  # rows count in full
        (Action.CHARGE_RESULT, [CHARGE_RESERVE, Charge(130), CHARGE_RESERVE], (130, 0), (3, 2)),
    ],
)
def test_each_end_of_a_call_has_its_cost(
    action: Action, charges: list[Charge] | None, rows: tuple[int, int], credits: tuple[int, int]
):
    shown = made(action, [FIXED, demand("rows", 10), demand("contact", 3)], [REQUEST, ROWS, CREDITS], charges)
    assert (shown["quotas"]["rows"]["spent"], shown["quotas"]["rows"]["left"]) == rows
    assert (shown["credits"]["contact"]["spent"], shown["credits"]["contact"]["left"]) == credits
    assert shown["quotas"]["requests"]["spent"] == 1  # it was forwarded, however it ended


def test_an_unlimited_quota_has_no_units_left():
    unlimited = Price(AmountKind.QUOTA, "requests", 1, None)
    assert made(Action.CHARGE_RESULT, [FIXED], [unlimited]) == {
        "request_id": "r-1",
        "quotas": {"requests": {"spent": 1}},
    }


@pytest.mark.parametrize(
    ("needed", "action", "charge", "known"),
    [
        (2, Action.CHARGE_RESULT, Charge(items=("a",)), None),
        (2, Action.CHARGE_RESERVE, CHARGE_RESERVE, None),
        (2, Action.CHARGE_RESULT, CHARGE_UNMARKED, 2),
        (2, Action.CHARGE_RESULT, Charge(items=()), 0),
        (0, Action.CHARGE_RESULT, Charge(items=("a", "b")), 0),  # paid before
        (2, Action.RELEASE, CHARGE_RESERVE, 0),
    ],
)
def test_only_the_store_knows_which_call_pays_for_items(needed: int, action: Action, charge: Charge, known: int | None):
    price = Price(AmountKind.CREDIT, "contact", needed, 5)
    assert receipts.costs(action, [reveal("a", "b")], [price], [charge]) == [known]


def test_a_confirmed_cost_is_shown():
    price = Price(AmountKind.CREDIT, "contact", 2, 5)
    confirmed = Receipt({"contact": 1})
    shown = receipts.receipt("r-1", [price], [None], confirmed)
    assert shown["credits"] == {"contact": {"spent": 1, "left": 4}}


@pytest.mark.parametrize("confirmed", [None, Receipt(late=True)], ids=["silent", "late"])
def test_an_unconfirmed_cost_is_pending(confirmed: Receipt | None):
    price = Price(AmountKind.CREDIT, "contact", 2, 5)
    shown = receipts.receipt("r-1", [price], [None], confirmed)
    assert shown["credits"] == {"contact": {"pending": True, "reserved": 2, "left": 3}}


def test_every_member_has_its_row_in_the_documentation():
    pending = receipts.receipt("r-1", [CREDITS, REQUEST], [None, 1], None)
    settled = receipts.receipt("r-1", [CREDITS, REQUEST], [2, 1], None)
    entries = [each for shown in (pending, settled) for kind in ("credits", "quotas") for each in shown[kind].values()]
    assert {name for each in [pending, settled, *entries] for name in each} == set(receipts.FIELDS)


FORMS = [
    [demand("requests", fixed=True)],
    [demand("requests"), demand("rows", 5)],
    [demand("contact", 3)],
    [reveal("a", "b", each=2)],
    [Demand(AmountKind.QUOTA, "rows", 2, ("x", "y"))],
]
CHARGES = [None, [CHARGE_RESERVE], [Charge(0)], [Charge(1)], [Charge(30)]]


@pytest.mark.parametrize("demands", FORMS, ids=lambda demands: "+".join(each.name for each in demands))
@pytest.mark.parametrize("charge", CHARGES, ids=str)
@pytest.mark.parametrize("action", [Action.CHARGE_RESULT, Action.CHARGE_RESERVE, Action.RELEASE])
def test_a_receipt_shows_what_the_ledger_does(demands: list[Demand], charge: list[Charge] | None, action: Action):
    """The model of the scripts, which a test of its own holds equal to them, settles the same to the same."""
    consents = {(CALLER.subject, CALLER.client_id): Consent(granted=True, at=NOW)}
    state = AccountState(plan="growth", balances={"contact": 7}, consents=consents)
    admission, state = admit(state, application("c1", *demands), NOW)
    charges = charge and [Charge(items=("a",)) if each.items else charge[0] for each in demands]
    if action is not Action.CHARGE_RESULT:
        charges = None
    known = receipts.costs(action, demands, admission.prices, charges)
    if action is Action.RELEASE:
        receipt, after = release(state, "c1", forwarded=True, now=NOW, lease=1000)
    else:
        receipt, after = settle(state, "c1", charges, now=NOW, lease=1000)
    shown = receipts.receipt("c1", admission.prices, known, receipt)
    asked, _ = admit(after, application("c2", *demands, dry_run=True), NOW)
    for price in asked.prices:
        credit = price.kind is AmountKind.CREDIT
        entry = shown["credits" if credit else "quotas"][price.name]
        assert entry["spent"] == (receipt.paid if credit else receipt.used)[price.name]
        assert entry["left"] == price.left
        assert (entry.get("window"), entry.get("limit")) == (price.window, price.limit)
