"""Fixed UTC windows on the store's clock, and what is used in them.

Pure. `lua/clock.lua` has the same windows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from sidecar.model import Window

_SECONDS: Final[dict[Window, int]] = {"minute": 60, "hour": 3600, "day": 86400}


def window_at(window: Window, now: int) -> tuple[int, int]:
    """The number of the fixed UTC window a moment lies in, and the whole seconds until it ends.

    Args:
        window: which kind.
        now: milliseconds since the epoch.
    """
    seconds = now // 1000
    if length := _SECONDS.get(window):
        return seconds // length, length - seconds % length
    today = datetime.fromtimestamp(seconds, UTC)
    number = today.year * 12 + today.month - 1
    following = datetime((number + 1) // 12, (number + 1) % 12 + 1, 1, tzinfo=UTC)
    return number, int(following.timestamp()) - seconds


@dataclass(frozen=True, slots=True)
class Counter:
    """Units used in one window, which is named by its number."""

    window: int
    used: int


def used(counters: Mapping[tuple[str, Window], Counter], name: str, window: Window, number: int) -> int:
    """What was used in the window of that number; a counter of another window says nothing about it."""
    counter = counters.get((name, window))
    return counter.used if counter is not None and counter.window == number else 0


def current(counters: Mapping[tuple[str, Window], Counter], name: str, window: Window, now: int) -> tuple[Counter, int]:
    """What was used in the window to count in, and the whole seconds until it ends on the store's clock.

    The window after the clock's is current once something was counted in it: a clock that was set back, or is
    that of another server, must not begin a window anew.

    Args:
        counters: of quotas, or of included credits.
        name: of the quota or pool.
        window: which kind.
        now: milliseconds since the epoch.
    """
    number, rest = window_at(window, now)
    counter = counters.get((name, window))
    if counter is not None and counter.window in (number, number + 1):
        return counter, rest
    return Counter(number, 0), rest
