"""Steps of gates 5-7: as the store's look found them, or as assumed for an account without usage. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from sidecar.errors import ErrorCode, Gate
from sidecar.model import AdmissionCode, AdmissionReply, AmountKind, Caller, Price
from sidecar.policy.rules import Policy, Subject
from sidecar.terms import ConsentMode
from sidecar.workbench.explaining.remedies import Party, remedy
from sidecar.workbench.explanation import Step
from sidecar.workbench.policy_tests.verdicts import Verdict


@dataclass(frozen=True, slots=True)
class StoreLook:
    """Reply of the store about one call.

    Attributes:
        reply: reply of the admission script in look mode, which writes nothing.
        is_known: True when the store has a record of the account.
        plan: plan of that record.
        is_active: False for a disabled account.
    """

    reply: AdmissionReply
    is_known: bool
    plan: str | None
    is_active: bool


def store_steps(
    policy: Policy,
    subject: Subject | None,
    caller: Caller,
    found: Verdict,
    party: Party,
    recorded: str | None,
    look: StoreLook | None,
) -> Iterator[Step]:
    """Yield the steps of gates 5-7.

    Args:
        policy: the policy.
        subject: the declared operations that the call names.
        caller: the caller.
        found: the outcome of the call.
        party: the account and client that remedies name.
        recorded: plan of the account's record, read or assumed; None without one.
        look: the store's reply; None for an account without usage.
    """
    yield _assumed_consent(policy) if look is None else _consent(policy, look.reply, caller, party)
    if look is not None:
        yield _status(look, caller, party)
    yield from _plan(policy, subject, found, party, recorded)
    yield _price(found, party)


def _assumed_consent(policy: Policy) -> Step:
    required = policy.consent is ConsentMode.REQUIRED
    says = "assumed; a record must exist" if required else "assumed; the first valid token creates the record"
    return Step(Gate.CONSENT, "consent", True, says)


def _consent(policy: Policy, reply: AdmissionReply, caller: Caller, party: Party) -> Step:
    about = f"client {caller.client_id} of subject {caller.subject}"
    since = "" if reply.consent_since is None else f" at {_time(reply.consent_since)}"
    if reply.code is AdmissionCode.CONSENT_MISSING:
        says = f"the store has no consent for {about}"
        return Step(Gate.CONSENT, "consent", False, says, remedy=remedy("consent_missing", {}, party))
    if reply.code is AdmissionCode.CONSENT_REVOKED:
        says = f"the consent for {about} was revoked{since}"
        return Step(Gate.CONSENT, "consent", False, says, remedy=remedy("consent_revoked", {}, party))
    scopes = "" if reply.consent_scopes is None else f", for {' '.join(sorted(reply.consent_scopes)) or 'no scope'}"
    if reply.code is AdmissionCode.CONSENT_SCOPES:
        fix = party.command("consent", "grant", party.account, party.client_id, "--scopes", "SCOPE")
        return Step(Gate.CONSENT, "consent", False, f"granted{since}{scopes}, which is too little", remedy=fix)
    if reply.consent_since is None and reply.consent_scopes is None:
        first = "; the first admitted call creates one" if policy.consent is ConsentMode.FIRST_USE else ""
        return Step(Gate.CONSENT, "consent", True, f"{about} has no dated record{first}")
    return Step(Gate.CONSENT, "consent", True, f"{about} was granted{since}{scopes}")


def _status(look: StoreLook, caller: Caller, party: Party) -> Step:
    if not look.is_active:
        fix = remedy("account_disabled", {}, party)
        return Step(Gate.ACCOUNT, "status", False, f"account {caller.account} is disabled", remedy=fix)
    if not look.is_known:
        return Step(Gate.ACCOUNT, "status", True, f"the store has no record of account {caller.account}")
    return Step(Gate.ACCOUNT, "status", True, f"account {caller.account} is active")


def _plan(
    policy: Policy, subject: Subject | None, found: Verdict, party: Party, recorded: str | None
) -> Iterator[Step]:
    reply, code = found.admission, None if found.refusal is None else found.refusal.code
    if code is ErrorCode.ACCOUNT_UNKNOWN:
        says = "the account has no record, and there is no default_plan"
        yield Step(Gate.ACCOUNT, "plan", False, says, remedy=remedy(code.id, {}, party))
        return
    if subject is None:
        return
    if policy.plans is None:
        yield Step(Gate.ACCOUNT, "plan", True, "there are no plans")
        return
    # An earlier refusal of the store hides the plan that counts, but not the record that was read with it.
    plan = reply.plan if reply is not None and reply.plan is not None else (recorded or policy.default_plan)
    known = policy.plans.get(plan) if plan is not None else None
    includes = all(policy.included(each.kind, each.name, plan) for each in subject.named)
    names = [each.name for each in subject.named if policy.included(each.kind, each.name, plan) is includes]
    source = " (default_plan)" if recorded is None else ""
    says = f"{plan}{source} {'includes' if includes else 'does not include'} {' and '.join(names)}"
    fix = None if includes else remedy(ErrorCode.PLAN_REQUIRED.id, {}, party)
    yield Step(Gate.ACCOUNT, "plan", includes, says, known.rule if known else None, fix)


def _price(found: Verdict, party: Party) -> Step:
    refusal, prices = found.refusal, found.admission.prices if found.admission else ()
    if not prices:
        free = refusal is None
        return Step(Gate.BUDGET, "price", True if free else None, "nothing" if free else "not evaluated")
    if refusal is not None and refusal.code in (ErrorCode.QUOTA_EXCEEDED, ErrorCode.INSUFFICIENT_CREDITS):
        fix = remedy(refusal.code.id, refusal.specifics, party)
        return Step(Gate.BUDGET, "price", False, refusal.detail, remedy=fix)
    amounts = [f"{price.needed} {_unit(price)}{_left(price)}" for price in prices]
    return Step(Gate.BUDGET, "price", True, f"reserves {' and '.join(amounts)}")


def _unit(price: Price) -> str:
    return f"{price.name} credits" if price.kind is AmountKind.CREDIT else price.name


def _left(price: Price) -> str:
    if price.left is None:
        return " (no limit)"
    return f" of {price.left}" + (f" per {price.window}" if price.window else " included")


def _time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
