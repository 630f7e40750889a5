"""Rules in shadow mode at gate 4: they say what they would refuse, and change nothing."""

from __future__ import annotations

from textwrap import dedent
from typing import Any

import pytest

from sidecar.errors import ErrorCode
from sidecar.model import Decision
from sidecar.policy.decide import decide
from sidecar.policy.shadow_codes import shadow_codes
from tests.policy.support import call, caller, policy, problems

HEAD = """\
scopes: {s: A scope.}
quotas: {requests: {day: 5}, rows: {day: 9, mode: shadow}}
plans: {free: {tools: [open], mode: shadow}, full: {}}
default_plan: free
"""


def one(body: str) -> str:
    return f"{HEAD}tools:\n  open: {{scopes: []}}\n  t:\n    scopes: [s]\n" + "".join(
        f"    {line}\n" for line in dedent(body).splitlines()
    )


def judged(body: str, arguments: dict[str, Any]) -> Decision:
    return decide(policy(one(body)), call("t", arguments), caller("s"))


def would(decision: Decision) -> list[tuple[str, str]]:
    return [(each.rule, each.code.id) for each in decision.shadow]


ARGUMENTS = "arguments: {mode: shadow, properties: {limit: {type: integer, maximum: 9}}, additionalProperties: false}"


@pytest.mark.parametrize(
    ("arguments", "shadow"),
    [
        ({}, []),
        ({"limit": 9}, []),
        ({"limit": 10}, ["arguments_refused"]),
        ({"other": 1}, ["arguments_refused"]),
        ({"Limit": 1}, ["arguments_refused"]),
        ({"limit": 2**60}, ["params_malformed"]),
    ],
)
def test_a_shadow_schema_is_evaluated_and_refuses_nothing(arguments: dict[str, Any], shadow: list[str]):
    decision = judged(ARGUMENTS, arguments)
    assert decision.refusal is None
    assert would(decision) == [("p1.yaml:9", code) for code in shadow]
    assert decision.document is not None
    assert decision.document["params"]["arguments"] == arguments


def test_the_reason_names_the_argument_and_no_value():
    (refused,) = judged(ARGUMENTS, {"limit": 1234}).shadow
    assert refused.detail is not None
    assert "limit must be at most 9" in refused.detail
    assert "1234" not in refused.detail


def test_a_shadow_schema_adds_no_default_and_judges_what_enforcing_it_would():
    body = "arguments: {mode: shadow, properties: {a: {default: 1}, b: {}}, required: [a]}"
    decision = judged(body, {"b": 2})
    assert (decision.refusal, decision.shadow, decision.arguments) == (None, (), {"b": 2})
    assert decision.document is not None
    assert decision.document["params"]["arguments"] == {"b": 2}


def test_names_that_a_price_reads_stay_protected_under_a_shadow_schema():
    body = "arguments: {mode: shadow, properties: {n: {}, m: {}}}\nuses: {requests: arguments.n}"
    decision = judged(body, {"n": 1, "N": 2})
    assert decision.refusal is not None
    assert decision.refusal.code is ErrorCode.ARGUMENTS_REFUSED
    assert judged(body, {"n": 1, "M": 2}).refusal is None


def test_a_missing_shadow_confirmation_is_recorded_and_a_given_one_is_forwarded():
    body = "arguments: {properties: {sure: {type: boolean}}}\nconfirm: {argument: sure, mode: shadow}"
    decision = judged(body, {})
    assert decision.refusal is None
    assert would(decision) == [("p1.yaml:10", "confirmation_required")]
    assert would(judged(body, {"sure": True})) == []


def test_an_injected_confirmation_in_shadow_mode_is_neither_added_nor_removed():
    tool = policy(one("confirm: {argument: sure, inject: true, mode: shadow}")).tools["t"]
    assert tool.injected is None
    decision = judged("confirm: {argument: sure, inject: true, mode: shadow}", {"sure": False})
    assert would(decision) == [("p1.yaml:9", "confirmation_required")]
    assert decision.document is not None
    assert decision.document["params"]["arguments"] == {"sure": False}


def test_both_rules_are_recorded_and_an_enforced_one_still_refuses():
    body = ARGUMENTS.replace("properties: {", "properties: {sure: {}, ") + "\nconfirm: {argument: sure}"
    decision = judged(body, {"limit": 99})
    assert decision.refusal is not None
    assert decision.refusal.code is ErrorCode.CONFIRMATION_REQUIRED
    assert would(decision) == [("p1.yaml:9", "arguments_refused")]
    assert judged(ARGUMENTS, {}).shadow == ()


def test_a_call_without_the_scopes_meets_no_shadow_rule():
    decision = decide(policy(one(ARGUMENTS)), call("t", {"limit": 99}), caller())
    assert decision.refusal is not None
    assert decision.shadow == ()


def test_a_tool_list_in_shadow_mode_includes_every_tool_and_names_its_rule():
    compiled = policy(one("uses: {rows: 1}"))
    assert compiled.listed("t", frozenset({"s"}), "free")
    plans = compiled.tools["t"].terms.plans
    assert plans is not None
    assert {name: (each.allowed, each.shadow) for name, each in plans.items()} == {
        "free": (True, "p1.yaml:3"),
        "full": (True, None),
    }
    assert [(each.name, each.shadow) for each in judged("uses: {requests: 1, rows: 2}", {}).demands] == [
        ("requests", None),
        ("rows", "p1.yaml:2"),
    ]


def test_every_code_that_a_shadow_rule_can_have_is_known_beforehand():
    body = ARGUMENTS + "\nconfirm: {argument: sure, inject: true, mode: shadow}\nuses: {rows: 1}"
    codes = ("arguments_refused", "confirmation_required", "params_malformed", "plan_required")
    assert list(shadow_codes(policy(one(body)))) == [
        *(("t", code, "") for code in codes),
        ("t", "quota_exceeded", "rows"),
    ]
    assert list(shadow_codes(policy("scopes: {s: S}\ntools: {t: {scopes: [s]}}"))) == []


MISPLACED = {
    "mode: shadow\ntools: {t: {scopes: []}}": "mode",
    "tools: {t: {scopes: [], mode: shadow}}": "tools.t.mode",
    "tools: {t: {scopes: [], uses: {mode: shadow}}}": "tools.t.uses.mode",
    "tools: {t: {scopes: []}}\nplans: {p: {tools: [t], quotas: {q: {mode: shadow}}}}": "plans.p.quotas.q.mode",
    "tools: {t: {scopes: []}}\nplans: {p: {tools: {mode: shadow}}}": "plans.p.tools.mode",
    "tools: {t: {scopes: []}}\nlisting: {mode: shadow}": "listing.mode",
    "tools: {t: {scopes: []}}\nscopes: {r: {description: R, mode: shadow}}": "scopes.r.mode",
}


@pytest.mark.parametrize("text", MISPLACED)
def test_shadow_mode_anywhere_else_is_an_error_with_its_place(text: str):
    found = [each for each in problems(text) if "shadow mode is not available here" in each]
    assert [each.split(": ")[1] for each in found] == [MISPLACED[text]]
    assert "on a tool's arguments or confirm, a quota, or a plan with a list of tools" in found[0]


def test_names_and_arguments_that_are_called_mode_are_no_rules():
    policy(
        "scopes: {mode: shadow}\n"
        "tools: {t: {scopes: [mode], arguments: {properties: {mode: {const: shadow}}}}}\n"
        "tests: [{name: n, caller: {scopes: [mode]}, call: {tool: t, arguments: {mode: shadow}}, expect: allow}]"
    )
