"""Differences of two policies: the declarations that changed, and the calls whose outcome changes. Pure.

Both policies decide the same calls of the same callers, on the code that serves calls and on the pure model of the
store: the calls of the tests of both, and for each tool samples of its arguments. The callers are those of the tests,
and one for each plan and each set of scopes that the tool needs. Their accounts are active and without usage, and have
credits enough.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sidecar.model import AmountKind
from sidecar.policy.comparison.declared_changes import policy_changes
from sidecar.policy.language.case_models import TestCallDocument, TestCallerDocument
from sidecar.policy.rules import Policy, Tool
from sidecar.workbench.policy_tests.verdicts import account_of, call_of, caller_of, verdict
from sidecar.workbench.scaffolding.samples import NoSampleError, sample

_MOST_SAMPLES: Final = 4  # arguments per tool, of tests and of its schemas
_PLENTY: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class OutcomeChange:
    """Outcome that differs, for callers that are treated alike.

    Attributes:
        operation: the call, such as `tool search`.
        before: outcome under the old policy: `allow` with the reserved amounts, the code of a refusal, or `hidden` and
            `listed` in `tools/list`.
        after: outcome under the new policy.
        callers: descriptions of the callers, such as `plan free, scopes read`.
    """

    operation: str
    before: str
    after: str
    callers: tuple[str, ...]

    def __str__(self) -> str:
        more = f" (and {len(self.callers) - 1} more)" if len(self.callers) > 1 else ""
        return f"{self.operation}: {self.before} → {self.after} for {self.callers[0]}{more}"


@dataclass(frozen=True, slots=True)
class PolicyDiff:
    """Differences of two policies.

    Attributes:
        declarations: changed declarations, as in the log of a reload.
        outcomes: changed outcomes.
    """

    declarations: tuple[str, ...]
    outcomes: tuple[OutcomeChange, ...]


def policy_diff(old: Policy, new: Policy) -> PolicyDiff:
    """Return the differences of two policies."""
    found: dict[tuple[str, str, str], dict[str, None]] = {}
    for asked, caller in _cases(old, new):
        for operation, before, after in _outcomes(old, new, asked, caller):
            if before != after:
                found.setdefault((operation, before, after), {})[_described(caller)] = None
    changed = (OutcomeChange(*key, tuple(callers)) for key, callers in found.items())
    return PolicyDiff(tuple(policy_changes(old, new)), tuple(changed))


def _outcomes(
    old: Policy, new: Policy, asked: TestCallDocument, caller: TestCallerDocument
) -> Iterator[tuple[str, str, str]]:
    about = _named(asked)
    yield about, _outcome(old, asked, caller), _outcome(new, asked, caller)
    if asked.tool is not None:
        yield f"{about} in tools/list", _listing(old, asked.tool, caller), _listing(new, asked.tool, caller)


# --- one outcome -------------------------------------------------------------------------------


def _outcome(policy: Policy, asked: TestCallDocument, caller: TestCallerDocument) -> str:
    known = {pool: used for pool, used in caller.included.items() if pool in policy.windows}
    account = account_of(policy, caller.model_copy(update={"included": known}))
    tool = policy.tools.get(asked.tool or "")
    if tool is None or tool.confirm is None or not tool.confirm.asks_person:
        asked = asked.model_copy(update={"confirmation": None})
    answer = asked.confirmation
    found = verdict(policy, call_of(asked), caller_of(caller), account, confirmation=answer)
    shadow = f", in shadow mode {' '.join(each.code.id for each in found.shadow)}" if found.shadow else ""
    if found.refusal is not None:
        return f"{found.refusal.code.id}{shadow}"
    prices = found.admission.prices if found.admission else ()
    words = {AmountKind.CREDIT: " credits", AmountKind.QUOTA: ""}
    amounts = ", ".join(f"{price.needed} {price.name}{words[price.kind]}" for price in prices)
    return f"allow{f' ({amounts})' if amounts else ''}{shadow}"


def _listing(policy: Policy, tool: str, caller: TestCallerDocument) -> str:
    plan = None if policy.plans is None else caller.plan or policy.default_plan
    return "listed" if policy.listed(tool, policy.expand(caller.scopes), plan) else "hidden"


# --- calls and callers -------------------------------------------------------------------------


def _cases(old: Policy, new: Policy) -> Iterator[tuple[TestCallDocument, TestCallerDocument]]:
    cases = [case.test for policy in (old, new) for case in policy.tests]
    calls = [(step.call, case.caller) for case in cases for step in case.sequence]
    yield from calls
    for name in dict.fromkeys((*old.tools, *new.tools)):
        declared = [policy.tools[name] for policy in (old, new) if name in policy.tools]
        given = [call.arguments for call, _ in calls if call.tool == name]
        for arguments in _distinct([*_samples(declared), *given])[:_MOST_SAMPLES]:
            asked = TestCallDocument(tool=name, arguments=arguments)
            yield from ((asked, caller) for caller in _callers(old, new, declared))
            if any(tool.confirm is not None and tool.confirm.asks_person for tool in declared):
                for answer in ("accepted", "unavailable"):
                    answered = asked.model_copy(update={"confirmation": answer})
                    yield from ((answered, caller) for caller in _callers(old, new, declared))


def _callers(old: Policy, new: Policy, declared: list[Tool]) -> Iterator[TestCallerDocument]:
    plans = tuple(dict.fromkeys(plan for policy in (old, new) for plan in policy.plans or ())) or (None,)
    needed = [tool.scopes for tool in declared]
    every = tuple(dict.fromkeys(scope for policy in (old, new) for scope in policy.scope_names))
    credits = dict.fromkeys((*old.credits, *new.credits), _PLENTY)
    for plan in plans:
        for scopes in dict.fromkeys(((), *needed, every)):
            yield TestCallerDocument(scopes=scopes, plan=plan, credits=credits)


def _samples(declared: list[Tool]) -> Iterator[Mapping[str, Any]]:
    """Yield arguments that the schemas of a tool accept, with its confirmation and without it."""
    for tool in declared:
        rules = tool.arguments.shadow or tool.arguments
        schema = {"type": "object", **(rules.schema or {})}
        try:
            arguments = sample(schema, schema)
        except NoSampleError:
            arguments = {}
        confirm = None if tool.confirm is None else tool.confirm.argument
        yield {name: value for name, value in arguments.items() if name != confirm}
        if confirm is not None:
            yield {**arguments, confirm: True}


def _distinct(values: list[Mapping[str, Any]]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for value in values:
        if dict(value) not in found:
            found.append(dict(value))
    return found


# --- words -------------------------------------------------------------------------------------


_ANSWERED: Final = {
    None: "",
    "accepted": ", accepted by a person",
    "declined": ", declined by a person",
    "unavailable": ", by a client that cannot ask a person",
}


def _named(asked: TestCallDocument) -> str:
    for kind in ("tool", "prompt", "resource"):
        name = getattr(asked, kind)
        if name is not None:
            return f"{kind} {name}{_ANSWERED[asked.confirmation]}"
    return asked.method or "tools/list"


def _described(caller: TestCallerDocument) -> str:
    plan = [] if caller.plan is None else [f"plan {caller.plan}"]
    return ", ".join([*plan, f"scopes {' '.join(caller.scopes)}" if caller.scopes else "no scopes"])
