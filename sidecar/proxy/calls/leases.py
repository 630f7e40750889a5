"""Time for which a hold is certainly this process's own, by clocks that run while the process is stopped."""

from __future__ import annotations

import time
from typing import Final

# Linux: CLOCK_MONOTONIC stands still while the machine is suspended, CLOCK_BOOTTIME does not.
_CLOCK: Final[int] = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class HoldLease:
    """Safe part of a lease, for its owner: it begins before the store's lease does, and ends before it.

    A process that was stopped finds its timers expired together with everything that has arrived meanwhile, in any
    order; so a lease is checked, never awaited. The wall clock counts too: a virtual machine that was paused resumes
    with both other clocks unchanged, and has its wall clock corrected. When the wall clock jumps forward for another
    reason, the only cost is a question to the store.

    Args:
        seconds: from now on, until its end on the store's clock.
        allowance: seconds by which that clock may run ahead, and that a settle may be on its way.
    """

    __slots__ = ("_allowed", "_began", "_began_by_wall")

    def __init__(self, seconds: float, allowance: float) -> None:
        self._allowed = seconds - allowance
        self._began = time.clock_gettime(_CLOCK)
        self._began_by_wall = time.time()

    @property
    def is_safe(self) -> bool:
        """True while no other process can have resolved the hold."""
        return (
            time.clock_gettime(_CLOCK) - self._began < self._allowed
            and time.time() - self._began_by_wall < self._allowed
        )
