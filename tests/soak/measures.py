"""Memory and descriptors of the measured sidecar, and the latency of calls."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.soak.faults import children
from tests.support.processes import SidecarProcess

ALLOWED_GROWTH = 1.10
"""Largest quotient of the memory in the last quarter of a run and in the second one."""
LONG = 300.0
"""Seconds from which on the growth of memory is judged: before, caches and pools still fill."""


@dataclass(slots=True)
class Measures:
    """Use of one process, once a second.

    Attributes:
        rss: KiB of memory, workers included.
        descriptors: open ones, workers included.
        seconds: latencies of calls that brought a result.
    """

    sidecar: Callable[[], SidecarProcess | None]
    rss: list[int] = field(default_factory=list)
    descriptors: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    _began: float = field(default_factory=time.monotonic)

    async def watch(self) -> None:
        """Measure until it is cancelled."""
        self._began = time.monotonic()
        while True:
            sidecar = self.sidecar()
            if sidecar is not None:
                processes = [sidecar.pid, *children(sidecar.pid)]
                self.rss.append(sum(map(_rss, processes)))
                self.descriptors.append(sum(map(_descriptors, processes)))
            await asyncio.sleep(1)

    def rows(self) -> list[tuple[str, str]]:
        """Lines of the table."""
        times = statistics.quantiles(self.seconds, n=100) if len(self.seconds) > 1 else [0.0] * 99
        return [
            (
                "latency of results: median, 99th percentile, longest",
                f"{times[49] * 1000:.0f} ms, {times[98] * 1000:.0f} ms, {max(self.seconds, default=0.0) * 1000:.0f} ms",
            ),
            (
                "memory of the sidecar that was not killed, by quarters",
                " → ".join(f"{each:.0f}" for each in self._mib()) + " MiB",
            ),
            ("its open descriptors, by quarters", " → ".join(str(max(part)) for part in _quarters(self.descriptors))),
        ]

    def wrong(self) -> list[str]:
        """Growth of memory in a long run."""
        second, last = self._mib()[1], self._mib()[3]
        if time.monotonic() - self._began < LONG or last <= second * ALLOWED_GROWTH:
            return []
        return [f"memory grew from {second:.0f} to {last:.0f} MiB"]

    def _mib(self) -> list[float]:
        return [statistics.median(part) / 1024 for part in _quarters(self.rss)]


def _quarters(values: Sequence[int]) -> list[Sequence[int]]:
    """Four parts of a series, none empty."""
    size = max(1, len(values) // 4)
    return [(values[size * part : size * (part + 1)] if part < 3 else values[size * 3 :]) or [0] for part in range(4)]


def _descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def _rss(pid: int) -> int:
    text = Path(f"/proc/{pid}/status").read_text()
    return next((int(line.split()[1]) for line in text.splitlines() if line.startswith("VmRSS:")), 0)
