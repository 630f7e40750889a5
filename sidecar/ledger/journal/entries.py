"""What the journal of an account holds, and what it is compared with, as they are stored."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from sidecar.ledger.accounts import Amount
from sidecar.ledger.stored import UnreadableError, parse_hold
from sidecar.model import AmountKind

FIELDS: Final[Mapping[str, str]] = {
    "n": "number of the entry; they follow each other",
    "event": "`settled`, `released`, `late`; `set_aside`, when its hold cannot be read; `grant`, `spend`, `set`; "
    "`consent_granted`, `consent_revoked`; `account_deleted`",
    "call": "the call's id, or the operation's",
    "client": "client id of the call or the consent",
    "subject": "of the consent; absent for every subject",
    "expired": "`1`: resolved because its lease had ended",
    "first_use": "`1`: the first admitted call has granted the consent",
    "credit:POOL": "what the call cost, or the amount of the command",
    "quota:NAME": "what the call used",
    "included:POOL": "of a spend: the part taken from included credits",
    "windows:quota:NAME": "windows in which it counts, `minute:29606400 day:20560`; none where nothing limits it",
    "windows:included:POOL": "windows in which the part taken from included credits counts, in the same way",
    "change:POOL": "by how much balance and held credits together have changed",
    "total:POOL": "balance and held credits together, afterwards",
    "paid": "number of paid items afterwards, when the call has paid some",
    "forfeited:POOL": "of a deletion: what was left",
}
"""What fields an entry may have, and what they say. Arguments, items and results are never among them."""

_WHOLE: Final = re.compile(r"-?[0-9]{1,16}", re.ASCII)
_ID: Final = re.compile(r"([0-9]{1,20})-([0-9]{1,20})", re.ASCII)


class Entry(NamedTuple):
    """One entry of the stream as it is stored."""

    id: str
    fields: Mapping[str, str]

    @property
    def at(self) -> int:
        """Milliseconds since the epoch when it was written; 0 when its id does not say."""
        return moment(self.id)[0]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the entries are compared with, at one moment.

    Attributes:
        types: of the keys `ledger`, `holds`, `usage`, `account` and `paid`; `none` for those that do not exist.
        ledger: its fields, as stored.
        holds: document of each open hold, as stored.
        newest: id of the newest entry.
        paid: number of paid items.
        now: the store's clock, in milliseconds since the epoch.
    """

    types: Mapping[str, str]
    ledger: Mapping[str, str]
    holds: Mapping[str, str]
    newest: str
    paid: int
    now: int

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


class Place(NamedTuple):
    """Where units are counted: `counter` is a field of the ledger, as `quota:requests:minute`."""

    counter: str
    number: int
    units: int


class Held(NamedTuple):
    """What open holds have taken: credits of balances per pool, and units of counters."""

    balances: dict[str, int]
    places: list[Place]


def held(holds: Mapping[str, str]) -> tuple[Held, list[Difference]]:
    """What open holds have taken, and those that cannot be read."""
    all_held, unread = Held({}, []), []
    for call, raw in sorted(holds.items()):
        try:
            hold = parse_hold(raw, 0)
        except UnreadableError:
            unread.append(Difference(f"hold {call}", None, "document", "a hold", shown(raw)))
            continue
        for amount in hold.amounts:
            _take(all_held, amount)
    return all_held, unread


def _take(all_held: Held, amount: Amount) -> None:
    counter = "quota"
    if amount.kind is AmountKind.CREDIT:
        counter = "included"
        all_held.balances[amount.name] = all_held.balances.get(amount.name, 0) + amount.from_balance
    units = amount.reserved - amount.from_balance
    for window, number in amount.windows.items():
        all_held.places.append(Place(f"{counter}:{amount.name}:{window}", number, units))


def whole(text: str | None) -> int | None:
    """A whole number as the store's scripts write it; None when it is none."""
    return int(text) if text is not None and _WHOLE.fullmatch(text) else None


def moment(identifier: str) -> tuple[int, int]:
    """An entry's id in order: milliseconds since the epoch, number within them; (0, 0) when it is no id."""
    match = _ID.fullmatch(identifier)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def shown(text: str | None) -> str:
    """What was found, in a difference."""
    return "nothing" if text is None else repr(text[:80])
