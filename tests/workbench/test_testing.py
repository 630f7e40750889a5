from pathlib import Path

import pytest

from sidecar.config.documents.merging import parse
from sidecar.policy.language.compile import compile_policy
from sidecar.policy.rules import Policy
from sidecar.workbench.testing import CaseOutcome, run_tests

EXAMPLE = Path(__file__).parents[2] / "policies" / "storeinspect.yaml"

POLICY = """\
scopes: {read: Read., write: {description: Write., implies: [read]}}
quotas: {requests: {minute: 10, day: 20}}
credits: {coin: One.}
default_plan: free
plans:
  free: {}
  paid: {credits: {coin: {month: 3}}}
  none: {tools: [], resources: []}
tools:
  look: {scopes: [read], uses: {requests: 1}}
  buy:
    scopes: [write]
    arguments: {properties: {ids: {type: array}, sure: {type: boolean}}}
    confirm: {argument: sure}
    spends: {coin: {items: arguments.ids, once: true}}
resources: {"docs://*": {scopes: [read], uses: {requests: 1}}}
prompts: {greet: {scopes: [write], spends: {coin: "meta.price || `1`"}}}
methods:
  completion/complete: {scopes: []}
  subscriptions/listen: {scopes: []}
  notifications/acme: {scopes: []}
"""


def compiled(*tests: str, text: str = POLICY) -> Policy:
    listed = "".join(f"  - {test}\n" for test in tests)
    return compile_policy([parse("p.yaml", f"{text}tests:\n{listed}")])


PERSON = POLICY.replace("confirm: {argument: sure}", "confirm: {by: person}")
PAGE = POLICY.replace("confirm: {argument: sure}", "confirm: {by: page, or: argument, argument: sure}")
ASKED = "{tool: buy, arguments: {ids: [a, 7]}, confirmation: %s}"


@pytest.mark.parametrize(
    ("call", "text", "expect"),
    [
        ("{tool: buy, arguments: {ids: [a, 7]}}", PERSON, "confirmation_required"),
        (ASKED % "accepted", PERSON, "{allow: {credits: {coin: 2}}}"),
        (ASKED % "declined", PERSON, "confirmation_declined"),
        (ASKED % "unavailable", PERSON, "confirmation_unavailable"),
        ("{tool: buy, arguments: {ids: [a, 7]}}", PAGE, "confirmation_required"),
        (ASKED % "accepted", PAGE, "{allow: {credits: {coin: 2}}}"),
        (ASKED % "declined", PAGE, "confirmation_declined"),
        ("{tool: buy, arguments: {ids: [a, 7], sure: true}, confirmation: unavailable}", PAGE, "allow"),
    ],
)
def test_a_test_can_give_the_answer_of_a_person(call: str, text: str, expect: str):
    outcome = run("{scopes: [write], credits: {coin: 5}}", call, expect, text)
    assert outcome.passed, outcome
    assert outcome.decided == "p.yaml:14" if "allow" not in expect else outcome.decided is not None
    poor = run("{scopes: [write], credits: {coin: 1}}", call, "insufficient_credits", text)
    assert poor.passed, poor


def run(caller: str, call: str, expect: str, text: str = POLICY) -> CaseOutcome:
    (outcome,) = run_tests(compiled(f"{{name: n, caller: {caller}, call: {call}, expect: {expect}}}", text=text))
    return outcome


BUY = "{tool: buy, arguments: {ids: [a, 7], sure: true}}"


def test_every_test_of_the_example_policy_passes():
    policy = compile_policy([parse("storeinspect.yaml", EXAMPLE.read_text())])
    assert [str(outcome) for outcome in run_tests(policy) if not outcome.passed] == []


@pytest.mark.parametrize(
    ("caller", "call", "expect"),
    [
        ("{scopes: [read]}", "{tool: look}", "allow"),
        ("{scopes: [write]}", "{tool: look}", "{allow: {quotas: {requests: 1}}}"),
        ("{scopes: [read]}", "{tool: look}", "{allow: {}}"),
        ("{scopes: [read]}", "{tool: look}", "{allow: {credits: {coin: 0}}}"),
        ("{scopes: []}", "{tool: look}", "insufficient_scope"),
        ("{scopes: [read]}", "{tool: other}", "tool_unknown"),
        ("{}", "{method: ping}", "allow"),
        ("{}", "{method: tools/list}", "allow"),
        ("{}", "{method: notifications/cancelled}", "allow"),
        ("{}", "{method: logging/setLevel}", "method_not_allowed"),
        ("{}", "{resource: other://x}", "resource_unknown"),
        ("{}", "{prompt: x}", "prompt_unknown"),
        ("{consent: missing}", "{method: ping}", "allow"),
        ("{consent: missing}", "{method: tools/list}", "consent_missing"),
        ("{consent: missing}", "{tool: other}", "consent_missing"),
        ("{consent: revoked}", "{tool: look}", "consent_revoked"),
        ("{consent: {scopes: [read]}, scopes: [write]}", "{tool: look}", "allow"),
        ("{consent: {scopes: [write]}, scopes: [read]}", "{tool: look}", "allow"),
        ("{consent: {scopes: [read]}, scopes: [write]}", BUY, "insufficient_scope"),
        ("{status: disabled, scopes: [read]}", "{tool: look}", "account_disabled"),
        ("{plan: none, scopes: [read]}", "{tool: look}", "plan_required"),
        # the look comes first: consent, status and plan before a scope, a confirmation or arguments
        ("{plan: none, scopes: []}", "{tool: look}", "plan_required"),
        ("{plan: none, scopes: [write]}", "{tool: buy, arguments: {ids: [a]}}", "plan_required"),
        ("{status: disabled, scopes: [write]}", "{tool: buy, arguments: {ids: x}}", "account_disabled"),
        ("{scopes: [write]}", "{tool: buy, arguments: {ids: [a]}}", "insufficient_credits"),
        ("{scopes: [write], credits: {coin: 1}}", "{tool: buy, arguments: {ids: [a]}}", "confirmation_required"),
        ("{scopes: [write]}", "{tool: buy, arguments: {ids: x}}", "arguments_refused"),
        ("{scopes: [write]}", "{tool: buy, arguments: {ids: [9007199254740992]}}", "params_malformed"),
        # credits: the balance comes in addition to the credits that the plan includes
        ("{scopes: [write]}", BUY, "insufficient_credits"),
        ("{scopes: [write], credits: {coin: 2}}", BUY, "{allow: {credits: {coin: 2}}}"),
        ("{scopes: [write], credits: {coin: 1}}", BUY, "insufficient_credits"),
        ("{scopes: [write], plan: paid}", BUY, "{allow: {credits: {coin: 2}}}"),
        ("{scopes: [write], plan: paid, included: {coin: 2}}", BUY, "insufficient_credits"),
        ("{scopes: [write], plan: paid, included: {coin: 2}, credits: {coin: 1}}", BUY, "allow"),
        ("{scopes: [write], paid: {coin: [a, 7]}}", BUY, "{allow: {credits: {coin: 0}}}"),
        ("{scopes: [write], paid: {coin: ['7']}, credits: {coin: 1}}", BUY, "{allow: {credits: {coin: 1}}}"),
        # what is no tool
        ("{scopes: [read]}", "{resource: docs://a}", "{allow: {quotas: {requests: 1}}}"),
        ("{}", "{resource: docs://a}", "insufficient_scope"),
        ("{plan: none, scopes: [read]}", "{resource: docs://a}", "plan_required"),
        ("{scopes: [read]}", "{resource: docs://a/../b}", "params_malformed"),
        ("{scopes: [read]}", "{method: resources/unsubscribe, resource: docs://a}", "allow"),
        ("{scopes: [read]}", "{method: resources/read, resource: docs://a}", "allow"),
        ("{scopes: [write], plan: paid}", "{prompt: greet, arguments: {who: you}}", "{allow: {credits: {coin: 1}}}"),
        ("{scopes: [write]}", "{prompt: greet}", "insufficient_credits"),
        ("{scopes: [write], plan: paid}", "{prompt: greet, meta: {Price: 3}}", "arguments_refused"),
        ("{scopes: [write], plan: paid}", "{prompt: greet, meta: {price: 3}}", "{allow: {credits: {coin: 3}}}"),
        ("{scopes: [write], plan: paid}", "{method: prompts/get, prompt: greet, arguments: {a: b}}", "allow"),
        (
            "{scopes: [write], plan: paid}",
            "{method: completion/complete, prompt: greet}",
            "{allow: {credits: {coin: 0}}}",
        ),
        ("{scopes: [read]}", "{method: completion/complete, resource: 'docs://{x}'}", "allow"),
        ("{scopes: [read]}", "{method: completion/complete, resource: 'other://{x}'}", "resource_unknown"),
        ("{scopes: [read]}", "{method: subscriptions/listen}", "allow"),
        ("{scopes: [read]}", "{method: subscriptions/listen, resource: docs://a}", "allow"),
        ("{}", "{method: subscriptions/listen, resource: docs://a}", "insufficient_scope"),
        ("{}", "{method: notifications/acme}", "allow"),
        ("{consent: missing}", "{method: notifications/acme}", "consent_missing"),
        # quotas
        ("{scopes: [read], quotas: {requests: {minute: 9}}}", "{tool: look}", "allow"),
        ("{scopes: [read], quotas: {requests: {minute: 10}}}", "{tool: look}", "quota_exceeded"),
        ("{scopes: [read], quotas: {requests: {day: 20}}}", "{tool: look}", "quota_exceeded"),
    ],
)
def test_what_a_call_meets(caller, call, expect):
    outcome = run(caller, call, expect)
    assert outcome.passed, outcome


def test_without_a_default_plan_an_account_without_one_is_unknown():
    text = POLICY.replace("default_plan: free\n", "")
    assert run("{scopes: [read]}", "{tool: look}", "account_unknown", text).passed
    assert run("{scopes: [read], plan: paid}", "{tool: look}", "allow", text).passed


def test_under_first_use_a_missing_consent_is_granted_and_a_revoked_one_is_not():
    text = POLICY + "consent: first_use\n"
    assert run("{scopes: [read], consent: missing}", "{tool: look}", "allow", text).passed
    assert run("{scopes: [read], consent: revoked}", "{tool: look}", "consent_revoked", text).passed


@pytest.mark.parametrize(
    ("caller", "call", "expect", "message"),
    [
        (
            "{scopes: [read]}",
            "{tool: look}",
            "plan_required",
            "expected plan_required, got allow {quotas: {requests: 1}}",
        ),
        ("{}", "{method: ping}", "consent_missing", "expected consent_missing, got allow"),
        (
            "{scopes: [write], plan: paid}",
            BUY,
            "{allow: {credits: {coin: 1}, quotas: {requests: 1}}}",
            "expected allow {credits: {coin: 1}, quotas: {requests: 1}}, got allow {credits: {coin: 2}}",
        ),
        ("{}", "{tool: look}", "allow", "expected allow, got insufficient_scope (p.yaml:10: "),
        ("{}", "{tool: look}", "{allow: {}}", "expected allow, got insufficient_scope (p.yaml:10: "),
        (
            "{scopes: [write]}",
            "{tool: buy, arguments: {ids: hunter2}}",
            "tool_unknown",
            "expected tool_unknown, got arguments_refused (p.yaml:13: ids must be of type array.)",
        ),
    ],
)
def test_a_failure_names_its_place_what_was_expected_and_what_came(caller, call, expect, message):
    outcome = run(caller, call, expect)
    assert not outcome.passed
    assert str(outcome).startswith(f"p.yaml:23: n: {message}")


def test_a_price_is_no_refusal_and_a_refusal_no_price():
    assert not run("{scopes: [write]}", BUY, "{allow: {credits: {coin: 2}}}").passed
    assert not run("{scopes: [write], plan: paid}", BUY, "{allow: {credits: {coin: 0}}}").passed


def test_tests_do_not_see_each_other():
    one = "{name: one, caller: {scopes: [write], credits: {coin: 2}}, call: CALL, expect: allow}".replace("CALL", BUY)
    outcomes = run_tests(compiled(one, one.replace("one", "two"), "{name: t, call: {method: ping}, expect: allow}"))
    assert [(outcome.name, outcome.rule, outcome.passed) for outcome in outcomes] == [
        ("one", "p.yaml:23", True),
        ("two", "p.yaml:24", True),
        ("t", "p.yaml:25", True),
    ]
