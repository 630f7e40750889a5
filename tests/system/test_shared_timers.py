"""Timers that share one of the event loop's."""

from __future__ import annotations

import asyncio
import weakref

from sidecar.system.shared_timers import SharedTimers


class Noted:
    """Something that a timer refers to."""

    def __init__(self, seen: list[str], name: str, last: asyncio.Event | None = None) -> None:
        self.seen = seen
        self.name = name
        self.last = last

    def call(self) -> None:
        self.seen.append(self.name)
        if self.last is not None:
            self.last.set()


async def test_timers_are_called_once_in_the_order_of_their_times():
    timers, seen, over = SharedTimers(), list[str](), asyncio.Event()
    now = asyncio.get_running_loop().time()
    timers.call_at(now + 0.03, Noted(seen, "third", over).call)
    timers.call_at(now + 0.02, Noted(seen, "second").call)
    timers.call_at(now - 1.0, Noted(seen, "first").call)
    await asyncio.wait_for(over.wait(), 30)
    assert seen == ["first", "second", "third"]
    assert len(timers) == 0


async def test_a_timer_that_is_set_by_another_is_called_too():
    timers, seen, over = SharedTimers(), list[str](), asyncio.Event()
    now = asyncio.get_running_loop().time()
    timers.call_at(now, lambda: timers.call_at(now + 0.01, Noted(seen, "later", over).call))
    await asyncio.wait_for(over.wait(), 30)
    assert seen == ["later"]


async def test_a_cancelled_timer_is_not_called_and_refers_to_nothing():
    timers, seen, over = SharedTimers(), list[str](), asyncio.Event()
    now = asyncio.get_running_loop().time()
    noted = Noted(seen, "cancelled")
    timer = timers.call_at(now + 0.01, noted.call)
    gone = weakref.ref(noted)
    timer.cancel()
    timer.cancel()
    del noted
    assert gone() is None
    timers.call_at(now + 0.02, Noted(seen, "kept", over).call)
    await asyncio.wait_for(over.wait(), 30)
    assert seen == ["kept"]


async def test_cancelled_timers_do_not_pile_up():
    timers, seen, over = SharedTimers(), list[str](), asyncio.Event()
    now = asyncio.get_running_loop().time()
    kept = [timers.call_at(now + 3600 + number, Noted(seen, "kept").call) for number in range(100)]
    for number in range(10_000):
        timers.call_at(now + 1800 + number, Noted(seen, "cancelled").call).cancel()
        assert len(timers) <= 2 * len(kept) + 1
    timers.call_at(now, Noted(seen, "due", over).call)
    await asyncio.wait_for(over.wait(), 30)
    assert seen == ["due"]


async def test_a_fault_in_one_leaves_the_others():
    timers, seen, over = SharedTimers(), list[str](), asyncio.Event()
    loop = asyncio.get_running_loop()
    faults: list[BaseException | None] = []
    loop.set_exception_handler(lambda _loop, context: faults.append(context.get("exception")))
    try:
        timers.call_at(loop.time(), lambda: 1 // 0)
        timers.call_at(loop.time(), Noted(seen, "next", over).call)
        await asyncio.wait_for(over.wait(), 30)
    finally:
        loop.set_exception_handler(None)
    assert seen == ["next"]
    assert [type(fault) for fault in faults] == [ZeroDivisionError]
