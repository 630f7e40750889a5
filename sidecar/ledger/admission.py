"""Gates 5-7 in pure Python: has the account consented, does its plan include the tool, does its budget cover the call.

This is the model of `lua/admission.lua`. Policy tests, `check` and `explain` run it without a store. The checks and
their order are those of the contract (sections 1 and 5).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from sidecar.approval import ApprovalStatus
from sidecar.ledger import approval_records
from sidecar.ledger.accounts import AccountState, Consent, HeldAmount, Hold, limits, plan_terms
from sidecar.ledger.settlement import expire
from sidecar.ledger.windows import Counter, current, used
from sidecar.model import (
    MAX_AMOUNT,
    AdmissionCode,
    AdmissionReply,
    AmountKind,
    Application,
    Caller,
    Demand,
    Depth,
    Price,
)
from sidecar.terms import ConsentMode, PlanTerms, Terms
from sidecar.window_rules import WINDOWS

_REFUSES: Final = {
    AmountKind.QUOTA: AdmissionCode.QUOTA_EXCEEDED,
    AmountKind.CREDIT: AdmissionCode.INSUFFICIENT_CREDITS,
}


@dataclass(frozen=True, slots=True)
class _Standing:
    """Result of gates 5 and 6, before any price is computed."""

    code: AdmissionCode
    plan: str | None = None
    granted: PlanTerms | None = None
    consent: Consent | None = None

    def admission(
        self, prices: tuple[Price, ...] = (), code: AdmissionCode | None = None, refused: int | None = None
    ) -> AdmissionReply:
        """Return the reply, with plan and consent filled in."""
        at = self.consent.at if self.consent else None
        return AdmissionReply(
            code=self.code if code is None else code,
            plan=self.plan,
            consent_scopes=self.consent.scopes if self.consent else None,
            consent_since=None if at is None else at // 1000,
            prices=prices,
            refused=refused,
        )


def admit(before: AccountState, application: Application, now: int) -> tuple[AdmissionReply, AccountState]:
    """Return the reply to an application, and the account afterwards.

    Args:
        before: the account; it is not changed.
        application: the call.
        now: time of the store's clock, in milliseconds since the epoch.
    """
    state = before.copy(now)
    admission = _answer(state, application, now)
    return admission, before if application.dry_run else state


def _answer(state: AccountState, application: Application, now: int) -> AdmissionReply:
    reserves = bool(application.demands) and not application.dry_run
    holds = reserves and application.depth is Depth.PRICE
    uses = application.approval is not None and not application.dry_run
    if (reserves or uses) and application.call_id in state.resolved:
        return AdmissionReply(AdmissionCode.RESOLVED_ALREADY)
    standing = _standing(state, application)
    priced = bool(application.demands) and application.depth is Depth.PRICE
    if standing.code or standing.granted is None or not priced:  # a call without a price does not need the ledger
        admission = standing.admission()
        if not standing.code:
            admission = _approved(state, application, admission, now)
    else:
        expire(state, now)
        if holds and _in_flight(state, application):
            admission = standing.admission(code=AdmissionCode.REQUEST_IN_FLIGHT)
        else:
            held_already = reserves and application.call_id in state.holds
            admission = _price(state, application, standing, now, take=not held_already)
            if reserves and admission.code is AdmissionCode.ADMITTED:
                admission = _held(admission)
    admitted = admission.code is AdmissionCode.ADMITTED and not application.dry_run
    if admitted and admission.approval is not None:
        used = state.approvals[admission.approval]
        state.approvals[used.handle] = replace(used, status=ApprovalStatus.USED, call=application.call_id)
    if admitted and standing.consent is None:
        # Only an admitted call writes the record of a first use.
        caller = application.caller
        state.consents[caller.subject, caller.client_id] = Consent(granted=True, at=now)
    return admission


def _in_flight(state: AccountState, application: Application) -> bool:
    """Return whether another call in flight on the session has this request id: their responses would be ambiguous."""
    return application.request is not None and any(
        hold.request == application.request for call_id, hold in state.holds.items() if call_id != application.call_id
    )


def _held(admission: AdmissionReply) -> AdmissionReply:
    return replace(admission, held=True)


def _approved(state: AccountState, application: Application, admission: AdmissionReply, now: int) -> AdmissionReply:
    """Return the reply to a call that nothing else refuses: refused without the approval that it needs."""
    use = application.approval
    if use is None:
        return admission
    code, found = approval_records.judge(
        state.approvals, use, application.caller, application.call_id, admission.prices, now
    )
    if code is not AdmissionCode.ADMITTED or found is None:
        return replace(admission, code=code)
    return replace(admission, approval=found.handle, carried=found.carried)


# --- gates 5 and 6 -----------------------------------------------------------------------------


def effective_consent(state: AccountState, caller: Caller) -> Consent | None:
    """Return the consent that applies to a caller; None without any.

    A revocation of all clients applies to every client without a newer consent, also to one without a record.
    """
    own = state.consents.get((caller.subject, caller.client_id))
    return applying_consent(own, state.clients.get(caller.client_id), state.revocation)


def applying_consent(own: Consent | None, every: Consent | None, revocation: Consent | None) -> Consent | None:
    """Return the consent of a client that applies among several records; None without any.

    Args:
        own: record of the subject.
        every: record for every subject.
        revocation: revocation of all clients.
    """
    consent = _client_consent(own, every)
    if revocation is None or revocation.granted or (consent is not None and not consent.granted):
        return consent
    newer = any(each is not None and each.granted and _is_newer(each, revocation) for each in (own, every))
    return consent if newer else revocation


def _client_consent(own: Consent | None, every: Consent | None) -> Consent | None:
    """Return the consent of a client, whatever was revoked for all clients.

    A revocation for one subject stands. A revocation for every subject is overridden by a newer consent of that
    subject; when either time is missing, the revocation stands.
    """
    if own is None or every is None:
        return own or every
    if not own.granted or every.granted:
        return own
    return own if _is_newer(own, every) else every


def _is_newer(consent: Consent, revocation: Consent) -> bool:
    return consent.at is not None and revocation.at is not None and consent.at > revocation.at


def _standing(state: AccountState, application: Application) -> _Standing:
    terms, caller = application.terms, application.caller
    owner = (caller.subject, caller.client_id)
    if application.session is not None and state.sessions.get(application.session) != owner:
        return _Standing(AdmissionCode.SESSION_UNKNOWN)
    if any(state.tasks.get(task) != owner for task in application.tasks):
        return _Standing(AdmissionCode.TASK_UNKNOWN)
    consent = effective_consent(state, caller)
    if consent is None and terms.consent is ConsentMode.REQUIRED:
        return _Standing(AdmissionCode.CONSENT_MISSING)
    if consent is not None and not consent.granted:
        return _Standing(AdmissionCode.CONSENT_REVOKED, consent=consent)
    if not state.active:
        return _Standing(AdmissionCode.ACCOUNT_DISABLED, consent=consent)
    if application.depth is Depth.CONSENT:
        return _Standing(AdmissionCode.ADMITTED, consent=consent)
    plan, granted = plan_terms(state, terms)
    return _Standing(_plan_code(terms, plan, granted, consent), plan, granted, consent)


def _plan_code(terms: Terms, plan: str | None, granted: PlanTerms | None, consent: Consent | None) -> AdmissionCode:
    if terms.plans is not None and plan is None:
        return AdmissionCode.ACCOUNT_UNKNOWN
    if granted is None or not granted.allowed:
        return AdmissionCode.PLAN_REQUIRED
    listed = None if consent is None else consent.scopes
    if listed is not None and any(listed.isdisjoint(granting) for granting in terms.scopes):
        return AdmissionCode.CONSENT_SCOPES
    return AdmissionCode.ADMITTED


# --- gate 7 ------------------------------------------------------------------------------------


def _price(
    state: AccountState, application: Application, standing: _Standing, now: int, *, take: bool
) -> AdmissionReply:
    """Price every demand, and reserve all of them or none; demands that are held already are only priced."""
    assert standing.granted is not None  # noqa: S101 - the caller has checked
    scratch = state.copy(now)
    prices: list[Price] = []
    amounts: list[HeldAmount] = []
    refused: int | None = None
    for index, demand in enumerate(application.demands):
        quota = demand.kind is AmountKind.QUOTA
        price, amount = (_quota if quota else _credit)(scratch, standing.granted, demand, now)
        prices.append(price)
        amounts.append(amount)
        enforced = take and demand.shadow is None
        if enforced and refused is None and price.left is not None and price.needed > price.left:
            refused = index
        if refused is None:
            _take(scratch, amount)
    if refused is not None:
        return standing.admission(tuple(prices), _REFUSES[application.demands[refused].kind], refused)
    admission = standing.admission(tuple(prices))
    if take:
        admission = _approved(state, application, admission, now)
    if take and admission.code is AdmissionCode.ADMITTED and not application.dry_run:
        state.quotas, state.included, state.balances = scratch.quotas, scratch.included, scratch.balances
        state.lapsed -= {application.request or ""}
        state.holds[application.call_id] = Hold(
            owner=application.owner,
            client_id=application.caller.client_id,
            on_unknown=application.on_unknown,
            until=now + application.lease,
            amounts=tuple(amounts),
            request=application.request,
            tool=application.terms.tool or None,
            subject=None if application.caller.subject == application.caller.account else application.caller.subject,
        )
    return admission


def _needed(state: AccountState, demand: Demand) -> tuple[int, tuple[str, ...] | None]:
    if demand.items is None:
        return demand.reserve, None
    unpaid = tuple(item for item in demand.items if (demand.kind, demand.name, item) not in state.paid)
    return demand.each * len(unpaid), unpaid


def _quota(state: AccountState, granted: PlanTerms, demand: Demand, now: int) -> tuple[Price, HeldAmount]:
    needed, items = _needed(state, demand)
    price = Price(demand.kind, demand.name, needed, None)
    tightest: tuple[bool, int, int] | None = None
    windows: dict[str, int] = {}
    merged = limits(state, granted, demand.name)
    for order, window in enumerate(WINDOWS):
        limit = merged.get(window)
        if limit is None:
            continue
        counter, rest = current(state.quotas, demand.name, window, now)
        windows[window] = counter.window
        left = max(0, limit - counter.used)
        # Of the windows that refuse, report the last to end: waiting for an earlier one would not help.
        rank = (needed <= left, -order if needed > left else left, -order)
        if tightest is None or rank < tightest:
            tightest = rank
            price = Price(demand.kind, demand.name, needed, left, limit, window, rest)
    return price, HeldAmount(demand.kind, demand.name, needed, demand.fixed, windows, 0, items, demand.each)


def _credit(state: AccountState, granted: PlanTerms, demand: Demand, now: int) -> tuple[Price, HeldAmount]:
    needed, items = _needed(state, demand)
    left = balance = state.balances.get(demand.name, 0)
    from_balance, rest = needed, None
    windows: dict[str, int] = {}
    if demand.name in granted.credits:
        window, included = granted.credits[demand.name]
        counter, rest = current(state.included, demand.name, window, now)
        unused = max(0, included - counter.used)
        left = min(MAX_AMOUNT, unused + balance)
        from_balance = max(0, needed - unused)
        windows[window] = counter.window
    price = Price(demand.kind, demand.name, needed, left, resets_in=rest)
    return price, HeldAmount(demand.kind, demand.name, needed, demand.fixed, windows, from_balance, items, demand.each)


def _take(state: AccountState, amount: HeldAmount) -> None:
    for window, number in amount.windows.items():
        counters = state.quotas if amount.kind is AmountKind.QUOTA else state.included
        count = used(counters, amount.name, window, number) + amount.reserved - amount.from_balance
        counters[amount.name, window] = Counter(number, min(MAX_AMOUNT, count))  # a quota in shadow mode has no limit
    if amount.from_balance:
        state.balances[amount.name] = state.balances.get(amount.name, 0) - amount.from_balance
