"""Gates 5-7 in pure Python: has the account consented, may its plan, and does its budget cover the call.

This is the model of `lua/admit.lua`, and what policy tests, `check` and `explain` run on without a
store. The questions and their order are the contract's (sections 1 and 5).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from sidecar.ledger.accounts import AccountState, Amount, Consent, Hold, limits, plan_terms
from sidecar.ledger.settlement import expire
from sidecar.ledger.windows import Counter, current, used
from sidecar.model import (
    MAX_AMOUNT,
    WINDOWS,
    Admission,
    AdmissionCode,
    AmountKind,
    Application,
    Caller,
    ConsentMode,
    Demand,
    Depth,
    PlanTerms,
    Price,
    Terms,
)

_REFUSES: Final = {
    AmountKind.QUOTA: AdmissionCode.QUOTA_EXCEEDED,
    AmountKind.CREDIT: AdmissionCode.INSUFFICIENT_CREDITS,
}


@dataclass(frozen=True, slots=True)
class _Standing:
    """What the records say before any price is asked."""

    code: AdmissionCode
    plan: str | None = None
    granted: PlanTerms | None = None
    consent: Consent | None = None

    def admission(
        self, prices: tuple[Price, ...] = (), code: AdmissionCode | None = None, refused: int | None = None
    ) -> Admission:
        """The answer, with what the records say filled in."""
        at = self.consent.at if self.consent else None
        return Admission(
            code=self.code if code is None else code,
            plan=self.plan,
            consent_scopes=self.consent.scopes if self.consent else None,
            consent_since=None if at is None else at // 1000,
            prices=prices,
            refused=refused,
        )


def admit(before: AccountState, application: Application, now: int) -> tuple[Admission, AccountState]:
    """Answer an application, and say what the account is then.

    Args:
        before: the account; it is not changed.
        application: the call.
        now: the store's clock, in milliseconds since the epoch.
    """
    state = before.copy(now)
    admission = _answer(state, application, now)
    return admission, before if application.look else state


def _answer(state: AccountState, application: Application, now: int) -> Admission:
    reserves = bool(application.demands) and not application.look
    holds = reserves and application.depth is Depth.PRICE
    if reserves and application.call_id in state.done:
        return Admission(AdmissionCode.RESOLVED_ALREADY)
    expire(state, now)
    standing = _standing(state, application)
    if standing.code is AdmissionCode.ADMITTED and holds and _in_flight(state, application):
        standing = replace(standing, code=AdmissionCode.REQUEST_IN_FLIGHT)
    if standing.code or application.depth is not Depth.PRICE or standing.granted is None:
        admission = standing.admission()
    else:
        held_already = reserves and application.call_id in state.holds
        admission = _price(state, application, standing, now, take=not held_already)
        if reserves and admission.code is AdmissionCode.ADMITTED:
            admission = _held(admission)
    if admission.code is AdmissionCode.ADMITTED and not application.look and standing.consent is None:
        # The record of a first use is written only now, when the call may happen.
        who = application.caller
        state.consents[who.subject, who.client_id] = Consent(granted=True, at=now)
    return admission


def _in_flight(state: AccountState, application: Application) -> bool:
    """Whether another call has this request id on this session: its answer could be taken for the other's."""
    return application.request is not None and any(
        hold.request == application.request for call_id, hold in state.holds.items() if call_id != application.call_id
    )


def _held(admission: Admission) -> Admission:
    return Admission(
        admission.code, admission.plan, admission.consent_scopes, admission.consent_since, admission.prices, held=True
    )


# --- gates 5 and 6 -----------------------------------------------------------------------------


def effective_consent(state: AccountState, caller: Caller) -> Consent | None:
    """The record that decides for a caller; None when there is none.

    What was revoked for one subject stays revoked. What was revoked for every subject is cured by a
    consent of that subject that says it is newer; in doubt it is not.
    """
    own = state.consents.get((caller.subject, caller.client_id))
    every = state.clients.get(caller.client_id)
    if own is None or every is None:
        return own or every
    if not own.granted or every.granted:
        return own
    newer = own.at is not None and every.at is not None and own.at > every.at
    return own if newer else every


def _standing(state: AccountState, application: Application) -> _Standing:
    terms, caller = application.terms, application.caller
    who = (caller.subject, caller.client_id)
    if application.session is not None and state.sessions.get(application.session) != who:
        return _Standing(AdmissionCode.SESSION_UNKNOWN)
    if any(state.tasks.get(task) != who for task in application.tasks):
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


def _price(state: AccountState, application: Application, standing: _Standing, now: int, *, take: bool) -> Admission:
    """Price every demand, and take them all or none; what is held already is priced only."""
    assert standing.granted is not None  # noqa: S101 - the caller has looked
    scratch = state.copy(now)
    prices: list[Price] = []
    amounts: list[Amount] = []
    refused: int | None = None
    for index, demand in enumerate(application.demands):
        quota = demand.kind is AmountKind.QUOTA
        price, amount = (_quota if quota else _credit)(scratch, standing.granted, demand, now)
        prices.append(price)
        amounts.append(amount)
        if take and refused is None and price.left is not None and price.needed > price.left:
            refused = index
        if refused is None:
            _take(scratch, amount)
    if refused is not None:
        return standing.admission(tuple(prices), _REFUSES[application.demands[refused].kind], refused)
    if take and application.demands and not application.look:
        state.quotas, state.included, state.balances = scratch.quotas, scratch.included, scratch.balances
        state.holds[application.call_id] = Hold(
            owner=application.owner,
            client_id=application.caller.client_id,
            on_unknown=application.on_unknown,
            until=now + application.lease,
            amounts=tuple(amounts),
            request=application.request,
        )
    return standing.admission(tuple(prices))


def _needed(state: AccountState, demand: Demand) -> tuple[int, tuple[str, ...] | None]:
    if demand.items is None:
        return demand.reserve, None
    unpaid = tuple(item for item in demand.items if (demand.kind, demand.name, item) not in state.paid)
    return demand.each * len(unpaid), unpaid


def _quota(state: AccountState, granted: PlanTerms, demand: Demand, now: int) -> tuple[Price, Amount]:
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
        # Of the windows that refuse, the last to end is told: waiting for another would not help.
        rank = (needed <= left, -order if needed > left else left, -order)
        if tightest is None or rank < tightest:
            tightest = rank
            price = Price(demand.kind, demand.name, needed, left, limit, window, rest)
    return price, Amount(demand.kind, demand.name, needed, demand.fixed, windows, 0, items, demand.each)


def _credit(state: AccountState, granted: PlanTerms, demand: Demand, now: int) -> tuple[Price, Amount]:
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
    return price, Amount(demand.kind, demand.name, needed, demand.fixed, windows, from_balance, items, demand.each)


def _take(state: AccountState, amount: Amount) -> None:
    for window, number in amount.windows.items():
        counters = state.quotas if amount.kind is AmountKind.QUOTA else state.included
        count = used(counters, amount.name, window, number) + amount.reserved - amount.from_balance
        counters[amount.name, window] = Counter(number, count)
    if amount.from_balance:
        state.balances[amount.name] = state.balances.get(amount.name, 0) - amount.from_balance
