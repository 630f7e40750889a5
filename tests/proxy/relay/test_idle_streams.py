"""Memory of an idle stream: thousands are open at one time, so what each holds is counted."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

import pytest

from tests.proxy.relay.test_subscriptions import ACKNOWLEDGED, listening, listens
from tests.proxy.support import Launch, policy
from tests.support.backend import Backend
from tests.support.rig import Rig, Stream
from tests.support.store import until

Opened = Callable[[Rig, str], AbstractAsyncContextManager[Stream]]

FEW, MANY = 3, 40
BYTES, OBJECTS = 12_500, 118
"""Allocations by the sidecar's own code that one stream may hold; both kinds hold a tenth less."""


@asynccontextmanager
async def _get(rig: Rig, token: str) -> AsyncIterator[Stream]:
    async with rig.stream(token=token, session=await rig.session(token=token)) as stream:
        yield stream


@asynccontextmanager
async def _listen(rig: Rig, token: str) -> AsyncIterator[Stream]:
    async with listening(rig, token) as stream:
        assert await stream.message() == ACKNOWLEDGED
        yield stream


@pytest.mark.parametrize("open_one", [_get, _listen], ids=["GET", "subscriptions/listen"])
async def test_an_idle_stream_holds_little(launch: Launch, open_one: Opened):
    rules = policy(methods={"subscriptions/listen": {"scopes": ["stores:read"]}})
    rig = await launch(policy=rules, scripted=Backend(sessions=True), limits={"streams_per_account": MANY + FEW})
    rig.backend.on("subscriptions/listen", listens)
    token = rig.issuer.mint()
    async with AsyncExitStack() as stack:
        for _ in range(FEW):  # what all streams share
            await stack.enter_async_context(open_one(rig, token))
        await until(lambda: len(rig.backend.streams) == FEW)
        gc.collect()
        tracemalloc.start()
        try:
            for _ in range(MANY):
                await stack.enter_async_context(open_one(rig, token))
            await until(lambda: len(rig.backend.streams) == FEW + MANY)
            gc.collect()
            held = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(True, "*/sidecar/*")])
        finally:
            tracemalloc.stop()
    found = held.statistics("lineno")
    largest = "\n".join(f"{each.size / MANY:8.0f} {each.count / MANY:6.2f} {each.traceback}" for each in found[:25])
    assert sum(each.size for each in found) / MANY <= BYTES, largest
    assert sum(each.count for each in found) / MANY <= OBJECTS, largest
