"""Outcome of one call at gates 4-7, on the pure model of the store or by a reply of the store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from sidecar.approval import ApprovalStatus, ConfirmBy
from sidecar.errors import Refusal, ShadowRefusal
from sidecar.ledger import admission_refusals
from sidecar.ledger.accounts import AccountState, Consent
from sidecar.ledger.admission import admit
from sidecar.ledger.approval_records import APPROVAL_LIFE, Approval
from sidecar.ledger.shadow import shadow_refusals
from sidecar.ledger.windows import Counter, window_at
from sidecar.model import AdmissionReply, AmountKind, Application, Call, Caller, CallKind, Decision, Revision
from sidecar.policy.decide import decide
from sidecar.policy.language.case_models import ConsentDocument, TestCallDocument, TestCallerDocument
from sidecar.policy.rules import Policy
from sidecar.protocol.elicitation.elicitation import ElicitationMode
from sidecar.protocol.elicitation.embedded_question import OWN_INPUT, state_of
from sidecar.protocol.jsonrpc import NOTIFICATIONS
from sidecar.protocol.meta import CAPABILITIES_KEY
from sidecar.protocol.revisions import METHODS

NOW: Final = 1_768_480_230_000
"""Start of all tests, in milliseconds since the epoch: the middle of a minute, hour, day and month."""

_TESTER: Final = "tester"
_HANDLE: Final = "0" * 32
_CAN_ASK: Final[Mapping[str, Any]] = {"elicitation": {mode.value: {} for mode in ElicitationMode}}
_ACTIONS: Final = {"accepted": "accept", "declined": "decline"}


@dataclass(frozen=True, slots=True)
class Verdict:
    """Outcome of one call at gates 4-7.

    Attributes:
        refusal: the answer to the caller; None when the call is forwarded.
        decision: outcome of gate 4.
        admission: outcome of gates 5-7; None for methods that need a token only.
        account: the account afterwards, by the pure model; None when a store has replied.
        shadow: refusals that rules in shadow mode would have made.
    """

    refusal: Refusal | None
    decision: Decision
    admission: AdmissionReply | None
    account: AccountState | None = None
    shadow: tuple[ShadowRefusal, ...] = ()


def verdict(
    policy: Policy,
    call: Call,
    caller: Caller,
    account: AccountState,
    now: int = NOW,
    call_id: str = _TESTER,
    *,
    confirmation: str | None = None,
) -> Verdict:
    """Pass a call through gates 4-7 as the pipeline does, with the pure model instead of the store.

    Args:
        policy: the policy.
        call: a message that has passed gate 3.
        caller: the caller that its token was issued for.
        account: the caller's account.
        now: the store's clock, in milliseconds since the epoch.
        call_id: names the hold of an admitted call.
        confirmation: `accepted` or `declined`, the person's answer to the question about this call.
    """
    decision = decide(policy, call, caller)
    if confirmation is not None and decision.approval is not None and decision.refusal is None:
        account = _answered_by_person(decision, caller, account, now, accepted=confirmation == "accepted")
    application = application_of(decision, caller, dry_run=decision.refusal is not None, call_id=call_id)
    if application is None:
        return Verdict(decision.refusal, decision, None, account, decision.shadow)
    admission, after = admit(account, application, now)
    return answered(policy, decision, application, admission, after)


def application_of(decision: Decision, caller: Caller, *, dry_run: bool, call_id: str = _TESTER) -> Application | None:
    """Return what gates 5-7 are asked; None for methods that need a token only."""
    if decision.terms is None:
        return None
    return Application(
        call_id=call_id,
        owner=_TESTER,
        caller=caller,
        dry_run=dry_run,
        depth=decision.depth,
        terms=decision.terms,
        demands=decision.demands,
        on_unknown=decision.on_unknown,
        approval=None if dry_run else decision.approval,
    )


def _answered_by_person(
    decision: Decision, caller: Caller, account: AccountState, now: int, *, accepted: bool
) -> AccountState:
    """Return the account with the approval that a call claims, at the price that the person was shown."""
    use, looked = decision.approval, application_of(decision, caller, dry_run=True)
    if use is None or looked is None:
        return account
    prices = admit(account, replace(looked, approval=None), now)[0].prices
    approval = Approval(
        use.handle or _HANDLE,
        *(caller.issuer_id, caller.subject, caller.account, caller.client_id),
        tool=use.tool,
        title=use.tool,
        message="",
        prices=prices,
        arguments=use.arguments,
        rule=use.rule,
        by=ConfirmBy.PAGE if use.handle is None else ConfirmBy.PERSON,
        expires_at=now + APPROVAL_LIFE,
        status=ApprovalStatus.ACCEPTED if accepted else ApprovalStatus.DECLINED,
    )
    return replace(account, approvals={approval.handle: approval})


def answered(
    policy: Policy,
    decision: Decision,
    application: Application,
    admission: AdmissionReply,
    account: AccountState | None = None,
) -> Verdict:
    """Return the outcome by the reply of gates 5-7, which refuse before gate 4 does."""
    refusal = admission_refusals.refusal(admission, application, policy.manage_url)
    if refusal is None and decision.refusal is not None:
        refusal = admission_refusals.with_price(decision.refusal, admission.prices)
    shadow = (*decision.shadow, *shadow_refusals(admission, application))
    return Verdict(refusal, decision, admission, account, shadow)


# --- calls and callers of a test ---------------------------------------------------------------


def call_of(test: TestCallDocument) -> Call:
    """Return the message of a test, in the newest revision that has its method."""
    method, params = _request(test)
    if test.tool is not None and test.confirmation != "unavailable":
        params["_meta"] = {CAPABILITIES_KEY: _CAN_ASK}
    if test.meta is not None:
        params["_meta"] = {**params.get("_meta", {}), **test.meta}
    if test.confirmation in _ACTIONS:
        params["requestState"] = state_of(_HANDLE)
        params["inputResponses"] = {OWN_INPUT: {"action": _ACTIONS[test.confirmation]}}
    revision = max(METHODS.get(method, frozenset()), default=Revision.V2026_07_28)
    if method.startswith(NOTIFICATIONS):
        return Call(CallKind.NOTIFICATION, revision, method, None, params)
    return Call(CallKind.REQUEST, revision, method, 1, params)


def _request(test: TestCallDocument) -> tuple[str, dict[str, Any]]:
    """Return method and parameters of a test's call."""
    if test.listing is not None:
        return "tools/list", {}
    if test.tool is not None:
        return "tools/call", {"name": test.tool, "arguments": test.arguments}
    method = test.method or ("resources/read" if test.prompt is None else "prompts/get")
    if method == "completion/complete":
        named = {"type": "ref/resource", "uri": test.resource}
        if test.prompt is not None:
            named = {"type": "ref/prompt", "name": test.prompt}
        return method, {"ref": named, "argument": {"name": "", "value": ""}}
    if method == "subscriptions/listen":
        return method, {"notifications": {"resourceSubscriptions": [] if test.resource is None else [test.resource]}}
    if test.prompt is not None:
        return method, {"name": test.prompt, "arguments": test.arguments}
    return method, {} if test.resource is None else {"uri": test.resource}


def caller_of(test: TestCallerDocument) -> Caller:
    """Return the caller of a test, with a token issued now."""
    issued = NOW // 1000
    return Caller("main", _TESTER, _TESTER, _TESTER, _TESTER, frozenset(test.scopes), issued, issued + 3600)


def account_of(policy: Policy, test: TestCallerDocument) -> AccountState:
    """Return the account of a test: active and unused except as the test says."""
    state = AccountState(plan=test.plan, active=test.status == "active")
    state.balances = dict(test.credits)
    state.totals = dict(test.credits)
    for quota, windows in test.quotas.items():
        for window, used in windows.items():
            state.quotas[quota, window] = Counter(window_at(window, NOW)[0], used)
    for pool, used in test.included.items():
        included = policy.windows[pool]
        state.included[pool, included] = Counter(window_at(included, NOW)[0], used)
    for name, items in test.paid.items():
        state.paid |= {(kind, name, str(item)) for kind in AmountKind for item in items}
    if test.consent != "missing":
        scopes = frozenset(test.consent.scopes) if isinstance(test.consent, ConsentDocument) else None
        state.consents[_TESTER, _TESTER] = Consent(granted=test.consent != "revoked", at=NOW, scopes=scopes)
    return state
