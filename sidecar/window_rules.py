"""Kinds of windows in which quotas and included credits are counted; this table is the only definition."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

Window = str
"""Name in `WINDOW_RULES`: a fixed UTC window on the store's clock."""


@dataclass(frozen=True, slots=True)
class WindowRule:
    """Length of one kind of window: a number of seconds, or of calendar months.

    Attributes:
        seconds: length of a window; 0 for windows of calendar months.
        begins: seconds from the epoch to the start of some window of fixed length.
        months: calendar months from the start of a window to the next.
    """

    seconds: int = 0
    begins: int = 0
    months: int = 0


WINDOW_RULES: Final[Mapping[str, WindowRule]] = {
    "minute": WindowRule(seconds=60),
    "hour": WindowRule(seconds=3_600),
    "day": WindowRule(seconds=86_400),
    "month": WindowRule(months=1),
}
"""Every kind of window, shortest first. Scripts, the policy's grammar and docs are generated from this table."""

WINDOWS: Final[tuple[str, ...]] = tuple(WINDOW_RULES)
