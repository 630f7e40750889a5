"""Windows in journal entries, on a real server: earlier versions, clocks, plans, lost calls."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from sidecar.ledger.journal.entries import Difference
from sidecar.ledger.journal.verification import last_without_windows, lost_holds, verify
from sidecar.ledger.windows import window_at
from sidecar.model import OnUnknown
from sidecar.outcome import Charge
from sidecar.store.commands import changes, scripts
from sidecar.store.commands.changes import CreditChange
from sidecar.terms import PlanTerms, Terms
from sidecar.window_rules import Window
from tests.store.support import (
    CALLER,
    GROWTH,
    KEYS,
    LEASE,
    NOW,
    PLANS,
    TERMS,
    RealLedger,
    application,
    demand,
    reveal,
)
from tests.support.store import StoreServer

_MINUTE = 60_000
_DAY = 86_400_000
_MONTH = window_at("month", NOW)[0]


@pytest.fixture
def ledger(store_server: StoreServer) -> Iterator[RealLedger]:
    with RealLedger.of_account(store_server) as real:
        yield real


def _differences(ledger: RealLedger) -> list[tuple[str, str, str]]:
    return [(each.where, each.expected, each.found) for each in verify(*ledger.audit())]


def _newest(ledger: RealLedger) -> dict[str, str]:
    ((_, fields),) = ledger.client.xrevrange(KEYS.usage, count=1)
    return dict(fields)


def _spend(ledger: RealLedger, amount: int, operation: str, **more: Any) -> CreditChange:
    command = changes.change_credits("main", "acme", "spend", "contact", amount, operation=operation, **more)
    return changes.credited(ledger.run(command))


def _with_included(window: Window) -> Terms:
    plans = {**PLANS, "growth": PlanTerms(True, {}, {"contact": (window, 4)})}
    return replace(TERMS, plans=plans)


# --- what an entry says ------------------------------------------------------------------------------


def test_amounts_of_one_quota_are_counted_together(ledger: RealLedger):
    asked = application("c", demand("rows", 5), demand("rows", 7), demand("unlimited", 3))
    assert ledger.admit(asked).held
    assert _differences(ledger) == []
    ledger.run(scripts.settle(asked, [Charge(50), Charge(1)]))
    entry = _newest(ledger)
    assert (entry["quota:rows"], entry["windows:quota:rows"]) == ("51", f"month:{_MONTH}")
    assert (entry["quota:unlimited"], entry["windows:quota:unlimited"]) == ("3", "")
    assert ledger.client.hget(KEYS.ledger, "quota:rows:month") == f"{_MONTH}:51"
    assert _differences(ledger) == []
    ledger.client.hset(KEYS.ledger, "quota:rows:month", f"{_MONTH}:50")
    assert _differences(ledger) == [("ledger quota:rows:month", f"{_MONTH}:51", f"{_MONTH}:50")]


def test_a_window_that_ended_before_the_call_counts_what_was_reserved(ledger: RealLedger):
    """It is left alone; and should the clock be set back into it, it still follows from the journal."""
    asked = application("c", demand("requests", 4), demand("contact", 3))
    ledger.admit(asked)
    ledger.set_clock(NOW + _MINUTE)
    ledger.run(scripts.settle(asked, [Charge(1), Charge(2)]))
    entry = _newest(ledger)
    minute = window_at("minute", NOW)[0]
    assert entry["windows:quota:requests"] == f"minute:{minute}:4"
    assert entry["windows:included:contact"] == f"month:{_MONTH}"
    ledger.set_clock(NOW)
    assert _differences(ledger) == []
    ledger.client.hset(KEYS.ledger, "quota:requests:minute", f"{minute}:1")
    assert _differences(ledger) == [("ledger quota:requests:minute", f"{minute}:4", f"{minute}:1")]
    ledger.set_clock(NOW + _MINUTE)
    assert _differences(ledger) == [], "an expired window is ignored"


def test_a_spend_says_what_was_included(ledger: RealLedger):
    ledger.run(changes.change_credits("main", "acme", "grant", "contact", 10, operation="g"))
    assert _spend(ledger, 6, "s", included=("month", 4)).balance == 8
    entry = _newest(ledger)
    assert (entry["included:contact"], entry["windows:included:contact"]) == ("4", f"month:{_MONTH}")
    _spend(ledger, 1, "s2")
    assert _newest(ledger)["windows:included:contact"] == ""
    assert _differences(ledger) == []


def test_every_dead_owner_s_hold_says_its_windows_and_the_items_it_has_paid(ledger: RealLedger):
    ledger.run(changes.change_credits("main", "acme", "grant", "contact", 10, operation="g"))
    for number in range(3):
        asked = application(f"c{number}", demand("rows", 9), reveal("a", f"b{number}"), on_unknown=OnUnknown.SETTLE)
        assert ledger.admit(asked).held
    ledger.set_clock(NOW + LEASE)
    assert ledger.run(scripts.sweep(KEYS)) == 3
    entries = [fields for _, fields in ledger.client.xrange(KEYS.usage) if "expired" in fields]
    assert [entry["windows:quota:rows"] for entry in entries] == [f"month:{_MONTH}"] * 3
    assert [(entry["credit:contact"], entry["paid"]) for entry in entries] == [("2", "2"), ("1", "3"), ("1", "4")]
    assert _differences(ledger) == []


def test_the_checkpoint_keeps_the_newest_window_of_each_counter_and_no_more(store_server: StoreServer):
    real = RealLedger(store_server, kept=(8, 3))
    try:
        real.client.hset(KEYS.account, mapping=GROWTH)
        real.run(changes.grant("main", "acme", "ann", CALLER.client_id))
        for number in range(40):
            real.set_clock(NOW + number // 6 * _MINUTE)
            asked = application(f"c{number}", demand("requests"), demand("rows", 2), demand("contact", 0))
            assert real.admit(asked).held
            real.run(scripts.settle(asked, [Charge(1), Charge(number % 3), Charge(0)]))
            assert _differences(real) == []
        entries = int(real.client.hget(KEYS.ledger, "journal:folded"))
        rows = sum(number % 3 for number in range(entries - 1))  # the first entry is the consent's
        minute = window_at("minute", NOW + (entries - 2) // 6 * _MINUTE)[0]
        folded = {name: value for name, value in real.client.hgetall(KEYS.ledger).items() if "folded:" in name}
        assert folded == {
            "folded:quota:requests:minute": f"{minute}:{(entries - 2) % 6 + 1}",
            "folded:quota:rows:month": f"{_MONTH}:{rows}",
            "folded:included:contact:month": f"{_MONTH}:0",
        }
    finally:
        real.close()


# --- plans and clocks --------------------------------------------------------------------------------


def test_windows_of_a_plan_may_change(ledger: RealLedger):
    """Each entry says its own: the month's and the day's counter are right side by side."""
    windows: tuple[Window, ...] = ("month", "day", "month")
    for window in windows:
        asked = application(window, demand("contact", 2), terms=_with_included(window))
        ledger.admit(asked)
        ledger.run(scripts.settle(asked, None))
        ledger.client.delete(KEYS.outcome(window))
    counters = {name: value for name, value in ledger.client.hgetall(KEYS.ledger).items() if "included" in name}
    day = window_at("day", NOW)[0]
    assert counters == {"included:contact:month": f"{_MONTH}:4", "included:contact:day": f"{day}:2"}
    assert _differences(ledger) == []
    ledger.run(changes.set_account("main", "acme", plan="free", quotas={("requests", "day"): 9}))
    ledger.run(changes.change_credits("main", "acme", "set", "contact", 3, operation="set"))
    assert _differences(ledger) == []


def test_a_clock_that_was_set_back_restarts_no_window(ledger: RealLedger):
    day_ends = (window_at("day", NOW)[0] + 1) * _DAY
    plan = PlanTerms(True, {"requests": {"day": 3}}, {"contact": ("day", 3)})
    terms = replace(TERMS, plans={**PLANS, "growth": plan})

    def call(number: int, at: int) -> bool:
        ledger.set_clock(at)
        asked = application(f"c{number}", demand("requests"), demand("contact"), terms=terms)
        held = ledger.admit(asked).held
        ledger.run(scripts.settle(asked, None) if held else scripts.release(asked))
        assert _differences(ledger) == []
        return held

    moments = [day_ends, day_ends - 1000, day_ends, day_ends - 1000, day_ends]
    assert [call(number, at) for number, at in enumerate(moments)] == [True, True, True, False, False]
    assert _spend(ledger, 1, "o", included=("day", 3)).included == 0
    assert call(9, day_ends + _DAY)


# --- earlier versions ----------------------------------------------------------------------------------


def _earlier(ledger: RealLedger, *, folded: bool) -> None:
    """Entries of an earlier version: five calls of one request and two included credits each, folded or not."""
    minute, month = window_at("minute", NOW)[0], _MONTH
    ledger.client.delete(KEYS.usage)
    counters = {"quota:requests:minute": f"{minute}:5", "included:contact:month": f"{month}:10"}
    totals = {"balance:contact": 100, "total:contact": 100, "journal:written": 6}
    done = {"journal:folded": 6, "journal:last": f"{NOW}-0", "checkpoint:contact": "100:100:0"}
    ledger.client.hset(KEYS.ledger, mapping={**counters, **totals, **(done if folded else {})})
    if folded:
        return
    grant = {"credit:contact": "100", "included:contact": "0", "change:contact": "100", "total:contact": "100"}
    ledger.client.xadd(KEYS.usage, {"n": 1, "event": "grant", "call": "o", **grant}, id=f"{NOW - 60_000}-0")
    for number in range(5):
        cost = {"quota:requests": "1", "credit:contact": "2", "change:contact": "0", "total:contact": "100"}
        settled = {"n": number + 2, "event": "settled", "call": f"old{number}", "client": "c", **cost}
        ledger.client.xadd(KEYS.usage, settled, id=f"{NOW}-{number}")


@pytest.mark.parametrize("folded", [False, True])
def test_a_store_that_an_earlier_version_has_used_is_in_order(ledger: RealLedger, folded: bool):
    _earlier(ledger, folded=folded)
    assert _differences(ledger) == []
    assert last_without_windows(*ledger.audit()) == NOW
    month_ends = NOW + window_at("month", NOW)[1] * 1000
    for number, at in enumerate((NOW + 1, NOW + _MINUTE, month_ends)):
        ledger.set_clock(at)
        asked = application(f"c{number}", demand("requests"), demand("contact"))
        assert ledger.admit(asked).held
        ledger.run(scripts.settle(asked, None))
        assert _differences(ledger) == []
        assert last_without_windows(*ledger.audit()) == NOW
        # As soon as a window began after the last of those entries, it is compared.
        minute = window_at("minute", at)[0]
        ledger.client.hset(KEYS.ledger, "quota:requests:minute", f"{minute}:50")
        assert bool(_differences(ledger)) == bool(number)
        ledger.client.hset(KEYS.ledger, "quota:requests:minute", f"{minute}:{6 if number == 0 else 1}")


def test_folding_entries_of_an_earlier_version_does_not_forget_that_they_say_nothing(store_server: StoreServer):
    real = RealLedger(store_server, kept=(8, 7))
    try:
        _earlier(real, folded=False)
        real.client.hset(KEYS.account, "issuer", "main")
        for number in range(11):
            real.run(changes.change_credits("main", "acme", "grant", "contact", 1, operation=f"g{number}"))
            assert _differences(real) == []
            assert last_without_windows(*real.audit()) == NOW
        ledger = real.client.hgetall(KEYS.ledger)
        assert (ledger["journal:folded"], ledger["journal:uncounted"]) == ("14", f"{NOW}-4")
        real.client.hset(KEYS.ledger, "journal:uncounted", f"{NOW + 100 * 365 * _DAY}-0")
        assert _differences(real)[0][0] == "ledger journal:uncounted"
    finally:
        real.close()


# --- calls that the store has lost -----------------------------------------------------------------------


def _lost(ledger: RealLedger) -> list[Difference]:
    assert _differences(ledger) == []
    return lost_holds(*ledger.audit())


def test_a_settle_of_a_call_that_was_resolved_is_no_loss(ledger: RealLedger):
    asked = application("c", demand("rows", 9))
    ledger.admit(asked)
    ledger.set_clock(NOW + LEASE)
    ledger.run(scripts.sweep(KEYS))
    ledger.run(scripts.settle(asked, None))
    assert _newest(ledger)["event"] == "late"
    assert _lost(ledger) == []


def test_a_call_that_a_failover_has_undone_is_reported(ledger: RealLedger):
    """The replica that was promoted has never seen the reservation."""
    before = {key: ledger.raw.dump(key) for key in (KEYS.ledger, KEYS.usage)}
    asked = application("c", demand("contact", 3))
    assert ledger.admit(asked).held
    ledger.client.delete(KEYS.holds, KEYS.leases, KEYS.ledger, KEYS.usage)
    for key, raw in before.items():
        if raw is not None:
            ledger.raw.restore(key, 0, raw)
    assert scripts.receipt(ledger.run(scripts.settle(asked, None))).late
    assert [each.what for each in _lost(ledger)] == ["call c"]
    ledger.client.delete(KEYS.outcome("c"))
    ledger.run(scripts.settle(asked, None))
    assert len(_lost(ledger)) == 1, "reported once"
    ledger.run(changes.change_credits("main", "acme", "set", "contact", 0, operation="looked into"))
    assert _lost(ledger) == []


def test_no_call_is_reported_whose_end_may_have_been_folded_or_deleted(store_server: StoreServer):
    real = RealLedger(store_server, kept=(8, 7))
    try:
        real.client.hset(KEYS.account, "issuer", "main")
        for number in range(9):
            real.run(changes.change_credits("main", "acme", "grant", "contact", 1, operation=f"g{number}"))
        real.run(scripts.settle(application("c"), None))
        assert real.client.hget(KEYS.ledger, "journal:folded") == "7"
        assert _lost(real) == []
        snapshot, entries = real.audit()
        early = [entries[0]._replace(id=f"{entries[-1].at - _DAY}-0"), *entries[1:]]
        assert [each.what for each in lost_holds(snapshot, early)] == ["call c"]
        real.run(changes.delete_account("main", "acme"))
        real.client.delete(KEYS.outcome("c"))
        real.run(scripts.settle(application("c"), None))
        assert _lost(real) == []
    finally:
        real.close()
