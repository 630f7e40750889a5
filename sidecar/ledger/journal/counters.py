"""Verify counters of quotas and included credits against the journal: each entry names the windows that count it.

Pure. Older entries are folded: replaced by sums in the ledger, the checkpoint. `fold_counters` is the model of the sums
that `lua/journal.lua` keeps.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from sidecar.ledger.journal.entries import (
    Difference,
    Entry,
    HeldTotals,
    JournalSnapshot,
    WindowUnits,
    parse_entry_id,
    parse_whole,
    quoted,
)
from sidecar.ledger.windows import window_at
from sidecar.model import MAX_AMOUNT
from sidecar.window_rules import WINDOWS

_WINDOW: Final = re.compile(r"([a-z]+):([0-9]{1,16})(?::([0-9]{1,20}))?", re.ASCII)
_UNITS: Final = re.compile(r"[0-9]{1,20}", re.ASCII)
_COUNTER: Final = re.compile(r"([0-9]{1,16}):([0-9]{1,16})", re.ASCII)
_PRICED: Final = frozenset({"settled", "released", "spend"})
"""Events that may spend included credits."""

_INEXACT_FROM: Final = MAX_AMOUNT // 2
"""Counters from here on are not compared: near `MAX_AMOUNT` the store's sums are not exact."""

NO_ENTRY: Final = "0-0"
"""Id before the first entry."""


@dataclass(slots=True)
class CounterTotals:
    """Units per counter in its newest window, and the time up to which they are unknown.

    Earlier versions wrote entries without windows: counters of windows up to the last of them cannot be verified.

    Attributes:
        windows: (number of the window, units) per field of the ledger, such as `quota:requests:minute`.
        unknown: time of the newest entry without windows, per `quota:NAME` or `included:POOL`, in milliseconds since
            the epoch.
        uncounted: id of the newest folded entry without windows; it applies to every counter.
    """

    windows: dict[str, tuple[int, int]] = field(default_factory=dict)
    unknown: dict[str, int] = field(default_factory=dict)
    uncounted: str = NO_ENTRY

    def add(self, added: WindowUnits) -> None:
        """Add units; units of a window older than the newest one are ignored."""
        number, units = self.windows.get(added.counter, (-1, 0))
        if added.number > number:
            number, units = added.number, 0
        if added.number == number:
            self.windows[added.counter] = number, min(MAX_AMOUNT, units + added.units)

    def unknown_until(self, counter: str) -> int:
        """Return the time of the counter's last entry without windows; 0 when there is none."""
        return max(self.unknown.get(counter, 0), parse_entry_id(self.uncounted)[0])

    @property
    def latest_unknown(self) -> int:
        """Time of the last entry without windows, of all counters; 0 when there is none."""
        return max(parse_entry_id(self.uncounted)[0], 0, *self.unknown.values())


def fold_counters(entries: Iterable[Entry]) -> CounterTotals:
    """Fold entries, from the account's first on, into the counters of a checkpoint."""
    counted = CounterTotals()
    for entry in entries:
        amounts = list(_amounts(entry))
        for amount in amounts:
            for units in amount.window_units():
                counted.add(units)
        if any(not amount.has_windows for amount in amounts):
            counted.uncounted = entry.id
    return counted


def verify_counters(snapshot: JournalSnapshot, entries: Sequence[Entry], held: HeldTotals) -> list[Difference]:
    """Recompute the counters of windows that have not expired; return the differences.

    Args:
        snapshot: stored state.
        entries: entries of the stream up to `snapshot.newest`, oldest first.
        held: units reserved by open holds.
    """
    counted, found = count_units(snapshot, entries)
    for units in held.windows:
        counted.add(units)
    names = {name for name in snapshot.ledger if name.startswith(("quota:", "included:"))}
    for name in sorted(names | counted.windows.keys()):
        found += _compare(name, snapshot, counted)
    return found


def count_units(snapshot: JournalSnapshot, entries: Sequence[Entry]) -> tuple[CounterTotals, list[Difference]]:
    """Add the units of entries to those of the checkpoint; return them, and unreadable or inconsistent fields."""
    counted, found = _checkpoint(snapshot)
    for entry in entries:
        for amount in _amounts(entry):
            found += amount.faults()
            for units in amount.window_units():
                counted.add(units)
            if not amount.has_windows:
                counted.unknown[amount.counter] = entry.at
    return counted, found


# --- one entry ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Amount:
    """Amount of one quota or pool in one entry; `counter` is `quota:NAME` or `included:POOL`."""

    entry: Entry
    counter: str

    @property
    def _is_credit(self) -> bool:
        return self.counter.startswith("included:")

    @property
    def _name(self) -> str:
        return self.counter.partition(":")[2]

    @property
    def _windows(self) -> str | None:
        return self.entry.fields.get(f"windows:{self.counter}")

    @property
    def has_windows(self) -> bool:
        """False for entries of earlier versions; True also when no window counts the amount."""
        return self._windows is not None

    @property
    def units(self) -> int | None:
        """Units of the quota, or included credits, that the call used; None when the entry is unreadable."""
        fields = self.entry.fields
        if not self._is_credit:
            text = fields[self.counter]
            return int(text) if _UNITS.fullmatch(text) else None
        cost, change = parse_whole(fields[f"credit:{self._name}"]), parse_whole(fields.get(f"change:{self._name}"))
        return None if cost is None or change is None else cost + change

    def window_units(self) -> Iterator[WindowUnits]:
        """Yield the units that each window counts: those that the window names, or all."""
        for word in (self._windows or "").split(" "):
            match = _WINDOW.fullmatch(word)
            if match is not None:
                units = self.units or 0 if match[3] is None else int(match[3])
                yield WindowUnits(f"{self.counter}:{match[1]}", int(match[2]), units)

    def faults(self) -> Iterator[Difference]:
        pool = self._name if self._is_credit else None
        field = f"credit:{self._name}" if self._is_credit else self.counter
        units, stored = self.units, self.entry.fields[field]
        if units is None:
            yield Difference(self.entry.id, pool, field, "a whole number", quoted(stored))
        # Without a window of included credits, the balance paid for all of the credits.
        elif units < 0 or (units and self._is_credit and self._windows == ""):
            yield Difference(self.entry.id, pool, field, str(int(stored) - units), stored)
        part = self.entry.fields.get(self.counter) if self._is_credit else None
        if part is not None and units is not None and parse_whole(part) != units:
            yield Difference(self.entry.id, pool, self.counter, str(units), quoted(part))
        if self._windows and not all(map(_WINDOW.fullmatch, self._windows.split(" "))):
            yield Difference(self.entry.id, pool, "windows", "WINDOW:NUMBER ...", quoted(self._windows))


def _amounts(entry: Entry) -> Iterator[_Amount]:
    for name in entry.fields:
        kind, _, rest = name.partition(":")
        if kind == "quota":
            yield _Amount(entry, name)
        elif kind == "credit" and entry.fields.get("event") in _PRICED:
            yield _Amount(entry, f"included:{rest}")


# --- checkpoint and counters ----------------------------------------------------------------------


def _checkpoint(snapshot: JournalSnapshot) -> tuple[CounterTotals, list[Difference]]:
    counted, found = CounterTotals(), []
    for name, value in snapshot.ledger.items():
        if not name.startswith("folded:"):
            continue
        match = _COUNTER.fullmatch(value)
        if match is None:
            found.append(Difference(f"ledger {name}", None, "folded counter", "NUMBER:USED", quoted(value)))
        else:
            counted.windows[name.removeprefix("folded:")] = int(match[1]), int(match[2])
    last = snapshot.ledger.get("journal:last", NO_ENTRY)
    # An earlier version folds without counting.
    complete = snapshot.folded == snapshot.ledger.get("journal:counted", "0")
    counted.uncounted = snapshot.ledger.get("journal:uncounted", NO_ENTRY) if complete else last
    if parse_entry_id(counted.uncounted) > parse_entry_id(last) or (
        counted.uncounted != NO_ENTRY and not parse_entry_id(counted.uncounted)[0]
    ):
        found.append(Difference("ledger journal:uncounted", None, "id", f"one up to {last}", quoted(counted.uncounted)))
        counted.uncounted = NO_ENTRY
    return counted, found


def _compare(name: str, snapshot: JournalSnapshot, counted: CounterTotals) -> Iterator[Difference]:
    counter, _, window = name.rpartition(":")
    if window not in WINDOWS:
        return  # not a counter: no script reads this field
    stored = snapshot.ledger.get(name)
    pool = counter.partition(":")[2] if counter.startswith("included:") else None
    match = _COUNTER.fullmatch(stored) if stored is not None else None
    if stored is not None and match is None:
        yield Difference(f"ledger {name}", pool, "counter", "NUMBER:USED", quoted(stored))
        return
    expected = counted.windows.get(name, (-1, 0))
    found = (int(match[1]), int(match[2])) if match else (expected[0], 0)
    newest = max(found[0], expected[0])
    unknown = min(counted.unknown_until(counter), snapshot.now)
    known = not unknown or newest > window_at(window, unknown)[0]
    # Expired windows are ignored.
    if newest < window_at(window, snapshot.now)[0] or not known or expected[1] >= _INEXACT_FROM:
        return
    if found != expected:
        yield Difference(f"ledger {name}", pool, "counter", _written(expected), _written(found))


def _written(counter: tuple[int, int]) -> str:
    number, units = counter
    return "nothing" if number < 0 else f"{number}:{units}"
