"""Timers that share one timer of the event loop: each of the loop's own takes 600 bytes, and an open stream has two."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from typing import Final

_RESOLUTION: Final = 0.001  # seconds by which the event loop's clock may be behind when it calls
_FEW: Final = 64  # cancelled timers that may stay, however few others there are


class SharedTimer:
    """One timer, until it is cancelled or over.

    Attributes:
        when: when it is due, on the event loop's clock.
        callback: called then; None once it was called or cancelled.
    """

    __slots__ = ("_timers", "callback", "when")

    def __init__(self, timers: SharedTimers, when: float, callback: Callable[[], object]) -> None:
        self._timers = timers
        self.when = when
        self.callback: Callable[[], object] | None = callback

    def __lt__(self, other: SharedTimer) -> bool:
        return self.when < other.when

    def cancel(self) -> None:
        """Cancel it, and drop what it refers to."""
        if self.callback is not None:
            self.callback = None
            self._timers.cancelled()


class SharedTimers:
    """Timers of one event loop, the earliest first.

    A cancelled one stays until it is due, or until half of all are cancelled.
    """

    __slots__ = ("_armed", "_cancelled", "_due")

    def __init__(self) -> None:
        self._due: list[SharedTimer] = []
        self._cancelled = 0
        self._armed: asyncio.TimerHandle | None = None  # calls for the earliest

    def __len__(self) -> int:
        return len(self._due)

    def call_at(self, when: float, callback: Callable[[], object]) -> SharedTimer:
        """Call a function once, on the running event loop.

        Args:
            when: the time, on the event loop's clock.
            callback: takes nothing.
        """
        timer = SharedTimer(self, when, callback)
        heappush(self._due, timer)
        if self._due[0] is timer:
            self._arm()
        return timer

    def cancelled(self) -> None:
        """Count a cancelled timer, and drop all of them when they are too many."""
        self._cancelled += 1
        if self._cancelled > _FEW and self._cancelled > len(self._due) // 2:
            self._due = [each for each in self._due if each.callback is not None]
            heapify(self._due)
            self._cancelled = 0

    def _arm(self) -> None:
        if self._armed is not None:
            self._armed.cancel()
            self._armed = None
        if self._due:
            self._armed = asyncio.get_running_loop().call_at(self._due[0].when, self._run)

    def _run(self) -> None:
        """Call what is due. A callback that raises leaves the rest for the next turn of the loop, which reports it."""
        latest = asyncio.get_running_loop().time() + _RESOLUTION
        try:
            while self._due and self._due[0].when <= latest:
                timer = heappop(self._due)
                callback, timer.callback = timer.callback, None
                if callback is None:
                    self._cancelled -= 1
                else:
                    callback()
        finally:
            self._arm()
