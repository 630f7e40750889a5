from __future__ import annotations

import asyncio

import pytest

from sidecar.identity.opaque.request_limits import BoundedQueue, BusyError, TokenBucket
from tests.identity.support import NOW, Clock


async def test_a_queue_has_bounded_slots_and_waiters():
    queue, leave, inside = BoundedQueue(2, 3), asyncio.Event(), 0

    async def enter() -> None:
        nonlocal inside
        async with queue.slot():
            inside += 1
            await leave.wait()

    tasks = [asyncio.create_task(enter()) for _ in range(7)]
    busy, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    assert [type(task.exception()) for task in busy] == [BusyError, BusyError]
    assert inside == 2
    leave.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results].count(BusyError) == 2
    assert inside == 5


async def test_a_cancelled_waiter_frees_its_place_in_the_queue():
    queue, leave = BoundedQueue(1, 1), asyncio.Event()

    async def enter() -> None:
        async with queue.slot():
            await leave.wait()

    first, second = asyncio.create_task(enter()), asyncio.create_task(enter())
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.wait([second])
    third = asyncio.create_task(enter())
    await asyncio.sleep(0)
    with pytest.raises(BusyError):
        await enter()
    leave.set()
    await asyncio.gather(first, third)
    async with queue.slot():
        pass


def test_a_bucket_empties_and_refills():
    clock = Clock()
    allowance = TokenBucket(3, 2.0, clock)
    for _ in range(3):
        allowance.take()
    for seconds, takes in ((0.4, 0), (0.1, 1), (1.0, 2), (60.0, 3)):
        clock.now += seconds
        for _ in range(takes):
            allowance.take()
        with pytest.raises(BusyError):
            allowance.take()


def test_returned_tokens_do_not_exceed_the_burst():
    clock = Clock(NOW)
    allowance = TokenBucket(2, 1.0, clock)
    for _ in range(100):
        allowance.take()
        allowance.refund()
    allowance.refund()
    allowance.take()
    allowance.take()
    with pytest.raises(BusyError):
        allowance.take()
