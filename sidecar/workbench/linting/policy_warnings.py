"""Warnings about a policy's patterns, limits, plans, defaults and tests, each with its line. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Any, Final

from sidecar.config.documents.merging import Document, Path
from sidecar.config.documents.suggestions import listed
from sidecar.model import AmountKind
from sidecar.policy.patterns import WILDCARD
from sidecar.policy.rules import Operation, Plan, Policy, Tool
from sidecar.window_rules import WINDOWS, Window
from sidecar.workbench.lint import Notice
from sidecar.workbench.linting.argument_warnings import argument_warnings
from sidecar.workbench.linting.confirmation_warnings import confirmation_warnings

_BY_OUTCOME: Final = ("charge_errors", "on_unknown")


def policy_warnings(policy: Policy, document: Document) -> Iterator[Notice]:
    """Yield all warnings.

    Args:
        policy: the compiled policy.
        document: its merged document, for the positions.
    """
    yield from _patterns(policy)
    yield from _limits(policy, document)
    yield from _prices(policy)
    yield from _plans(policy, document)
    yield from _without_effect(policy, document)
    for tool in policy.tools.values():
        yield from argument_warnings(tool, document)
        yield from confirmation_warnings(tool, document)
    yield from _untested(policy, document)


def _patterns(policy: Policy) -> Iterator[Notice]:
    for name, resource in policy.resources.items():
        if "{" in name:
            says = f"the braces of {name} stand for themselves; patterns have no parameters, and * matches any text"
            yield Notice(resource.rule, says)
        if name.strip(WILDCARD) == "" and not resource.scopes:
            says = f"{name} without scopes opens every resource of the backend to every valid token; add a scope"
            yield Notice(resource.scopes_rule, says)


# --- limits and prices -------------------------------------------------------------------------


def _limits(policy: Policy, document: Document) -> Iterator[Notice]:
    """Warn of limits of short windows that the limit of a longer window makes unreachable."""
    for name, limits in policy.quotas.items():
        yield from _useless_windows(f"quota {name!r}", limits, document, ("quotas", name))
    for plan in (policy.plans or {}).values():
        for name, limits in plan.quotas.items():
            path = ("plans", plan.name, "quotas", name)
            if path in document.keys:
                yield from _useless_windows(f"quota {name!r} of plan {plan.name}", limits, document, path)


def _useless_windows(name: str, limits: Mapping[Window, int], document: Document, path: Path) -> Iterator[Notice]:
    for short, long in combinations([window for window in WINDOWS if window in limits], 2):
        if limits[short] > limits[long]:
            says = f"{name} allows {limits[short]} per {short} and {limits[long]} per {long}"
            yield Notice(document.rule((*path, short)), f"{says}, so the limit per {short} never applies")
            return


def _prices(policy: Policy) -> Iterator[Notice]:
    """Warn of operations that cost more than any account may use in one window."""
    for operation in policy.operations:
        for amount in operation.prices.amounts:
            if amount.kind is not AmountKind.QUOTA or not isinstance(amount.reserve, int):
                continue
            most = _most(policy, operation, amount.name)
            if most is not None and amount.reserve > most:
                says = f"{operation.name} uses {amount.reserve} {amount.name} per call, and no account may use more "
                yield Notice(amount.rule, f"{says}than {most} in one window, so every call is refused")


def _most(policy: Policy, operation: Operation, quota: str) -> int | None:
    """Return the units that the most generous plan allows in its narrowest window; None for no limit."""
    every = [policy.quotas.get(quota, {})]
    if policy.plans is not None:
        including = [each for each in policy.plans.values() if each.includes(operation.kind, operation.name)]
        every = [each.quotas.get(quota, {}) for each in including]
    if not every or any(not limits for limits in every):
        return None
    return max(min(limits.values()) for limits in every)


# --- plans and defaults ------------------------------------------------------------------------


def _plans(policy: Policy, document: Document) -> Iterator[Notice]:
    for plan in (policy.plans or {}).values():
        included = [each for each in policy.operations if plan.includes(each.kind, each.name)]
        if not included and any(policy.operations):
            yield Notice(plan.rule, f"plan {plan.name} includes nothing, so its accounts can call nothing")
            continue
        used = {amount.name for each in included for amount in each.prices.amounts}
        yield from _unused(plan, used, document)


def _unused(plan: Plan, used: set[str], document: Document) -> Iterator[Notice]:
    for pool in plan.credits:
        if pool not in used:
            path = ("plans", plan.name, "credits", pool)
            yield Notice(document.rule(path), f"plan {plan.name} includes {pool} credits, which no call of it spends")


def _without_effect(policy: Policy, document: Document) -> Iterator[Notice]:
    """Warn of keys that change nothing in this policy."""
    tools = _written(document, ("tools",)) or {}
    if tools and ("defaults", "uses") in document.keys and all("uses" in (each or {}) for each in tools.values()):
        yield Notice(
            document.rule(("defaults", "uses")), "every tool has uses of its own, so defaults.uses never applies"
        )
    if policy.plans is None and ("listing", "missing_plan") in document.keys:
        yield Notice(document.rule(("listing", "missing_plan")), "there are no plans, so missing_plan never applies")
    for operation in policy.operations:
        if all(amount.fixed for amount in operation.prices.amounts):
            for key in _BY_OUTCOME:
                path = (operation.kind.section, operation.name, key)
                if path in document.keys:
                    says = f"{operation.name} spends nothing that depends on the outcome, so {key} never applies"
                    yield Notice(document.rule(path), says)


def _written(document: Document, path: Path) -> Any:
    value: Any = document.value
    for part in path:
        value = value.get(part) if isinstance(value, dict) else None
    return value


# --- tests -------------------------------------------------------------------------------------


def _untested(policy: Policy, document: Document) -> Iterator[Notice]:
    tested = frozenset[str]().union(*(each.test.tools for each in policy.tests))
    untested = [tool for tool in policy.tools.values() if tool.name not in tested]
    if not untested:
        return
    names = listed(tool.name for tool in untested)
    rule = _first_rule(untested)
    if not policy.tests:
        yield Notice(rule, f"the policy has no tests; add one for each tool to the section tests: {names}")
    else:
        yield Notice(rule, f"no test calls {names}")


def _first_rule(tools: list[Tool]) -> str:
    return tools[0].rule
