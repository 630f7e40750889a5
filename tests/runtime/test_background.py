"""Background tasks are restarted after a fault, and end when they are done or cancelled."""

import asyncio

import pytest

from sidecar.runtime.background import run_forever


async def test_a_task_that_fails_is_restarted_and_its_fault_is_reported_without_its_message():
    faults: list[str] = []
    begun = 0

    async def task() -> None:
        nonlocal begun
        begun += 1
        if begun < 3:
            raise ValueError("canary")

    await run_forever(task, faults.append, pause=0)
    assert begun == 3
    assert [text.split(" ")[0] for text in faults] == ["ValueError", "ValueError"]
    assert "canary" not in str(faults)


async def test_a_task_that_is_cancelled_is_not_restarted():
    begun = asyncio.Event()

    async def task() -> None:
        begun.set()
        await asyncio.sleep(3600)

    running = asyncio.create_task(run_forever(task, pytest.fail, pause=0))
    await begun.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
