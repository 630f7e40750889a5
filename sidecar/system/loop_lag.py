"""Lag of the event loop: how late a timer fires, because callbacks before it took long."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

EVERY: Final = 0.25
"""Seconds between two measurements."""


async def measure_forever(observe: Callable[[float], None], every: float = EVERY) -> None:
    """Measure until cancelled.

    Args:
        observe: receives each lag in seconds; timers have a resolution of a millisecond.
        every: seconds between two measurements.
    """
    while True:
        due = time.monotonic() + every
        await asyncio.sleep(every)
        observe(max(0.0, time.monotonic() - due))
