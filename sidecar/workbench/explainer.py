"""Why one call would be let through or refused, gate by gate and with the line of each rule. Pure.

The answer comes from the code that serves calls, held against an account on its first good day: what the
account has used, bought or revoked is in the store, which nobody asks here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from sidecar.config.settings import Settings
from sidecar.errors import ErrorCode, Gate, Refusal
from sidecar.identity import claims, claims_jwt
from sidecar.ledger.accounts import AccountState, Consent
from sidecar.model import AmountKind, Call, Caller, ConsentMode, Demand, Price
from sidecar.policy.decide import decide
from sidecar.policy.lookup import Subject, subject_of
from sidecar.policy.models import TestCallDocument
from sidecar.policy.pricing import Amount
from sidecar.policy.rules import Kind, Operation, Policy, Tool
from sidecar.workbench.explanation import ALLOW, Explanation, Reserve, Step
from sidecar.workbench.testing import Verdict, call_of, verdict

_UNDECLARED: Final = {
    ErrorCode.TOOL_UNKNOWN: "no policy file declares a tool of this name",
    ErrorCode.RESOURCE_UNKNOWN: "no policy file declares a pattern that matches it",
    ErrorCode.PROMPT_UNKNOWN: "no policy file declares a prompt of this name",
    ErrorCode.METHOD_NOT_ALLOWED: "no policy file declares a method of this name",
}


def explain(policy: Policy, asked: TestCallDocument, caller: Caller, plan: str | None, now: int) -> Explanation:
    """Explain one call.

    Args:
        policy: the policy.
        asked: what is called, declared or not, in the words of a policy test (see `call_mistake`).
        caller: whom the token speaks for.
        plan: the account's plan; None: the store knows none.
        now: milliseconds since the epoch.
    """
    call = call_of(asked)
    consent = Consent(granted=True, at=now)
    account = AccountState(plan=plan, consents={(caller.subject, caller.client_id): consent})
    found = verdict(policy, call, caller, account, now)
    subject = _subject(policy, call)
    steps = [Step(Gate.TOKEN, "token", True, f"speaks for account {caller.account}, client {caller.client_id}")]
    steps += _policy_steps(policy, subject, call, caller) if subject else [_undeclared(asked, found)]
    if found.decision.terms is not None:
        steps += _store_steps(policy, subject, plan, found)
    price = () if subject is None else tuple(_reserves(subject.operation, found))
    return _explanation(policy, named(asked), caller, tuple(steps), price, found)


def named(asked: TestCallDocument) -> dict[str, str]:
    """What is called, by what it is."""
    found = {name: getattr(asked, name) for name in ("tool", "method", "resource", "prompt")}
    return {name: value for name, value in found.items() if value is not None}


def _subject(policy: Policy, call: Call) -> Subject | None:
    try:
        return subject_of(policy, call)
    except Refusal:
        return None


def _undeclared(asked: TestCallDocument, found: Verdict) -> Step:
    """Gate 4 of what no policy file declares; some methods need no declaration."""
    what = next(iter(named(asked)))
    refusal = found.decision.refusal
    if refusal is None:
        return Step(Gate.POLICY, what, True, "needs no declaration")
    return Step(Gate.POLICY, what, False, _UNDECLARED.get(refusal.code, refusal.detail), refusal.rule)


def explain_token(settings: Settings, text: str, now: float) -> Caller:
    """Whom an access token speaks for; everything is checked but its signature and where its keys are.

    Args:
        settings: the config.
        text: the token, as it stands behind `Bearer`.
        now: seconds since the epoch.

    Raises:
        Refusal: `token_invalid`.
    """
    token = claims_jwt.read(text)
    url = claims_jwt.issuer_of(token)
    issuer = next((each for each in settings.issuers if each.issuer == url), None)
    if issuer is None:
        raise claims.invalid("it is from an issuer that is not configured")
    claims_jwt.check(token, issuer, settings.resource, now)
    return claims_jwt.caller(token, issuer)


def refused_token(policy: Policy, asked: TestCallDocument, refusal: Refusal) -> Explanation:
    """What becomes of a call whose token is refused."""
    steps = (Step(Gate.TOKEN, "token", False, refusal.detail),)
    return Explanation(named(asked), {}, steps, (), **_told(refusal), revision=policy.revision)


def _explanation(
    policy: Policy,
    call: Mapping[str, str],
    caller: Caller,
    steps: tuple[Step, ...],
    price: tuple[Reserve, ...],
    found: Verdict,
) -> Explanation:
    who = {
        "issuer": caller.issuer_id,
        "account": caller.account,
        "subject": caller.subject,
        "client_id": caller.client_id,
        "scopes": sorted(caller.scopes),
        "plan": found.admission.plan if found.admission else None,
    }
    told = {"outcome": ALLOW, "rule": found.decision.rule} if found.refusal is None else _told(found.refusal)
    return Explanation(call, who, steps, price, **told, revision=policy.revision)


def _told(refusal: Refusal) -> dict[str, Any]:
    return {
        "outcome": refusal.code.id,
        "sentence": refusal.detail,
        "status": refusal.status,
        "shape": refusal.shape.value,
        "data": refusal.data,
        "rule": refusal.rule,
        "scopes": refusal.scopes,
    }


# --- gate 4 ------------------------------------------------------------------------------------


def _policy_steps(policy: Policy, subject: Subject, call: Call, caller: Caller) -> Iterator[Step]:
    for operation in subject.named:
        says = "declared" if operation.kind is not Kind.RESOURCE else f"declared by the pattern {operation.name}"
        yield Step(Gate.POLICY, operation.kind.value, True, says, operation.rule)
        yield from _scope_steps(operation, caller)
    if isinstance(subject.operation, Tool):
        yield from _argument_steps(policy, subject.operation, call, caller)


def _scope_steps(operation: Operation, caller: Caller) -> Iterator[Step]:
    for scope, granting in zip(operation.scopes, operation.terms.scopes, strict=True):
        held = next((each for each in granting if each in caller.scopes), None)
        if held is None:
            says = f"{scope} is needed and not held"
        else:
            says = f"{scope} is needed and held" + ("" if held == scope else f", implied by {held}")
        yield Step(Gate.POLICY, "scope", held is not None, says, operation.scopes_rule)
    if not operation.scopes:
        yield Step(Gate.POLICY, "scope", True, "any valid token will do", operation.scopes_rule)


def _argument_steps(policy: Policy, tool: Tool, call: Call, caller: Caller) -> Iterator[Step]:
    # Asked again with every scope, the arguments answer for themselves.
    decision = decide(policy, call, replace(caller, scopes=caller.scopes | frozenset(tool.scopes)))
    refusal = decision.refusal
    wrong = refusal is not None and refusal.code is not ErrorCode.CONFIRMATION_REQUIRED
    says = refusal.detail if wrong and refusal is not None else "accepted"
    yield Step(Gate.POLICY, "arguments", not wrong, says, tool.arguments_rule)
    if tool.confirm is not None:
        argument = tool.confirm.argument
        given = call.params["arguments"].get(argument) is True
        says = f"{argument} is true" if given else f"{argument} must be JSON true"
        yield Step(Gate.POLICY, "confirmation", given, says, tool.confirm.rule)


# --- gates 5-7 ---------------------------------------------------------------------------------


def _store_steps(policy: Policy, subject: Subject | None, given: str | None, found: Verdict) -> Iterator[Step]:
    required = policy.consent is ConsentMode.REQUIRED
    says = "assumed; a record must exist" if required else "assumed; the first valid token makes the record"
    yield Step(Gate.CONSENT, "consent", True, says)
    code = None if found.refusal is None else found.refusal.code
    plan = found.admission.plan if found.admission else None
    known = (policy.plans or {}).get(plan) if plan is not None else None
    if code is ErrorCode.ACCOUNT_UNKNOWN:
        yield Step(Gate.ACCOUNT, "plan", False, "none is known of the account, and there is no default_plan")
    elif subject is not None:
        includes = code is not ErrorCode.PLAN_REQUIRED
        whose = "" if given else " (default_plan)"
        names = [each.name for each in subject.named if policy.included(each.kind, each.name, plan) is includes]
        says = f"{plan}{whose} {'includes' if includes else 'does not include'} {' and '.join(names)}"
        yield Step(
            Gate.ACCOUNT,
            "plan",
            includes,
            says if policy.plans is not None else "there are no plans",
            known.rule if known else None,
        )
    if found.admission is None or not found.admission.prices:
        free = found.refusal is None
        yield Step(Gate.BUDGET, "price", True if free else None, "nothing" if free else "not asked")
        return
    over = code in (ErrorCode.QUOTA_EXCEEDED, ErrorCode.INSUFFICIENT_CREDITS)
    told = [f"{price.needed} {_unit(price)}{_left(price)}" for price in found.admission.prices]
    says = found.refusal.detail if over and found.refusal is not None else f"reserves {' and '.join(told)}"
    yield Step(Gate.BUDGET, "price", not over, says)


def _unit(price: Price) -> str:
    return f"{price.name} credits" if price.kind is AmountKind.CREDIT else price.name


def _left(price: Price) -> str:
    if price.left is None:
        return " (no limit)"
    return f" of {price.left}" + (f" per {price.window}" if price.window else " included")


def _reserves(operation: Operation, found: Verdict) -> Iterator[Reserve]:
    prices = found.admission.prices if found.admission else ()
    for index, (amount, demand) in enumerate(zip(operation.prices.amounts, found.decision.demands, strict=False)):
        price = prices[index] if index < len(prices) else Price(demand.kind, demand.name, demand.reserve, None)
        yield Reserve(
            demand.kind.value,
            demand.name,
            _computed(amount, demand),
            price.needed,
            price.left,
            price.limit,
            price.window,
            amount.rule,
        )


def _computed(amount: Amount, demand: Demand) -> str:
    if amount.items is not None:
        once = ", each item once" if amount.once else ""
        return f"{amount.each} for each of {amount.items.text}{once}"
    if isinstance(amount.reserve, int):
        return "fixed" if demand.fixed else "a number"
    return "" if amount.reserve is None else amount.reserve.text
