"""Gates 5-7 in the pure model: the order of questions, prices, windows, and what is never guessed."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.ledger import accounts, decoding
from sidecar.ledger.accounts import AccountState, Consent
from sidecar.ledger.admission import admit
from sidecar.ledger.windows import Counter, window_at
from sidecar.model import AdmissionCode, AdmissionReply, AmountKind, Application, Depth, Price
from sidecar.terms import ConsentMode, Terms
from sidecar.window_rules import WINDOWS
from tests.store.support import CALLER, NOW, PLANS, TERMS, application, demand, reveal

_WHO = (CALLER.subject, CALLER.client_id)
_MONTH, _MONTH_LEFT = window_at("month", NOW)


def _state(**values: Any) -> AccountState:
    return AccountState(**({"plan": "growth", "consents": {_WHO: Consent(at=NOW)}} | values))


def _admit(state: AccountState, asked: Application) -> AdmissionReply:
    return admit(state, asked, NOW)[0]


def test_the_gates_are_asked_in_order():
    bad = _state(plan="unknown", active=False, consents={}, balances={})
    asked = application("c", demand("contact", 99), session="s", tasks=("a", "b"))
    seen = []
    for cure in (
        {"revocation": Consent(False, NOW - 1)},
        {"sessions": {"s": _WHO}},
        {"tasks": {"a": _WHO, "b": ("bob", _WHO[1])}},
        {"tasks": {"a": _WHO, "b": _WHO}},
        {"revocation": None},
        {"consents": {_WHO: Consent(False, NOW)}},
        {"consents": {_WHO: Consent(True, NOW, frozenset({"x"}))}},
        {"active": True},
        {"plan": "growth"},
        {"consents": {_WHO: Consent(True, NOW)}},
        {"balances": {"contact": 95}},
    ):
        bad = replace(bad, **cure)
        seen.append(_admit(bad, asked).code)
    code = AdmissionCode
    assert seen == [
        code.SESSION_UNKNOWN,
        code.TASK_UNKNOWN,
        code.TASK_UNKNOWN,
        code.CONSENT_REVOKED,
        code.CONSENT_MISSING,
        code.CONSENT_REVOKED,
        code.ACCOUNT_DISABLED,
        code.PLAN_REQUIRED,
        code.CONSENT_SCOPES,
        code.INSUFFICIENT_CREDITS,
        code.ADMITTED,
    ]


@pytest.mark.parametrize(
    ("plan", "default", "code"),
    [
        (None, None, AdmissionCode.ACCOUNT_UNKNOWN),
        (None, "free", AdmissionCode.ADMITTED),
        ("closed", "free", AdmissionCode.PLAN_REQUIRED),
        ("renamed", "free", AdmissionCode.PLAN_REQUIRED),
    ],
)
def test_a_plan_is_never_guessed(plan: str | None, default: str | None, code: AdmissionCode):
    answer = _admit(_state(plan=plan), application(terms=replace(TERMS, default_plan=default)))
    assert answer.code is code
    assert answer.plan == (plan or default)


def test_a_policy_without_plans_asks_for_none():
    terms = Terms(ConsentMode.REQUIRED, None, None, PLANS["free"])
    assert _admit(_state(plan=None), application(terms=terms)) == AdmissionReply(
        AdmissionCode.ADMITTED, consent_since=NOW // 1000
    )


def test_depth_says_how_far_to_look():
    state = _state(plan="closed")
    assert _admit(state, application(depth=Depth.CONSENT)).code is AdmissionCode.ADMITTED
    assert _admit(state, application(depth=Depth.PLAN)).code is AdmissionCode.PLAN_REQUIRED
    answer = _admit(_state(), application("c", demand("rows", 99), depth=Depth.PLAN))
    assert answer.code is AdmissionCode.ADMITTED
    assert not answer.prices
    assert not answer.held


def test_first_use_writes_a_record_only_when_a_call_is_admitted():
    terms = replace(TERMS, consent=ConsentMode.FIRST_USE)
    state = _state(consents={})
    for asked in (application(terms=terms, dry_run=True), application("c", demand("rows", 99), terms=terms)):
        assert not admit(state, asked, NOW)[1].consents
    answer, after = admit(state, application(terms=terms), NOW)
    assert answer.code is AdmissionCode.ADMITTED
    assert after.consents == {_WHO: Consent(True, NOW)}


@pytest.mark.parametrize(
    ("own", "every", "code"),
    [
        (None, Consent(), AdmissionCode.ADMITTED),
        (None, Consent(False), AdmissionCode.CONSENT_REVOKED),
        (Consent(False, 9), Consent(True, 10), AdmissionCode.CONSENT_REVOKED),
        (Consent(True, 11), Consent(False, 10), AdmissionCode.ADMITTED),
        (Consent(True, 10), Consent(False, 10), AdmissionCode.CONSENT_REVOKED),
        (Consent(True, None), Consent(False, 10), AdmissionCode.CONSENT_REVOKED),
        (Consent(True, 11), Consent(False, None), AdmissionCode.CONSENT_REVOKED),
    ],
)
def test_a_revocation_for_every_subject_is_cured_only_by_a_newer_consent(
    own: Consent | None, every: Consent, code: AdmissionCode
):
    state = _state(consents={_WHO: own} if own else {}, clients={CALLER.client_id: every})
    for mode in ConsentMode:
        assert _admit(state, application(terms=replace(TERMS, consent=mode))).code is code


@pytest.mark.parametrize(
    ("own", "every", "revocation", "code"),
    [
        (None, None, Consent(False, 10), AdmissionCode.CONSENT_REVOKED),
        (None, None, Consent(False, None), AdmissionCode.CONSENT_REVOKED),
        (Consent(True, 11), None, Consent(False, 10), AdmissionCode.ADMITTED),
        (Consent(True, 10), None, Consent(False, 10), AdmissionCode.CONSENT_REVOKED),
        (Consent(True, None), None, Consent(False, 10), AdmissionCode.CONSENT_REVOKED),
        (Consent(True, 11), None, Consent(False, None), AdmissionCode.CONSENT_REVOKED),
        (None, Consent(True, 11), Consent(False, 10), AdmissionCode.ADMITTED),
        (Consent(True, 9), Consent(True, 11), Consent(False, 10), AdmissionCode.ADMITTED),
        (Consent(True, 11), Consent(True, 9), Consent(False, 10), AdmissionCode.ADMITTED),
        (Consent(True, 9), Consent(True, 9), Consent(False, 10), AdmissionCode.CONSENT_REVOKED),
        (Consent(False, 12), Consent(True, 11), Consent(False, 10), AdmissionCode.CONSENT_REVOKED),
        (Consent(True, 11), Consent(False, 12), Consent(False, 10), AdmissionCode.CONSENT_REVOKED),
        (Consent(True, 9), None, Consent(True, 10), AdmissionCode.ADMITTED),
    ],
)
def test_a_revocation_of_all_clients_is_cured_only_by_a_newer_consent_of_the_client(
    own: Consent | None, every: Consent | None, revocation: Consent, code: AdmissionCode
):
    consents, clients = {_WHO: own} if own else {}, {CALLER.client_id: every} if every else {}
    state = _state(consents=consents, clients=clients, revocation=revocation)
    for mode in ConsentMode:
        assert _admit(state, application(terms=replace(TERMS, consent=mode))).code is code


@pytest.mark.parametrize(
    ("listed", "granted"), [(None, True), (("read",), True), (("write",), True), (("x",), False), ((), False)]
)
def test_a_record_that_lists_scopes_must_grant_the_operation_s(listed: tuple[str, ...] | None, granted: bool):
    consent = Consent(True, NOW, None if listed is None else frozenset(listed))
    answer = _admit(_state(consents={_WHO: consent}), application())
    assert answer.code is (AdmissionCode.ADMITTED if granted else AdmissionCode.CONSENT_SCOPES)
    assert answer.consent_scopes == consent.scopes


def test_prices_say_what_is_needed_and_left_before_the_call():
    state = _state(balances={"contact": 5}, quotas={("rows", "month"): Counter(_MONTH, 70)})
    answer = _admit(state, application("c", demand("contact", 6), demand("requests"), demand("unlimited", 9)))
    assert answer.held
    assert answer.prices == (
        Price(AmountKind.CREDIT, "contact", 6, 9, resets_in=_MONTH_LEFT),
        Price(AmountKind.QUOTA, "requests", 1, 10, 10, "minute", 40),
        Price(AmountKind.QUOTA, "unlimited", 9, None),
    )
    refused = _admit(state, application("c", demand("contact"), demand("rows", 1)))
    assert refused.refused == 1
    assert refused.prices[1] == Price(AmountKind.QUOTA, "rows", 1, 0, 60, "month", _MONTH_LEFT)


def test_nothing_is_taken_unless_everything_is():
    state = _state(balances={"contact": 5})
    answer, after = admit(state, application("c", demand("contact", 2), demand("rows", 61)), NOW)
    assert answer.code is AdmissionCode.QUOTA_EXCEEDED
    assert after == state


def test_the_reported_window_is_the_last_to_end_of_those_that_refuse():
    counters = {
        ("requests", "minute"): Counter(window_at("minute", NOW)[0], 3),
        ("requests", "day"): Counter(window_at("day", NOW)[0], 4),
    }
    state = _state(plan="free", quotas=counters)
    assert _admit(state, application("c", demand("requests"))).prices[0].window == "minute"
    assert _admit(state, application("c", demand("requests", 2))).prices[0].window == "day"


def test_own_limits_replace_the_plan_s_window_by_window():
    state = _state(overrides={("rows", "month"): 2, ("rows", "day"): 1, ("requests", "minute"): None})
    answer = _admit(state, application("c", demand("rows"), demand("requests", 10_000)))
    assert answer.code is AdmissionCode.ADMITTED
    assert answer.prices[0].window == "day"
    assert answer.prices[1].left is None


def test_changing_the_plan_does_not_give_used_credits_back():
    state = _state(included={("contact", "month"): Counter(_MONTH, 9)})
    assert _admit(state, application("c", demand("contact"))).prices[0].left == 0


def test_paid_items_are_free():
    state = _state(plan="free", balances={"contact": 1}, paid={(AmountKind.CREDIT, "contact", "a")})
    answer, after = admit(state, application("c", reveal("a", "b")), NOW)
    assert answer.prices[0].needed == 1
    assert after.holds["c"].amounts[0].items == ("b",)
    assert _admit(after, application("c2", reveal("c"))).code is AdmissionCode.INSUFFICIENT_CREDITS


def test_an_admission_given_twice_reserves_once():
    state = _state(balances={"contact": 5})
    asked = application("c", demand("contact", 5))
    first, once = admit(state, asked, NOW)
    second, twice = admit(once, asked, NOW)
    assert first.held
    assert second.held
    assert once == twice


# --- windows, and what the store keeps -----------------------------------------------------------


@given(st.datetimes(datetime(1970, 1, 1), datetime(2400, 1, 1), timezones=st.just(UTC)))
def test_windows_are_whole_utc_minutes_hours_days_and_months(moment: datetime):
    now = int(moment.timestamp()) * 1000
    for window in WINDOWS:
        number, rest = window_at(window, now)
        assert rest >= 1
        assert window_at(window, now + rest * 1000 - 1)[0] == number
        assert window_at(window, now + rest * 1000)[0] == number + 1
    end = datetime.fromtimestamp(now / 1000 + window_at("month", now)[1], UTC)
    assert (end.day, end.hour, end.minute, end.second) == (1, 0, 0, 0)


def test_usage_shows_what_is_left_and_never_less_than_nothing():
    state = _state(
        balances={"contact": 5, "other": 2},
        quotas={("rows", "month"): Counter(_MONTH, 70)},
        included={("contact", "month"): Counter(_MONTH, 1)},
        overrides={("rows", "day"): 8},
    )
    _, day_left = window_at("day", NOW)
    shown = accounts.usage(state, TERMS, NOW)
    assert (shown["plan"], shown["status"]) == ("growth", "active")
    assert shown["quotas"]["rows"] == {
        "month": {"limit": 60, "used": 70, "left": 0, "resets_in": _MONTH_LEFT},
        "day": {"limit": 8, "used": 0, "left": 8, "resets_in": day_left},
    }
    assert shown["credits"]["contact"]["left"] == 8
    assert shown["credits"]["contact"]["included"] == {
        "window": "month",
        "limit": 4,
        "used": 1,
        "resets_in": _MONTH_LEFT,
    }
    assert shown["credits"]["other"] == {"left": 2, "balance": 2, "held": 0}


@pytest.mark.parametrize(("ahead", "used"), [(-1, 0), (0, 3), (1, 3), (2, 0)])
def test_only_the_window_of_the_clock_and_the_next_one_count(ahead: int, used: int):
    """The next one is current when the clock was set back after something was counted in it."""
    counter = Counter(_MONTH + ahead, 3)
    state = _state(quotas={("rows", "month"): counter}, included={("contact", "month"): counter})
    shown = accounts.usage(state, TERMS, NOW)
    assert shown["quotas"]["rows"]["month"]["used"] == used
    assert shown["credits"]["contact"]["included"]["used"] == used
    prices = _admit(state, application("c", demand("rows"), demand("contact"))).prices
    assert [price.left for price in prices] == [60 - used, 4 - used]


def test_records_that_are_not_understood_deny():
    assert decoding.parse({"status": "Active"}, {}, {}, {}).active is False
    assert decoding.parse({"quota:rows:month": "lots"}, {}, {}, {}).overrides == {("rows", "month"): 0}
    assert decoding.parse_consent({}) is None
    assert decoding.parse_consent({"client_id": "c"}) == Consent(False)
    assert decoding.parse_consent({"status": "granted", "at": "soon", "scopes": ""}) == Consent(True, None, frozenset())
    assert decoding.parse_at("12.3456") == 12_345
