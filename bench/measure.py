"""Figures of processes from /proc: CPU, memory; and of lists of samples."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

PROC = Path("/proc")


def descendants(pids: Iterable[int]) -> list[int]:
    """Return these processes and all that descend from them."""
    children: dict[int, list[int]] = {}
    for folder in PROC.iterdir():
        if folder.name.isdigit():
            try:
                parent = parent_of((folder / "stat").read_text())
            except OSError:
                continue  # it ended meanwhile
            children.setdefault(parent, []).append(int(folder.name))
    found, left = [], list(pids)
    while left:
        pid = left.pop()
        found.append(pid)
        left += children.get(pid, [])
    return found


def parent_of(stat: str) -> int:
    """Return the parent's id from the text of /proc/PID/stat."""
    return int(stat.rpartition(")")[2].split()[1])


def ticks_of(stat: str) -> int:
    """Return user and system time, in clock ticks, from the text of /proc/PID/stat."""
    fields = stat.rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def running_of(schedstat: str) -> int:
    """Return the nanoseconds on a CPU from the text of a schedstat file."""
    return int(schedstat.split()[0])


def pss_of(rollup: str) -> int:
    """Return the proportional set size, in bytes, from the text of /proc/PID/smaps_rollup."""
    found = re.search(r"^Pss:\s+(\d+) kB$", rollup, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


class CpuClock:
    """CPU seconds of processes with all their threads and children, between two readings.

    The scheduler counts nanoseconds by thread where the kernel is built so, else ticks of 10 ms by process. A thread
    that ended in between is missing from the first count only.
    """

    def __init__(self, pids: Iterable[int]) -> None:
        self._pids = descendants(pids)
        self._began = self._reading()

    def _reading(self) -> dict[str, float]:
        """CPU seconds by thread, or by process."""
        found: dict[str, float] = {}
        for pid in self._pids:
            try:
                for task in (PROC / str(pid) / "task").iterdir():
                    found[f"{pid}/{task.name}"] = running_of((task / "schedstat").read_text()) / 1e9
            except OSError:
                try:
                    stat = (PROC / str(pid) / "stat").read_text()
                except OSError:
                    continue
                found[str(pid)] = ticks_of(stat) / os.sysconf("SC_CLK_TCK")
        return found

    def seconds(self) -> float:
        """Return the CPU seconds since the clock was made."""
        return spent(self._began, self._reading())


def spent(before: Mapping[str, float], after: Mapping[str, float]) -> float:
    """Return what all threads used between two readings; one that began in between counts from zero."""
    return sum(max(0.0, used - before.get(name, 0.0)) for name, used in after.items())


def pss(pids: Iterable[int]) -> int:
    """Return the bytes of memory of processes and their children, shared pages by their share."""
    return sum(pss_of((PROC / str(pid) / "smaps_rollup").read_text()) for pid in descendants(pids))


def percentile(samples: Sequence[float], share: float) -> float:
    """Return the smallest sample that at least this share of all samples does not exceed."""
    ordered = sorted(samples)
    rank = max(1, -(-round(share * 1_000_000) * len(ordered) // 1_000_000))
    return ordered[min(rank, len(ordered)) - 1]
