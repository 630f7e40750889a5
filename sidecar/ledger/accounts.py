"""One account as the store keeps it: windows, consents, counters and holds as plain values.

Pure. `admission.py` and `settlement.py` compute on these; `stored.py` reads them from what the store keeps,
and `usage` is what account holders and operators are shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from sidecar.ledger.windows import Counter, current
from sidecar.model import AmountKind, OnUnknown, PlanTerms, Terms, Window
from sidecar.outcome import Receipt


@dataclass(frozen=True, slots=True)
class Consent:
    """What one consent record says.

    Attributes:
        granted: False once revoked.
        at: milliseconds since the epoch when it was last written; None when it does not say.
        scopes: those it lists; None when it lists none.
    """

    granted: bool = True
    at: int | None = None
    scopes: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Amount:
    """One reserved amount of a hold: what was taken, and exactly where from.

    Attributes:
        windows: number of each window it was counted in; for credits, of the included credits'.
        from_balance: the part of a credit amount that came from the balance.
        items: of a `once` amount, the items that were reserved because they were not yet paid.
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
    """What one call has reserved, and all that somebody who finds it without its owner needs.

    Attributes:
        until: end of the lease, in milliseconds since the epoch.
        request: `keys.request_digest` of its request; None without a session.
        deferred: what pricing its response needs, when that may still come on another stream; empty
            when nobody knows; None while its owner has the call.
        events: `keys.event_digest` of the events from which its stream can be resumed.
    """

    owner: str
    client_id: str
    on_unknown: OnUnknown
    until: int
    amounts: tuple[Amount, ...]
    request: str | None = None
    deferred: str | None = None
    events: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Done:
    """How a call was resolved (`settled`, `released`; `late` when there was no hold), until when it is known."""

    how: str
    receipt: Receipt
    until: int


@dataclass(slots=True)
class AccountState:
    """Everything the store knows about one account.

    Attributes:
        plan: None when the record names none.
        active: False when disabled (or deleted).
        overrides: limit per (quota, window); None removes that window's limit.
        consents: per (subject, client id).
        clients: consents for every subject, per client id.
        sessions: (subject, client id) per session id.
        tasks: (subject, client id) per task id.
        balances: credits per pool that are not held.
        totals: balance and held part of the balance together, per pool: what the journal adds up to.
        quotas: counter per (quota, window).
        included: counter of used included credits per (pool, window).
        paid: (kind, name, item) of every item that need not be paid again.
        unreadable: calls whose holds are not what the layout says.
    """

    plan: str | None = None
    active: bool = True
    overrides: dict[tuple[str, Window], int | None] = field(default_factory=dict)
    consents: dict[tuple[str, str], Consent] = field(default_factory=dict)
    clients: dict[str, Consent] = field(default_factory=dict)
    sessions: dict[str, tuple[str, str]] = field(default_factory=dict)
    tasks: dict[str, tuple[str, str]] = field(default_factory=dict)
    balances: dict[str, int] = field(default_factory=dict)
    totals: dict[str, int] = field(default_factory=dict)
    quotas: dict[tuple[str, Window], Counter] = field(default_factory=dict)
    included: dict[tuple[str, Window], Counter] = field(default_factory=dict)
    paid: set[tuple[AmountKind, str, str]] = field(default_factory=set)
    holds: dict[str, Hold] = field(default_factory=dict)
    done: dict[str, Done] = field(default_factory=dict)
    unreadable: list[str] = field(default_factory=list)

    def copy(self, now: int) -> AccountState:
        """Another one that can be changed; outcomes that are no longer remembered are left out."""
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
            done={call_id: done for call_id, done in self.done.items() if done.until > now},
        )

    def held(self, pool: str) -> int:
        """Credits of a pool's balance that open holds have taken."""
        return sum(
            amount.from_balance
            for hold in self.holds.values()
            for amount in hold.amounts
            if amount.kind is AmountKind.CREDIT and amount.name == pool
        )

    def imbalance(self) -> dict[str, int]:
        """Per pool whose balance and holds do not add up to its journaled total: by how much."""
        off = {
            pool: self.balances.get(pool, 0) + self.held(pool) - self.totals.get(pool, 0)
            for pool in self.balances.keys() | self.totals.keys()
        }
        return {pool: by for pool, by in off.items() if by}


def plan_terms(state: AccountState, terms: Terms) -> tuple[str | None, PlanTerms | None]:
    """The account's current plan and its terms; no terms when the policy has no such plan."""
    if terms.plans is None:
        return None, terms.base
    plan = state.plan or terms.default_plan
    return plan, terms.plans.get(plan) if plan else None


def limits(state: AccountState, terms: PlanTerms, quota: str) -> dict[Window, int]:
    """The limits of a quota: the plan's, with the account's own in their place."""
    merged: dict[Window, int | None] = dict(terms.quotas.get(quota, {}))
    merged.update({window: limit for (name, window), limit in state.overrides.items() if name == quota})
    return {window: limit for window, limit in merged.items() if limit is not None}


def usage(state: AccountState, terms: Terms, now: int) -> dict[str, Any]:
    """`{plan, status, quotas, credits}` as account holders are shown it.

    Args:
        state: the account.
        terms: with all quotas and pools of the policy, not just those of one operation.
        now: the store's clock, in milliseconds since the epoch.
    """
    plan, granted = plan_terms(state, terms)
    granted = granted or PlanTerms(allowed=False)
    quotas: dict[str, dict[Window, dict[str, int]]] = {}
    for quota in sorted(granted.quotas.keys() | {name for name, _ in state.overrides}):
        for window, limit in limits(state, granted, quota).items():
            counter, rest = current(state.quotas, quota, window, now)
            count = counter.used
            entry = {"limit": limit, "used": count, "left": max(0, limit - count), "resets_in": rest}
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
        counter, rest = current(state.included, pool, window, now)
        count = counter.used
        shown["left"] += max(0, included - count)
        shown["included"] = {"window": window, "limit": included, "used": count, "resets_in": rest}
    return shown
