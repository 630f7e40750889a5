"""Coverage of a policy by its own tests: which rules has a test reached?

A rule that refuses counts as reached once a test was refused by it; an operation, a price or a plan once a call was
allowed by it. A test that never meets a refusal does not show that the rule refuses.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sidecar.errors import ErrorCode
from sidecar.model import AmountKind
from sidecar.policy.pricing import Amount
from sidecar.policy.rules import Operation, Policy, Tool
from sidecar.workbench.policy_tests.sequences import StepOutcome, is_listing, run_case

Key = tuple[str, ...]
"""Kind of the rule, its owner and its name."""

_REFUSING = {
    ErrorCode.INSUFFICIENT_SCOPE: "scopes",
    ErrorCode.ARGUMENTS_REFUSED: "arguments",
    ErrorCode.CONFIRMATION_REQUIRED: "confirm",
}


@dataclass(frozen=True, slots=True)
class TestableRule:
    """Rule that tests can reach.

    Attributes:
        kind: `tool`, `resource`, `prompt`, `method`, `scopes`, `arguments`, `confirm`, `price`, `settle`, `quota`,
            `credits`, `plan` or `plan_limit`.
        name: the name of the rule for people.
        rule: `file:line`; empty where the policy keeps none.
        lacks: the missing test, as a sentence.
    """

    kind: str
    name: str
    rule: str
    lacks: str
    key: Key

    def __str__(self) -> str:
        place = f"{self.rule}: " if self.rule else ""
        return f"{place}{self.name}: {self.lacks}"


@dataclass(frozen=True, slots=True)
class Coverage:
    """Rules of a policy that its tests reach.

    Attributes:
        total: number of rules.
        missing: rules without a test, in the order of the policy.
    """

    total: int
    missing: tuple[TestableRule, ...]

    @property
    def covered(self) -> int:
        """Number of rules that a test reaches."""
        return self.total - len(self.missing)


def coverage(policy: Policy) -> Coverage:
    """Run all tests of a policy and return the rules that none reaches."""
    reached = {key for case in policy.tests for outcome in run_case(policy, case) for key in _reached(outcome)}
    targets = tuple(_targets(policy))
    return Coverage(len(targets), tuple(target for target in targets if target.key not in reached))


# --- targets -----------------------------------------------------------------------------------


def _targets(policy: Policy) -> Iterator[TestableRule]:
    for operation in policy.operations:
        yield from _operation(operation)
    for plan in (policy.plans or {}).values():
        name = f"plan {plan.name}"
        yield TestableRule("plan", name, plan.rule, "no test calls anything with it", ("plan", plan.name))
        if plan.narrowed.keys() - ({"tools"} if plan.shadow else set()):  # a list in shadow mode refuses nothing
            lacks = "no test expects plan_required from it"
            yield TestableRule("plan_limit", name, plan.rule, lacks, ("plan_limit", plan.name))
    for kind, names in (("quota", policy.quotas), ("credits", policy.credits)):
        code = ErrorCode.QUOTA_EXCEEDED if kind == "quota" else ErrorCode.INSUFFICIENT_CREDITS
        for name in (each for each in names if kind != "quota" or each not in policy.shadow_quotas):
            yield TestableRule(kind, f"{kind} {name}", "", f"no test expects {code.id} by it", (kind, name))


def _operation(operation: Operation) -> Iterator[TestableRule]:
    kind, name = operation.kind.value, operation.name
    about = f"{kind} {name}"

    def target(part: str, rule: str, lacks: str, *more: str) -> TestableRule:
        said = about if part == kind else f"{about}, {' '.join((part, *more))}"
        return TestableRule(part, said, rule, lacks, (part, kind, name, *more))

    yield target(kind, operation.rule, "no test allows a call of it")
    if operation.scopes:
        yield target("scopes", operation.scopes_rule, "no test expects insufficient_scope")
    if isinstance(operation, Tool):
        if operation.arguments.validator is not None and operation.serve is None:
            yield target("arguments", operation.arguments_rule, "no test expects arguments_refused")
        if operation.confirm is not None and not operation.confirm.shadow:
            yield target("confirm", operation.confirm.rule, "no test expects confirmation_required")
    for amount in operation.prices.amounts:
        yield target("price", amount.rule, "no test allows a call that reserves it", *_of(amount))
        if amount.settle is not None:
            yield target("settle", amount.rule, "no test gives a result that settles it", *_of(amount))


def _of(amount: Amount) -> tuple[str, str]:
    return ("credits" if amount.kind is AmountKind.CREDIT else "quota", amount.name)


# --- reached -----------------------------------------------------------------------------------


def _reached(outcome: StepOutcome) -> Iterator[Key]:
    refusal, admission = outcome.verdict.refusal, outcome.verdict.admission
    if is_listing(outcome.step):
        return
    if admission is not None and admission.plan is not None and refusal is None:
        yield "plan", admission.plan
    if refusal is None:
        yield from _allowed(outcome)
        return
    if refusal.code is ErrorCode.PLAN_REQUIRED and outcome.plan is not None:
        yield "plan_limit", outcome.plan
    if admission is not None and admission.refused is not None:
        price = admission.prices[admission.refused]
        yield ("credits" if price.kind is AmountKind.CREDIT else "quota"), price.name
    part = _REFUSING.get(refusal.code)
    for operation in outcome.subject.named if part and outcome.subject else ():
        if part != "scopes" or refusal.rule in (None, operation.scopes_rule):
            yield part or "", operation.kind.value, operation.name


def _allowed(outcome: StepOutcome) -> Iterator[Key]:
    for operation in outcome.subject.named if outcome.subject else ():
        yield operation.kind.value, operation.kind.value, operation.name
    if outcome.subject is None:
        return
    operation = outcome.subject.operation
    for amount in operation.prices.amounts:
        yield "price", operation.kind.value, operation.name, *_of(amount)
        if amount.settle is not None and outcome.settlement is not None and outcome.settlement.priced:
            yield "settle", operation.kind.value, operation.name, *_of(amount)
