"""Background tasks of a process: each is restarted after a fault."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from sidecar.observe.logs import fault_place
from sidecar.observe.repeats import Repeats

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


class BackgroundTasks:
    """Background tasks of one process, with a log line for each fault.

    Args:
        repeats: the log.
    """

    def __init__(self, repeats: Repeats) -> None:
        self._repeats = repeats
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, task: Callable[[], Awaitable[None]], name: str, *, after: float = 0.0) -> None:
        """Start a task that runs until `cancel`; the log calls it by this name.

        Args:
            task: starts it.
            name: its name.
            after: seconds until it begins. Tasks of one interval that begin at one moment would all run in the same
                turns of the event loop, and a call that meets these would wait for all of them.
        """

        def failed(fault: str) -> None:
            self._repeats.event("background_task_failed", "error", what=name, fault=fault)

        async def begun() -> None:
            await asyncio.sleep(after)
            await run_forever(task, failed)

        self._tasks.append(asyncio.create_task(begun() if after else run_forever(task, failed), name=name))

    async def cancel(self) -> None:
        """Cancel all tasks and wait for their end."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
