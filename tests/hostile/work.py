"""Compare the CPU time of hostile and benign input of the same size, as a ratio.

Both are measured in one process, in turns, and the smallest of several rounds counts, so a busy machine slows
both alike. No test here looks at a wall clock.
"""

from __future__ import annotations

import time
from collections.abc import Callable

MOST = 10.0
"""Allowed CPU of a hostile body, as a multiple of a benign one with the same size and number of values."""

_ROUNDS = 2  # the first one fills caches
_AGAIN = 25


def cpu(run: Callable[[], object]) -> float:
    """Return the CPU seconds of one run in this thread; a refusal that `run` raises is the caller's to catch."""
    before = time.thread_time()
    run()
    return time.thread_time() - before


def ratio(hostile: Callable[[], object], benign: Callable[[], object], rounds: int = _ROUNDS) -> float:
    """Return how many times the CPU time of `benign` one run of `hostile` takes.

    A run shorter than 50 microseconds counts as that long: below it the clock decides and not the code.
    """
    pairs = [(cpu(hostile), cpu(benign)) for _ in range(rounds)]
    floor = 50e-6
    return max(min(pair[0] for pair in pairs), floor) / max(min(pair[1] for pair in pairs), floor)


def assert_linear(hostile: Callable[[], object], benign: Callable[[], object], most: float = MOST) -> None:
    """Fail when `hostile` takes more than `most` times the CPU of `benign`, each time that it is measured.

    Neighbours on the processor disturb one measurement; what is expensive is so in every one.
    """
    found = ratio(hostile, benign)
    for _ in range(_AGAIN):
        if found <= most:
            return
        found = min(found, ratio(hostile, benign))
    assert found <= most, f"hostile input takes {found:.1f} times the CPU of benign input; at most {most:g} is allowed"
