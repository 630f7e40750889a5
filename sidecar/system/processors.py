"""Number of processors that this process may use."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Final

CGROUP: Final = Path("/sys/fs/cgroup")


def processors(cgroup: Path = CGROUP) -> int:
    """Return the number of usable processors: those of its affinity, at most as many as a container's quota pays for.

    Args:
        cgroup: the folder of the process's control group, as a container sees it.
    """
    # macOS has no affinity.
    affine = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota(cgroup)
    return affine if quota is None else max(1, min(affine, math.floor(quota)))


def _quota(cgroup: Path) -> float | None:
    """Return the processors that a quota pays for; None without one."""
    for names in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):  # cgroup 2, then 1
        try:
            words = " ".join((cgroup / name).read_text() for name in names).split()
            if words[0] in ("max", "-1"):
                return None
            return int(words[0]) / int(words[1])
        except (OSError, ValueError, IndexError, ZeroDivisionError):
            continue
    return None
