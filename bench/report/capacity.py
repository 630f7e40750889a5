"""Sidecars and stores for a number of calls, reckoned from the measured cost of one call."""

from __future__ import annotations

import math

from bench.report.figures import US, Figures

CALLS_PER_MINUTE = 1_000_000
BUSY = 0.7
"""Highest average load of a core at which calls do not queue."""


def cores(microseconds: float, calls_per_second: float, busy: float = BUSY) -> float:
    """Return the cores that calls keep so busy."""
    return microseconds * calls_per_second / 1e6 / busy


def table_of(run: Figures) -> str:
    """Return the table for a million calls a minute."""
    rate = CALLS_PER_MINUTE / 60
    lines = ["| Calls | Sidecars, one core each | Store: busy cores | Primaries |", "| --- | --- | --- | --- |"]
    for name in ("scoped", "priced"):
        cost, store = (run.of(name, "c32", US, figure) for figure in ("cpu_us", "store_us"))
        if cost is None or store is None:
            continue
        busy = cores(store.median, rate, 1.0)
        sidecars, primaries = (math.ceil(round(cores(each.median, rate), 6)) for each in (cost, store))
        lines.append(f"| {name} | {sidecars} | {busy:.1f} | {primaries} |")
    return "\n".join(lines)
