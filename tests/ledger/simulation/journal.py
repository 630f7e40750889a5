"""Journal of a simulated account, as `lua/journal.lua`, `lua/ledger.lua` and `lua/credits.lua` write it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from sidecar.ledger.accounts import AccountState, HeldAmount, Hold
from sidecar.ledger.journal import verification
from sidecar.ledger.journal.counters import NO_ENTRY, fold_counters
from sidecar.ledger.journal.entries import Entry
from sidecar.ledger.windows import window_at
from sidecar.model import AmountKind
from sidecar.window_rules import WINDOWS, Window

COUNTER: Final = {AmountKind.QUOTA: "quota", AmountKind.CREDIT: "included"}


@dataclass(frozen=True, slots=True)
class Before:
    """Values that the end of a call may change, before the change.

    Attributes:
        totals: balance and held credits together, of each pool that the call holds anything of.
        paid: number of paid items.
        open: windows that the call is counted in and that have not ended.
    """

    totals: Mapping[str, int]
    paid: int
    open: frozenset[tuple[AmountKind, str, Window]]


def before(state: AccountState, hold: Hold, now: int) -> Before:
    """Read an account before a hold is resolved."""
    pools = [amount.name for amount in hold.amounts if amount.kind is AmountKind.CREDIT]
    totals = {pool: state.balances.get(pool, 0) + state.held(pool) for pool in pools}
    return Before(totals, len(state.paid), frozenset(_open(state, hold, now)))


def _open(state: AccountState, hold: Hold, now: int) -> Iterator[tuple[AmountKind, str, Window]]:
    for amount in hold.amounts:
        counters = state.quotas if amount.kind is AmountKind.QUOTA else state.included
        for window, number in amount.windows.items():
            counter = counters.get((amount.name, window))
            if counter is not None and counter.window == number >= window_at(window, now)[0]:
                yield amount.kind, amount.name, window


@dataclass(slots=True)
class Journal:
    """Entries from the first on.

    Attributes:
        paid: number of items that its entries have paid, `journal:paid` of the ledger.
    """

    entries: list[Entry] = field(default_factory=list)
    paid: int = 0

    def copy(self) -> Journal:
        """Return a copy for a replica."""
        return Journal(list(self.entries), self.paid)

    def write(self, now: int, fields: Mapping[str, object]) -> None:
        """`write_journal`: ids never go back, whatever the clock does (XADD)."""
        last = self.entries[-1] if self.entries else Entry(NO_ENTRY, {})
        number = int(last.id.partition("-")[2]) + 1 if last.at >= now else 0
        stored = {"n": str(len(self.entries) + 1)} | {name: str(value) for name, value in fields.items()}
        self.entries.append(Entry(f"{max(last.at, now)}-{number}", stored))

    def resolved(
        self, head: Mapping[str, str], hold: Hold, costs: Mapping[AmountKind, Mapping[str, int]], was: Before,
        state: AccountState, now: int,
    ) -> None:  # fmt: skip
        """Write the entry of a resolved call, as `resolve` and `add_costs` of the Lua.

        Args:
            head: event and call.
            hold: what it had reserved.
            costs: what it has cost, of each kind by name.
            was: the account before.
            state: the account afterwards: a change is what was seen to change.
            now: ms since the epoch.
        """
        changes = {pool: state.balances.get(pool, 0) + state.held(pool) - units for pool, units in was.totals.items()}
        fields: dict[str, object] = {**head, "client": hold.client_id}
        named = {"tool": hold.tool, "subject": hold.subject}
        fields |= {name: value for name, value in named.items() if value is not None}
        for kind, name in dict.fromkeys((amount.kind, amount.name) for amount in hold.amounts):
            amounts = [amount for amount in hold.amounts if (amount.kind, amount.name) == (kind, name)]
            cost = costs[kind][name]
            counted = cost + (changes[name] if kind is AmountKind.CREDIT else 0)
            fields |= {f"{kind}:{name}": cost, f"windows:{COUNTER[kind]}:{name}": _placed(amounts, counted, was)}
        for pool, change in changes.items():
            fields |= {f"change:{pool}": change, f"total:{pool}": state.totals.get(pool, 0)}
        if len(state.paid) > was.paid:
            self.paid += len(state.paid) - was.paid
            fields["paid"] = self.paid
        self.write(now, fields)

    def ledger(self, folded: int) -> dict[str, str]:
        """Return the journal fields of the ledger after a number of entries were folded."""
        fields = {"journal:written": str(len(self.entries)), "journal:folded": str(folded)}
        fields |= {"journal:paid": str(self.paid)} if self.paid else {}
        if not folded:
            return fields
        taken = self.entries[:folded]
        counted = fold_counters(taken)
        fields |= {
            "journal:counted": str(folded),
            "journal:last": taken[-1].id,
            "journal:uncounted": counted.uncounted,
        }
        for pool, each in verification.fold(taken).items():
            fields[f"checkpoint:{pool}"] = f"{each.total}:{each.granted}:{each.spent}"
        for counter, (number, units) in counted.windows.items():
            fields[f"folded:{counter}"] = f"{number}:{units}"
        return fields


def _placed(amounts: Sequence[HeldAmount], counted: int, was: Before) -> str:
    """`placed`: the windows of a cost; one that had ended was left with what the call had reserved."""
    words = []
    for window in WINDOWS:
        inside = [amount for amount in amounts if window in amount.windows]
        if inside:
            reserved = sum(amount.reserved - amount.from_balance for amount in inside)
            units = counted if (inside[0].kind, inside[0].name, window) in was.open else reserved
            own = f":{units}" if units != counted else ""
            words.append(f"{window}:{inside[0].windows[window]}{own}")
    return " ".join(words)
