"""Lanes: the number of threads stays within their size, also when callers are cancelled."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import weakref

import pytest

from sidecar.system.threads import LimitedThreads
from tests.support.store import until


async def test_the_result_or_exception_of_the_function_is_returned():
    threads = LimitedThreads("t")
    assert await threads.run(max, 1, 2) == 2
    with pytest.raises(ZeroDivisionError):
        await threads.run(divmod, 1, 0)
    assert not threads.busy


async def test_a_thread_is_kept_for_the_next_function():
    threads = LimitedThreads("t")
    used = {await threads.run(threading.get_ident) for _ in range(20)}
    assert used == {await threads.run(threading.get_ident)}


async def test_functions_at_one_time_have_a_thread_each_and_never_more():
    threads, together = LimitedThreads("t", 3), threading.Barrier(3)
    used: set[int] = set()

    def meet() -> None:
        together.wait(30)
        used.add(threading.get_ident())

    for _ in range(10):
        await asyncio.gather(*(threads.run(meet) for _ in range(3)))
    assert len(used) == 3


async def test_a_kept_thread_holds_nothing_of_the_last_function():
    class Large:
        pass

    threads = LimitedThreads("t")
    gone = weakref.ref(await threads.run(Large))
    await until(lambda: gone() is None)


async def test_a_cancelled_caller_does_not_free_the_thread():
    """Else every attempt that is cut short would leave one more thread behind."""
    threads, gate, began = LimitedThreads("t", 2), threading.Event(), []

    def stuck() -> None:
        began.append(1)
        assert gate.wait(30)

    for _ in range(20):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.005):
                await threads.run(stuck)
    assert len(began) <= 2
    assert threads.busy
    gate.set()
    async with asyncio.timeout(60):
        assert await threads.run(max, 1, 2) == 2


async def test_others_wait_their_turn_in_order():
    threads, gate = LimitedThreads("t"), threading.Event()
    order: list[int] = []
    first = asyncio.create_task(threads.run(gate.wait, 30))
    rest = [asyncio.create_task(threads.run(order.append, number)) for number in range(10)]
    await asyncio.sleep(0)
    rest[3].cancel()
    gate.set()
    await asyncio.gather(first, *rest, return_exceptions=True)
    assert order == [0, 1, 2, 4, 5, 6, 7, 8, 9]


async def test_a_slot_given_to_a_cancelled_waiter_is_passed_on():
    threads, gate = LimitedThreads("t"), threading.Event()
    first = asyncio.create_task(threads.run(gate.wait, 30))
    await asyncio.sleep(0)
    second, third = (asyncio.create_task(threads.run(max, 1, 2)) for _ in range(2))
    await asyncio.sleep(0)
    gate.set()
    await first
    second.cancel()
    async with asyncio.timeout(60):
        assert await third == 2


STUCK = """
import asyncio, threading
from sidecar.system.threads import LimitedThreads
async def main():
    try:
        async with asyncio.timeout(0.05):
            await LimitedThreads("t").run(threading.Event().wait)
    except TimeoutError:
        print("gave up")
asyncio.run(main())
"""


def test_a_stuck_thread_does_not_keep_the_process():
    done = subprocess.run([sys.executable, "-c", STUCK], capture_output=True, text=True, timeout=150)
    assert (done.returncode, done.stdout, done.stderr) == (0, "gave up\n", "")
