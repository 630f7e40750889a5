"""Refusal of each admission code: shape, status, sentence and detail (contract, section 4)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from sidecar.errors import ErrorCode, Refusal, Shape
from sidecar.ledger import admission_refusals
from sidecar.model import AdmissionCode, AdmissionReply, AmountKind, Price
from sidecar.terms import ConsentMode
from tests.store.support import CALLER, TERMS, application

_URL = "https://example.com/manage"
_ISSUED = CALLER.issued_at
_CREDIT = Price(AmountKind.CREDIT, "contact", 2, 1, resets_in=60)
_QUOTA = Price(AmountKind.QUOTA, "rows", 25, 3, 60, "month", 90)


def _refusal(code: AdmissionCode, mode: ConsentMode = ConsentMode.REQUIRED, **values: Any) -> Refusal:
    asked = application(terms=replace(TERMS, consent=mode))
    refused = admission_refusals.refusal(AdmissionReply(code, **values), asked, _URL)
    assert refused is not None
    return refused


def test_an_admitted_call_is_not_refused():
    assert admission_refusals.refusal(AdmissionReply(AdmissionCode.ADMITTED), application(), _URL) is None


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (AdmissionCode.SESSION_UNKNOWN, ErrorCode.SESSION_UNKNOWN),
        (AdmissionCode.CONSENT_MISSING, ErrorCode.CONSENT_MISSING),
        (AdmissionCode.CONSENT_REVOKED, ErrorCode.CONSENT_REVOKED),
        (AdmissionCode.ACCOUNT_UNKNOWN, ErrorCode.ACCOUNT_UNKNOWN),
        (AdmissionCode.ACCOUNT_DISABLED, ErrorCode.ACCOUNT_DISABLED),
        (AdmissionCode.PLAN_REQUIRED, ErrorCode.PLAN_REQUIRED),
        (AdmissionCode.CONSENT_SCOPES, ErrorCode.INSUFFICIENT_SCOPE),
        (AdmissionCode.RESOLVED_ALREADY, ErrorCode.STORE_UNAVAILABLE),
        (AdmissionCode.TASK_UNKNOWN, ErrorCode.TASK_UNKNOWN),
    ],
)
def test_every_code_has_its_refusal(code: AdmissionCode, expected: ErrorCode):
    assert _refusal(code).code is expected


def test_no_code_of_the_store_lets_a_call_through_by_being_unknown_here():
    prices = {AdmissionCode.QUOTA_EXCEEDED: _QUOTA, AdmissionCode.INSUFFICIENT_CREDITS: _CREDIT}
    for code in set(AdmissionCode) - {AdmissionCode.ADMITTED}:
        found = (prices[code],) if code in prices else ()
        assert _refusal(code, prices=found, refused=0 if found else None)


@pytest.mark.parametrize(
    ("mode", "since", "shape", "status"),
    [
        (ConsentMode.REQUIRED, _ISSUED + 1, Shape.CHALLENGE, 401),
        (ConsentMode.REQUIRED, _ISSUED, Shape.CHALLENGE, 401),
        (ConsentMode.REQUIRED, _ISSUED - 1, Shape.TOOL_RESULT, 200),
        (ConsentMode.REQUIRED, None, Shape.TOOL_RESULT, 200),
        (ConsentMode.FIRST_USE, _ISSUED + 1, Shape.TOOL_RESULT, 200),
    ],
)
def test_a_login_is_asked_for_only_where_it_cures_a_revocation(
    mode: ConsentMode, since: int | None, shape: Shape, status: int
):
    refused = _refusal(AdmissionCode.CONSENT_REVOKED, mode, consent_since=since)
    assert (refused.shape, refused.status) == (shape, status)
    assert refused.data["manage_url"] == _URL


RECONNECT = "or disconnect this client and connect it again."


@pytest.mark.parametrize(
    "code", [AdmissionCode.CONSENT_MISSING, AdmissionCode.CONSENT_REVOKED, AdmissionCode.CONSENT_SCOPES]
)
def test_a_refusal_that_an_approval_cures_names_every_way_to_it(code: AdmissionCode):
    found = _refusal(code, consent_since=_ISSUED - 1).detail
    assert f"at {_URL}, {RECONNECT}" in found
    asked = application(terms=replace(TERMS, consent=ConsentMode.REQUIRED))
    without_page = admission_refusals.refusal(AdmissionReply(code, consent_since=_ISSUED - 1), asked, None)
    assert without_page is not None
    assert without_page.detail.endswith(RECONNECT)


@pytest.mark.parametrize("code", [AdmissionCode.CONSENT_REVOKED, AdmissionCode.CONSENT_SCOPES])
def test_connecting_again_is_not_recommended_if_no_login_writes_a_consent(code: AdmissionCode):
    found = _refusal(code, ConsentMode.FIRST_USE, consent_since=_ISSUED - 1).detail
    assert found.endswith(f"at {_URL}")
    assert "connect it again" not in found


@pytest.mark.parametrize(
    ("mode", "since", "status"),
    [
        (ConsentMode.REQUIRED, _ISSUED + 1, 403),
        (ConsentMode.REQUIRED, _ISSUED - 1, 200),
        (ConsentMode.FIRST_USE, _ISSUED + 1, 200),
    ],
)
def test_scopes_missing_in_the_record_are_a_challenge_only_when_it_is_news_to_the_token(
    mode: ConsentMode, since: int, status: int
):
    refused = _refusal(AdmissionCode.CONSENT_SCOPES, mode, consent_since=since)
    assert refused.status == status
    assert refused.scopes == ("read",)


def test_a_used_up_quota_says_which_how_much_and_when():
    refused = _refusal(AdmissionCode.QUOTA_EXCEEDED, prices=(_CREDIT, _QUOTA), refused=1)
    assert refused.retry_after == 90
    assert "rows" in refused.detail
    assert refused.data == {
        "quota": "rows",
        "price": 25,
        "left": 3,
        "limit": 60,
        "window": "month",
        "resets_in": 90,
    }


def test_waiting_is_not_advised_for_what_can_never_fit():
    refused = _refusal(AdmissionCode.QUOTA_EXCEEDED, prices=(replace(_QUOTA, needed=61),), refused=0)
    assert refused.retry_after is None


def test_too_few_credits_name_price_and_balance():
    refused = _refusal(AdmissionCode.INSUFFICIENT_CREDITS, prices=(_CREDIT,), refused=0)
    assert refused.data == {"credit": "contact", "price": 2, "balance": 1, "resets_in": 60, "manage_url": _URL}
    assert refused.status == 200


def test_a_confirmation_names_its_price_and_keeps_everything_else():
    asked = Refusal(ErrorCode.CONFIRMATION_REQUIRED, "Confirm.", data={"confirm": 1}, rule="p.yaml:3", log="l")
    found = admission_refusals.with_price(asked, (_QUOTA, replace(_CREDIT, left=5)))
    assert found.detail == "Confirm. It costs 2 of your 5 contact credits."
    assert found.data["confirm"] == 1
    assert found.data["prices"][1] == {"credit": "contact", "price": 2, "balance": 5, "resets_in": 60}
    assert (found.rule, found.log, found.shape, found.status) == (asked.rule, asked.log, asked.shape, asked.status)


def test_only_confirmations_name_a_price():
    for code in (ErrorCode.INSUFFICIENT_SCOPE, ErrorCode.ARGUMENTS_REFUSED):
        asked = Refusal(code)
        assert admission_refusals.with_price(asked, (_CREDIT,)) is asked
    asked = Refusal(ErrorCode.CONFIRMATION_REQUIRED)
    assert admission_refusals.with_price(asked, ()) is asked


def test_the_log_gets_the_amount():
    quota = _refusal(AdmissionCode.QUOTA_EXCEEDED, prices=(_QUOTA,), refused=0)
    limit = {"limit": _QUOTA.limit, "window": _QUOTA.window}
    assert quota.specifics == {"quota": "rows", "needed": 25, "left": 3, **limit, "resets": 90}
    pool = _refusal(AdmissionCode.INSUFFICIENT_CREDITS, prices=(_CREDIT,), refused=0)
    assert pool.specifics == {"pool": "contact", "needed": 2, "left": 1, "resets": 60}
