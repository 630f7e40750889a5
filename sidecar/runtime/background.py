"""Background tasks of a process: each is restarted after a fault."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from sidecar.observe.logs import fault_place

RESTART_AFTER: Final = 1.0
"""Seconds between a fault of a task and its restart."""


async def run_forever(
    task: Callable[[], Awaitable[None]], failed: Callable[[str], None], pause: float = RESTART_AFTER
) -> None:
    """Run a background task until it ends or is cancelled.

    Args:
        task: starts it.
        failed: called with the type and place of each fault.
        pause: seconds before it is restarted.
    """
    while True:
        try:
            return await task()
        except Exception as error:  # noqa: BLE001 - after any fault streams must still end, and certificates be renewed
            failed(fault_place(error))
            await asyncio.sleep(pause)
