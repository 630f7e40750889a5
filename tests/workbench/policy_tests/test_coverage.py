"""Coverage counts a rule once a test reaches it, and never before."""

import pytest

from sidecar.config.documents.merging import parse
from sidecar.policy.language.compile import compile_policy
from sidecar.workbench.policy_tests.coverage import Coverage, coverage

POLICY = """\
scopes: {read: Read., write: Write.}
quotas: {rows: {month: 9}}
credits: {coin: One.}
default_plan: free
plans: {free: {tools: [buy]}, full: {}}
tools:
  buy:
    scopes: [read]
    arguments: {properties: {n: {type: integer}, sure: {type: boolean}}}
    confirm: {argument: sure}
    uses: {rows: {reserve: arguments.n, settle: data.n}}
    spends: {coin: 1}
  served: {scopes: [], serve: usage}
prompts: {hello: {scopes: [write]}}
methods: {completion/complete: {scopes: [read]}}
"""
BUY = "call: {tool: buy, arguments: {n: 1, sure: true}}"
READ = "caller: {scopes: [read], credits: {coin: 1}}"

EVERYTHING = {
    "tool buy",
    "tool buy, scopes",
    "tool buy, arguments",
    "tool buy, confirm",
    "tool buy, price quota rows",
    "tool buy, settle quota rows",
    "tool buy, price credits coin",
    "tool served",
    "prompt hello",
    "prompt hello, scopes",
    "method completion/complete",
    "method completion/complete, scopes",
    "plan free",
    "plan full",
    "quota rows",
    "credits coin",
}
LIMIT = "no test expects plan_required from it"

ALLOWED = {"tool buy", "tool buy, price quota rows", "tool buy, price credits coin", "plan free"}
CASES: tuple[tuple[str, set[str]], ...] = (
    (f"{READ}, {BUY}, expect: allow", ALLOWED),
    (
        f"{READ}, {BUY}, result: {{structuredContent: {{n: 1}}}}, expect: allow",
        {*ALLOWED, "tool buy, settle quota rows"},
    ),
    (f"{READ}, {BUY}, result: error, expect: allow", ALLOWED),
    (f"{BUY}, expect: insufficient_scope", {"tool buy, scopes"}),
    (f"{READ}, call: {{tool: buy, arguments: {{n: x}}}}, expect: arguments_refused", {"tool buy, arguments"}),
    (f"{READ}, call: {{tool: buy, arguments: {{n: 1}}}}, expect: confirmation_required", {"tool buy, confirm"}),
    (f"caller: {{scopes: [read]}}, {BUY}, expect: insufficient_credits", {"credits coin"}),
    (f"{READ}, call: {{tool: buy, arguments: {{n: 10, sure: true}}}}, expect: quota_exceeded", {"quota rows"}),
    ("call: {tool: buy}, expect: listed", set()),
    (
        "caller: {scopes: [read]}, call: {method: completion/complete, prompt: hello}, expect: insufficient_scope",
        {"prompt hello, scopes"},
    ),
    ("caller: {plan: full}, call: {tool: served}, expect: allow", {"tool served", "plan full"}),
)


def covered(*tests: str) -> Coverage:
    listed = "".join(f"  - {{name: n{index}, {test}}}\n" for index, test in enumerate(tests))
    return coverage(compile_policy([parse("p.yaml", f"{POLICY}tests:\n{listed}" if tests else POLICY)]))


def missing(found: Coverage) -> set[str]:
    return {each.name for each in found.missing if each.lacks != LIMIT}


def test_without_tests_every_rule_is_missing():
    found = covered()
    assert missing(found) == EVERYTHING
    assert found.total == len(found.missing) == len(EVERYTHING) + 1
    assert str(found.missing[3]) == "p.yaml:10: tool buy, confirm: no test expects confirmation_required"


@pytest.mark.parametrize(("test", "reached"), CASES)
def test_each_test_reaches_its_own_rules(test, reached):
    assert EVERYTHING - missing(covered(test)) == reached


def test_all_of_them_together_reach_nearly_everything():
    found = covered(*(test for test, _ in CASES))
    assert missing(found) == {"prompt hello", "method completion/complete", "method completion/complete, scopes"}
    assert [each.name for each in found.missing if each.lacks == LIMIT] == ["plan free"]
    assert found.covered == found.total - len(found.missing)


def test_a_narrow_plan_is_covered_by_the_call_that_it_refuses():
    found = covered("call: {tool: served}, expect: plan_required")
    assert LIMIT not in [each.lacks for each in found.missing]
    assert "plan free" in missing(found)
