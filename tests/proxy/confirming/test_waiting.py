"""Waiting calls are woken by their handle, and bounded per account."""

from __future__ import annotations

import asyncio

import pytest

from sidecar.errors import ErrorCode, Refusal
from sidecar.proxy.confirming.waiting import MAX_WAITING, WaitEnd, WaitingCalls

SLOTS = 1000


async def test_an_answer_wakes_every_call_that_waits_for_its_approval():
    calls = WaitingCalls()
    with (
        calls.enter("a", "h1", SLOTS) as one,
        calls.enter("a", "h1", SLOTS) as twin,
        calls.enter("a", "h2", SLOTS) as other,
    ):
        with calls.enter("b", "h1", SLOTS) as foreign:
            calls.answered("a", "h1")
            assert [await each.woken(0) for each in (one, twin, other, foreign)] == [True, True, False, False]
            assert not await one.woken(0), "it has looked already"
            assert len(calls) == 4
        calls.answered("a", "unknown")
        calls.answered("unknown", "h1")
        assert not await one.woken(0)
    assert len(calls) == 0


async def test_a_call_is_woken_while_it_waits():
    calls = WaitingCalls()
    with calls.enter("a", "h", SLOTS) as call:
        waiting = asyncio.create_task(call.woken(30))
        await asyncio.sleep(0)
        calls.answered("a", "h", failed=True)
        assert await waiting
        assert call.failed
        assert call.end is None


async def test_the_first_reason_to_stop_counts():
    calls = WaitingCalls()
    with calls.enter("a", "h", SLOTS) as call:
        call.stop(WaitEnd.CANCELLED)
        calls.stop()
        assert await call.woken(30)
        assert call.end is WaitEnd.CANCELLED


async def test_a_process_that_shuts_down_lets_no_call_wait():
    calls = WaitingCalls()
    with calls.enter("a", "h", SLOTS) as call:
        calls.stop()
        assert await call.woken(30)
        assert call.end is WaitEnd.STOPPING
    with pytest.raises(Refusal) as refused:
        calls.enter("a", "h", SLOTS)
    assert refused.value.code is ErrorCode.OVERLOADED


async def test_an_account_has_a_limit_of_its_own():
    calls = WaitingCalls()
    waiting = [calls.enter("a", f"h{number}", SLOTS).__enter__() for number in range(MAX_WAITING)]
    with pytest.raises(Refusal) as refused:
        calls.enter("a", "one more", SLOTS)
    assert refused.value.code is ErrorCode.OVERLOADED
    with calls.enter("b", "h", SLOTS):
        pass
    waiting[0].__exit__()
    with calls.enter("a", "one more", SLOTS):
        assert len(calls) == MAX_WAITING


async def test_half_of_the_slots_stay_for_answers():
    calls = WaitingCalls()
    with calls.enter("a", "h", 4), calls.enter("b", "h", 4):
        with pytest.raises(Refusal) as refused:
            calls.enter("c", "h", 4)
        assert refused.value.code is ErrorCode.OVERLOADED
    with calls.enter("a", "h", 1):
        pass
