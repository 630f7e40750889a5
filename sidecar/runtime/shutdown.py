"""End of a process: wait for load balancers, then write the last lines of the log."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

from sidecar.observe.logs import FLUSH_WITHIN, Lines
from sidecar.system.threads import LimitedThreads

ADMIN_GRACE: Final = 5.0
"""Seconds for scrapes in flight when the process ends."""
SETTLE_GRACE: Final = 5.0
"""Seconds for settlements on their way to the store when the process ends."""


async def wait_unless(cut_short: asyncio.Event, delay: float) -> None:
    """Wait for `delay` seconds, or until `cut_short` is set."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(delay):
            await cut_short.wait()


async def close_log(lines: Lines) -> None:
    """Log the end, and give the reader of standard output a moment to take what is queued."""
    lines.event("stopped")
    with contextlib.suppress(TimeoutError):  # the reader has stopped
        async with asyncio.timeout(FLUSH_WITHIN):
            await LimitedThreads("flush").run(lines.flush)
