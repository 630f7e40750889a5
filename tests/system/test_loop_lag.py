"""Lag of the event loop: measured by a timer, whatever blocks the loop."""

from __future__ import annotations

import asyncio
import time

from sidecar.system.loop_lag import measure_forever


async def test_a_blocked_loop_shows_as_lag():
    found: list[float] = []
    measured = asyncio.Event()

    def observe(lag: float) -> None:
        found.append(lag)
        measured.set()

    task = asyncio.create_task(measure_forever(observe, every=0.05))
    await asyncio.sleep(0)  # the timer is set
    time.sleep(0.3)  # noqa: ASYNC251 - this is what is measured
    async with asyncio.timeout(60):
        await measured.wait()
    task.cancel()
    assert found[0] >= 0.2
