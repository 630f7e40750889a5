"""Quotas and tool lists in shadow mode, by the reply of the store."""

from __future__ import annotations

from sidecar.errors import ErrorCode, ShadowRefusal
from sidecar.ledger.accounts import AccountState, Consent
from sidecar.ledger.admission import admit
from sidecar.ledger.settlement import settle
from sidecar.ledger.shadow import shadow_refusals
from sidecar.model import MAX_AMOUNT, AdmissionCode, AmountKind, Demand
from sidecar.outcome import Charge
from sidecar.terms import ConsentMode, PlanTerms, Terms
from tests.store.support import CALLER, LEASE, NOW, application

QUOTA = "p.yaml:3"
LIST = "p.yaml:9"
LIMITS = {"rows": {"day": 5}, "requests": {"day": 5}}
TERMS = Terms(
    ConsentMode.REQUIRED,
    "free",
    {"free": PlanTerms(True, LIMITS, shadow=LIST), "full": PlanTerms(True, LIMITS)},
    PlanTerms(True, LIMITS),
)


def rows(units: int) -> Demand:
    return Demand(AmountKind.QUOTA, "rows", units, shadow=QUOTA)


def account(plan: str) -> AccountState:
    return AccountState(plan=plan, consents={(CALLER.subject, CALLER.client_id): Consent()})


def test_a_quota_in_shadow_mode_counts_what_it_lets_pass():
    asked = application("c1", rows(7), terms=TERMS)
    reply, state = admit(account("full"), asked, NOW)
    assert (reply.code, reply.held) == (AdmissionCode.ADMITTED, True)
    detail = "7 of rows needed, 5 of 5 per day left"
    assert shadow_refusals(reply, asked) == (ShadowRefusal(QUOTA, ErrorCode.QUOTA_EXCEEDED, detail, "rows"),)
    assert state.quotas["rows", "day"].used == 7
    _, state = settle(state, "c1", [Charge(amount=6)], now=NOW, lease=LEASE)
    assert state.quotas["rows", "day"].used == 6


def test_a_call_within_a_quota_in_shadow_mode_says_nothing():
    asked = application("c1", rows(5), terms=TERMS)
    reply, _ = admit(account("full"), asked, NOW)
    assert shadow_refusals(reply, asked) == ()


def test_another_quota_still_refuses_and_then_nothing_is_counted():
    asked = application("c1", rows(7), Demand(AmountKind.QUOTA, "requests", 6), terms=TERMS)
    reply, state = admit(account("full"), asked, NOW)
    assert (reply.code, reply.refused) == (AdmissionCode.QUOTA_EXCEEDED, 1)
    assert [each.rule for each in shadow_refusals(reply, asked)] == [QUOTA]
    assert state.quotas == {}


def test_a_counter_without_a_limit_stops_at_the_largest_amount():
    state = account("full")
    for number in range(2):
        _, state = admit(state, application(f"c{number}", rows(MAX_AMOUNT), terms=TERMS), NOW)
    assert state.quotas["rows", "day"].used == MAX_AMOUNT


def test_a_tool_list_in_shadow_mode_is_named_for_the_plan_of_the_account():
    for plan, rules in (("free", [LIST]), ("full", [])):
        asked = application("c1", terms=TERMS)
        reply, _ = admit(account(plan), asked, NOW)
        assert reply.code is AdmissionCode.ADMITTED
        assert [(each.rule, each.code) for each in shadow_refusals(reply, asked)] == [
            (rule, ErrorCode.PLAN_REQUIRED) for rule in rules
        ]


def test_a_refusal_before_the_plan_names_no_tool_list():
    asked = application("c1", terms=TERMS)
    reply, _ = admit(AccountState(plan="free"), asked, NOW)
    assert (reply.code, shadow_refusals(reply, asked)) == (AdmissionCode.CONSENT_MISSING, ())
