"""Whether all of an account follows from its journal: balances, counters and paid items.

Pure. `fold` is the model of `lua/journal.lua`, as far as balances go; `verify` recomputes everything and names what
differs; `forgotten` names calls that the store has admitted and then lost.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from sidecar.ledger.journal_counters import count, verify_counters
from sidecar.ledger.journal_entries import Difference, Entry, Snapshot, held, shown, whole
from sidecar.model import MAX_AMOUNT

_CHECKPOINT: Final = re.compile(r"(-?[0-9]{1,16}):([0-9]{1,16}):([0-9]{1,16})", re.ASCII)
_TYPES: Final = {"ledger": "hash", "holds": "hash", "usage": "stream", "paid": "set"}
_DAY: Final = 86_400_000


@dataclass(slots=True)
class Folded:
    """The checkpoint of one pool: its total after the last folded entry, and lifetime sums up to there."""

    total: int = 0
    granted: int = 0
    spent: int = 0

    def add(self, change: int) -> None:
        """Count one change; sums stop at `MAX_AMOUNT`, beyond which the store is not exact."""
        if change > 0:
            self.granted = min(MAX_AMOUNT, self.granted + change)
        else:
            self.spent = min(MAX_AMOUNT, self.spent - change)

    @property
    def exact(self) -> bool:
        """Whether the sums say what the total must be."""
        return max(self.granted, self.spent) < MAX_AMOUNT


def fold(entries: Iterable[Entry]) -> dict[str, Folded]:
    """The checkpoint that some entries, from the account's first on, leave per pool."""
    pools: dict[str, Folded] = {}
    for entry in entries:
        for name, value in entry.fields.items():
            kind, _, pool = name.partition(":")
            if kind == "total":
                pools.setdefault(pool, Folded()).total = whole(value) or 0
            elif kind == "change":
                pools.setdefault(pool, Folded()).add(whole(value) or 0)
    return pools


def checkpoint(ledger: Mapping[str, str]) -> tuple[dict[str, Folded], list[Difference]]:
    """The checkpoint in a ledger, and what of it cannot be read or does not add up."""
    pools, found = {}, []
    for name, value in ledger.items():
        kind, _, pool = name.partition(":")
        if kind != "checkpoint":
            continue
        match = _CHECKPOINT.fullmatch(value)
        if match is None:
            found.append(Difference(f"ledger {name}", pool, "checkpoint", "TOTAL:GRANTED:SPENT", repr(value)))
            continue
        pools[pool] = each = Folded(*map(int, match.groups()))
        if each.exact and each.granted - each.spent != each.total:
            expected = str(each.granted - each.spent)
            found.append(Difference(f"ledger {name}", pool, "total of the folded entries", expected, str(each.total)))
    return pools, found


def verify(snapshot: Snapshot, entries: Sequence[Entry]) -> list[Difference]:
    """Recompute every balance and counter from checkpoint and entries; what differs.

    Args:
        snapshot: what is stored.
        entries: all of the stream up to `snapshot.newest`, oldest first.
    """
    wrong = [
        Difference(key, None, "type", kind, snapshot.types[key])
        for key, kind in _TYPES.items()
        if snapshot.types[key] not in (kind, "none")
    ]
    if wrong:
        return wrong
    pools, found = checkpoint(snapshot.ledger)
    chain = _Chain(whole(snapshot.folded) or 0, {pool: each.total for pool, each in pools.items()}, found)
    for entry in entries:
        chain.follow(entry)
    chain.number_is("ledger journal:written", snapshot.ledger.get("journal:written", "0"), chain.number)
    taken, unread = held(snapshot.holds)
    found += unread
    chain.ends(snapshot, taken.balances)
    found += verify_counters(snapshot, entries, taken)
    found += _paid(snapshot, entries)
    return found


def uncounted(snapshot: Snapshot, entries: Sequence[Entry]) -> int | None:
    """When the last entry that does not say where it counts was written; None when there is none.

    In milliseconds since the epoch.

    An earlier version wrote it: neither paid items can be compared, nor counters of windows that had begun by then.

    Args:
        snapshot: what is stored.
        entries: all of the stream up to `snapshot.newest`, oldest first.
    """
    return min(count(snapshot, entries)[0].latest_unknown, snapshot.now) or None


def forgotten(snapshot: Snapshot, entries: Sequence[Entry]) -> list[Difference]:
    """Calls that were settled and that the store knows nothing of, though it had admitted them.

    It lost their reservation, in a failover or by going back to a backup: the account has what they cost. A settle
    that comes late because the lease had run out is not among them: its call was resolved. Neither is one whose
    resolution may have been folded, or deleted with the account: what happened in the day before it must be known.
    `set` of a balance says that somebody has looked into what was before.

    Args:
        snapshot: what is stored.
        entries: all of the stream up to `snapshot.newest`, oldest first.
    """
    resolved = {entry.fields.get("call") for entry in entries if entry.fields.get("event") != "late"}
    since = 0 if snapshot.folded == "0" else (entries[0].at + _DAY if entries else snapshot.now)
    lost: dict[str, Difference] = {}
    for entry in entries:
        event, call = entry.fields.get("event"), entry.fields.get("call", "")
        if event == "account_deleted":
            since = entry.at + _DAY  # what was open then has gone with it
        elif event == "set":
            lost.clear()
        elif event == "late" and call not in resolved and entry.at >= since:
            found = "none: the store has lost it"
            lost.setdefault(call, Difference(entry.id, None, f"call {call}", "a reservation", found))
    return [*lost.values()]


def _paid(snapshot: Snapshot, entries: Sequence[Entry]) -> Iterator[Difference]:
    """The number of paid items is that of the last entry that has paid some."""
    last: int | None = None
    for entry in entries:
        if "paid" in entry.fields:
            number = whole(entry.fields["paid"])
            if number is None or number <= (last or 0):
                yield Difference(entry.id, None, "paid items", f"more than {last or 0}", shown(entry.fields["paid"]))
            last = last if number is None else number
    stored = snapshot.ledger.get("journal:paid")
    number = whole(stored or "0")
    if number is None or (last is not None and number != last):
        expected = "a whole number" if last is None else str(last)
        yield Difference("ledger journal:paid", None, "paid items", expected, shown(stored))
        number = last
    # An earlier version has not counted those that it marked.
    if number is not None and snapshot.paid != number and uncounted(snapshot, entries) is None:
        yield Difference("paid", None, "paid items", str(number), str(snapshot.paid))


@dataclass(slots=True)
class _Chain:
    number: int
    totals: dict[str, int]
    found: list[Difference] = field(default_factory=list)

    def follow(self, entry: Entry) -> None:
        self.number_is(entry.id, entry.fields.get("n"), self.number + 1)
        pools = dict.fromkeys(name.partition(":")[2] for name in entry.fields if name.startswith(("change:", "total:")))
        for pool in pools:
            change, total = entry.fields.get(f"change:{pool}"), entry.fields.get(f"total:{pool}")
            by, after = whole(change), whole(total)
            before = self.totals.get(pool, 0)
            if by is None:
                self.found.append(Difference(entry.id, pool, "change", "a whole number", shown(change)))
            if after is None:
                self.found.append(Difference(entry.id, pool, "total", "a whole number", shown(total)))
            elif by is not None and before + by != after:
                self.found.append(Difference(entry.id, pool, "total", str(before + by), str(after)))
            granted = entry.fields.get(f"credit:{pool}")
            if entry.fields.get("event") == "grant" and granted != change:
                self.found.append(Difference(entry.id, pool, "credits", change or "a whole number", shown(granted)))
            # One mistake is told once: what follows is compared with what stands there.
            self.totals[pool] = before + (by or 0) if after is None else after

    def number_is(self, where: str, stored: str | None, expected: int) -> None:
        number = whole(stored)
        if number != expected:
            self.found.append(Difference(where, None, "number of entries", str(expected), shown(stored)))
        self.number = expected if number is None else number

    def ends(self, snapshot: Snapshot, held: Mapping[str, int]) -> None:
        named = {pool for kind, _, pool in (name.partition(":") for name in snapshot.ledger) if kind in _POOL_FIELDS}
        for pool in sorted(named | held.keys() | self.totals.keys()):
            expected = self.totals.get(pool, 0)
            for kind, also, what in (("total", 0, "total"), ("balance", held.get(pool, 0), "balance and held")):
                stored = snapshot.ledger.get(f"{kind}:{pool}", "0")
                value = whole(stored)
                if value is None:
                    belongs = str(expected - also)  # what is to be written there
                    self.found.append(Difference(f"ledger {kind}:{pool}", pool, kind, belongs, shown(stored)))
                elif value + also != expected:
                    self.found.append(Difference(f"ledger {kind}:{pool}", pool, what, str(expected), str(value + also)))


_POOL_FIELDS: Final = ("balance", "total")
