"""Background tasks are restarted after a fault, and end when they are done or cancelled."""

import asyncio
from functools import partial

import pytest

from sidecar.observe.logs import Lines
from sidecar.observe.repeats import Repeats
from sidecar.runtime.background import BackgroundTasks, run_forever
from tests.support.store import until


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


async def test_a_task_may_begin_later_and_be_cancelled_before():
    order: list[str] = []

    async def ran(name: str) -> None:
        order.append(name)

    tasks = BackgroundTasks(Repeats(Lines()))
    tasks.start(partial(ran, "later"), "later", after=0.02)
    tasks.start(partial(ran, "never"), "never", after=3600)
    tasks.start(partial(ran, "first"), "first")
    await until(lambda: "later" in order)
    await tasks.cancel()
    assert order == ["first", "later"]
