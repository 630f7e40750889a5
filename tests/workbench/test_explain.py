"""Explanations agree with the gates."""

from textwrap import dedent

import pytest

from sidecar.config.documents.merging import parse
from sidecar.model import Caller
from sidecar.policy.language.case_models import TestCallDocument
from sidecar.policy.language.compile import compile_policy
from sidecar.workbench.explainer import explain
from sidecar.workbench.explanation import Explanation, Step
from sidecar.workbench.testing import NOW

POLICY = """\
scopes: {read: Read., write: {description: Write., implies: [read]}}
quotas: {requests: {minute: 60}, rows: {month: 100}}
credits: {contact: One.}
plans:
  small: {tools: [search]}
  large: {credits: {contact: {month: 3}}, quotas: {rows: {month: null}}}
defaults: {uses: {requests: 1}}
tools:
  search:
    scopes: [read]
    arguments: {properties: {limit: {type: integer, maximum: 500, default: 5}}}
    uses: {rows: arguments.limit}
  reveal:
    scopes: [read, write]
    arguments: {properties: {ids: {type: array}, ok: {type: boolean}}, required: [ids]}
    confirm: {argument: ok}
    spends: {contact: {items: arguments.ids, each: 2, once: true}}
  open: {scopes: [], uses: {}}
"""


def explained(tool: str, arguments=None, scopes=("write",), plan: str | None = "large", more: str = "") -> Explanation:
    policy = compile_policy([parse("p.yaml", POLICY + dedent(more))])
    caller = Caller("main", "https://issuer", "alice", "acme", "app", frozenset(scopes), NOW // 1000, NOW // 1000 + 1)
    return explain(policy, TestCallDocument(tool=tool, arguments=arguments or {}), caller, plan, NOW)


def step(explanation: Explanation, question: str) -> Step:
    return next(each for each in explanation.steps if each.question == question)


@pytest.mark.parametrize(
    ("tool", "arguments", "scopes", "plan", "outcome"),
    [
        ("search", {}, ["read"], "small", "allow"),
        ("search", {}, ["write"], "small", "allow"),
        ("search", {}, [], "small", "insufficient_scope"),
        ("search", {"limit": 501}, ["read"], "small", "arguments_refused"),
        ("search", {"limit": 101}, ["read"], "small", "quota_exceeded"),
        ("search", {"limit": 101}, ["read"], "large", "allow"),
        ("search", {}, ["read"], None, "account_unknown"),
        ("search", {}, ["read"], "gone", "plan_required"),
        ("reveal", {"ids": ["a"], "ok": True}, ["write"], "small", "plan_required"),
        ("reveal", {"ids": ["a"], "ok": True}, ["write"], "large", "allow"),
        ("reveal", {"ids": ["a"]}, ["write"], "large", "confirmation_required"),
        ("reveal", {"ids": ["a", "b"], "ok": True}, ["write"], "large", "insufficient_credits"),
        ("open", {}, [], "large", "allow"),
        ("secret", {}, ["write"], "large", "tool_unknown"),
    ],
)
def test_outcomes(tool, arguments, scopes, plan, outcome):
    explanation = explained(tool, arguments, scopes, plan)
    assert explanation.outcome == outcome
    failed = [each for each in explanation.steps if each.passed is False]
    assert bool(failed) == (outcome != "allow")
    text = str(explanation)
    assert f"=> {outcome}" in text
    assert explanation.document()["outcome"] == outcome


@pytest.mark.parametrize(
    ("confirm", "says"),
    [
        ("{by: person}", "a person confirms each call, in the client's form"),
        ("{by: page}", "a person confirms each call, in the account page"),
        (
            "{by: person, or: argument, argument: ok}",
            "a person confirms each call, in the client's form; clients that cannot ask set ok to true",
        ),
    ],
)
def test_a_confirmation_by_a_person_is_assumed_to_be_missing(confirm: str, says: str):
    text = POLICY.replace("confirm: {argument: ok}", f"confirm: {confirm}")
    caller = Caller(
        "main", "https://issuer", "alice", "acme", "app", frozenset({"write"}), NOW // 1000, NOW // 1000 + 1
    )
    asked = TestCallDocument(tool="reveal", arguments={"ids": ["a"]})
    explanation = explain(compile_policy([parse("p.yaml", text)]), asked, caller, "large", NOW)
    assert explanation.outcome == "confirmation_required"
    assert explanation.rule == "p.yaml:16"
    found = step(explanation, "confirmation")
    assert (found.says, found.passed) == (says, False)


def test_scopes_are_shown_with_the_scopes_that_imply_them():
    explanation = explained("reveal", {"ids": []}, ["write"])
    assert [each.says for each in explanation.steps if each.question == "scope"] == [
        "read is required and granted, implied by write",
        "write is required and granted",
    ]
    assert step(explanation, "scope").rule == "p.yaml:14"
    assert step(explained("open"), "scope").says == "any valid token suffices"


def test_arguments_and_confirmation_answer_although_the_scope_is_missing():
    explanation = explained("reveal", {"ok": False}, [])
    assert explanation.outcome == "insufficient_scope"
    assert step(explanation, "arguments").says == "The arguments object lacks ids."
    assert step(explanation, "confirmation") == Step(
        "policy",
        "confirmation",
        False,
        "ok must be JSON true",
        "p.yaml:16",
        "ask the user, then repeat the call with it",
    )
    assert explanation.scopes == ("read", "write")
    assert step(explanation, "price").passed is None


def test_the_price_is_reported_with_its_lines():
    explanation = explained("reveal", {"ids": ["a", "a"], "ok": True})
    assert [(each.kind, each.name, each.computed, each.needed, each.left, each.rule) for each in explanation.price] == [
        ("quota", "requests", "fixed", 1, 60, "p.yaml:7"),
        ("credit", "contact", "2 for each of arguments.ids, each item once", 2, 3, "p.yaml:17"),
    ]
    assert step(explanation, "price").says == "reserves 1 requests of 60 per minute and 2 contact credits of 3 included"
    (search,) = explained("search").price
    assert (search.computed, search.needed, search.left) == ("arguments.limit", 5, None)
    assert step(explained("open"), "price").says == "nothing"


def test_the_default_plan_is_named_as_such():
    explanation = explained("search", plan=None, more="default_plan: small")
    assert step(explanation, "plan") == Step(
        "account", "plan", True, "small (default_plan) includes search", "p.yaml:5"
    )


def test_the_consent_mode_is_reported():
    assert "a record must exist" in step(explained("search"), "consent").says
    assert "first valid token" in step(explained("search", more="consent: first_use"), "consent").says


# --- what is no tool -----------------------------------------------------------------------------

OTHERS = """
plans: {small: {tools: [], resources: ["docs://*"], prompts: []}, large: {credits: {contact: {month: 3}}}}
resources: {"docs://*": {scopes: [read]}, "docs://secret/*": {scopes: [write], spends: {contact: 4}}}
prompts: {greet: {scopes: [read], spends: {contact: 2}}}
methods: {completion/complete: {scopes: []}, acme/x: {scopes: [write]}}
"""


def other(scopes=("write",), plan: str | None = "large", **call: str) -> Explanation:
    text = "\n".join(line for line in POLICY.splitlines() if not line.startswith(("plans", "  small", "  large")))
    policy = compile_policy([parse("p.yaml", f"{text}\n{OTHERS}")])
    caller = Caller("main", "https://issuer", "alice", "acme", "app", frozenset(scopes), NOW // 1000, NOW // 1000 + 1)
    return explain(policy, TestCallDocument.model_validate(call), caller, plan, NOW)


@pytest.mark.parametrize(
    ("call", "scopes", "plan", "outcome"),
    [
        ({"resource": "docs://a"}, ["read"], "small", "allow"),
        ({"resource": "docs://a"}, [], "small", "insufficient_scope"),
        ({"resource": "docs://secret/a"}, ["write"], "small", "plan_required"),
        ({"resource": "docs://secret/a"}, ["write"], "large", "insufficient_credits"),
        ({"resource": "docs://Secret/a"}, ["write"], "large", "params_malformed"),
        ({"resource": "docs://a/../b"}, ["write"], "large", "params_malformed"),
        ({"resource": "file:///a"}, ["write"], "large", "resource_unknown"),
        ({"prompt": "greet"}, ["read"], "large", "allow"),
        ({"prompt": "greet"}, ["read"], "small", "plan_required"),
        ({"prompt": "other"}, ["read"], "large", "prompt_unknown"),
        ({"method": "completion/complete", "prompt": "greet"}, ["read"], "large", "allow"),
        ({"method": "completion/complete", "prompt": "greet"}, [], "large", "insufficient_scope"),
        ({"method": "completion/complete", "resource": "docs://{x}"}, ["read"], "large", "insufficient_scope"),
        ({"method": "acme/x"}, ["write"], "small", "allow"),
        ({"method": "acme/y"}, ["write"], "small", "method_not_allowed"),
        ({"method": "resources/subscribe", "resource": "docs://secret/a"}, ["write"], "large", "allow"),
        ({"method": "tools/list"}, [], "small", "allow"),
        ({"method": "ping"}, [], None, "allow"),
        ({"method": "tools/list"}, [], None, "account_unknown"),
    ],
)
def test_outcomes_of_what_is_no_tool(call, scopes, plan, outcome):
    explanation = other(scopes, plan, **call)
    assert explanation.outcome == outcome
    assert bool([each for each in explanation.steps if each.passed is False]) == (outcome != "allow")
    assert str(explanation).startswith(" ".join(explanation.call.values()) + ", policy revision ")
    assert explanation.document()["call"] == explanation.call


def test_every_operation_that_a_completion_names_is_shown():
    explanation = other(("read",), "small", method="completion/complete", resource="docs://{x}")
    steps = [(each.question, each.says, each.passed) for each in explanation.steps if each.gate == "policy"]
    assert steps == [
        ("method", "declared", True),
        ("scope", "any valid token suffices", True),
        ("resource", "declared by the pattern docs://*", True),
        ("scope", "read is required and granted", True),
        ("resource", "declared by the pattern docs://secret/*", True),
        ("scope", "write is required and not granted", False),
    ]
    assert explanation.scopes == ()  # the plan is refused first
    assert step(explanation, "plan").says == "small does not include docs://secret/*"


def test_undeclared_operations_are_reported():
    assert step(other(resource="file:///a"), "resource").says == "no policy file declares a pattern that matches it"
    assert step(other(method="ping"), "method").says == "needs no declaration"
    assert "must not contain dot segments" in step(other(resource="docs://a/../b"), "resource").says
