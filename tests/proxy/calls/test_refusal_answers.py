"""Answers to refused requests: the same bytes whether a refusal recurs or is new, for requests of every form."""

from __future__ import annotations

import itertools

import pytest

from sidecar.errors import ErrorCode, Refusal, Shape
from sidecar.identity.token_scopes import PublishedScopes
from sidecar.model import Call, CallKind, Revision
from sidecar.protocol.jsonrpc import Message
from sidecar.proxy.calls.refusal_answers import RefusalAnswers
from tests.identity.support import configured
from tests.policy.support import policy
from tests.support.issuer import RESOURCE, Issuer

SCOPES = """
    scopes:
      stores:read: Read stores.
      contacts:reveal: Reveal contacts.
"""
REQUESTS: tuple[Call | Message | None, ...] = (
    None,
    Message(CallKind.REQUEST, 'a"\u00e9', "tools/call"),
    Call(CallKind.REQUEST, Revision.V2026_07_28, "tools/call", 1),
    Call(CallKind.REQUEST, Revision.V2026_07_28, "tools/call", 2**53),
    Call(CallKind.REQUEST, Revision.V2026_07_28, "tools/call", "1"),
    Call(CallKind.REQUEST, Revision.V2025_11_25, "tools/call", 1),
    Call(CallKind.REQUEST, Revision.V2025_11_25, "tools/list", 1),
    Call(CallKind.NOTIFICATION, Revision.V2025_11_25, "notifications/cancelled"),
    Call(CallKind.RESPONSE, Revision.V2025_11_25, id=3),
)


@pytest.fixture
def answers() -> RefusalAnswers:
    issuers = [configured(Issuer(), id="main"), configured(Issuer(), id="other", scope_prefix="api/")]
    return RefusalAnswers(RESOURCE, policy(SCOPES), PublishedScopes(issuers))


@pytest.mark.parametrize("shape", [*Shape, None])
@pytest.mark.parametrize("code", [ErrorCode.INSUFFICIENT_SCOPE, ErrorCode.TOKEN_INVALID, ErrorCode.STORE_UNAVAILABLE])
def test_a_refusal_that_recurs_is_answered_as_a_new_one(answers: RefusalAnswers, code: ErrorCode, shape: Shape | None):
    new = Refusal(code, "No.", scopes=("contacts:reveal",), shape=shape, data={"missing_scopes": ["contacts:reveal"]})
    again = new.replace(recurs=True)
    asked = tuple(itertools.product(REQUESTS, (None, "main", "other")))
    for request, issuer_id in asked * 2:
        assert answers.answer(again, request, issuer_id) == answers.answer(new, request, issuer_id)


def test_scopes_of_a_challenge_are_those_of_the_caller_s_issuer(answers: RefusalAnswers):
    refusal = Refusal(ErrorCode.INSUFFICIENT_SCOPE, scopes=("stores:read",), recurs=True)
    for issuer_id, scope in (("main", "stores:read"), ("other", "api/stores:read"), ("main", "stores:read")):
        challenge = dict(answers.answer(refusal, REQUESTS[2], issuer_id).headers)["WWW-Authenticate"]
        assert f'scope="{scope}"' in challenge


def test_a_changed_refusal_does_not_recur():
    again = Refusal(ErrorCode.INSUFFICIENT_SCOPE, recurs=True)
    assert not again.replace(detail="Another.").recurs
    assert again.replace(detail="Another.", recurs=True).recurs
