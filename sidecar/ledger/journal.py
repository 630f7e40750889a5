"""The journal of one account: its entries, the checkpoint of those that were folded, and whether balances follow.

Pure. `fold` is the model of `lua/journal.lua`; `verify` recomputes every balance and names what differs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from sidecar.model import MAX_AMOUNT

FIELDS: Final[Mapping[str, str]] = {
    "n": "number of the entry; they follow each other",
    "event": "`settled`, `released`, `late`; `grant`, `spend`, `set`; `consent_granted`, `consent_revoked`; "
    "`account_deleted`",
    "call": "the call's id, or the operation's",
    "client": "client id of the call or the consent",
    "subject": "of the consent; absent for every subject",
    "expired": "`1`: resolved because its lease had ended",
    "first_use": "`1`: the first admitted call has granted the consent",
    "credit:POOL": "what the call cost, or the amount of the command",
    "quota:NAME": "what the call used",
    "included:POOL": "of a spend: the part taken from included credits",
    "change:POOL": "by how much balance and held credits together have changed",
    "total:POOL": "balance and held credits together, afterwards",
    "forfeited:POOL": "of a deletion: what was left",
}
"""What fields an entry may have, and what they say. Arguments, items and results are never among them."""

_WHOLE: Final = re.compile(r"-?[0-9]{1,16}", re.ASCII)
_CHECKPOINT: Final = re.compile(r"(-?[0-9]{1,16}):([0-9]{1,16}):([0-9]{1,16})", re.ASCII)
_TYPES: Final = {"ledger": "hash", "holds": "hash", "usage": "stream"}


class Entry(NamedTuple):
    """One entry of the stream as it is stored."""

    id: str
    fields: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the entries are compared with, at one moment.

    Attributes:
        types: of the keys `ledger`, `holds`, `usage` and `account`; `none` for those that do not exist.
        ledger: its fields, as stored.
        holds: document of each open hold, as stored.
        newest: id of the newest entry.
    """

    types: Mapping[str, str]
    ledger: Mapping[str, str]
    holds: Mapping[str, str]
    newest: str

    @property
    def empty(self) -> bool:
        """Whether the store knows nothing of the account."""
        return set(self.types.values()) == {"none"}

    @property
    def folded(self) -> str:
        """How many entries were folded, as stored."""
        return self.ledger.get("journal:folded", "0")


@dataclass(frozen=True, slots=True)
class Difference:
    """What is not as it follows from the journal.

    Attributes:
        where: id of the entry, or the key (and field) that differs.
        pool: None when it concerns no single pool.
        what: which value.
    """

    where: str
    pool: str | None
    what: str
    expected: str
    found: str

    def __str__(self) -> str:
        pool = "" if self.pool is None else f"{self.pool}: "
        return f"{self.where}: {pool}{self.what}: expected {self.expected}, found {self.found}"


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
                pools.setdefault(pool, Folded()).total = _whole(value) or 0
            elif kind == "change":
                pools.setdefault(pool, Folded()).add(_whole(value) or 0)
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
    """Recompute every balance from checkpoint and entries; what differs, oldest first.

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
    chain = _Chain(_written(snapshot.folded), {pool: each.total for pool, each in pools.items()}, found)
    for entry in entries:
        chain.follow(entry)
    chain.number_is("ledger journal:written", snapshot.ledger.get("journal:written", "0"), chain.number)
    chain.ends(snapshot)
    return found


def forgotten(snapshot: Snapshot, entries: Sequence[Entry]) -> list[Difference]:
    """Calls that were settled and that the store knows nothing of, though it had admitted them.

    It lost their reservation, in a failover or by going back to a backup: the account has what they cost. A settle
    that comes late because the lease had run out is not among them: its call was resolved. Nothing is said where
    that may have been folded.
    """
    resolved = {entry.fields.get("call") for entry in entries if entry.fields.get("event") != "late"}
    late = [entry for entry in entries if entry.fields.get("event") == "late" and snapshot.folded == "0"]
    return [
        Difference(entry.id, None, f"call {entry.fields.get('call')}", "a reservation", "none: the store has lost it")
        for entry in late
        if entry.fields.get("call") not in resolved
    ]


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
            by, after = _whole(change), _whole(total)
            before = self.totals.get(pool, 0)
            if by is None:
                self.found.append(Difference(entry.id, pool, "change", "a whole number", _shown(change)))
            if after is None:
                self.found.append(Difference(entry.id, pool, "total", "a whole number", _shown(total)))
            elif by is not None and before + by != after:
                self.found.append(Difference(entry.id, pool, "total", str(before + by), str(after)))
            # One mistake is told once: what follows is compared with what stands there.
            self.totals[pool] = before + (by or 0) if after is None else after

    def number_is(self, where: str, stored: str | None, expected: int) -> None:
        number = _whole(stored)
        if number != expected:
            self.found.append(Difference(where, None, "number of entries", str(expected), _shown(stored)))
        self.number = expected if number is None else number

    def ends(self, snapshot: Snapshot) -> None:
        held, unread = _held(snapshot.holds)
        self.found += unread
        named = {pool for kind, _, pool in (name.partition(":") for name in snapshot.ledger) if kind in _POOL_FIELDS}
        for pool in sorted(named | held.keys() | self.totals.keys()):
            expected = self.totals.get(pool, 0)
            for kind, also, what in (("total", 0, "total"), ("balance", held.get(pool, 0), "balance and held")):
                stored = snapshot.ledger.get(f"{kind}:{pool}", "0")
                value = _whole(stored)
                if value is None:
                    self.found.append(Difference(f"ledger {kind}:{pool}", pool, what, "a whole number", _shown(stored)))
                elif value + also != expected:
                    self.found.append(Difference(f"ledger {kind}:{pool}", pool, what, str(expected), str(value + also)))


_POOL_FIELDS: Final = ("balance", "total")


def _held(holds: Mapping[str, str]) -> tuple[dict[str, int], list[Difference]]:
    """Credits of balances that open holds have taken, per pool, and the holds that cannot be read."""
    held: dict[str, int] = {}
    unread = []
    for call, raw in sorted(holds.items()):
        try:
            amounts: Any = json.loads(raw)["amounts"]
            taken = [(str(each["name"]), int(each["balance"])) for each in amounts if each["kind"] == "credit"]
        except (ValueError, KeyError, TypeError):
            unread.append(Difference(f"hold {call}", None, "document", "a hold", _shown(raw)))
            continue
        for pool, units in taken:
            held[pool] = held.get(pool, 0) + units
    return held, unread


def _whole(text: str | None) -> int | None:
    return int(text) if text is not None and _WHOLE.fullmatch(text) else None


def _written(text: str) -> int:
    return _whole(text) or 0


def _shown(text: str | None) -> str:
    return "nothing" if text is None else repr(text[:80])
