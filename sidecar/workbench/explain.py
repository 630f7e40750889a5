"""Why one call would be let through or refused, gate by gate and with the line of each rule. Pure.

The answer comes from the code that serves calls, held against an account on its first good day: what the
account has used, bought or revoked is in the store, which nobody asks here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from sidecar.config.settings import Settings
from sidecar.errors import ErrorCode, Gate, Refusal
from sidecar.identity import claims, claims_jwt
from sidecar.ledger.accounts import AccountState, Consent
from sidecar.model import AmountKind, Call, Caller, CallKind, ConsentMode, Demand, Price, Revision
from sidecar.policy.decide import decide
from sidecar.policy.pricing import Amount
from sidecar.policy.rules import Policy, Tool
from sidecar.workbench.testing import Verdict, verdict

ALLOW: Final = "allow"

ASSUMED: Final = (
    "the client is approved, the account is enabled, has used nothing and has bought no credits; "
    "what the store knows was not asked"
)


@dataclass(frozen=True, slots=True)
class Step:
    """One question that a gate asks.

    Attributes:
        gate: which gate.
        question: what is asked.
        passed: None where it was not asked, because something before it refuses.
        says: the answer.
        rule: `file:line` of the rule that answers, if one does.
    """

    gate: str
    question: str
    passed: bool | None
    says: str
    rule: str | None = None


@dataclass(frozen=True, slots=True)
class Reserve:
    """One amount that the call would reserve.

    Attributes:
        kind: `quota` or `credit`.
        computed: how the policy computes it.
        needed: units, if no item was paid before.
        left: what an unused account would have; None without a limit.
        limit: the limit of the tightest window, for quotas.
        rule: `file:line`.
    """

    kind: str
    name: str
    computed: str
    needed: int
    left: int | None
    limit: int | None
    window: str | None
    rule: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """What becomes of one call.

    Attributes:
        outcome: `allow`, or the code of the refusal.
        sentence: what the caller reads of a refusal.
        status: HTTP status of a refusal.
        shape: how a refusal is put on the wire.
        data: machine detail of a refusal.
        rule: `file:line` that decided.
        revision: of the policy.
        scopes: what a challenge asks for.
    """

    tool: str
    caller: Mapping[str, Any]
    steps: tuple[Step, ...]
    price: tuple[Reserve, ...]
    outcome: str
    sentence: str | None = None
    status: int | None = None
    shape: str | None = None
    data: Mapping[str, Any] | None = None
    rule: str | None = None
    scopes: tuple[str, ...] = ()
    revision: str = ""
    assumed: str = ASSUMED

    def document(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        return "\n".join(_lines(self))


def explain(
    policy: Policy, tool: str, arguments: Mapping[str, Any], caller: Caller, plan: str | None, now: int
) -> Explanation:
    """Explain one call of a tool.

    Args:
        policy: the policy.
        tool: its name, declared or not.
        arguments: as the client sends them.
        caller: whom the token speaks for.
        plan: the account's plan; None: the store knows none.
        now: milliseconds since the epoch.
    """
    params = {"name": tool, "arguments": arguments}
    call = Call(CallKind.REQUEST, Revision.V2026_07_28, "tools/call", 1, params)
    consent = Consent(granted=True, at=now)
    account = AccountState(plan=plan, consents={(caller.subject, caller.client_id): consent})
    found = verdict(policy, call, caller, account, now)
    declared = policy.tools.get(tool)
    steps = [Step(Gate.TOKEN, "token", True, f"speaks for account {caller.account}, client {caller.client_id}")]
    if declared is None:
        steps.append(Step(Gate.POLICY, "tool", False, "no policy file declares a tool of this name"))
    else:
        steps += _policy_steps(policy, declared, call, caller)
    steps += _store_steps(policy, declared, plan, found)
    price = () if declared is None else tuple(_reserves(declared, found))
    return _explanation(policy, tool, caller, tuple(steps), price, found)


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


def refused_token(policy: Policy, tool: str, refusal: Refusal) -> Explanation:
    """What becomes of a call whose token is refused."""
    steps = (Step(Gate.TOKEN, "token", False, refusal.detail),)
    return Explanation(tool, {}, steps, (), **_told(refusal), revision=policy.revision)


def _explanation(
    policy: Policy, tool: str, caller: Caller, steps: tuple[Step, ...], price: tuple[Reserve, ...], found: Verdict
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
    return Explanation(tool, who, steps, price, **told, revision=policy.revision)


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


def _policy_steps(policy: Policy, tool: Tool, call: Call, caller: Caller) -> Iterator[Step]:
    yield Step(Gate.POLICY, "tool", True, "declared", tool.rule)
    for scope, granting in zip(tool.scopes, tool.terms.scopes, strict=True):
        held = next((each for each in granting if each in caller.scopes), None)
        if held is None:
            says = f"{scope} is needed and not held"
        else:
            says = f"{scope} is needed and held" + ("" if held == scope else f", implied by {held}")
        yield Step(Gate.POLICY, "scope", held is not None, says, tool.scopes_rule)
    if not tool.scopes:
        yield Step(Gate.POLICY, "scope", True, "any valid token will do", tool.scopes_rule)
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


def _store_steps(policy: Policy, tool: Tool | None, given: str | None, found: Verdict) -> Iterator[Step]:
    required = policy.consent is ConsentMode.REQUIRED
    says = "assumed; a record must exist" if required else "assumed; the first valid token makes the record"
    yield Step(Gate.CONSENT, "consent", True, says)
    code = None if found.refusal is None else found.refusal.code
    plan = found.admission.plan if found.admission else None
    known = (policy.plans or {}).get(plan) if plan is not None else None
    if code is ErrorCode.ACCOUNT_UNKNOWN:
        yield Step(Gate.ACCOUNT, "plan", False, "none is known of the account, and there is no default_plan")
    elif tool is not None:
        includes = code is not ErrorCode.PLAN_REQUIRED
        whose = "" if given else " (default_plan)"
        says = f"{plan}{whose} {'includes' if includes else 'does not include'} {tool.name}"
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


def _reserves(tool: Tool, found: Verdict) -> Iterator[Reserve]:
    prices = found.admission.prices if found.admission else ()
    for index, (amount, demand) in enumerate(zip(tool.prices.amounts, found.decision.demands, strict=False)):
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


# --- text --------------------------------------------------------------------------------------

_MARKS: Final = {True: "pass", False: "FAIL", None: "-"}


def _lines(told: Explanation) -> Iterator[str]:
    yield f"{told.tool}, policy revision {told.revision}"
    if told.caller:
        yield f"token scopes: {' '.join(told.caller['scopes']) or 'none'}"
    yield ""
    for step in told.steps:
        rule = f"  [{step.rule}]" if step.rule else ""
        yield f"  {step.gate:<8} {step.question:<12} {_MARKS[step.passed]:<4}  {step.says}{rule}"
    for each in told.price:
        unit = "credits" if each.kind == "credit" else "quota"
        yield f"  {'':<8} {'reserve':<12} {'':<4}  {each.needed} of {unit} {each.name}: {each.computed}  [{each.rule}]"
    yield ""
    if told.outcome == ALLOW:
        yield "=> allow"
    else:
        yield f"=> {told.outcome} (HTTP {told.status}, {told.shape}): {told.sentence}"
        if told.scopes:
            yield f"   a challenge asks for: {' '.join(told.scopes)}"
    if told.caller:
        yield f"assumed: {told.assumed}"
