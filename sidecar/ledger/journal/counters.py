"""What quotas and included credits must have been used, by the journal: each entry says where its units count.

Pure. `fold_counters` is the model of what `lua/journal.lua` keeps of folded entries.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from sidecar.ledger.journal_entries import Difference, Entry, Held, Place, Snapshot, moment, shown, whole
from sidecar.ledger.windows import window_at
from sidecar.model import MAX_AMOUNT, WINDOWS

_WINDOWS: Final = re.compile(r"([a-z]+):([0-9]{1,16})(?::([0-9]{1,20}))?", re.ASCII)
_UNITS: Final = re.compile(r"[0-9]{1,20}", re.ASCII)
_COUNTER: Final = re.compile(r"([0-9]{1,16}):([0-9]{1,16})", re.ASCII)
_PRICED: Final = frozenset({"settled", "released", "spend"})
"""Events whose credits were partly taken from included ones; the others never are."""

_EXACT: Final = MAX_AMOUNT // 2
"""Up to here a counter is compared: near `MAX_AMOUNT` the store's own sums are not exact."""

NO_ENTRY: Final = "0-0"
"""The id before every entry."""


@dataclass(slots=True)
class Counted:
    """Units per counter in the newest window that something was counted in, and what is not known of it.

    Attributes:
        windows: (number of the window, units) per field of the ledger, as `quota:requests:minute`.
        unknown: per `quota:NAME` or `included:POOL`: when an entry was written that does not say where it counts,
            in milliseconds since the epoch. An earlier version did so; nothing can be said of the windows up to then.
        uncounted: id of the newest folded entry of that kind, of whatever counter.
    """

    windows: dict[str, tuple[int, int]] = field(default_factory=dict)
    unknown: dict[str, int] = field(default_factory=dict)
    uncounted: str = NO_ENTRY

    def add(self, place: Place) -> None:
        """Count units; what is counted in an older window than the newest one has no effect any more."""
        number, units = self.windows.get(place.counter, (-1, 0))
        if place.number > number:
            number, units = place.number, 0
        if place.number == number:
            self.windows[place.counter] = number, min(MAX_AMOUNT, units + place.units)

    def unknown_until(self, counter: str) -> int:
        """When the last entry that does not say where it counts was written; 0 when all of them say it."""
        return max(self.unknown.get(counter, 0), moment(self.uncounted)[0])

    @property
    def latest_unknown(self) -> int:
        """The same of all counters."""
        return max(moment(self.uncounted)[0], 0, *self.unknown.values())


def fold_counters(entries: Iterable[Entry]) -> Counted:
    """What some entries, from the account's first on, leave in the checkpoint."""
    counted = Counted()
    for entry in entries:
        counts = list(_counts(entry))
        for count in counts:
            for place in count.places():
                counted.add(place)
        if any(count.unplaced for count in counts):
            counted.uncounted = entry.id
    return counted


def verify_counters(snapshot: Snapshot, entries: Sequence[Entry], held: Held) -> list[Difference]:
    """Recompute the counters whose windows have not ended, and name what differs.

    Args:
        snapshot: what is stored.
        entries: all of the stream up to `snapshot.newest`, oldest first.
        held: what open holds have taken.
    """
    counted, found = count(snapshot, entries)
    for place in held.places:
        counted.add(place)
    names = {name for name in snapshot.ledger if name.startswith(("quota:", "included:"))}
    for name in sorted(names | counted.windows.keys()):
        found += _compare(name, snapshot, counted)
    return found


def count(snapshot: Snapshot, entries: Sequence[Entry]) -> tuple[Counted, list[Difference]]:
    """What checkpoint and entries together have counted, and what of them cannot be read or does not add up."""
    counted, found = _checkpoint(snapshot)
    for entry in entries:
        for each in _counts(entry):
            found += each.faults()
            for place in each.places():
                counted.add(place)
            if each.unplaced:
                counted.unknown[each.counter] = entry.at
    return counted, found


# --- one entry ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Count:
    """What one entry says of one quota or pool."""

    entry: Entry
    counter: str

    @property
    def _credit(self) -> bool:
        return self.counter.startswith("included:")

    @property
    def _name(self) -> str:
        return self.counter.partition(":")[2]

    @property
    def _windows(self) -> str | None:
        return self.entry.fields.get(f"windows:{self.counter}")

    @property
    def unplaced(self) -> bool:
        return self._windows is None

    @property
    def units(self) -> int | None:
        """What the call used, or took from included credits; None when the entry does not say it in numbers."""
        fields = self.entry.fields
        if not self._credit:
            text = fields[self.counter]
            return int(text) if _UNITS.fullmatch(text) else None
        cost, change = whole(fields[f"credit:{self._name}"]), whole(fields.get(f"change:{self._name}"))
        return None if cost is None or change is None else cost + change

    def places(self) -> Iterator[Place]:
        for word in (self._windows or "").split(" "):
            match = _WINDOWS.fullmatch(word)
            if match is not None:
                units = self.units or 0 if match[3] is None else int(match[3])
                yield Place(f"{self.counter}:{match[1]}", int(match[2]), units)

    def faults(self) -> Iterator[Difference]:
        pool = self._name if self._credit else None
        field = f"credit:{self._name}" if self._credit else self.counter
        units, stored = self.units, self.entry.fields[field]
        if units is None:
            yield Difference(self.entry.id, pool, field, "a whole number", shown(stored))
        # Credits that nothing included has paid were all taken from the balance.
        elif units < 0 or (units and self._credit and self._windows == ""):
            yield Difference(self.entry.id, pool, field, str(int(stored) - units), stored)
        part = self.entry.fields.get(self.counter) if self._credit else None
        if part is not None and units is not None and whole(part) != units:
            yield Difference(self.entry.id, pool, self.counter, str(units), shown(part))
        if self._windows and not all(map(_WINDOWS.fullmatch, self._windows.split(" "))):
            yield Difference(self.entry.id, pool, "windows", "WINDOW:NUMBER ...", shown(self._windows))


def _counts(entry: Entry) -> Iterator[_Count]:
    for name in entry.fields:
        kind, _, rest = name.partition(":")
        if kind == "quota":
            yield _Count(entry, name)
        elif kind == "credit" and entry.fields.get("event") in _PRICED:
            yield _Count(entry, f"included:{rest}")


# --- checkpoint and counters ----------------------------------------------------------------------


def _checkpoint(snapshot: Snapshot) -> tuple[Counted, list[Difference]]:
    counted, found = Counted(), []
    for name, value in snapshot.ledger.items():
        if not name.startswith("folded:"):
            continue
        match = _COUNTER.fullmatch(value)
        if match is None:
            found.append(Difference(f"ledger {name}", None, "folded counter", "NUMBER:USED", shown(value)))
        else:
            counted.windows[name.removeprefix("folded:")] = int(match[1]), int(match[2])
    last = snapshot.ledger.get("journal:last", NO_ENTRY)
    # An earlier version folds without counting.
    complete = snapshot.folded == snapshot.ledger.get("journal:counted", "0")
    counted.uncounted = snapshot.ledger.get("journal:uncounted", NO_ENTRY) if complete else last
    if moment(counted.uncounted) > moment(last) or (counted.uncounted != NO_ENTRY and not moment(counted.uncounted)[0]):
        found.append(Difference("ledger journal:uncounted", None, "id", f"one up to {last}", shown(counted.uncounted)))
        counted.uncounted = NO_ENTRY
    return counted, found


def _compare(name: str, snapshot: Snapshot, counted: Counted) -> Iterator[Difference]:
    counter, _, window = name.rpartition(":")
    if window not in WINDOWS:
        return  # nothing reads it
    stored = snapshot.ledger.get(name)
    pool = counter.partition(":")[2] if counter.startswith("included:") else None
    match = _COUNTER.fullmatch(stored) if stored is not None else None
    if stored is not None and match is None:
        yield Difference(f"ledger {name}", pool, "counter", "NUMBER:USED", shown(stored))
        return
    expected = counted.windows.get(name, (-1, 0))
    found = (int(match[1]), int(match[2])) if match else (expected[0], 0)
    newest = max(found[0], expected[0])
    unknown = min(counted.unknown_until(counter), snapshot.now)
    known = not unknown or newest > window_at(window, unknown)[0]
    # Windows that have ended count for nobody any more.
    if newest < window_at(window, snapshot.now)[0] or not known or expected[1] >= _EXACT:
        return
    if found != expected:
        yield Difference(f"ledger {name}", pool, "counter", _written(expected), _written(found))


def _written(counter: tuple[int, int]) -> str:
    number, units = counter
    return "nothing" if number < 0 else f"{number}:{units}"
