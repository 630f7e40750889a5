"""Every single edit of an account's records that would add or remove units."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

from sidecar.ledger.journal.entries import Entry, JournalSnapshot
from sidecar.ledger.windows import window_at
from sidecar.window_rules import WINDOWS


class Edit(NamedTuple):
    """Stored state after one edit."""

    what: str
    snapshot: JournalSnapshot
    entries: list[Entry]


def edits(snapshot: JournalSnapshot, entries: list[Entry]) -> Iterator[Edit]:
    """All of them, each made alone."""
    for field, value in snapshot.ledger.items():
        for edited in (*_numbers(field, value, snapshot.now), *_garbage(field)):
            ledger = {**snapshot.ledger, field: edited}
            yield Edit(f"ledger {field}: {value} -> {edited}", replace(snapshot, ledger=ledger), entries)
        if _counts_now(field, value, snapshot.now) and not value.endswith(":0"):
            ledger = {name: each for name, each in snapshot.ledger.items() if name != field}
            yield Edit(f"ledger {field}: removed", replace(snapshot, ledger=ledger), entries)
    for field, value in (("balance:new", "3"), ("quota:new:month", f"{window_at('month', snapshot.now)[0]}:3")):
        ledger = {**snapshot.ledger, field: value}
        yield Edit(f"ledger {field}: {value} added", replace(snapshot, ledger=ledger), entries)
    for by in (-1, 1):
        yield Edit(f"paid: {by}", replace(snapshot, paid=snapshot.paid + by), entries)
    for call, raw in snapshot.holds.items():
        for what, document in _holds(json.loads(raw), snapshot.now):
            holds = {**snapshot.holds, call: json.dumps(document)}
            yield Edit(f"hold {call}: {what}", replace(snapshot, holds=holds), entries)
    for index, entry in enumerate(entries):
        yield Edit(f"entry {index} removed", snapshot, entries[:index] + entries[index + 1 :])
        yield Edit(f"entry {index} twice", snapshot, [*entries[: index + 1], *entries[index:]])
        for field, edited in _entry(entry, snapshot.now):
            changed = Entry(entry.id, {**entry.fields, field: edited})
            what = f"entry {index} {field}: {entry.fields[field]} -> {edited}"
            yield Edit(what, snapshot, [*entries[:index], changed, *entries[index + 1 :]])


def _is_current(window: str, number: int, now: int) -> bool:
    return window in WINDOWS and number >= window_at(window, now)[0]


def _counts_now(field: str, value: str, now: int) -> bool:
    kind, _, rest = field.partition(":")
    return kind in ("quota", "included", "folded") and _is_current(
        rest.rpartition(":")[2], int(value.partition(":")[0]), now
    )


def _numbers(field: str, value: str, now: int) -> Iterator[str]:
    kind = field.partition(":")[0]
    if kind in ("balance", "total") or field in ("journal:written", "journal:folded", "journal:paid"):
        yield from (str(int(value) + by) for by in (-1, 1, 1000))
    elif kind == "checkpoint":
        total, granted, spent = map(int, value.split(":"))
        yield f"{total + 1}:{granted}:{spent}"
        yield f"{total + 1}:{granted + 1}:{spent}"
    elif kind in ("quota", "included", "folded"):
        number, used = map(int, value.split(":"))
        window = field.rpartition(":")[2]
        if _counts_now(field, value, now):
            yield f"{number}:{used + 1}"
            if used:
                yield f"{number}:{used - 1}"
                yield f"{number - 1}:{used}"
                yield f"{number + 1}:{used}"
        elif kind != "folded":
            yield f"{window_at(window, now)[0]}:{used + 1}"


def _garbage(field: str) -> tuple[str, ...]:
    kind = field.partition(":")[0]
    return ("", "x", "1.5", "0x10") if kind in ("balance", "total", "quota", "included", "folded", "checkpoint") else ()


def _holds(document: dict[str, Any], now: int) -> Iterator[tuple[str, dict[str, Any]]]:
    def with_amount(index: int, **changes: Any) -> dict[str, Any]:
        amounts = [dict(amount) for amount in document["amounts"]]
        amounts[index] |= changes
        return {**document, "amounts": amounts}

    for index, amount in enumerate(document["amounts"]):
        windows = amount["windows"] or {}
        reserved, balance = int(amount["reserved"]), int(amount.get("balance", 0))
        if any(_is_current(window, int(number), now) for window, number in windows.items()):
            yield f"{index} reserved", with_amount(index, reserved=str(reserved + 1))
            if reserved > balance:
                ended = {window: str(int(number) - 1) for window, number in windows.items()}
                yield f"{index} windows", with_amount(index, windows=ended)
        if amount["kind"] == "credit":
            yield f"{index} balance", with_amount(index, balance=str(balance + 1))


def _entry(entry: Entry, now: int) -> Iterator[tuple[str, str]]:
    event = entry.fields["event"]
    for field, value in entry.fields.items():
        kind, _, rest = field.partition(":")
        if field == "n" or kind in ("change", "total"):
            yield field, str(int(value) + 1)
            yield field, "x"
        elif kind == "windows":
            windows = [word.split(":") for word in value.split(" ") if word]
            current = [word for word in windows if _is_current(word[0], int(word[1]), now)]
            name = rest.partition(":")[2]
            if rest.startswith("quota:"):
                priced, units = rest, int(entry.fields[rest])
            else:
                priced = f"credit:{name}"
                units = int(entry.fields[priced]) + int(entry.fields[f"change:{name}"])
            # A window that had ended before the call was resolved says its units itself.
            if current and any(len(word) == 2 for word in current):
                yield priced, str(int(entry.fields[priced]) + 1)
                if units:
                    yield field, value.replace(f":{current[0][1]}", f":{int(current[0][1]) - 1}")
        elif (kind == "credit" and event == "grant") or (kind == "included" and event == "spend"):
            yield field, str(int(value) + 1)
