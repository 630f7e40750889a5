"""Calls whose answer may come on another stream, and the standing of streams that are open: on a real server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from sidecar.model import AdmissionCode, OnUnknown
from sidecar.store.commands import changes, keys, scripts, stream_commands
from sidecar.terms import ConsentMode
from tests.store.support import CALLER, KEYS, NOW, RealLedger, application, demand
from tests.support.store import StoreServer


@pytest.fixture
def ledger(store_server: StoreServer) -> Iterator[RealLedger]:
    with RealLedger.of_account(store_server) as real:
        yield real


def test_a_deferred_hold_settles_at_its_reserve_whatever_on_unknown_says(ledger: RealLedger):
    ledger.run(changes.change_credits("main", "acme", "grant", "contact", 5, operation="o"))
    ledger.admit(application("c", demand("contact", 6), on_unknown=OnUnknown.RELEASE))
    ledger.run(scripts.defer(application("c"), b"{}"))
    ledger.set_clock(NOW + 120_000)
    assert ledger.run(scripts.sweep(KEYS)) == 1
    assert ledger.state().balances == ledger.state().totals == {"contact": 3}
    assert not ledger.client.exists(KEYS.requests)


def test_a_deferred_request_finds_its_call_until_it_is_resolved(ledger: RealLedger):
    request = keys.request_digest("s", 7)
    asked = application("c", demand("contact"), request=request)
    assert ledger.run(scripts.defer(asked, b"{}")) == 0
    ledger.admit(asked)
    assert _recall(ledger, request) is None, "its owner has not given it up"
    assert ledger.run(scripts.defer(asked, b'{"tool":"t"}')) == 1
    assert _recall(ledger, request) == ("c", b'{"tool":"t"}', OnUnknown.RELEASE, False)
    assert _recall(ledger, keys.request_digest("other", 7)) is None
    ledger.run(scripts.settle(asked, None))
    assert _recall(ledger, request) is None
    assert not ledger.client.exists(KEYS.requests)


def test_a_stream_is_known_as_the_calls_own_however_often_it_is_resumed(ledger: RealLedger):
    request = keys.request_digest("s", 7)
    asked = application("c", demand("contact"), request=request)
    ledger.admit(asked)
    assert ledger.run(stream_commands.follow(CALLER, "e1", ("e2",))) == 0
    ledger.run(scripts.defer(asked, b"{}", ("e0", "e1")))
    assert ledger.run(stream_commands.follow(CALLER, "e1", ("e2",))) == 1
    assert ledger.run(stream_commands.follow(CALLER, "e2", ("e3",))) == 1
    assert [_recall(ledger, request, resumed=event)[3] for event in ("e0", "e3", "other", "")] == [
        True,
        True,
        False,
        False,
    ]
    ledger.run(scripts.settle(asked, None))
    assert not ledger.client.exists(KEYS.requests)


def test_a_result_that_passes_while_its_owner_is_silent_is_paid_for_when_the_owner_has_died(ledger: RealLedger):
    ledger.run(changes.change_credits("main", "acme", "grant", "contact", 5, operation="o"))
    request = keys.request_digest("s", 7)
    ledger.admit(application("c", demand("contact", 6), on_unknown=OnUnknown.RELEASE, request=request))
    assert _recall(ledger, request, costs=True) is None
    ledger.set_clock(NOW + 120_000)
    assert ledger.run(scripts.sweep(KEYS)) == 1
    assert ledger.state().balances == {"contact": 3}


def test_a_request_id_is_refused_while_it_is_open_on_its_session(ledger: RealLedger):
    request = keys.request_digest("s", 7)
    ledger.admit(application("c", demand("rows"), request=request))
    again = application("d", demand("rows"), request=request)
    refused = scripts.admitted(again, ledger.run(scripts.admit(again)))
    assert (refused.code, refused.held) == (AdmissionCode.REQUEST_IN_FLIGHT, False)
    ledger.admit(application("e", demand("rows"), request=keys.request_digest("s", 8)))
    ledger.run(scripts.release(application("c"), forwarded=True))
    ledger.admit(again)
    ledger.set_clock(NOW + 120_000)
    ledger.admit(application("f", demand("rows"), request=request))  # the one before it has died meanwhile


def test_a_client_that_resumes_from_the_same_event_again_and_again_keeps_its_own_stream(ledger: RealLedger):
    """Replayed events displace no earlier ones: the call costs the true price."""
    request = keys.request_digest("s", 7)
    asked = application("c", demand("contact"), request=request)
    ledger.admit(asked)
    replayed = [f"e{number}" for number in range(1, 11)]
    ledger.run(scripts.defer(asked, b"{}", ("e0",)))
    for _ in range(10):
        ledger.run(stream_commands.follow(CALLER, "e0", replayed))
    assert all(_recall(ledger, request, resumed=event)[3] for event in ("e0", *replayed))
    assert ledger.state().holds["c"].events == ("e0", *replayed)
    ledger.run(scripts.settle(asked, None))
    assert not ledger.client.exists(KEYS.requests)


def test_memory_that_is_short_makes_no_deferred_call_free(ledger: RealLedger):
    request = keys.request_digest("s", 7)
    asked = application("c", demand("contact", 2), request=request, on_unknown=OnUnknown.RELEASE)
    ledger.admit(asked)
    ledger.client.config_set("maxmemory", "1")
    try:
        assert ledger.run(scripts.defer(asked, b"{}", ("e0",))) == 1
        assert _recall(ledger, request, costs=True, resumed="e0") == ("c", b"{}", OnUnknown.RELEASE, True)
        assert scripts.receipt(ledger.run(scripts.settle(asked, None))).paid == {"contact": 2}
    finally:
        ledger.client.config_set("maxmemory", "0")


def _recall(ledger: RealLedger, request: str, *, costs: bool = False, resumed: str = "") -> Any:
    return stream_commands.recalled(ledger.run(stream_commands.recall(CALLER, request, costs, resumed)))


# --- open streams ------------------------------------------------------------------------------------


def test_streams_may_go_on_while_their_callers_may_call(ledger: RealLedger):
    callers = [("ann", CALLER.client_id), ("ann", "other"), ("bob", CALLER.client_id)]

    def codes(mode: ConsentMode = ConsentMode.REQUIRED) -> list[AdmissionCode]:
        return stream_commands.standings(ledger.run(stream_commands.standing(KEYS, callers, mode)))[0]

    ok, missing, revoked = AdmissionCode.ADMITTED, AdmissionCode.CONSENT_MISSING, AdmissionCode.CONSENT_REVOKED
    for key in ledger.client.scan_iter(KEYS.every_consent):
        ledger.client.delete(key)
    assert codes() == [missing] * 3
    assert codes(ConsentMode.FIRST_USE) == [ok] * 3
    ledger.run(changes.grant("main", CALLER.account, "ann", CALLER.client_id))
    ledger.run(changes.revoke("main", CALLER.account, None, "other"))
    assert codes() == [ok, revoked, missing]
    ledger.run(changes.revoke("main", CALLER.account, None, CALLER.client_id))
    assert codes(ConsentMode.FIRST_USE) == [revoked] * 3
    ledger.set_clock(NOW + 1000)
    ledger.run(changes.grant("main", CALLER.account, "ann", CALLER.client_id))
    assert codes() == [ok, revoked, revoked]
    ledger.client.hset(KEYS.account, "status", "disabled")
    assert codes() == [AdmissionCode.ACCOUNT_DISABLED, revoked, revoked]


def test_the_age_of_a_revocation_is_that_of_the_record_which_applies(ledger: RealLedger):
    def age() -> int | None:
        found = ledger.run(stream_commands.revoked(KEYS, "ann", CALLER.client_id))
        return None if found is None else int(found)

    assert age() is None
    ledger.run(changes.revoke("main", CALLER.account, "ann", CALLER.client_id))
    ledger.set_clock(NOW + 1234)
    assert age() == 1234
    ledger.client.hset(KEYS.consent("ann", CALLER.client_id), "at", f"{NOW / 1000 + 2:.3f}")
    assert age() == 0, "written by a clock that runs ahead"
    ledger.client.hset(KEYS.consent("ann", CALLER.client_id), "at", "yesterday")
    assert age() is None
    ledger.run(changes.grant("main", CALLER.account, "ann", CALLER.client_id))
    assert age() is None
    ledger.client.hset(KEYS.revocation, mapping={"status": "revoked", "at": f"{NOW / 1000 + 1.5:.3f}"})
    ledger.set_clock(NOW + 2000)
    assert age() == 500


def test_the_check_of_streams_reads_the_plan_of_the_account(ledger: RealLedger):
    def plan() -> str | None:
        reply = ledger.run(stream_commands.standing(KEYS, [("ann", CALLER.client_id)], ConsentMode.REQUIRED))
        return stream_commands.standings(reply)[1]

    ledger.client.delete(KEYS.account)
    assert plan() is None
    ledger.run(changes.set_account("main", CALLER.account, plan="growth", create=True))
    assert plan() == "growth"
