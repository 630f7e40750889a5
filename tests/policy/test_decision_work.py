"""Work of a decision: it does not grow with the policy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from sidecar.model import Call, Caller
from sidecar.policy import pricing
from sidecar.policy.decide import decide
from sidecar.policy.rules import Policy
from sidecar.policy.scopes import ScopeRule, ScopeTree
from tests.policy.support import call, caller, one_tool, policy
from tests.support.work import calls

SMALL = policy(
    one_tool(
        """
        arguments:
          properties: {query: {type: string}, limit: {type: integer, minimum: 1, maximum: 100, default: 25}}
          additionalProperties: false
        uses: {requests: 1, rows: {reserve: arguments.limit, settle: length(data.rows)}}
        spends: {credit: 1}
        rows: length(data.rows)
        """
    )
)
LARGE = replace(
    SMALL,
    tools={**SMALL.tools, **{f"t{number}": SMALL.tools["t"] for number in range(5000)}},
    scopes=ScopeTree({name: ScopeRule(name, "") for name in ("s", *(f"s{number}" for number in range(1000)))}),
)
"""The same tool, among 5,000 tools and 1,000 scopes."""

ALLOWED = call("t", {"query": "coffee", "limit": 2})
RESULT = {"structuredContent": {"rows": [{"id": 1}, {"id": 2}]}}


def decision(rules: Policy, asked: Call, who: Caller) -> Callable[[], object]:
    return lambda: decide(rules, asked, who)


def settlement(rules: Policy, asked: Call, who: Caller) -> Callable[[], object]:
    decided, prices = decide(rules, asked, who), rules.tools["t"].prices
    return lambda: pricing.charges(prices, decided.demands, decided.arguments, decided.meta, RESULT)


def effective_scopes(rules: Policy, asked: Call, who: Caller) -> Callable[[], object]:
    return lambda: rules.effective(who.scopes, frozenset(("s",)))


@pytest.mark.parametrize(
    ("step", "asked", "scopes"),
    [
        (decision, ALLOWED, ("s",)),
        (decision, ALLOWED, ()),
        (decision, ALLOWED, ("other",)),
        (decision, call("t", {"query": "coffee", "limit": 0}), ("s",)),
        (decision, call("unknown", {}), ("s",)),
        (settlement, ALLOWED, ("s",)),
        (effective_scopes, ALLOWED, ("s",)),
    ],
)
def test_a_large_policy_takes_no_more_calls_than_a_small_one(
    step: Callable[[Policy, Call, Caller], Callable[[], object]], asked: Call, scopes: tuple[str, ...]
):
    runs = [step(rules, asked, caller(*scopes)) for rules in (SMALL, LARGE)]
    for run in runs:
        run()  # the first refusal of a tool prepares the next ones
    small, large = map(calls, runs)
    assert large <= small, "what the small one prepares at first may be ready for the large one"


def test_an_ordinary_call_is_decided_and_priced_in_few_calls():
    who = caller("s")
    assert calls(decision(SMALL, ALLOWED, who)) <= 25
    assert calls(settlement(SMALL, ALLOWED, who)) <= 15
