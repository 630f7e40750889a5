"""What a process does beside serving requests: begun anew after a fault, because nobody else would do it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from sidecar.observe.logs import fault_place

BEGIN_AGAIN_AFTER: Final = 1.0
"""Seconds between a fault of a duty and its next beginning."""


async def persist(
    duty: Callable[[], Awaitable[None]], failed: Callable[[str], None], pause: float = BEGIN_AGAIN_AFTER
) -> None:
    """Do a duty until it is done or cancelled.

    Args:
        duty: begins it.
        failed: told what failed and where, each time.
        pause: seconds before it is begun again.
    """
    while True:
        try:
            return await duty()
        except Exception as error:  # noqa: BLE001 - whatever it was: streams must end, certificates be renewed
            failed(fault_place(error))
            await asyncio.sleep(pause)
