"""Gate 4 of tools that a person confirms: which approval a call claims, and what is forwarded."""

from __future__ import annotations

from typing import Any

import pytest

from sidecar.approval import ApprovalUse
from sidecar.errors import ErrorCode
from sidecar.model import Decision, Depth, Revision
from sidecar.policy.decide import decide
from tests.policy.support import call, caller, one_tool, policy

HANDLE = "0123456789abcdef" * 2
STATE = f"mcp-policy-sidecar/{HANDLE}"
OWN = "mcp-policy-sidecar/confirmation"
CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"
FORM: dict[str, Any] = {CAPABILITIES: {"elicitation": {}}}
URL: dict[str, Any] = {CAPABILITIES: {"elicitation": {"url": {}}}}
SCHEMA = "arguments: {properties: {n: {default: 5}, sure: {type: boolean}}}"


def judged(
    confirm: str, arguments: Any = None, *, revision: Revision = Revision.V2026_07_28, **params: Any
) -> Decision:
    compiled = policy(one_tool(f"{SCHEMA}\nconfirm: {{{confirm}}}\nspends: {{credit: arguments.n}}"))
    return decide(compiled, call("t", arguments or {}, revision=revision, **params), caller("s"))


def code_of(decision: Decision) -> ErrorCode | None:
    return None if decision.refusal is None else decision.refusal.code


def retry(action: str | None = "accept", state: str = STATE, **others: Any) -> dict[str, Any]:
    responses = {**({} if action is None else {OWN: {"action": action}}), **others}
    return {"requestState": state, "inputResponses": responses}


def test_a_call_without_an_answer_needs_an_approval_and_is_priced_first():
    decision = judged("by: person", _meta=FORM)
    assert code_of(decision) is ErrorCode.CONFIRMATION_REQUIRED
    assert decision.depth is Depth.PRICE
    assert decision.demands[0].reserve == 5
    assert decision.approval is not None
    assert (decision.approval.handle, decision.approval.tool, decision.approval.accepted) == (None, "t", False)


def test_an_accepted_call_claims_its_approval_and_is_forwarded_without_it():
    decision = judged("by: person", {"n": 3}, _meta=FORM, **retry(which={"action": "decline"}))
    assert decision.refusal is None
    assert decision.approval is not None
    assert (decision.approval.handle, decision.approval.accepted) == (HANDLE, True)
    assert decision.document is not None
    params = decision.document["params"]
    assert params["inputResponses"] == {"which": {"action": "decline"}}
    assert "requestState" not in params
    assert params["arguments"] == {"n": 3}


@pytest.mark.parametrize(
    ("params", "code"),
    [
        (retry("decline"), ErrorCode.CONFIRMATION_DECLINED),
        (retry("cancel"), ErrorCode.CONFIRMATION_DECLINED),
        (retry("yes"), ErrorCode.PARAMS_MALFORMED),
        (retry(state="other"), ErrorCode.CONFIRMATION_EXPIRED),
        (retry(state="mcp-policy-sidecar/x"), ErrorCode.CONFIRMATION_EXPIRED),
        (retry(None), None),  # the approval may have been accepted before
    ],
)
def test_answers(params: dict[str, Any], code: ErrorCode | None):
    decision = judged("by: person", _meta=FORM, **params)
    assert code_of(decision) is code
    assert decision.approval is None or not decision.approval.accepted


@pytest.mark.parametrize(
    ("confirm", "arguments", "meta", "code"),
    [
        ("by: person", {}, {}, ErrorCode.CONFIRMATION_UNAVAILABLE),
        ("by: person", {"sure": True}, {}, ErrorCode.CONFIRMATION_UNAVAILABLE),
        ("by: person", {}, URL, ErrorCode.CONFIRMATION_UNAVAILABLE),
        ("by: person, or: argument, argument: sure", {}, {}, ErrorCode.CONFIRMATION_REQUIRED),
        ("by: person, or: argument, argument: sure", {"sure": 1}, {}, ErrorCode.ARGUMENTS_REFUSED),
        ("by: person, or: argument, argument: sure", {"sure": True}, {}, None),
        ("by: person, or: argument, argument: sure", {"sure": True}, FORM, ErrorCode.CONFIRMATION_REQUIRED),
        ("by: page", {}, {}, None),  # the admission looks for an answer on the page
        ("by: page, or: argument, argument: sure", {"sure": True}, FORM, None),
        ("by: page, or: argument, argument: sure", {"sure": True}, URL, None),
        ("by: person, mode: shadow", {}, {}, None),
    ],
)
def test_clients_with_and_without_the_capability(
    confirm: str, arguments: Any, meta: dict[str, Any], code: ErrorCode | None
):
    assert code_of(judged(confirm, arguments, _meta=meta)) is code


def test_a_call_that_an_argument_confirms_keeps_the_state_of_the_backend():
    rule = "by: person, or: argument, argument: sure"
    params: dict[str, Any] = {"requestState": "of the backend", "inputResponses": {"which": {"action": "accept"}}}
    passed = judged(rule, {"sure": True}, _meta={}, **params)
    assert code_of(passed) is None
    assert passed.document is not None
    assert passed.document["params"].items() >= params.items()
    assert code_of(judged(rule, {"sure": True}, _meta=FORM, **params)) is ErrorCode.CONFIRMATION_EXPIRED
    own: dict[str, Any] = {**params, "requestState": "mcp-policy-sidecar/x"}
    assert code_of(judged(rule, {"sure": True}, _meta={}, **own)) is ErrorCode.CONFIRMATION_EXPIRED


def test_only_a_client_that_cannot_ask_is_admitted_by_the_argument():
    fallback = "by: page, or: argument, argument: sure"
    assert judged(fallback, {"sure": True}, _meta={}).approval is None
    assert judged(fallback, {"sure": True}, _meta=URL).approval is not None
    assert judged(fallback, {"sure": True}, revision=Revision.V2025_11_25).approval is not None


def test_a_session_is_asked_later_because_its_capabilities_are_not_in_the_request():
    decision = judged("by: person", revision=Revision.V2025_11_25, _meta={})
    assert code_of(decision) is ErrorCode.CONFIRMATION_REQUIRED
    assert decision.approval is not None


def test_shadow_mode_records_and_asks_nothing():
    decision = judged("by: person, mode: shadow", _meta=FORM)
    assert decision.refusal is None
    assert decision.approval is None
    assert [each.code for each in decision.shadow] == [ErrorCode.CONFIRMATION_REQUIRED]


# --- what an approval is bound to ----------------------------------------------------------------


def use_of(confirm: str = "by: person", arguments: Any = None, **params: Any) -> ApprovalUse:
    found = judged(confirm, arguments, _meta=FORM, **params).approval
    assert found is not None
    return found


def test_the_digest_is_of_the_completed_arguments_in_any_order():
    same = [use_of(arguments=each).arguments for each in ({}, {"n": 5}, {"n": 5, "x": [1, {"a": 1, "b": 2}]})]
    assert same[0] == same[1] != same[2]
    assert use_of(arguments={"x": [1, {"b": 2, "a": 1}], "n": 5}).arguments == same[2]


@pytest.mark.parametrize("other", [{"n": 6}, {"n": 5, "x": "5"}, {"n": 5, "x": None}, {"N5": 5, "n": 5}])
def test_any_other_argument_has_another_digest(other: dict[str, Any]):
    assert use_of(arguments=other).arguments != use_of(arguments={"n": 5}).arguments


def test_the_argument_that_clients_fall_back_to_says_nothing_about_the_call():
    rule = "by: person, or: argument, argument: sure"
    assert use_of(rule, {"sure": True}).arguments == use_of(rule, {}).arguments


def test_the_digest_of_the_rule_is_of_everything_that_the_tool_declares():
    rules = {use_of(rule).rule for rule in ("by: person", "by: person, title: T", "by: page")}
    assert len(rules) == 3
    again = policy(one_tool(f"{SCHEMA}\nconfirm: {{by: person}}\nspends: {{credit: arguments.n}}"))
    tool = again.tools["t"].confirm
    assert tool is not None
    assert tool.digest in rules


def test_an_own_state_is_never_forwarded_by_a_tool_without_the_rule():
    compiled = policy(one_tool(""))
    refused = decide(compiled, call("t", {}, revision=Revision.V2026_07_28, requestState=STATE), caller("s"))
    assert code_of(refused) is ErrorCode.CONFIRMATION_EXPIRED
    passed = decide(compiled, call("t", {}, revision=Revision.V2026_07_28, requestState="x"), caller("s"))
    assert passed.refusal is None


def test_the_backends_own_argument_is_set_for_an_approved_call_only():
    rule = "by: person, or: argument, argument: sure"
    approved = judged(rule, {"sure": False}, _meta=FORM, **retry())
    assert approved.document is not None
    assert approved.document["params"]["arguments"]["sure"] is True
    injected = policy(one_tool("confirm: {by: person, or: argument, argument: ok, inject: true}"))
    decision = decide(
        injected, call("t", {"ok": True}, revision=Revision.V2026_07_28, _meta=FORM, **retry()), caller("s")
    )
    assert decision.document is not None
    assert decision.document["params"]["arguments"] == {}
