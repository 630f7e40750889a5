"""Journal entries of an account, and the stored state that they are compared with."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from sidecar.ledger.accounts import HeldAmount
from sidecar.ledger.decoding import UnreadableError, parse_hold
from sidecar.model import AmountKind

FIELDS: Final[Mapping[str, str]] = {
    "n": "number of the entry; they follow each other",
    "event": "`settled`, `released`, `late`; `set_aside`, when its hold cannot be read; `grant`, `spend`, `set`; "
    "`consent_granted`, `consent_revoked`, `consent_removed`; `account_set`, `account_deleted`",
    "by": "author of a change: `command`, `holder`, `admin:NAME`, or the name that a program gave its script",
    "call": "the call's id, or the operation's",
    "client": "client id of the call or the consent; absent for all clients",
    "tool": "name of the called tool; absent for other operations, and in entries of earlier versions",
    "subject": "of the consent, absent for every subject; of a call, absent where the account has its name",
    "expired": "`1`: resolved because its lease had ended",
    "first_use": "`1`: the first admitted call has granted the consent",
    "credit:POOL": "cost of the call, or the amount of the command",
    "quota:NAME": "units that the call used",
    "included:POOL": "of a spend: the part taken from included credits",
    "windows:quota:NAME": "windows that count it, `minute:29606400 day:20560`; none where nothing limits it",
    "windows:included:POOL": "windows that count the part taken from included credits, in the same form",
    "change:POOL": "change of balance and held credits together",
    "total:POOL": "balance and held credits together, afterwards",
    "paid": "number of paid items afterwards, when the call has paid some",
    "forfeited:POOL": "of a deletion: the credits that were left",
    "created": "`1`: the change has created the account's record",
    "plan": "new plan",
    "status": "new status",
    "was:plan": "plan before, if the record had one",
    "was:status": "status before, if the record had one",
    "limit:QUOTA:WINDOW": "new limit of the account's own: a number, `unlimited`, or `plan` when it was removed",
}
"""Fields of an entry and their meaning. Arguments, items and results are never among them."""

_WHOLE: Final = re.compile(r"-?[0-9]{1,16}", re.ASCII)
_ID: Final = re.compile(r"([0-9]{1,20})-([0-9]{1,20})", re.ASCII)


class Entry(NamedTuple):
    """Stored entry of the stream."""

    id: str
    fields: Mapping[str, str]

    @property
    def at(self) -> int:
        """Time of the write, in milliseconds since the epoch; 0 when the id has none."""
        return parse_entry_id(self.id)[0]


@dataclass(frozen=True, slots=True)
class JournalSnapshot:
    """Stored state at one moment, which the entries are compared with.

    Attributes:
        types: types of the keys `ledger`, `holds`, `usage`, `account` and `paid`; `none` for a missing key.
        ledger: stored fields of the ledger.
        holds: stored document of each open hold.
        newest: id of the newest entry.
        paid: number of paid items.
        now: time of the store's clock, in milliseconds since the epoch.
    """

    types: Mapping[str, str]
    ledger: Mapping[str, str]
    holds: Mapping[str, str]
    newest: str
    paid: int
    now: int

    @property
    def empty(self) -> bool:
        """True when the store has no data of the account."""
        return set(self.types.values()) == {"none"}

    @property
    def folded(self) -> str:
        """Stored number of folded entries."""
        return self.ledger.get("journal:folded", "0")


@dataclass(frozen=True, slots=True)
class Difference:
    """Stored value that differs from the journal.

    Attributes:
        where: id of the entry, or the key (and field) that differs.
        pool: pool of the value; None for other values.
        what: name of the value.
    """

    where: str
    pool: str | None
    what: str
    expected: str
    found: str

    def __str__(self) -> str:
        pool = "" if self.pool is None else f"{self.pool}: "
        return f"{self.where}: {pool}{self.what}: expected {self.expected}, found {self.found}"


class WindowUnits(NamedTuple):
    """Units counted in one window; `counter` is a field of the ledger, such as `quota:requests:minute`."""

    counter: str
    number: int
    units: int


class HeldTotals(NamedTuple):
    """Units reserved by open holds: credits from balances per pool, and units of counters."""

    balances: dict[str, int]
    windows: list[WindowUnits]


def held_totals(holds: Mapping[str, str]) -> tuple[HeldTotals, list[Difference]]:
    """Return the units reserved by open holds, and the holds that are unreadable."""
    all_held, unread = HeldTotals({}, []), []
    for call, raw in sorted(holds.items()):
        try:
            hold = parse_hold(raw, 0)
        except UnreadableError:
            unread.append(Difference(f"hold {call}", None, "document", "a hold", quoted(raw)))
            continue
        for amount in hold.amounts:
            _take(all_held, amount)
    return all_held, unread


def _take(all_held: HeldTotals, amount: HeldAmount) -> None:
    counter = "quota"
    if amount.kind is AmountKind.CREDIT:
        counter = "included"
        all_held.balances[amount.name] = all_held.balances.get(amount.name, 0) + amount.from_balance
    units = amount.reserved - amount.from_balance
    for window, number in amount.windows.items():
        all_held.windows.append(WindowUnits(f"{counter}:{amount.name}:{window}", number, units))


def parse_whole(text: str | None) -> int | None:
    """Return a whole number in the form the scripts write; None for anything else."""
    return int(text) if text is not None and _WHOLE.fullmatch(text) else None


def parse_entry_id(identifier: str) -> tuple[int, int]:
    """Return milliseconds since the epoch and sequence number of an entry's id; (0, 0) for anything else."""
    match = _ID.fullmatch(identifier)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def quoted(text: str | None) -> str:
    """Return a stored value as a difference shows it, shortened."""
    return "nothing" if text is None else repr(text[:80])
