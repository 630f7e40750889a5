"""Verify an account against its journal: balances, counters and paid items.

Pure. `fold` is the model of `lua/journal.lua` for balances; `verify` recomputes everything and returns differences;
`lost_holds` returns calls with holds that the store has lost.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from sidecar.ledger.journal.counters import count_units, verify_counters
from sidecar.ledger.journal.entries import Difference, Entry, JournalSnapshot, held_totals, parse_whole, quoted
from sidecar.model import MAX_AMOUNT

_CHECKPOINT: Final = re.compile(r"(-?[0-9]{1,16}):([0-9]{1,16}):([0-9]{1,16})", re.ASCII)
_TYPES: Final = {"ledger": "hash", "holds": "hash", "usage": "stream", "paid": "set"}
_DAY: Final = 86_400_000


@dataclass(slots=True)
class PoolCheckpoint:
    """Checkpoint of one pool: its total after the last folded entry, and lifetime sums up to it."""

    total: int = 0
    granted: int = 0
    spent: int = 0

    def add(self, change: int) -> None:
        """Add one change; sums stop at `MAX_AMOUNT`, above which the store is not exact."""
        if change > 0:
            self.granted = min(MAX_AMOUNT, self.granted + change)
        else:
            self.spent = min(MAX_AMOUNT, self.spent - change)

    @property
    def exact(self) -> bool:
        """True while the sums determine the total."""
        return max(self.granted, self.spent) < MAX_AMOUNT


def fold(entries: Iterable[Entry]) -> dict[str, PoolCheckpoint]:
    """Fold entries, from the account's first on, into a checkpoint per pool."""
    pools: dict[str, PoolCheckpoint] = {}
    for entry in entries:
        for name, value in entry.fields.items():
            kind, _, pool = name.partition(":")
            if kind == "total":
                pools.setdefault(pool, PoolCheckpoint()).total = parse_whole(value) or 0
            elif kind == "change":
                pools.setdefault(pool, PoolCheckpoint()).add(parse_whole(value) or 0)
    return pools


def checkpoint(ledger: Mapping[str, str]) -> tuple[dict[str, PoolCheckpoint], list[Difference]]:
    """Return the checkpoint per pool in a ledger, and the fields that are unreadable or inconsistent."""
    pools, found = {}, []
    for name, value in ledger.items():
        kind, _, pool = name.partition(":")
        if kind != "checkpoint":
            continue
        match = _CHECKPOINT.fullmatch(value)
        if match is None:
            found.append(Difference(f"ledger {name}", pool, "checkpoint", "TOTAL:GRANTED:SPENT", repr(value)))
            continue
        pools[pool] = each = PoolCheckpoint(*map(int, match.groups()))
        if each.exact and each.granted - each.spent != each.total:
            expected = str(each.granted - each.spent)
            found.append(Difference(f"ledger {name}", pool, "total of the folded entries", expected, str(each.total)))
    return pools, found


def verify(snapshot: JournalSnapshot, entries: Sequence[Entry]) -> list[Difference]:
    """Recompute every balance and counter from checkpoint and entries; return the differences.

    Args:
        snapshot: stored state.
        entries: entries of the stream up to `snapshot.newest`, oldest first.
    """
    wrong = [
        Difference(key, None, "type", kind, snapshot.types[key])
        for key, kind in _TYPES.items()
        if snapshot.types[key] not in (kind, "none")
    ]
    if wrong:
        return wrong
    pools, found = checkpoint(snapshot.ledger)
    chain = _EntryChain(parse_whole(snapshot.folded) or 0, {pool: each.total for pool, each in pools.items()}, found)
    for entry in entries:
        chain.follow(entry)
    chain.number_is("ledger journal:written", snapshot.ledger.get("journal:written", "0"), chain.number)
    taken, unread = held_totals(snapshot.holds)
    found += unread
    chain.ends(snapshot, taken.balances)
    found += verify_counters(snapshot, entries, taken)
    found += _paid(snapshot, entries)
    return found


def last_without_windows(snapshot: JournalSnapshot, entries: Sequence[Entry]) -> int | None:
    """Return the time of the last entry without windows, in milliseconds since the epoch; None when there is none.

    Earlier versions wrote such entries: paid items, and counters of windows that had begun by then, cannot be compared.

    Args:
        snapshot: stored state.
        entries: entries of the stream up to `snapshot.newest`, oldest first.
    """
    return min(count_units(snapshot, entries)[0].latest_unknown, snapshot.now) or None


def lost_holds(snapshot: JournalSnapshot, entries: Sequence[Entry]) -> list[Difference]:
    """Return settled calls with an admission that the store has lost.

    A failover or a restored backup undid their reservation, so the account was not charged. A settle that is late
    because the lease had expired is not among them: its call was resolved. A call is also left out when its resolution
    may have been folded, or deleted with the account: entries of the day before the settle must be known. A `set` of a
    balance clears earlier losses, because the operator has corrected them.

    Args:
        snapshot: stored state.
        entries: entries of the stream up to `snapshot.newest`, oldest first.
    """
    resolved = {entry.fields.get("call") for entry in entries if entry.fields.get("event") != "late"}
    since = 0 if snapshot.folded == "0" else (entries[0].at + _DAY if entries else snapshot.now)
    lost: dict[str, Difference] = {}
    for entry in entries:
        event, call = entry.fields.get("event"), entry.fields.get("call", "")
        if event == "account_deleted":
            since = entry.at + _DAY  # open holds were deleted with the account
        elif event == "set":
            lost.clear()
        elif event == "late" and call not in resolved and entry.at >= since:
            found = "none: the store has lost it"
            lost.setdefault(call, Difference(entry.id, None, f"call {call}", "a reservation", found))
    return [*lost.values()]


def _paid(snapshot: JournalSnapshot, entries: Sequence[Entry]) -> Iterator[Difference]:
    """Compare the number of paid items with the last entry that paid for any."""
    last: int | None = None
    for entry in entries:
        if "paid" in entry.fields:
            number = parse_whole(entry.fields["paid"])
            if number is None or number <= (last or 0):
                yield Difference(entry.id, None, "paid items", f"more than {last or 0}", quoted(entry.fields["paid"]))
            last = last if number is None else number
    stored = snapshot.ledger.get("journal:paid")
    number = parse_whole(stored or "0")
    if number is None or (last is not None and number != last):
        expected = "a whole number" if last is None else str(last)
        yield Difference("ledger journal:paid", None, "paid items", expected, quoted(stored))
        number = last
    # Earlier versions did not count the items that they marked.
    if number is not None and snapshot.paid != number and last_without_windows(snapshot, entries) is None:
        yield Difference("paid", None, "paid items", str(number), str(snapshot.paid))


@dataclass(slots=True)
class _EntryChain:
    number: int
    totals: dict[str, int]
    found: list[Difference] = field(default_factory=list)

    def follow(self, entry: Entry) -> None:
        self.number_is(entry.id, entry.fields.get("n"), self.number + 1)
        pools = dict.fromkeys(name.partition(":")[2] for name in entry.fields if name.startswith(("change:", "total:")))
        for pool in pools:
            change, total = entry.fields.get(f"change:{pool}"), entry.fields.get(f"total:{pool}")
            by, after = parse_whole(change), parse_whole(total)
            before = self.totals.get(pool, 0)
            if by is None:
                self.found.append(Difference(entry.id, pool, "change", "a whole number", quoted(change)))
            if after is None:
                self.found.append(Difference(entry.id, pool, "total", "a whole number", quoted(total)))
            elif by is not None and before + by != after:
                self.found.append(Difference(entry.id, pool, "total", str(before + by), str(after)))
            granted = entry.fields.get(f"credit:{pool}")
            if entry.fields.get("event") == "grant" and granted != change:
                self.found.append(Difference(entry.id, pool, "credits", change or "a whole number", quoted(granted)))
            # Report a mistake once: compare the following entries with the stored total.
            self.totals[pool] = before + (by or 0) if after is None else after

    def number_is(self, where: str, stored: str | None, expected: int) -> None:
        number = parse_whole(stored)
        if number != expected:
            self.found.append(Difference(where, None, "number of entries", str(expected), quoted(stored)))
        self.number = expected if number is None else number

    def ends(self, snapshot: JournalSnapshot, held: Mapping[str, int]) -> None:
        named = {pool for kind, _, pool in (name.partition(":") for name in snapshot.ledger) if kind in _POOL_FIELDS}
        for pool in sorted(named | held.keys() | self.totals.keys()):
            expected = self.totals.get(pool, 0)
            for kind, also, what in (("total", 0, "total"), ("balance", held.get(pool, 0), "balance and held")):
                stored = snapshot.ledger.get(f"{kind}:{pool}", "0")
                value = parse_whole(stored)
                if value is None:
                    belongs = str(expected - also)  # the value that would be correct
                    self.found.append(Difference(f"ledger {kind}:{pool}", pool, kind, belongs, quoted(stored)))
                elif value + also != expected:
                    self.found.append(Difference(f"ledger {kind}:{pool}", pool, what, str(expected), str(value + also)))


_POOL_FIELDS: Final = ("balance", "total")
