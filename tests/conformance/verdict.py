"""Compare two runs of the suite, bare and behind the sidecar: a conformant server may lose nothing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import zip_longest
from typing import Final

from tests.conformance.suite import Check, Found, Requirements

# How good a status is. INFO says nothing about conformance.
_RANK: Final = {"SUCCESS": 3, "SKIPPED": 2, "WARNING": 1, "FAILURE": 0}


@dataclass(frozen=True, slots=True)
class Lost:
    """A check that came off worse behind the sidecar.

    Attributes:
        bare: its status without the sidecar; empty when it was not made there.
        behind: its status with it; empty when it was not made there.
    """

    id: str
    description: str
    bare: str
    behind: str
    error: str


@dataclass(frozen=True, slots=True)
class Tally:
    """Number of passed checks, of those with a verdict."""

    passed: int
    total: int

    @classmethod
    def of(cls, checks: Iterable[Check]) -> Tally:
        statuses = [check.status for check in checks if check.status in ("SUCCESS", "WARNING", "FAILURE")]
        return cls(statuses.count("SUCCESS"), len(statuses))

    @property
    def whole(self) -> bool:
        return self.passed == self.total

    def __str__(self) -> str:
        return f"{self.passed}/{self.total}" if self.total else "-"


@dataclass(frozen=True, slots=True)
class Row:
    """One scenario in both columns."""

    scenario: str
    required: bool
    bare: Tally
    behind: Tally
    lost: tuple[Lost, ...]

    @property
    def wrong(self) -> bool:
        """Return if the sidecar is at fault, or the bare server fails a required check."""
        return bool(self.lost) or (self.required and not (self.bare.whole and self.bare.total))

    @property
    def remark(self) -> str:
        """Report of it."""
        if self.lost:
            return f"LOST BEHIND THE SIDECAR: {len(self.lost)}"
        if self.wrong:
            return "THE SERVER ITSELF MUST PASS THIS"
        if not self.bare.total:
            return "nothing is checked"
        return "" if self.bare.whole else "fails in both"


def rows(wanted: Requirements, bare: Found, behind: Found) -> list[Row]:
    """Every scenario that was run, required ones first."""
    return [
        Row(
            scenario,
            scenario in wanted.required,
            Tally.of(bare[scenario]),
            Tally.of(behind[scenario]),
            tuple(lost(bare[scenario], behind[scenario])),
        )
        for scenario in wanted.scenarios
        if scenario in bare and scenario in behind
    ]


def lost(bare: Iterable[Check], behind: Iterable[Check]) -> Iterator[Lost]:
    """Return the checks that are worse behind the sidecar; checks of one kind are compared in order."""
    before, after = _by_kind(bare), _by_kind(behind)
    for kind in before | after:
        for was, is_ in zip_longest(before.get(kind, ()), after.get(kind, ())):
            if _worse(was, is_):
                error = is_.error if is_ is not None else "the check was not made"
                yield Lost(*kind, was.status if was else "", is_.status if is_ else "", error)


def _by_kind(checks: Iterable[Check]) -> dict[tuple[str, str], list[Check]]:
    found: dict[tuple[str, str], list[Check]] = defaultdict(list)
    for check in checks:
        if check.status in _RANK:
            found[check.id, check.description].append(check)
    return found


def _worse(was: Check | None, is_: Check | None) -> bool:
    if was is None:
        return is_ is not None and is_.status == "FAILURE"  # the suite reports some checks only if they fail
    if is_ is None:
        return was.status == "SUCCESS"
    return _RANK[is_.status] < _RANK[was.status]
