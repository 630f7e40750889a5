"""One account as it is stored, with its journal, beside the books that say what it must be."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sidecar.ledger import journal
from sidecar.ledger.accounts import AccountState, Hold
from sidecar.ledger.journal import Entry, Snapshot
from tests.ledger.simulation.books import Books


@dataclass(slots=True)
class Account:
    """One account as it is stored, and what must be true of it.

    Attributes:
        index: `requests`: which call has a request, or an event from which a stream is resumed.
        entries: the journal.
        operations: answers of the outside writer's operations, and until when they are known.
        applied: how often each of them has changed anything.
    """

    state: AccountState
    books: Books
    index: dict[str, str] = field(default_factory=dict)
    entries: list[Entry] = field(default_factory=list)
    operations: dict[str, tuple[str, int]] = field(default_factory=dict)
    applied: dict[str, int] = field(default_factory=dict)

    def copy(self, now: int) -> Account:
        """What a replica has."""
        return Account(
            self.state.copy(now),
            self.books.copy(),
            dict(self.index),
            list(self.entries),
            dict(self.operations),
            dict(self.applied),
        )

    def total(self, pool: str) -> int:
        """Balance and held credits, as they are stored."""
        return self.state.balances.get(pool, 0) + self.state.held(pool)

    def write(self, event: str, call: str, sums: Mapping[str, int], changes: Mapping[str, int]) -> None:
        """`journal.lua`: one entry; a change is what was seen to change."""
        fields = {"n": str(len(self.entries) + 1), "event": event, "call": call}
        fields |= {name: str(units) for name, units in sums.items()}
        for pool, change in changes.items():
            fields |= {f"change:{pool}": str(change), f"total:{pool}": str(self.state.totals.get(pool, 0))}
        self.entries.append(Entry(f"{len(self.entries) + 1}-0", fields))

    def differences(self, folded: int = 0) -> list[journal.Difference]:
        """What `usage --verify` finds when so many entries have been folded."""
        last = f"{len(self.entries)}-0"
        ledger = {f"balance:{pool}": str(units) for pool, units in self.state.balances.items()}
        ledger |= {f"total:{pool}": str(units) for pool, units in self.state.totals.items()}
        ledger |= {"journal:written": str(len(self.entries)), "journal:folded": str(folded)}
        for pool, each in journal.fold(self.entries[:folded]).items():
            ledger[f"checkpoint:{pool}"] = f"{each.total}:{each.granted}:{each.spent}"
        holds = {call: json.dumps({"amounts": _amounts(hold)}) for call, hold in self.state.holds.items()}
        types = {"ledger": "hash", "holds": "hash", "usage": "stream", "account": "hash"}
        return journal.verify(Snapshot(types, ledger, holds, last), self.entries[folded:])


def _amounts(hold: Hold) -> list[dict[str, Any]]:
    return [{"kind": each.kind.value, "name": each.name, "balance": str(each.from_balance)} for each in hold.amounts]
