"""Fixed UTC windows on the store's clock, and counters of units used in them.

Pure. `lua/clock.lua` computes the same from the same table (`window_rules`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from sidecar.window_rules import WINDOW_RULES, Window


def window_at(window: Window, now: int) -> tuple[int, int]:
    """Return the number of the fixed UTC window that contains a moment, and the whole seconds until it ends.

    Args:
        window: kind of window.
        now: milliseconds since the epoch.
    """
    seconds, rule = now // 1000, WINDOW_RULES[window]
    if length := rule.seconds:
        since = seconds - rule.begins
        return since // length, length - since % length
    today = datetime.fromtimestamp(seconds, UTC)
    number = (today.year * 12 + today.month - 1) // rule.months
    month = (number + 1) * rule.months
    following = datetime(month // 12, month % 12 + 1, 1, tzinfo=UTC)
    return number, int(following.timestamp()) - seconds


@dataclass(frozen=True, slots=True)
class Counter:
    """Units used in the window of a number."""

    window: int
    used: int


def used(counters: Mapping[tuple[str, Window], Counter], name: str, window: Window, number: int) -> int:
    """Return the units used in a window; 0 when the counter is of another window."""
    counter = counters.get((name, window))
    return counter.used if counter is not None and counter.window == number else 0


def current(counters: Mapping[tuple[str, Window], Counter], name: str, window: Window, now: int) -> tuple[Counter, int]:
    """Return the counter of the current window, and the whole seconds until it ends on the store's clock.

    The window after the clock's is current once it has counted something: a clock that was set back, or the clock of
    another server, must not restart a window.

    Args:
        counters: counters of quotas, or of included credits.
        name: name of the quota or pool.
        window: kind of window.
        now: milliseconds since the epoch.
    """
    number, rest = window_at(window, now)
    counter = counters.get((name, window))
    if counter is not None and counter.window in (number, number + 1):
        return counter, rest
    return Counter(number, 0), rest
