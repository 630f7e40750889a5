"""Compiler of policy documents to a `Policy`; it checks all references between declarations.

`check`, `test` and `serve` all use `compile_policy`; there is no second reader.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from sidecar.config.documents.merging import Document, DocumentError, Path
from sidecar.policy.expressions.expressions import DEFAULT_ITEMS
from sidecar.policy.language.checking import Checker
from sidecar.policy.language.models import OperationDocument, PlanDocument, PolicyDocument, ScopeDocument
from sidecar.policy.language.operations import OperationCompiler
from sidecar.policy.language.reading import read
from sidecar.policy.language.tests_section import check_test
from sidecar.policy.language.tools import ToolCompiler
from sidecar.policy.methods import misdeclared
from sidecar.policy.patterns import Pattern, Patterns, ties
from sidecar.policy.rules import Kind, Listing, Operation, Plan, Policy, PolicyTest
from sidecar.policy.scopes import ScopeRule, ScopeTree, cycle
from sidecar.protocol.uris import uris
from sidecar.terms import PlanTerms, Terms
from sidecar.window_rules import Window


def compile_policy(documents: Iterable[Document], *, items: int = DEFAULT_ITEMS) -> Policy:
    """Compile policy files that were parsed without substitution.

    Args:
        documents: the files in the order of their names.
        items: maximum length of an expression's list of items (`limits.items`).

    Raises:
        DocumentError: every problem of all files at once.
    """
    document, model, problems = read(documents)
    checker = Checker(document, problems)
    policy = _compile(checker, model, items)
    if problems:
        raise DocumentError(problems)
    return policy


def _compile(checker: Checker, model: PolicyDocument, items: int) -> Policy:
    scopes = _scopes(checker, model)
    checker.known("scopes", model.base_scopes, ("base_scopes",))
    windows = _windows(checker, model)
    plans = _plans(checker, model)
    tools = ToolCompiler(checker, model, scopes, plans, items)
    others = OperationCompiler(checker, model, scopes, plans, items)
    _check_patterns(checker, model)
    _check_methods(checker, model)
    return Policy(
        revision=_revision(checker.document.value),
        scopes=scopes,
        base_scopes=model.base_scopes,
        consent=model.consent,
        manage_url=model.manage_url,
        listing=_listing(model),
        quotas={name: quota.limits for name, quota in model.quotas.items()},
        shadow_quotas=checker.shadow_quotas(model),
        credits={name: _description(pool) for name, pool in model.credits.items()},
        default_plan=model.default_plan,
        plans=plans,
        tools=MappingProxyType({name: tools.compile(name, tool) for name, tool in model.tools.items()}),
        resources=MappingProxyType({name: others.resource(name, each) for name, each in model.resources.items()}),
        patterns=Patterns(model.resources),
        prompts=_operations(others, Kind.PROMPT, model.prompts),
        methods=_operations(others, Kind.METHOD, model.methods),
        open_terms=_open_terms(model, plans),
        account_terms=_account_terms(model, plans),
        windows=windows,
        tests=tuple(_tests(checker, model, windows)),
        declared=checker.document.value,
        serve_changed=model.pin_mismatch == "warn",
    )


def _listing(model: PolicyDocument) -> Listing:
    listing = model.listing
    return Listing(listing.missing_scope == "hide", listing.missing_plan == "hide", listing.narrow)


def _scopes(checker: Checker, model: PolicyDocument) -> ScopeTree:
    rules: dict[str, ScopeRule] = {}
    for name, scope in model.scopes.items():
        implies = scope.implies if isinstance(scope, ScopeDocument) else ()
        checker.known("scopes", implies, ("scopes", name, "implies"))
        rules[name] = ScopeRule(name, _description(scope), implies)
    circle = cycle(rules)
    if circle is not None:
        checker.wrong(("scopes", circle[0], "implies"), f"implies itself: {' -> '.join(circle)}", "no cycle")
        rules = {name: ScopeRule(name, rule.description) for name, rule in rules.items()}
    return ScopeTree(rules)


def _operations(
    compiler: OperationCompiler, kind: Kind, entries: Mapping[str, OperationDocument]
) -> Mapping[str, Operation]:
    return MappingProxyType({name: compiler.operation(kind, name, entry) for name, entry in entries.items()})


def _check_patterns(checker: Checker, model: PolicyDocument) -> None:
    for text in model.resources:
        fault = uris.fault_around(Pattern.of(text).literals)
        if fault is not None:
            checker.wrong(("resources", text), f"no accepted URI can match this pattern. {fault}", at_key=True)

    for text, other in ties(model.resources):
        place = checker.document.rule(("resources", other))
        wrong = f"a URI can match both this and {other!r} at {place}, and neither is more specific"
        checker.wrong(("resources", text), wrong, "literal texts before the first * that differ in length", at_key=True)


def _check_methods(checker: Checker, model: PolicyDocument) -> None:
    for method in model.methods:
        wrong = misdeclared(method, model.methods)
        if wrong is not None:
            checker.wrong(("methods", method), *wrong, at_key=True)


def _description(entry: Any) -> str:
    return entry if isinstance(entry, str) else str(entry.description)


def _plans(checker: Checker, model: PolicyDocument) -> Mapping[str, Plan] | None:
    default = model.default_plan
    if default is not None and not checker.declared("plans", default):
        checker.unknown("plans", default, ("default_plan",))
    if model.plans is None:
        return None
    return {name: _plan(checker, model, name, plan) for name, plan in model.plans.items()}


def _plan(checker: Checker, model: PolicyDocument, name: str, plan: PlanDocument) -> Plan:
    path = ("plans", name)
    named = {"tools": plan.tools, "resources": plan.resources, "prompts": plan.prompts}
    for section, names in named.items():
        checker.known(section, names or (), (*path, section))
    for section in ("quotas", "credits"):
        for each in getattr(plan, section):
            if not checker.declared(section, each):
                checker.unknown(section, each, (*path, section, each), at_key=True)
    quotas: dict[str, Mapping[Window, int]] = {}
    for quota in dict.fromkeys((*model.quotas, *plan.quotas)):
        base = model.quotas[quota].limits if quota in model.quotas else {}
        merged = {**base, **plan.quotas.get(quota, {})}
        quotas[quota] = {window: limit for window, limit in merged.items() if limit is not None}
    included = {pool: next(iter(grant.items())) for pool, grant in plan.credits.items()}
    return Plan(
        name,
        {section: frozenset(names) for section, names in named.items() if names is not None},
        quotas,
        included,
        checker.document.rule(path),
        _shadow_list(checker, plan, path),
    )


def _shadow_list(checker: Checker, plan: PlanDocument, path: Path) -> str | None:
    if plan.mode is None:
        return None
    if plan.tools is None:
        wrong = "the plan has no list of tools, and nothing else of a plan can be in shadow mode"
        checker.wrong((*path, "mode"), wrong, "together with tools", at_key=True)
    return checker.document.rule((*path, "tools"))


def _windows(checker: Checker, model: PolicyDocument) -> Mapping[str, Window]:
    """Return the window of each pool; use of included credits is counted per pool, so all plans must share it."""
    windows: dict[str, Window] = {}
    for name, plan in (model.plans or {}).items():
        for pool, grant in plan.credits.items():
            window = next(iter(grant))
            first = windows.setdefault(pool, window)
            if window != first:
                path = ("plans", name, "credits", pool, window)
                checker.wrong(path, f"another plan includes {pool} per {first}", "one window per pool", at_key=True)
    return windows


def _open_terms(model: PolicyDocument, plans: Mapping[str, Plan] | None) -> Terms:
    """Return the terms of operations without a price, which every plan includes."""
    anything = PlanTerms(True)
    every = None if plans is None else dict.fromkeys(plans, anything)
    return Terms(model.consent, model.default_plan, every, anything)


def _account_terms(model: PolicyDocument, plans: Mapping[str, Plan] | None) -> Terms:
    base = PlanTerms(True, {name: quota.limits for name, quota in model.quotas.items()})
    if plans is None:
        return Terms(model.consent, model.default_plan, None, base)
    every = {name: PlanTerms(True, plan.quotas, plan.credits) for name, plan in plans.items()}
    return Terms(model.consent, model.default_plan, every, base)


def _tests(checker: Checker, model: PolicyDocument, windows: Mapping[str, Window]) -> Iterable[PolicyTest]:
    first: dict[str, str] = {}
    for index, test in enumerate(model.tests):
        path = ("tests", index)
        rule = checker.document.rule(path)
        if test.name in first:
            checker.wrong((*path, "name"), f"given twice, the first time at {first[test.name]}", "each name once")
        first.setdefault(test.name, rule)
        check_test(checker, test, windows, path)
        steps = tuple(checker.document.rule((*path, "steps", step)) for step in range(len(test.steps or ())))
        yield PolicyTest(rule, test, steps)


def _revision(value: Mapping[str, Any]) -> str:
    """Return a digest of the content, the same for any layout of files."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]
