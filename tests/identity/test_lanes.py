from __future__ import annotations

import asyncio

import pytest

from sidecar.identity.lanes import Allowance, BusyError, Lane
from tests.identity.support import NOW, Clock


async def test_a_lane_has_so_many_places_and_a_bounded_queue():
    lane, leave, inside = Lane(2, 3), asyncio.Event(), 0

    async def enter() -> None:
        nonlocal inside
        async with lane.place():
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


async def test_who_gives_up_waiting_leaves_no_gap():
    lane, leave = Lane(1, 1), asyncio.Event()

    async def enter() -> None:
        async with lane.place():
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
    async with lane.place():
        pass


def test_an_allowance_is_used_up_and_comes_back():
    clock = Clock()
    allowance = Allowance(3, 2.0, clock)
    for _ in range(3):
        allowance.take()
    for seconds, takes in ((0.4, 0), (0.1, 1), (1.0, 2), (60.0, 3)):
        clock.now += seconds
        for _ in range(takes):
            allowance.take()
        with pytest.raises(BusyError):
            allowance.take()


def test_what_is_given_back_is_not_more_than_there_was():
    clock = Clock(NOW)
    allowance = Allowance(2, 1.0, clock)
    for _ in range(100):
        allowance.take()
        allowance.give_back()
    allowance.give_back()
    allowance.take()
    allowance.take()
    with pytest.raises(BusyError):
        allowance.take()
