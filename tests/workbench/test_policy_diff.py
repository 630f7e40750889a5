"""Calls whose outcome differs between two policies."""

from __future__ import annotations

import pytest

from sidecar.workbench.policy_diff import policy_diff
from tests.policy.support import policy

BASE = """\
scopes: {read: Read., write: Write.}
quotas: {requests: {day: 50}}
credits: {contact: One.}
default_plan: free
plans: {free: {tools: [search]}, full: {}}
defaults: {uses: {requests: 1}}
tools:
  search:
    scopes: [read]
    arguments: {properties: {limit: {type: integer, minimum: 5, maximum: 100}}, required: [limit]}
  reveal:
    scopes: [write]
    arguments: {properties: {ids: {type: array, items: {type: string}}}, required: [ids]}
    spends: {contact: length(arguments.ids)}
tests:
  - {name: large, caller: {scopes: [read]}, call: {tool: search, arguments: {limit: 80}}, expect: allow}
"""
CHANGES = {
    "maximum: 100": ("maximum: 50", "tool search: allow (1 requests) → arguments_refused for scopes read"),
    "defaults: {uses: {requests: 1}}": (
        "defaults: {uses: {requests: 2}}",
        "tool search: allow (1 requests) → allow (2 requests) for scopes read",
    ),
    "scopes: [read]\n    arg": (
        "scopes: [read, write]\n    arg",
        "tool search: allow (1 requests) → insufficient_scope for scopes read",
    ),
    "{tools: [search]}": ("{}", "tool reveal: plan_required → allow"),
    "free: {tools: [search]}": (
        "free: {tools: [search], mode: shadow}",
        "in shadow mode plan_required for plan free, scopes write",
    ),
    "    spends:": (
        "    confirm: {argument: sure, inject: true}\n    spends:",
        "→ confirmation_required for plan full, scopes write",
    ),
    "    spends": (
        "    confirm: {by: person}\n    spends",
        "tool reveal, by a client that cannot ask a person: allow (1 requests, 0 contact credits) → "
        "confirmation_unavailable for plan full, scopes write",
    ),
    "  reveal:": ("  other:", "tool reveal in tools/list: listed → hidden for plan full, no scopes (and 2 more)"),
}


@pytest.mark.parametrize("old", CHANGES)
def test_each_changed_outcome_is_named_with_its_caller(old: str):
    new, expected = CHANGES[old]
    assert old in BASE
    found = policy_diff(policy(BASE), policy(BASE.replace(old, new, 1)))
    assert any(expected in str(each) for each in found.outcomes), [str(each) for each in found.outcomes]
    assert found.declarations


def test_a_call_that_a_person_accepts_is_allowed_as_before():
    by_argument = BASE.replace("    spends:", "    confirm: {argument: sure, inject: true}\n    spends:")
    by_person = BASE.replace("    spends:", "    confirm: {by: person}\n    spends:")
    changed = {str(each).split(" for ")[0] for each in policy_diff(policy(by_argument), policy(by_person)).outcomes}
    priced = "allow (1 requests, 0 contact credits)"
    assert f"tool reveal: {priced} → confirmation_required" in changed
    assert f"tool reveal, accepted by a person: confirmation_required → {priced}" in changed


def test_equal_policies_have_no_differences():
    found = policy_diff(policy(BASE), policy(BASE))
    assert (found.declarations, found.outcomes) == ((), ())


def test_a_plan_or_a_pool_that_one_policy_lacks_is_no_failure():
    head, _, _ = BASE.partition("default_plan")
    small = f"{head}tools: {{search: {{scopes: [read]}}}}\n"
    caller = "{plan: full, included: {contact: 1}, scopes: [read]}"
    test = f"tests: [{{name: n, caller: {caller}, call: {{tool: search}}, expect: allow}}]"
    large = BASE.partition("tests:")[0].replace("full: {}", "full: {credits: {contact: {day: 3}}}") + test
    for one, other in ((small, large), (large, small)):
        assert policy_diff(policy(one), policy(other)).outcomes


def test_a_change_without_effect_on_calls_is_named_all_the_same():
    found = policy_diff(policy(BASE), policy(BASE.replace("Read.", "Read documents.")))
    assert (found.declarations, found.outcomes) == (("scope read Read.→Read documents.",), ())
