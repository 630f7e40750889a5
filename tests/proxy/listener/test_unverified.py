"""Awaiting a caller: free of charge where the token tells at once, and out of one share where it does not."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, cast

import pytest

from sidecar.errors import ErrorCode, Refusal
from sidecar.model import Caller
from sidecar.proxy.listener.answering_connection import ClientRequest
from sidecar.proxy.listener.unverified import UNREAD, Unverified
from sidecar.proxy.memory import MemoryBudget

TOTAL = 16 << 20
ADA = cast(Caller, "ada")


@dataclass
class Request:
    """Stand-in with the members of a request that are read."""

    content_length: int | None = None
    can_read_body: bool = True


class Gate:
    """A coroutine that waits for a future once, or not at all."""

    def __init__(self, *, waits: bool = True, fails: Exception | None = None) -> None:
        self.future: asyncio.Future[None] | None = asyncio.get_running_loop().create_future() if waits else None
        self.fails = fails
        self.ended = False

    async def verify(self) -> Caller:
        try:
            if self.future is not None:
                await self.future
            if self.fails is not None:
                raise self.fails
            return ADA
        finally:
            self.ended = True


def unverified(gate: Gate, budget: MemoryBudget, length: int | None = UNREAD, *, body: bool = True) -> Unverified:
    return Unverified(gate.verify(), cast(ClientRequest, Request(length, body)), budget, TOTAL)


async def test_a_token_that_tells_at_once_holds_nothing_even_when_there_is_no_room():
    budget = MemoryBudget()
    others = [budget.lease("", TOTAL) for _ in range(2)]
    assert others[0].keep(TOTAL // 4 - TOTAL // 32)
    assert await unverified(Gate(waits=False), budget) == ADA
    with pytest.raises(ZeroDivisionError):
        await unverified(Gate(waits=False, fails=ZeroDivisionError()), budget)


@pytest.mark.parametrize(
    ("length", "body", "size"), [(1000, True, 1000), (1 << 30, True, UNREAD), (None, True, UNREAD), (None, False, 0)]
)
async def test_what_may_arrive_meanwhile_is_held_while_it_waits(length: int | None, body: bool, size: int):
    budget, gate = MemoryBudget(), Gate()

    async def wait() -> Caller:
        return await unverified(gate, budget, length, body=body)

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    assert budget.used == size
    assert gate.future is not None
    gate.future.set_result(None)
    assert await task == ADA
    assert (budget.used, budget.accounts) == (0, 0)


async def test_where_the_share_is_full_it_is_refused_and_no_longer_awaited():
    budget, gate = MemoryBudget(), Gate()
    assert budget.lease("", TOTAL).keep(TOTAL // 4 - TOTAL // 32)
    with pytest.raises(Refusal) as caught:
        await unverified(gate, budget)
    assert caught.value.code is ErrorCode.OVERLOADED
    assert gate.ended
    small = asyncio.create_task(_awaited(unverified(Gate(), budget, 1000)))
    await asyncio.sleep(0)
    assert not small.done()
    small.cancel()


async def _awaited(each: Unverified) -> Caller:
    return await each


@pytest.mark.parametrize("how", ["failure", "cancellation", "failed future"])
async def test_whatever_ends_the_wait_reaches_the_token_s_check_and_gives_everything_back(how: str):
    budget, gate = MemoryBudget(), Gate(fails=KeyError() if how == "failure" else None)
    task = asyncio.create_task(_awaited(unverified(gate, budget)))
    await asyncio.sleep(0)
    assert budget.used == UNREAD
    expected: Any = KeyError
    assert gate.future is not None
    if how == "cancellation":
        task.cancel()
        expected = asyncio.CancelledError
    elif how == "failed future":
        gate.future.set_exception(OSError())
        expected = OSError
    else:
        gate.future.set_result(None)
    with pytest.raises(expected):
        await task
    assert gate.ended
    assert (budget.used, budget.accounts) == (0, 0)
