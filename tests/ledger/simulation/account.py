"""Stored account with its journal, and the independent books that it must agree with."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from sidecar.ledger.accounts import AccountState, HeldAmount, Hold
from sidecar.ledger.journal.counters import NO_ENTRY
from sidecar.ledger.journal.entries import Entry, JournalSnapshot
from sidecar.ledger.journal.verification import last_without_windows, lost_holds, verify
from sidecar.ledger.windows import window_at
from sidecar.model import AmountKind
from tests.ledger.simulation.books import Books, Resolution
from tests.ledger.simulation.journal import COUNTER, Before, Journal
from tests.ledger.simulation.rules import must


@dataclass(slots=True)
class Account:
    """Stored account, and its invariants.

    Attributes:
        index: `requests`: which call has a request, or an event from which a stream is resumed.
        operations: answers of the outside writer's operations, and until when they are known.
        applied: how often each of them has changed anything.
    """

    state: AccountState
    books: Books
    index: dict[str, str] = field(default_factory=dict)
    journal: Journal = field(default_factory=Journal)
    operations: dict[str, tuple[str, int]] = field(default_factory=dict)
    applied: dict[str, int] = field(default_factory=dict)

    def copy(self, now: int) -> Account:
        """Return a copy for a replica."""
        return Account(
            self.state.copy(now),
            self.books.copy(),
            dict(self.index),
            self.journal.copy(),
            dict(self.operations),
            dict(self.applied),
        )

    def resolved(self, call: str, hold: Hold, was: Before, end: Resolution, now: int) -> None:
        """Resolve a call: free its request, and write its entry."""
        events = [event for event, owner in self.index.items() if owner == call]
        for digest in (hold.request, *events):
            self.index.pop(digest or "", None)
        head = {"event": end.how, "call": call} | ({"expired": "1"} if end.expired else {})
        costs = {AmountKind.CREDIT: end.receipt.paid, AmountKind.QUOTA: end.receipt.used}
        self.journal.resolved(head, hold, costs, was, self.state, now)

    def audit(self, now: int, folded: int = 0) -> tuple[JournalSnapshot, list[Entry]]:
        """Return the input of `usage --verify` after a number of entries were folded."""
        entries = self.journal.entries
        ledger = {f"balance:{pool}": str(units) for pool, units in self.state.balances.items()}
        ledger |= {f"total:{pool}": str(units) for pool, units in self.state.totals.items()}
        for kind, counters in ((AmountKind.QUOTA, self.state.quotas), (AmountKind.CREDIT, self.state.included)):
            ledger |= {f"{COUNTER[kind]}:{name}:{window}": f"{each.window}:{each.used}"
                       for (name, window), each in counters.items()}  # fmt: skip
        holds = {call: json.dumps(_document(hold)) for call, hold in self.state.holds.items()}
        types = {"ledger": "hash", "holds": "hash", "usage": "stream", "account": "hash", "paid": "set"}
        newest = entries[-1].id if entries else NO_ENTRY
        ledger |= self.journal.ledger(folded)
        return JournalSnapshot(types, ledger, holds, newest, len(self.state.paid), now), entries[folded:]

    def verify(self, now: int, folded: int = 0) -> None:
        """Check the result of `usage --verify`.

        Counters differ where a clock that went back further than a window has restarted one, and only there. Calls
        that the store has lost are all named, as long as nothing was folded, and no others.
        """
        snapshot, entries = self.audit(now, folded)
        must(last_without_windows(snapshot, entries) is None, "an entry that does not say where it counts")
        found = verify(snapshot, entries)
        surely, perhaps = self._restarted(now)
        named = {each.where for each in found}
        must(named <= surely | perhaps, "the journal:", found)
        must(surely <= named, "a counter that was restarted is not named:", surely - named)
        lost = {each.what.removeprefix("call ") for each in lost_holds(snapshot, entries)}
        must(lost <= self.books.lost, "said to be lost, and is not:", lost - self.books.lost)
        must(folded > 0 or lost == self.books.lost, "lost, and not named:", self.books.lost - lost)

    def _restarted(self, now: int) -> tuple[set[str], set[str]]:
        """Return counters that were restarted in an older window while their last window has not ended.

        What is used in that one is by chance what was used in it before, or something else.
        """
        surely: set[str] = set()
        perhaps: set[str] = set()
        for (kind, name, window), last in self.books.restarted.items():
            number = self.books.counted[kind, name, window][0]
            if last >= window_at(window, now)[0]:
                (surely if number < last else perhaps).add(f"ledger {COUNTER[kind]}:{name}:{window}")
        return surely, perhaps


def _document(hold: Hold) -> dict[str, Any]:
    """A hold as `hold` of `lua/admit.lua`, `defer.lua` and `follow.lua` write it."""
    document: dict[str, Any] = {
        "owner": hold.owner,
        "client": hold.client_id,
        "on_unknown": hold.on_unknown.value,
        "amounts": [_amount(each) for each in hold.amounts],
    }
    document |= {} if hold.request is None else {"request": hold.request}
    document |= {} if hold.deferred is None else {"deferred": hold.deferred}
    document |= {} if hold.tool is None else {"tool": hold.tool}
    document |= {} if hold.subject is None else {"subject": hold.subject}
    return document | ({"events": list(hold.events)} if hold.events else {})


def _amount(amount: HeldAmount) -> dict[str, Any]:
    document: dict[str, Any] = {
        "kind": amount.kind.value,
        "name": amount.name,
        "reserved": str(amount.reserved),
        "windows": {window: str(number) for window, number in amount.windows.items()},
    }
    document |= {"balance": str(amount.from_balance)} if amount.kind is AmountKind.CREDIT else {}
    document |= {"fixed": True} if amount.fixed else {}
    return document | ({} if amount.items is None else {"items": list(amount.items), "each": str(amount.each)})
