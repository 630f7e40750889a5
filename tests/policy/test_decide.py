import pytest

from sidecar.errors import ErrorCode, Shape
from sidecar.model import Call, CallKind, Depth, OnUnknown, Revision
from sidecar.policy.decide import decide
from tests.policy.support import call, caller, judge, one_tool, policy, request

POLICY = """
scopes:
  read: Read.
  admin: {description: All., implies: [write]}
  write: {description: Write., implies: [read]}
  other: Other.
quotas: {requests: {minute: 5}}
credits: {credit: One.}
default_plan: free
plans: {free: {tools: [search]}, paid: {quotas: {requests: {minute: null, day: 7}}, credits: {credit: {month: 3}}}}
tools:
  search: {scopes: [read], uses: {requests: 1}}
  change:
    scopes: [write, other]
    arguments: {properties: {sure: {type: boolean}, n: {type: integer}}}
    confirm: {argument: sure, message: "Are you sure?"}
    spends: {credit: arguments.n}
    timeout: 250ms
  asked:
    scopes: []
    arguments: {properties: {n: {}}, additionalProperties: false}
    confirm: {argument: sure, inject: true}
"""
COMPILED = policy(POLICY)


def judged(tool, arguments=None, *scopes, **params):
    return decide(COMPILED, call(tool, arguments, **params), caller(*scopes))


# --- methods -----------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["initialize", "server/discover", "ping"])
def test_methods_that_need_a_token_only(method):
    revision = Revision.V2026_07_28 if method == "server/discover" else Revision.V2025_11_25
    decision = decide(COMPILED, request(method, revision=revision), caller())
    assert (decision.refusal, decision.terms) == (None, None)
    assert decision.document is not None


@pytest.mark.parametrize(
    ("method", "revision"),
    [("server/discover", Revision.V2025_11_25), ("ping", Revision.V2026_07_28), ("initialize", Revision.V2026_07_28)],
)
def test_a_method_of_another_revision_is_unknown(method, revision):
    decision = decide(COMPILED, request(method, revision=revision), caller())
    assert decision.refusal is not None
    assert decision.refusal.code is ErrorCode.METHOD_NOT_ALLOWED
    assert (decision.terms, decision.depth) == (COMPILED.open_terms, Depth.CONSENT)


@pytest.mark.parametrize("method", ["tools/list", "resources/list", "resources/templates/list", "prompts/list"])
def test_lists_need_consent_and_no_price(method):
    decision = decide(COMPILED, request(method), caller())
    assert decision.refusal is None
    assert (decision.demands, decision.depth) == ((), Depth.PRICE)  # the plan decides what is shown
    assert decision.terms is not None
    assert {name: plan.allowed for name, plan in (decision.terms.plans or {}).items()} == {"free": True, "paid": True}


@pytest.mark.parametrize(
    "method",
    [
        *("completion/complete", "logging/setLevel", "tasks/list", "subscriptions/listen", "x", "vendor/x"),
        *("Tools/Call", "tools/call ", "tools/list\x00", "notifications/initialized", ""),
    ],
)
@pytest.mark.parametrize(("revision", "status"), [(Revision.V2025_11_25, 200), (Revision.V2026_07_28, 404)])
def test_any_other_method_is_refused(method, revision, status):
    decision = decide(COMPILED, request(method, revision=revision), caller("admin", "other"))
    assert decision.refusal is not None
    assert (decision.refusal.code, decision.refusal.status) == (ErrorCode.METHOD_NOT_ALLOWED, status)
    assert (decision.depth, decision.document) == (Depth.CONSENT, None)


@pytest.mark.parametrize(
    ("kind", "method", "outcome"),
    [
        (CallKind.NOTIFICATION, "notifications/initialized", "token"),
        (CallKind.NOTIFICATION, "notifications/cancelled", "consent"),
        (CallKind.NOTIFICATION, "notifications/progress", "consent"),
        (CallKind.NOTIFICATION, "notifications/roots/list_changed", "consent"),
        (CallKind.NOTIFICATION, "notifications/other", "refused"),
        (CallKind.NOTIFICATION, "tools/call", "refused"),
        (CallKind.NOTIFICATION, "ping", "refused"),
        (CallKind.RESPONSE, "", "consent"),
        (CallKind.STREAM, "", "plan"),
        (CallKind.END_SESSION, "", "token"),
    ],
)
def test_what_is_no_request(kind, method, outcome):
    decision = decide(COMPILED, Call(kind, Revision.V2025_11_25, method), caller())
    depth = {"token": Depth.PRICE, "plan": Depth.PLAN}.get(outcome, Depth.CONSENT)
    assert (decision.refusal is not None) == (outcome == "refused")
    assert (decision.terms is None) == (outcome == "token")
    assert decision.depth is depth


# --- tools and scopes --------------------------------------------------------------------------


@pytest.mark.parametrize("tool", ["delete", "Search", "search ", "search\u200b", "", None, 3, ["search"], {}])
def test_undeclared_tools_do_not_exist(tool):
    decision = judged(tool, {}, "admin")
    assert decision.refusal is not None
    assert decision.refusal.code is ErrorCode.TOOL_UNKNOWN
    assert decision.depth is Depth.CONSENT
    assert str(tool or "delete") not in str(decision.refusal.detail)


@pytest.mark.parametrize(
    ("scopes", "allowed"), [((), False), (("other",), False), (("read",), True), (("write",), True), (("admin",), True)]
)
def test_scopes_that_imply_the_needed_one_grant_it(scopes, allowed):
    decision = judged("search", {}, *scopes)
    assert (decision.refusal is None) is allowed
    assert decision.scopes == ("read",)


def test_a_challenge_asks_for_everything_needed_and_keeps_what_the_token_has():
    refusal = judged("change", {"n": 1}, "read", "openid").refusal
    assert refusal is not None
    assert (refusal.code, refusal.shape, refusal.status) == (ErrorCode.INSUFFICIENT_SCOPE, Shape.CHALLENGE, 403)
    assert refusal.scopes == ("write", "other", "read")  # not openid: it is not the policy's
    assert refusal.rule == "p1.yaml:14"


@pytest.mark.parametrize("arguments", [{"n": 2}, {"n": "x"}, {"N": 2}, []])
def test_a_missing_scope_comes_before_arguments_price_and_confirmation(arguments):
    decision = judged("change", arguments, "read")
    assert decision.refusal is not None
    assert decision.refusal.code is ErrorCode.INSUFFICIENT_SCOPE
    assert (decision.depth, decision.demands, decision.document) == (Depth.PLAN, (), None)


def test_the_consents_scopes_are_asked_only_of_tokens_that_have_them():
    lacking, having = judged("change", {"n": 1}, "read"), judged("change", {"n": 1}, "write", "other")
    assert lacking.terms is not None
    assert having.terms is not None
    assert lacking.terms.scopes == ()
    assert having.terms.scopes == (("write", "admin"), ("other",))
    assert lacking.terms.plans == having.terms.plans


# --- confirmation ------------------------------------------------------------------------------


@pytest.mark.parametrize("flag", [False, None, 1, "true", [True], {"sure": True}])
def test_only_true_confirms(flag):
    for tool in ("asked", "change"):
        arguments = {"n": 1} if flag is None else {"n": 1, "sure": flag}
        refusal = judged(tool, arguments, "admin", "other").refusal
        assert refusal is not None
        expected = {ErrorCode.CONFIRMATION_REQUIRED}
        if tool == "change" and not isinstance(flag, bool | None):
            expected = {ErrorCode.ARGUMENTS_REFUSED}  # its schema wants a boolean
        assert refusal.code in expected


def test_a_confirmation_names_its_argument_and_can_name_its_price():
    decision = judged("change", {"n": 4}, "admin", "other")
    assert decision.refusal is not None
    assert decision.refusal.detail == "Are you sure?"
    assert decision.refusal.data == {"confirm": {"argument": "sure"}}
    assert decision.refusal.rule == "p1.yaml:16"
    assert (decision.depth, decision.demands[0].reserve) == (Depth.PRICE, 4)


def test_an_injected_confirmation_never_reaches_the_schema_or_the_backend():
    decision = judged("asked", {"n": 1, "sure": True})
    assert decision.refusal is None
    assert decision.document is not None
    assert decision.document["params"] == {"name": "asked", "arguments": {"n": 1}}
    disguised = judged("asked", {"n": 1, "sure": True, "SURE": False}).refusal
    assert disguised is not None
    assert disguised.code is ErrorCode.ARGUMENTS_REFUSED


def test_the_document_that_came_is_not_changed():
    message = call("asked", {"n": 1, "sure": True}, _meta={"progressToken": 1})
    decision = decide(COMPILED, message, caller())
    assert message.params["arguments"] == {"n": 1, "sure": True}
    assert decision.document == {
        **(message.document or {}),
        "params": {"name": "asked", "arguments": {"n": 1}, "_meta": {"progressToken": 1}},
    }


# --- terms of gates 5-7 ------------------------------------------------------------------------


def test_terms_hold_what_the_operation_uses_and_nothing_else():
    search = judged("search", {}, "read").terms
    change = judged("change", {"n": 1, "sure": True}, "admin", "other").terms
    assert search is not None
    assert change is not None
    assert (search.default_plan, search.base.quotas) == ("free", {"requests": {"minute": 5}})
    plans = {name: (plan.allowed, plan.quotas, plan.credits) for name, plan in (search.plans or {}).items()}
    assert plans == {"free": (True, {"requests": {"minute": 5}}, {}), "paid": (True, {"requests": {"day": 7}}, {})}
    plans = {name: (plan.allowed, plan.quotas, plan.credits) for name, plan in (change.plans or {}).items()}
    assert plans == {"free": (False, {}, {}), "paid": (True, {}, {"credit": ("month", 3)})}


def test_timeout_rule_and_unknown_outcomes():
    decision = judged("change", {"n": 1, "sure": True}, "admin", "other")
    assert (decision.timeout, decision.rule, decision.on_unknown) == (0.25, "p1.yaml:13", OnUnknown.RELEASE)
    items = "arguments: {properties: {a: {}}}\nspends: {credit: {items: arguments.a, once: true}}"
    assert judge(one_tool(items), "t", {"a": []}).on_unknown is OnUnknown.SETTLE
    assert judge(one_tool(items + "\non_unknown: release"), "t", {"a": []}).on_unknown is OnUnknown.RELEASE


def test_a_tool_served_here_takes_no_arguments():
    text = one_tool("serve: usage\nuses: {requests: 1}")
    assert judge(text, "t", {}).refusal is None
    refusal = judge(text, "t", {"account": "bob"}).refusal
    assert refusal is not None
    assert refusal.code is ErrorCode.ARGUMENTS_REFUSED
