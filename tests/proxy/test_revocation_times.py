"""Delays of revocations: the first denial and each ended stream are measured from the time in the store's record."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from sidecar.model import Caller
from sidecar.store import revocation_times
from sidecar.store.commands import scripts
from sidecar.store.commands.keys import account_keys
from sidecar.store.revocation_times import RevocationTimes
from sidecar.store.store import Store
from tests.proxy.support import Launch
from tests.support.backend import Backend
from tests.support.rig import Rig
from tests.support.store import StoreServer, until

KEYS = account_keys("main", "ada")
DENIED = "mcp_sidecar_revocation_denial_seconds_count"
ENDED = "mcp_sidecar_revocation_stream_end_seconds_count"
ADA = Caller("main", "https://issuer.test", "ada", "ada", "cli-1", frozenset(), 0, 0)


@pytest.fixture
async def rig(launch: Launch) -> Rig:
    return await launch(scripted=Backend(sessions=True))


async def counted(rig: Rig, series: str, count: int) -> None:
    async with asyncio.timeout(60):
        while await rig.metric(series) != count:  # noqa: ASYNC110 - a scrape cannot set an event
            await asyncio.sleep(0.01)


async def test_the_first_call_that_a_revocation_denies_is_measured(rig: Rig):
    assert await rig.metric(DENIED) == 0
    await rig.revoke()
    for _ in range(3):
        assert (await rig.call("list_taxonomy")).code == "consent_revoked"
    await counted(rig, DENIED, 1)
    await rig.grant()
    assert (await rig.call("list_taxonomy")).code is None
    assert await rig.metric(DENIED) == 1


async def test_a_stream_that_a_revocation_ends_is_measured(rig: Rig):
    async with rig.stream() as stream:
        await until(lambda: len(rig.backend.streams) == 1)
        await rig.revoke()
        while await stream.event() is not None:
            pass
    await counted(rig, ENDED, 1)


async def test_a_disabled_account_is_no_revocation(rig: Rig):
    async with rig.stream() as stream:
        await until(lambda: len(rig.backend.streams) == 1)
        with rig.redis() as client:
            client.hset(KEYS.account, "status", "disabled")
        await rig.sidecar.request_path.revocations.check()
        while await stream.event() is not None:
            pass
    await until(lambda: not rig.sidecar.request_path.revocation_times._pending)
    assert await rig.metric(ENDED) == 0


# --- with a clock of the test ------------------------------------------------------------------------


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


Measured = tuple[RevocationTimes, Clock, list[float]]


@pytest.fixture
async def times(store_server: StoreServer) -> AsyncIterator[Measured]:
    """Ada was revoked 1,000 seconds ago; the clock has just begun to count."""
    with store_server.client() as client:
        client.hset(KEYS.consent("ada", "cli-1"), mapping={"status": "revoked", "at": f"{time.time() - 1_000:.3f}"})
    store, clock, found = Store(store_server.url, scripts), Clock(), list[float]()
    await store.start()
    made = RevocationTimes(store, found.append, found.append, clock)
    task = asyncio.create_task(made.watch())
    yield made, clock, found
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    await store.close()


async def test_a_revocation_from_before_this_process_is_not_measured(times: Measured):
    made, clock, found = times
    clock.now += 900
    made.stream_ended(ADA)
    await until(lambda: not made._pending)
    assert found == []
    clock.now += 200
    made.stream_ended(ADA)
    await until(lambda: bool(found))
    assert found == [pytest.approx(1_000, abs=60)]


async def test_waiting_for_the_store_does_not_count(times: Measured):
    made, clock, found = times
    clock.now += 2_000
    made.stream_ended(ADA)
    clock.now += 300
    await until(lambda: bool(found))
    assert found == [pytest.approx(700, abs=60)]


async def test_each_revocation_has_one_first_denial(times: Measured):
    made, clock, found = times
    clock.now += 2_000
    for since in (5, 5, None, 6, 6):
        made.denied(ADA, since)
    await until(lambda: len(found) == 2 and not made._pending)
    assert len(found) == 2


def test_memory_is_bounded():
    made = RevocationTimes(Store("redis://127.0.0.1:1", scripts), lambda _: None, lambda _: None)
    for number in range(revocation_times.MAX_REVOCATIONS + 10):
        made.denied(replace(ADA, account=f"a{number}"), 5)
    assert len(made._denied) == revocation_times.MAX_REVOCATIONS
    assert len(made._pending) == revocation_times.MAX_PENDING
