"""The figures of a run, by workload, mode and peer: medians, spreads and ratios of the same round."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

US, TEXTBOOK, DIRECT = "sidecar", "textbook", "direct"


@dataclass(frozen=True, slots=True)
class Spread:
    """A median and the lowest and highest round."""

    median: float
    lowest: float
    highest: float

    def text(self, digits: int = 0) -> str:
        """Return `median (lowest-highest)`."""
        shown = [f"{value:,.{digits}f}" for value in (self.median, self.lowest, self.highest)]
        return f"{shown[0]} ({shown[1]}–{shown[2]})"


def spread(values: list[float]) -> Spread | None:
    """Return the spread of some rounds, None of none."""
    return Spread(statistics.median(values), min(values), max(values)) if values else None


class Figures:
    """Look up what was measured.

    Args:
        document: what a run wrote.
    """

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.document = document
        self._cells = {(cell["workload"], cell["mode"], cell["peer"]): cell["figures"] for cell in document["cells"]}

    def rounds(self, workload: str, mode: str, peer: str, figure: str) -> list[float]:
        """Return the values of all rounds, none if it was not measured."""
        return list(self._cells.get((workload, mode, peer), {}).get(figure, []))

    def of(self, workload: str, mode: str, peer: str, figure: str) -> Spread | None:
        """Return a figure's spread."""
        return spread(self.rounds(workload, mode, peer, figure))

    def compared(
        self, one: tuple[str, str, str], other: tuple[str, str, str], figure: str, by: Callable[[float, float], float]
    ) -> Spread | None:
        """Return how two cells compare, round by round: what disturbs a round disturbs both."""
        pairs = zip(self.rounds(*one, figure), self.rounds(*other, figure), strict=False)
        return spread([by(mine, theirs) for mine, theirs in pairs])

    def ratio(self, workload: str, peer: str, to: str = TEXTBOOK, figure: str = "cpu_us") -> Spread | None:
        """Return the ratio of two peers at 32 connections."""
        cells = ((workload, "c32", peer), (workload, "c32", to))
        return self.compared(*cells, figure, lambda mine, theirs: mine / theirs if theirs else 0.0)

    def added(self, workload: str, peer: str, figure: str, mode: str = "low") -> Spread | None:
        """Return the milliseconds that a peer adds at a low rate to the backend's own."""
        cells = ((workload, mode, peer), (workload, mode, DIRECT))
        return self.compared(*cells, figure, lambda mine, theirs: mine - theirs)

    def added_ratio(self, workload: str, peer: str, to: str, figure: str) -> Spread | None:
        """Return the ratio of what two peers add at a low rate, round by round."""
        rounds = zip(*(self.rounds(workload, "low", each, figure) for each in (peer, to, DIRECT)), strict=False)
        return spread([(mine - own) / (theirs - own) for mine, theirs, own in rounds if theirs > own])

    def further(self, name: str, figure: str) -> Spread | None:
        """Return a figure of a workload that is no call in rounds."""
        value = self.document["further"].get(name, {}).get(figure)
        if value is None:
            return None
        return spread(value if isinstance(value, list) else [value])
