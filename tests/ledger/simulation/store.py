"""Simulated store: accounts with one clock, and scripts of the pure model, applied whole or not at all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, Final

from sidecar.ledger.accounts import AccountState, Consent
from sidecar.ledger.settlement import EXPIRY_BATCH
from sidecar.ledger.windows import Counter as Used
from sidecar.model import AmountKind
from sidecar.outcome import Receipt
from tests.ledger.simulation.account import Account
from tests.ledger.simulation.books import Books
from tests.ledger.simulation.calls import PLANS
from tests.ledger.simulation.journal import before
from tests.ledger.simulation.messages import (
    Admit,
    Command,
    Credits,
    Defer,
    Fault,
    Follow,
    Recall,
    Release,
    Settle,
    Sweep,
    Write,
)
from tests.ledger.simulation.rules import Rules, must
from tests.store.support import CALLER

REMEMBERED: Final = 3_600_000
"""For how long the outside writer's operations are remembered, in ms."""

WHO: Final = (CALLER.subject, CALLER.client_id)


_ALWAYS: Final = {Settle, Release, Defer, Recall, Sweep, Write}
"""Scripts that may write when memory is short: those with `allow-oom`."""


class SimStore:
    """Store that runs scripts.

    Args:
        rules: what the scripts do.
        names: the accounts.
        now: the clock, in ms since the epoch; it may be set back.
        met: counts what has happened.

    Attributes:
        admitted: calls that it has ever made a hold for, whether it still knows them or not.
    """

    def __init__(self, rules: Rules, names: tuple[str, ...], now: int, met: Counter[str]) -> None:
        self.now = now
        self._rules = rules
        self._met = met
        self.accounts = {
            name: Account(AccountState(plan="growth", consents={WHO: Consent()}), Books(met=met)) for name in names
        }
        self.forgotten: set[type[Command]] = set()
        self.admitted: set[str] = set()
        self.full = False
        self._replica: dict[str, Account] | None = None
        self._scripts: dict[type[Command], Callable[[Account, Any], Any]] = {
            Admit: self._admit,
            Settle: self._settle,
            Release: self._release,
            Defer: self._defer,
            Follow: self._follow,
            Recall: self._recall,
            Sweep: lambda account, _: self._expire(account),
            Credits: self._credits,
            Write: self._write,
        }

    def execute(self, command: Command, load: bool = False) -> Any:
        """Run one script, and check the account afterwards."""
        kind = type(command)
        if load:
            self.forgotten.discard(kind)
        if kind in self.forgotten:
            return Fault.NOSCRIPT
        if self.full and kind not in _ALWAYS:
            return Fault.OOM
        account = self.accounts[command.account]
        answer = self._scripts[kind](account, command)
        account.books.check(account.state)
        return answer

    def pass_time(self, by: int) -> None:
        """Advance the clock, or set it back; expired records do not come back."""
        self.now += by
        for account in self.accounts.values():
            account.state.resolved = {
                call: each for call, each in account.state.resolved.items() if each.until > self.now
            }
            account.books.known = {call: each for call, each in account.books.known.items() if each.until > self.now}

    def forget_scripts(self) -> None:
        """Forget all scripts, as at a restart or SCRIPT FLUSH; direct writes need none."""
        self.forgotten = set(self._scripts) - {Write}

    def replicate(self) -> None:
        """Replicate the current state."""
        self._replica = {name: account.copy(self.now) for name, account in self.accounts.items()}

    def fail_over(self) -> bool:
        """Promote the replica, which loses later writes; False without a replica."""
        if self._replica is None:
            return False
        self.accounts, self._replica = self._replica, None
        return True

    def flush(self) -> None:
        """Delete everything, as FLUSHALL: no account has units or consents."""
        self.accounts = {name: Account(AccountState(), Books(met=self._met)) for name in self.accounts}
        self.forget_scripts()

    # --- calls -----------------------------------------------------------------------------------

    def _admit(self, account: Account, command: Admit) -> Any:
        asked = command.application
        known = account.books.known.get(asked.call_id)
        if known is None or known.until <= self.now:
            self._expire(account)
        answer, account.state = self._rules.admit(account.state, asked, self.now)
        assert asked.terms.plans is not None
        plan = asked.terms.plans.get(account.state.plan or asked.terms.default_plan or "")
        if account.books.asked(asked, answer, plan, self.now):
            self.admitted.add(asked.call_id)
            if asked.request is not None:
                account.index[asked.request] = asked.call_id
        return answer

    def _settle(self, account: Account, command: Settle) -> Receipt:
        asked = command.application
        return self._resolve(
            account,
            asked.call_id,
            "settled",
            lambda: self._rules.settle(
                account.state, asked.call_id, command.charges, now=self.now, lease=asked.lease
            ),
            lambda: account.books.answer(asked.call_id, "settled", True, command.charges, asked.lease, self.now),
        )  # fmt: skip

    def _release(self, account: Account, command: Release) -> Receipt:
        asked, forwarded = command.application, command.forwarded
        return self._resolve(
            account,
            asked.call_id,
            "released",
            lambda: self._rules.release(
                account.state, asked.call_id, forwarded=forwarded, now=self.now, lease=asked.lease
            ),
            lambda: account.books.answer(asked.call_id, "released", forwarded, None, asked.lease, self.now),
        )  # fmt: skip

    def _resolve(
        self,
        account: Account,
        call: str,
        how: str,
        model: Callable[[], tuple[Receipt, AccountState]],
        books: Callable[[], Receipt],
    ) -> Receipt:
        hold = account.books.open.get(call)
        was = None if hold is None else before(account.state, hold, self.now)
        known = call in account.books.known
        receipt, account.state = model()
        expected = books()
        must(receipt == expected, "answered", receipt, "not", expected, "to", how, call)
        if hold is not None and was is not None:
            account.resolved(call, hold, was, account.books.resolved[call], self.now)
        elif how == "settled" and not known:
            account.journal.write(self.now, {"event": "late", "call": call})
        return receipt

    def _expire(self, account: Account) -> int:
        """`ledger.lua`, expire: one hold after the other, so that each has its entry."""
        overdue = account.books.overdue(self.now)
        state = account.state = account.state.copy(self.now)
        for call in overdue[:EXPIRY_BATCH]:
            others, hold = state.holds, account.books.open[call]
            was = before(state, hold, self.now)
            state.holds = {call: others[call]}
            self._rules.expire(state, self.now)
            state.holds = {name: each for name, each in others.items() if name != call} | state.holds
            account.resolved(call, hold, was, account.books.expired(call, self.now), self.now)
        if len(overdue) <= EXPIRY_BATCH:
            self._rules.expire(state, self.now)  # nothing is left that it may touch
        return min(len(overdue), EXPIRY_BATCH)

    # --- streams ---------------------------------------------------------------------------------

    def _defer(self, account: Account, command: Defer) -> bool:
        call, events = command.application.call_id, command.events
        hold = account.state.holds.get(call)
        there, account.state = self._rules.defer(account.state, call, "context", events, now=self.now)
        must(there == (call in account.books.open), "deferred, or not:", call)
        if hold is not None:
            account.books.deferred.add(call)
            if not hold.events:
                account.index |= dict.fromkeys(events, call)
        return there

    def _follow(self, account: Account, command: Follow) -> bool:
        call = account.index.get(command.resumed)
        hold = None if call is None else account.state.holds.get(call)
        there, account.state = self._rules.follow(account.state, command.resumed, command.events, now=self.now)
        must(there == (hold is not None), "the index leads to", call, "and the model says", there)
        if call is not None and hold is not None:
            account.books.met["followed"] += 1
            account.index |= dict.fromkeys(command.events, call)
            for event in {*hold.events, *command.events} - {*account.state.holds[call].events}:
                account.index.pop(event, None)
        return there

    def _recall(self, account: Account, command: Recall) -> Any:
        call = account.index.get(command.request)
        hold = None if call is None else account.state.holds.get(call)
        found, account.state = self._rules.recall(
            account.state, command.request, command.costs, command.resumed, now=self.now
        )
        if hold is None or call is None:
            must(found is None, "recalled an unexpected call:", found)
            return found
        if not hold.deferred:
            must(found is None, "recalled from its owner:", found)
            if command.costs and hold.deferred is None:
                account.books.met["recalled before its owner has deferred it"] += 1
                account.books.deferred.add(call)
            return found
        own = account.index.get(command.resumed) == call
        account.books.met["recalled on its own stream" if own else "recalled on another stream"] += 1
        must(found is not None and (found[0], found[3]) == (call, own), "recalled", found, "not", call, own)
        return found

    # --- the outside writer ----------------------------------------------------------------------

    def _credits(self, account: Account, command: Credits) -> str:
        """`credits.lua`, applied to state and books alike: it has no other model."""
        known = account.operations.get(command.operation)
        if known is not None and known[1] > self.now:
            return known[0]
        self._expire(account)
        pool, amount, state, books = command.pool, command.amount, account.state, account.books
        balance, included, places = state.balances.get(pool, 0), 0, {}
        if command.verb == "spend" and command.planned:
            window, limit = PLANS["growth"].credits[pool]
            number, used = books.current(AmountKind.CREDIT, pool, window, self.now)
            included, places = min(amount, max(0, limit - used)), {window: number}
        change = {"grant": amount, "set": amount - balance, "spend": included - amount}[command.verb]
        if balance + change < 0:
            return "too little"
        for window in places:
            books.count(AmountKind.CREDIT, pool, places, included)
            state.included[pool, window] = Used(*books.counted[AmountKind.CREDIT, pool, window])
        state.balances[pool] = balance + change
        state.totals[pool] = state.totals.get(pool, 0) + change
        books.changed(command.verb, pool, change)
        account.applied[command.operation] = account.applied.get(command.operation, 0) + 1
        account.operations[command.operation] = ("done", self.now + REMEMBERED)
        fields = {"event": command.verb, "call": command.operation, f"credit:{pool}": amount}
        fields |= {f"included:{pool}": included, f"change:{pool}": change, f"total:{pool}": state.totals[pool]}
        if command.verb == "spend":
            placed = " ".join(f"{window}:{number}" for window, number in places.items())
            fields[f"windows:included:{pool}"] = placed
        account.journal.write(self.now, fields)
        return "done"

    def _write(self, account: Account, command: Write) -> None:
        state = account.state
        if command.plan is not None:
            state.plan = command.plan
        if command.active is not None:
            state.active = command.active
        if command.consent is not None:
            state.consents = {WHO: Consent(command.consent, self.now)}
