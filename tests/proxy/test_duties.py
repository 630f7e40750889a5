"""Duties of the process go on after a fault, and end when they are done or cancelled."""

import asyncio

import pytest

from sidecar.proxy.duties import persist


async def test_a_duty_that_fails_is_begun_again_and_its_fault_is_told_without_what_it_quotes():
    told: list[str] = []
    begun = 0

    async def duty() -> None:
        nonlocal begun
        begun += 1
        if begun < 3:
            raise ValueError("canary")

    await persist(duty, told.append, pause=0)
    assert begun == 3
    assert [text.split(" ")[0] for text in told] == ["ValueError", "ValueError"]
    assert "canary" not in str(told)


async def test_a_duty_that_is_cancelled_is_not_begun_again():
    begun = asyncio.Event()

    async def duty() -> None:
        begun.set()
        await asyncio.sleep(3600)

    task = asyncio.create_task(persist(duty, pytest.fail, pause=0))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
