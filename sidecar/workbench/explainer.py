"""Explanation of one call, gate by gate, with the line of each rule. Pure.

The explanation comes from the code that serves calls: for the account as the store's look found it, or for an active
account without usage.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from sidecar.approval import ConfirmBy
from sidecar.config.settings.settings import Settings
from sidecar.errors import ErrorCode, Gate, Refusal, ShadowRefusal
from sidecar.identity.jwt import jwt_claims
from sidecar.identity.parties.tenants import TrustedIssuers
from sidecar.ledger.accounts import AccountState, Consent
from sidecar.model import Application, Call, Caller, Demand, Price
from sidecar.policy.confirming.confirm_rule import Confirm
from sidecar.policy.decide import decide
from sidecar.policy.language.case_models import TestCallDocument
from sidecar.policy.lookup import subject_of
from sidecar.policy.pricing import Amount
from sidecar.policy.rules import Kind, Operation, Policy, Subject, Tool
from sidecar.workbench.explaining.remedies import Party, remedy
from sidecar.workbench.explaining.store_look import StoreLook, store_steps
from sidecar.workbench.explanation import ALLOW, ASKED, ASSUMED, Explanation, Reserve, Step
from sidecar.workbench.policy_tests.deciding import deciding_line
from sidecar.workbench.policy_tests.verdicts import Verdict, answered, application_of, call_of, verdict
from sidecar.workbench.token_report import TokenReport

_UNDECLARED: Final = {
    ErrorCode.TOOL_UNKNOWN: "no policy file declares a tool of this name",
    ErrorCode.RESOURCE_UNKNOWN: "no policy file declares a pattern that matches it",
    ErrorCode.PROMPT_UNKNOWN: "no policy file declares a prompt of this name",
    ErrorCode.METHOD_NOT_ALLOWED: "no policy file declares a method of this name",
}


def explain(
    policy: Policy,
    asked: TestCallDocument,
    caller: Caller,
    plan: str | None,
    now: int,
    *,
    look: StoreLook | None = None,
    issuer_id: str | None = None,
) -> Explanation:
    """Explain one call.

    Args:
        policy: the policy.
        asked: the call in the form of a policy test, declared or not (see `call_mistake`).
        caller: the caller that the token was issued for.
        plan: the account's plan, if the store is not asked; None: the account has no record.
        now: milliseconds since the epoch.
        look: the store's reply to `question`; None assumes an account without usage.
        issuer_id: issuer that remedies name; None where one issuer is configured.
    """
    call = call_of(asked)
    found = _assumed(policy, call, caller, plan, now) if look is None else _looked(policy, call, caller, look)
    subject = _subject(policy, call)
    party = Party(caller.account, caller.client_id, issuer_id, _including(policy, subject))
    steps = [Step(Gate.TOKEN, "token", True, f"issued for account {caller.account}, client {caller.client_id}")]
    steps += _policy_steps(policy, subject, call, caller) if subject else [_undeclared(asked, found, party)]
    if found.decision.terms is not None:
        recorded = plan if look is None else look.plan
        steps += store_steps(policy, subject, caller, found, party, recorded, look)
    steps += map(_shadow_step, found.shadow)
    price = () if subject is None else tuple(_reserves(subject.operation, found))
    line = deciding_line(policy, subject, found)
    return _explanation(policy, named(asked), caller, tuple(steps), price, found, line, look)


def _shadow_step(refusal: ShadowRefusal) -> Step:
    why = "" if refusal.detail is None else f" ({refusal.detail})"
    says = f"would be {refusal.code.id}{why}; shadow mode lets it pass"
    return Step(refusal.code.row.gate, "shadow", True, says, refusal.rule)


def question(policy: Policy, asked: TestCallDocument, caller: Caller) -> Application | None:
    """Return what the store is asked about a call, without reserving; None for methods that need a token only."""
    return application_of(decide(policy, call_of(asked), caller), caller, dry_run=True, call_id="explain")


def _assumed(policy: Policy, call: Call, caller: Caller, plan: str | None, now: int) -> Verdict:
    consent = Consent(granted=True, at=now)
    account = AccountState(plan=plan, consents={(caller.subject, caller.client_id): consent})
    return verdict(policy, call, caller, account, now)


def _looked(policy: Policy, call: Call, caller: Caller, look: StoreLook) -> Verdict:
    decision = decide(policy, call, caller)
    application = application_of(decision, caller, dry_run=True)
    if application is None:
        return Verdict(decision.refusal, decision, None)
    return answered(policy, decision, application, look.reply)


def _including(policy: Policy, subject: Subject | None) -> tuple[str, ...]:
    """Return the plans that include all operations of a call."""
    plans = policy.plans or {}
    named = () if subject is None else subject.named
    return tuple(name for name in plans if all(policy.included(each.kind, each.name, name) for each in named))


def named(asked: TestCallDocument) -> dict[str, str]:
    """Return the parts of a call that name its operation."""
    found = {name: getattr(asked, name) for name in ("tool", "method", "resource", "prompt")}
    return {name: value for name, value in found.items() if value is not None}


def _subject(policy: Policy, call: Call) -> Subject | None:
    try:
        return subject_of(policy, call)
    except Refusal:
        return None


def _undeclared(asked: TestCallDocument, found: Verdict, party: Party) -> Step:
    """Explain gate 4 of an undeclared operation; some methods need no declaration."""
    kind = next(iter(named(asked)))
    refusal = found.decision.refusal
    if refusal is None:
        return Step(Gate.POLICY, kind, True, "needs no declaration")
    says = _UNDECLARED.get(refusal.code, refusal.detail)
    return Step(Gate.POLICY, kind, False, says, refusal.rule, remedy(refusal.code.id, refusal.specifics, party))


def explain_token(settings: Settings, policy: Policy, text: str, now: float) -> Caller:
    """Return the caller of an access token; its signature is not verified, all else is.

    Args:
        settings: the config.
        policy: the policy, which declares the scopes.
        text: the token, without `Bearer`.
        now: seconds since the epoch.

    Raises:
        Refusal: `token_invalid`.
    """
    token = jwt_claims.read(text)
    issuer = TrustedIssuers(settings.issuers).of(jwt_claims.issuer_of(token)).settings
    jwt_claims.check(token, issuer, settings.resource, now)
    return jwt_claims.caller(token, issuer, now, policy.scope_names)


def refused_token(policy: Policy, asked: TestCallDocument, refusal: Refusal) -> Explanation:
    """Explain a call with a rejected token; `with_token` adds its checks."""
    return Explanation(named(asked), {}, (), (), **_answer(refusal), revision=policy.revision)


def with_token(explanation: Explanation, token: TokenReport) -> Explanation:
    """Return the explanation with the checks of the caller's token as its first steps."""
    steps = (Step(Gate.TOKEN, each.check, each.passed, each.says) for each in token.checks)
    return replace(explanation, steps=(*steps, *explanation.steps), token=token)


def _explanation(
    policy: Policy,
    call: Mapping[str, str],
    caller: Caller,
    steps: tuple[Step, ...],
    price: tuple[Reserve, ...],
    found: Verdict,
    line: str | None,
    look: StoreLook | None,
) -> Explanation:
    described = {
        "issuer": caller.issuer_id,
        "account": caller.account,
        "subject": caller.subject,
        "client_id": caller.client_id,
        "scopes": sorted(caller.scopes),
        "plan": found.admission.plan if found.admission else None,
    }
    answer = {"outcome": ALLOW} if found.refusal is None else _answer(found.refusal)
    assumed = ASSUMED if look is None else ASKED
    return Explanation(
        call, described, steps, price, **{**answer, "rule": line}, revision=policy.revision, assumed=assumed
    )


def _answer(refusal: Refusal) -> dict[str, Any]:
    return {
        "outcome": refusal.code.id,
        "sentence": refusal.detail,
        "status": refusal.status,
        "shape": refusal.shape.value,
        "data": dict(refusal.data),
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
            fix = f"a token with {' or '.join(granting)}"
            yield Step(Gate.POLICY, "scope", False, f"{scope} is required and not granted", operation.scopes_rule, fix)
            continue
        says = f"{scope} is required and granted" + ("" if held == scope else f", implied by {held}")
        yield Step(Gate.POLICY, "scope", True, says, operation.scopes_rule)
    if not operation.scopes:
        yield Step(Gate.POLICY, "scope", True, "any valid token suffices", operation.scopes_rule)


def _argument_steps(policy: Policy, tool: Tool, call: Call, caller: Caller) -> Iterator[Step]:
    # Decided with every scope, so that a missing scope does not hide the arguments' outcome.
    decision = decide(policy, call, replace(caller, scopes=caller.scopes | frozenset(tool.scopes)))
    refusal = decision.refusal
    wrong = refusal is not None and refusal.code is not ErrorCode.CONFIRMATION_REQUIRED
    if wrong and refusal is not None:
        fix = remedy(refusal.code.id, refusal.specifics, Party(caller.account, caller.client_id))
        yield Step(Gate.POLICY, "arguments", False, refusal.detail, tool.arguments_rule, fix)
    else:
        yield Step(Gate.POLICY, "arguments", True, "accepted", tool.arguments_rule)
    if tool.confirm is not None and tool.confirm.asks_person:
        yield _person_step(tool.confirm)
    elif tool.confirm is not None:
        argument = str(tool.confirm.argument)
        given = call.params["arguments"].get(argument) is True
        says = f"{argument} is true" if given else f"{argument} must be JSON true"
        fix = None if given or tool.confirm.shadow else "ask the user, then repeat the call with it"
        yield Step(Gate.POLICY, "confirmation", given or tool.confirm.shadow, says, tool.confirm.rule, fix)


def _person_step(confirm: Confirm) -> Step:
    place = "the client's form" if confirm.by is ConfirmBy.PERSON else "the account page"
    says = f"a person confirms each call, in {place}"
    if confirm.argument is not None:
        says += f"; clients that cannot ask set {confirm.argument} to true"
    return Step(Gate.POLICY, "confirmation", confirm.shadow, says, confirm.rule, f"accept the question in {place}")


# --- amounts -----------------------------------------------------------------------------------


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
            price.resets_in,
        )


def _computed(amount: Amount, demand: Demand) -> str:
    if amount.items is not None:
        once = ", each item once" if amount.once else ""
        return f"{amount.each} for each of {amount.items.text}{once}"
    if isinstance(amount.reserve, int):
        return "fixed" if demand.fixed else "a number"
    return "" if amount.reserve is None else amount.reserve.text
