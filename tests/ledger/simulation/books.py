"""Expected state of an account, computed from the events and never from the model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from sidecar.ledger.accounts import AccountState, HeldAmount, Hold
from sidecar.ledger.windows import window_at
from sidecar.model import AdmissionCode, AdmissionReply, AmountKind, Application, Demand, OnUnknown
from sidecar.outcome import Charge, Receipt
from sidecar.terms import PlanTerms
from sidecar.window_rules import Window
from tests.ledger.simulation.rules import must

LATE: Final = Receipt(late=True)
_REFUSES: Final = {
    AmountKind.QUOTA: AdmissionCode.QUOTA_EXCEEDED,
    AmountKind.CREDIT: AdmissionCode.INSUFFICIENT_CREDITS,
}
Counted = tuple[AmountKind, str, Window]


@dataclass(frozen=True, slots=True)
class Resolution:
    """Outcome of a call with a hold; a call is resolved once."""

    how: str
    expired: bool
    forwarded: bool
    charges: Sequence[Charge] | None
    receipt: Receipt


@dataclass(frozen=True, slots=True)
class _Known:
    how: str
    receipt: Receipt
    until: int


@dataclass(slots=True)
class Books:
    """Expected state of one account.

    Attributes:
        granted: credits ever put into the balance, per pool.
        spent: credits ever taken from it for good, per pool.
        counted: number of the window and units used in it, per quota and per pool's included credits.
        restarted: last window of each counter that was restarted in an older one, because the clock went back.
        open: what holds are open.
        deferred: those among them whose lease charges what was reserved.
        resolved: calls that are over.
        known: how calls were resolved, as long as that is remembered.
        paid: items that need not be paid again.
        lost: calls that were settled here and never admitted, since a balance was last set.
        met: how often each thing has happened that a simulation is about.
    """

    granted: dict[str, int] = field(default_factory=dict)
    spent: dict[str, int] = field(default_factory=dict)
    counted: dict[Counted, tuple[int, int]] = field(default_factory=dict)
    restarted: dict[Counted, int] = field(default_factory=dict)
    open: dict[str, Hold] = field(default_factory=dict)
    deferred: set[str] = field(default_factory=set)
    resolved: dict[str, Resolution] = field(default_factory=dict)
    known: dict[str, _Known] = field(default_factory=dict)
    paid: set[tuple[AmountKind, str, str]] = field(default_factory=set)
    lost: set[str] = field(default_factory=set)
    met: Counter[str] = field(default_factory=Counter)

    def copy(self) -> Books:
        """Return a copy for a replica."""
        return Books(
            dict(self.granted),
            dict(self.spent),
            dict(self.counted),
            dict(self.restarted),
            dict(self.open),
            set(self.deferred),
            dict(self.resolved),
            dict(self.known),
            set(self.paid),
            set(self.lost),
            self.met,
        )

    # --- sums ------------------------------------------------------------------------------------

    def total(self, pool: str) -> int:
        """Return balance and held credits together."""
        return self.granted.get(pool, 0) - self.spent.get(pool, 0)

    def held(self, pool: str) -> int:
        """Return the credits of a balance that open holds reserve."""
        return sum(each.from_balance for hold in self.open.values() for each in hold.amounts if each.name == pool)

    def current(self, kind: AmountKind, name: str, window: Window, now: int) -> tuple[int, int]:
        """Return the current window and its units; after a clock that was set back, the next window stays current."""
        number = window_at(window, now)[0]
        last, units = self.counted.get((kind, name, window), (number, 0))
        return (last, units) if 0 <= last - number <= 1 else (number, 0)

    def count(self, kind: AmountKind, name: str, windows: Mapping[Window, int], by: int) -> None:
        """Count units in windows; each kind has one counter, whose older window is dropped."""
        for window, number in windows.items():
            what = kind, name, window
            last, units = self.counted.get(what, (number, 0))
            self.counted[what] = (number, by + (units if last == number else 0))
            if last > number:
                self.restarted[what] = max(last, self.restarted.get(what, last))
                self.met["counters restarted by a clock that went back"] += 1

    def correct(self, amount: HeldAmount, by: int, now: int) -> None:
        """Correct what was counted for an amount, in those of its windows that have not ended.

        Where the clock was set back, and came on again, a window has been restarted: its counter does not go below 0.
        """
        for window, number in amount.windows.items():
            last, units = self.counted.get((amount.kind, amount.name, window), (-1, 0))
            if last == number >= window_at(window, now)[0]:
                self.counted[amount.kind, amount.name, window] = (number, max(0, units + by))

    def changed(self, verb: str, pool: str, change: int) -> None:
        """Record a change of a balance by another program; a `set` clears earlier losses."""
        side = self.granted if change > 0 else self.spent
        side[pool] = side.get(pool, 0) + abs(change)
        if verb == "set":
            self.lost.clear()

    # --- admissions ------------------------------------------------------------------------------

    def asked(self, application: Application, answer: AdmissionReply, plan: PlanTerms | None, now: int) -> bool:
        """Check the reply to an admission; return whether it has created a hold."""
        call = application.call_id
        self.met[answer.code.name] += 1
        known = self.known.get(call)
        remembered = known is not None and known.until > now
        is_resolved = answer.code is AdmissionCode.RESOLVED_ALREADY
        must(is_resolved == remembered, "an admission that is late is refused, and only that:", call, answer.code)
        must(not answer.held or call not in self.resolved, "a call that is over was admitted:", call)
        if answer.code in (AdmissionCode.ADMITTED, *_REFUSES.values()):
            must(plan is not None, "admitted without a plan:", call)
            assert plan is not None
            amounts, refused = self._quote(application.demands, plan, now)
            must(answer.refused == refused, "not the demand that exceeds:", answer.refused, "but", refused)
            expected = AdmissionCode.ADMITTED if refused is None else _REFUSES[application.demands[refused].kind]
            must(answer.code is expected, "answered", answer.code.name, "where the books say", expected.name)
            if answer.held:
                self._open(application, amounts, now)
        return answer.held

    def _quote(self, demands: Sequence[Demand], plan: PlanTerms, now: int) -> tuple[tuple[HeldAmount, ...], int | None]:
        """Return the units of each demand, in order, and the first that does not fit."""
        amounts: list[HeldAmount] = []
        for index, demand in enumerate(demands):
            items = None
            if demand.items is not None:
                items = tuple(item for item in demand.items if (demand.kind, demand.name, item) not in self.paid)
            needed = demand.reserve if items is None else demand.each * len(items)
            before = [amount for amount in amounts if (amount.kind, amount.name) == (demand.kind, demand.name)]
            taking = self._quota if demand.kind is AmountKind.QUOTA else self._credit
            fits, windows, from_balance = taking(demand.name, needed, before, plan, now)
            if not fits:
                return (), index
            amounts.append(
                HeldAmount(
                    demand.kind, demand.name, needed, demand.fixed, windows, from_balance, items, demand.each
                )
            )  # fmt: skip
        return tuple(amounts), None

    def _quota(
        self, name: str, needed: int, before: Sequence[HeldAmount], plan: PlanTerms, now: int
    ) -> tuple[bool, dict[Window, int], int]:
        limits = plan.quotas.get(name, {})
        taken = sum(amount.reserved for amount in before)
        current = {window: self.current(AmountKind.QUOTA, name, window, now) for window in limits}
        fits = all(needed <= max(0, limit - taken - current[window][1]) for window, limit in limits.items())
        return fits, {window: number for window, (number, _) in current.items()}, 0

    def _credit(
        self, name: str, needed: int, before: Sequence[HeldAmount], plan: PlanTerms, now: int
    ) -> tuple[bool, dict[Window, int], int]:
        balance = self.total(name) - self.held(name) - sum(amount.from_balance for amount in before)
        if name not in plan.credits:
            return needed <= balance, {}, needed
        window, included = plan.credits[name]
        taken = sum(amount.reserved - amount.from_balance for amount in before)
        number, used = self.current(AmountKind.CREDIT, name, window, now)
        from_balance = max(0, needed - max(0, included - taken - used))
        return from_balance <= balance, {window: number}, from_balance

    def _open(self, application: Application, amounts: tuple[HeldAmount, ...], now: int) -> None:
        request = application.request
        same = [call for call, hold in self.open.items() if request is not None and hold.request == request]
        must(not same, "two calls have one request id:", application.call_id, same)
        self.open[application.call_id] = Hold(
            application.owner,
            application.caller.client_id,
            application.on_unknown,
            now + application.lease,
            amounts,
            request,
            tool=application.terms.tool or None,
            subject=application.caller.subject,  # never the account's name here
        )
        for amount in amounts:
            self.count(amount.kind, amount.name, amount.windows, amount.reserved - amount.from_balance)

    # --- ends ------------------------------------------------------------------------------------

    def overdue(self, now: int) -> list[str]:
        """Return calls whose leases have expired, in the order of their resolution."""
        over = sorted((hold.until, call.encode(), call) for call, hold in self.open.items() if hold.until <= now)
        return [call for _, _, call in over]

    def expired(self, call: str, now: int) -> Resolution:
        """Record the expiry of a lease."""
        hold = self.open[call]
        must(hold.until <= now, "a lease was cut short:", call)
        how = "settled" if call in self.deferred or hold.on_unknown is OnUnknown.SETTLE else "released"
        return self._close(call, how, True, None, now, expired=True)

    def answer(
        self, call: str, how: str, forwarded: bool, charges: Sequence[Charge] | None, lease: int, now: int
    ) -> Receipt:
        """Record a settle or release, and return its expected reply."""
        known = self.known.get(call)
        if known is not None and known.until > now:
            self.met["repeated" if known.how == how else f"{how} after {known.how}"] += 1
            return known.receipt if known.how == how else LATE
        if call in self.open:
            receipt = self._close(call, how, forwarded, charges, now).receipt
        else:
            self.met[f"{how} after its lease" if call in self.resolved else f"{how} without a hold"] += 1
            if how == "settled" and call not in self.resolved:
                self.lost.add(call)
            how, receipt = "late", LATE
        self.known[call] = _Known(how, receipt, now + lease)
        return receipt

    def _close(
        self, call: str, how: str, forwarded: bool, charges: Sequence[Charge] | None, now: int, expired: bool = False
    ) -> Resolution:
        must(call not in self.resolved, "resolved twice:", call)
        receipt = Receipt({}, {})
        for index, amount in enumerate(self.open.pop(call).amounts):
            charge = charges[index] if charges and not amount.fixed else Charge()
            released = how == "released" and not (forwarded and amount.fixed)
            cost = 0 if released else self._cost(amount, charge)
            self._take(amount, cost, now)
            sums = receipt.paid if amount.kind is AmountKind.CREDIT else receipt.used
            assert isinstance(sums, dict)
            sums[amount.name] = sums.get(amount.name, 0) + cost
        self.met[f"expired, {how}, {'deferred' if call in self.deferred else 'orphaned'}" if expired else how] += 1
        self.deferred.discard(call)
        self.resolved[call] = made = Resolution(how, expired, forwarded, charges, receipt)
        return made

    def _cost(self, amount: HeldAmount, charge: Charge) -> int:
        self.met["reserves charged without marking an item"] += amount.items is not None and charge.unmarked
        if amount.items is not None and not charge.unmarked:
            delivered = amount.items if charge.items is None else charge.items
            fresh = {(amount.kind, amount.name, item) for item in amount.items if item in delivered} - self.paid
            self.paid |= fresh
            self.met["items another call has paid meanwhile"] += len(fresh) < len(set(amount.items) & set(delivered))
            return amount.each * len(fresh)
        if charge.amount is None:
            return amount.reserved
        return charge.amount if amount.kind is AmountKind.QUOTA else min(charge.amount, amount.reserved)

    def _take(self, amount: HeldAmount, cost: int, now: int) -> None:
        """Return unused units: first to the balance, then to the windows they were taken from."""
        self.met["windows that have ended"] += any(n < window_at(w, now)[0] for w, n in amount.windows.items())
        back = min(max(0, amount.reserved - cost), amount.from_balance)
        if amount.from_balance:
            self.spent[amount.name] = self.spent.get(amount.name, 0) + amount.from_balance - back
        self.correct(amount, cost - amount.reserved + back, now)

    # --- the account ------------------------------------------------------------------------------

    def check(self, state: AccountState) -> None:
        """Check an account against the books."""
        must(state.holds.keys() == self.open.keys(), "holds are", sorted(state.holds), "not", sorted(self.open))
        for call, hold in self.open.items():
            found = state.holds[call]
            same = (found.until, found.amounts, found.request) == (hold.until, hold.amounts, hold.request)
            must(same, "a hold is", found, "not", hold)
            must((found.deferred is not None) == (call in self.deferred), "deferred or not:", call, found.deferred)
        for pool in self.granted.keys() | state.balances.keys():
            balance, held, total = state.balances.get(pool, 0), self.held(pool), self.total(pool)
            must(balance >= 0, "a balance below nothing:", pool, balance)
            must(balance + held == total, pool, "balance and held are", balance, held, "of", total)
            must(state.totals.get(pool, 0) == total, pool, "total is", state.totals.get(pool), "not", total)
        for kind, counters in ((AmountKind.QUOTA, state.quotas), (AmountKind.CREDIT, state.included)):
            found_used = {(kind, *what): (each.window, each.used) for what, each in counters.items()}
            used = {what: each for what, each in self.counted.items() if what[0] is kind}
            must(found_used == used, "used is", found_used, "not", used)
        must(state.paid == self.paid, "paid items are", state.paid, "not", self.paid)
