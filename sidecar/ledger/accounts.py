"""State of one account: windows, consents, counters and holds as plain values.

Pure. `admission` and `settlement` compute on these values; `decoding` reads them from stored records; `usage` is
the view for account holders and operators.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from sidecar.ledger.approval_records import Approval
from sidecar.ledger.windows import Counter, current
from sidecar.model import AmountKind, OnUnknown
from sidecar.outcome import Receipt, Resolution
from sidecar.terms import PlanTerms, Terms
from sidecar.window_rules import Window


@dataclass(frozen=True, slots=True)
class Consent:
    """Consent record.

    Attributes:
        granted: False after a revocation.
        at: time of the last write, in milliseconds since the epoch; None when the record has none.
        scopes: scopes in the record; None when it lists none.
    """

    granted: bool = True
    at: int | None = None
    scopes: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class HeldAmount:
    """Reserved amount of a hold, and where its units were taken from.

    Attributes:
        fixed: True when a forwarded call pays it regardless of its outcome.
        windows: number of each window that counts it; for credits, windows of the included credits.
        from_balance: part of a credit amount that was taken from the balance.
        items: for a `once` amount, the reserved items: those that were not paid before.
        each: units per item of `items`.
    """

    kind: AmountKind
    name: str
    reserved: int
    fixed: bool = False
    windows: Mapping[Window, int] = field(default_factory=dict)
    from_balance: int = 0
    items: tuple[str, ...] | None = None
    each: int = 1


@dataclass(frozen=True, slots=True)
class Hold:
    """Amounts that one call has reserved, with everything needed to resolve it without its owner.

    Attributes:
        owner: the process that resolves it before its lease expires.
        tool: name of the called tool, for the journal; None for other operations.
        subject: subject of the call, for the journal; None when the account has its name.
        on_unknown: how to resolve it when the call's outcome is unknown.
        until: end of the lease, in milliseconds since the epoch.
        request: `keys.request_digest` of the request; None without a session.
        deferred: pricing context of a response that may still arrive on another stream; empty when that
            response arrived before its owner recorded a context: the reserve is charged when the lease expires. None
            while the owner has the call.
        events: `keys.event_digest` of the events from which the stream can be resumed.
    """

    owner: str
    client_id: str
    on_unknown: OnUnknown
    until: int
    amounts: tuple[HeldAmount, ...]
    request: str | None = None
    deferred: str | None = None
    events: tuple[str, ...] = ()
    tool: str | None = None
    subject: str | None = None


@dataclass(frozen=True, slots=True)
class ResolvedCall:
    """Outcome of a resolved call, kept until `until`, so that a repeated command has no further effect."""

    how: Resolution
    receipt: Receipt
    until: int


@dataclass(slots=True)
class AccountState:
    """State of one account in the store.

    Attributes:
        plan: plan of the record; None when it names none.
        active: False for a disabled or deleted account.
        overrides: limit per (quota, window); None removes the limit of that window.
        consents: consent per (subject, client id).
        clients: consent for every subject, per client id.
        revocation: revocation of all clients; None when there is none.
        sessions: (subject, client id) per session id.
        tasks: (subject, client id) per task id.
        balances: credits per pool that are not held.
        totals: balance plus the held part of the balance, per pool; equals the sum of the journal.
        quotas: counter per (quota, window).
        included: counter of used included credits per (pool, window).
        paid: (kind, name, item) of every item that is paid for.
        resolved: outcome per call id, for as long as it is remembered.
        lapsed: requests (`Hold.request`) with holds that were released when their leases expired.
        approvals: approvals of calls, by handle.
        unreadable: calls with holds that do not match the layout.
    """

    plan: str | None = None
    active: bool = True
    overrides: dict[tuple[str, Window], int | None] = field(default_factory=dict)
    consents: dict[tuple[str, str], Consent] = field(default_factory=dict)
    clients: dict[str, Consent] = field(default_factory=dict)
    revocation: Consent | None = None
    sessions: dict[str, tuple[str, str]] = field(default_factory=dict)
    tasks: dict[str, tuple[str, str]] = field(default_factory=dict)
    balances: dict[str, int] = field(default_factory=dict)
    totals: dict[str, int] = field(default_factory=dict)
    quotas: dict[tuple[str, Window], Counter] = field(default_factory=dict)
    included: dict[tuple[str, Window], Counter] = field(default_factory=dict)
    paid: set[tuple[AmountKind, str, str]] = field(default_factory=set)
    holds: dict[str, Hold] = field(default_factory=dict)
    resolved: dict[str, ResolvedCall] = field(default_factory=dict)
    lapsed: set[str] = field(default_factory=set)
    approvals: dict[str, Approval] = field(default_factory=dict)
    unreadable: list[str] = field(default_factory=list)

    def copy(self, now: int) -> AccountState:
        """Return a copy that can be changed, without outcomes that have expired."""
        return replace(
            self,
            overrides=dict(self.overrides),
            consents=dict(self.consents),
            clients=dict(self.clients),
            sessions=dict(self.sessions),
            tasks=dict(self.tasks),
            balances=dict(self.balances),
            totals=dict(self.totals),
            quotas=dict(self.quotas),
            included=dict(self.included),
            paid=set(self.paid),
            holds=dict(self.holds),
            lapsed=set(self.lapsed),
            approvals=dict(self.approvals),
            resolved={call_id: done for call_id, done in self.resolved.items() if done.until > now},
        )

    def held(self, pool: str) -> int:
        """Return the credits of a pool's balance that open holds reserve."""
        return sum(
            amount.from_balance
            for hold in self.holds.values()
            for amount in hold.amounts
            if amount.kind is AmountKind.CREDIT and amount.name == pool
        )

    def imbalance(self) -> dict[str, int]:
        """Return `balance + held - total` of each pool where it is not 0; `totals` equals the sum of the journal."""
        differences = {
            pool: self.balances.get(pool, 0) + self.held(pool) - self.totals.get(pool, 0)
            for pool in self.balances.keys() | self.totals.keys()
        }
        return {pool: difference for pool, difference in differences.items() if difference}


def plan_terms(state: AccountState, terms: Terms) -> tuple[str | None, PlanTerms | None]:
    """Return the account's plan and its terms; no terms when the policy has no such plan."""
    if terms.plans is None:
        return None, terms.base
    plan = state.plan or terms.default_plan
    return plan, terms.plans.get(plan) if plan else None


def limits(state: AccountState, terms: PlanTerms, quota: str) -> dict[Window, int]:
    """Return the limits of a quota: those of the plan, replaced by the account's own."""
    merged: dict[Window, int | None] = dict(terms.quotas.get(quota, {}))
    merged.update({window: limit for (name, window), limit in state.overrides.items() if name == quota})
    return {window: limit for window, limit in merged.items() if limit is not None}


def usage(state: AccountState, terms: Terms, now: int) -> dict[str, Any]:
    """Return `{plan, status, quotas, credits}` for account holders.

    Args:
        state: the account.
        terms: terms with all quotas and pools of the policy, not only those of one operation.
        now: time of the store's clock, in milliseconds since the epoch.
    """
    plan, granted = plan_terms(state, terms)
    granted = granted or PlanTerms(allowed=False)
    quotas: dict[str, dict[Window, dict[str, int]]] = {}
    for quota in sorted(granted.quotas.keys() | {name for name, _ in state.overrides}):
        for window, limit in limits(state, granted, quota).items():
            counter, resets_in = current(state.quotas, quota, window, now)
            used = counter.used
            entry = {"limit": limit, "used": used, "left": max(0, limit - used), "resets_in": resets_in}
            quotas.setdefault(quota, {})[window] = entry
    credits = {
        pool: _pool(state, granted, pool, now) for pool in sorted(granted.credits.keys() | state.balances.keys())
    }
    return {"plan": plan, "status": "active" if state.active else "disabled", "quotas": quotas, "credits": credits}


def _pool(state: AccountState, granted: PlanTerms, pool: str, now: int) -> dict[str, Any]:
    balance = state.balances.get(pool, 0)
    shown: dict[str, Any] = {"left": balance, "balance": balance, "held": state.held(pool)}
    if pool in granted.credits:
        window, included = granted.credits[pool]
        counter, resets_in = current(state.included, pool, window, now)
        shown["left"] += max(0, included - counter.used)
        shown["included"] = {"window": window, "limit": included, "used": counter.used, "resets_in": resets_in}
    return shown
