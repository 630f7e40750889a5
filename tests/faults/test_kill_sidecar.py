"""A sidecar that is killed during a paid call: its lease expires in real time and decides.

What it decides at every point of a call is in `tests/settlement`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.backend import Backend, after, default
from tests.support.processes import Accounts, House, accounts, house, paid_policy, succeeded, wait_for
from tests.support.store import StoreServer

GRANTED = 100
TIMEOUT = "6s"
MARGIN = 0.5
pytestmark = pytest.mark.timeout(300)  # processes start slowly where many tests share a processor


@pytest.fixture
def ada(own_server: StoreServer) -> Iterator[Accounts]:
    with accounts(own_server.path, GRANTED) as made:
        yield made


async def test_a_dead_sidecar_s_calls_are_resolved_when_their_leases_end_and_no_sooner(
    tmp_path: Path, ada: Accounts, own_server: StoreServer
):
    work = asyncio.Event()
    backend = Backend()
    backend.once(after(work, default()), after(work, default()))
    async with house(tmp_path, own_server.url, policy=paid_policy(TIMEOUT), margin=MARGIN, backend=backend) as built:
        sidecar = await built.start()
        with ada.watched():
            calls = [
                asyncio.create_task(built.reveal(sidecar, "a", "b")),
                asyncio.create_task(built.enrich(sidecar, 3)),
            ]
            await wait_for(lambda: len(backend.received) == 2)
            await sidecar.kill()
            assert not any(succeeded(reply) for reply in await asyncio.gather(*calls, return_exceptions=True))
            work.set()
            await wait_for(lambda: len(backend.executed) == 2)  # the backend finishes what it was asked for
            await resolved_by_another(built, ada)


async def resolved_by_another(built: House, ada: Accounts) -> None:
    """Start a sidecar, and see what becomes of the holds that the dead one left: what the tools say, on time."""
    orphaned = ada.look()
    assert (orphaned.balance, orphaned.held, orphaned.spent) == (GRANTED - 5, 5, 0)
    assert await built.verified()
    other = await built.start()
    async with asyncio.timeout(60):
        while ada.look().holds:  # any script of the account resolves what is overdue
            assert succeeded(await built.call(other, "get_usage"))
            await asyncio.sleep(0.05)
    seen = ada.look()
    assert (seen.balance, seen.held, seen.spent, seen.paid) == (GRANTED - 2, 0, 2, {"a", "b"})
    assert await built.verified()
    ended = {entry["call"]: (moment, entry) for moment, entry in seen.entries}
    assert ended.keys() == orphaned.holds.keys()
    for call, (moment, entry) in ended.items():
        assert moment >= orphaned.leases[call], "resolved before its lease was over"
        assert entry["expired"] == "1"
    outcomes = {entry["event"]: int(entry["credit:contact"]) for _, entry in ended.values()}
    assert outcomes == {"settled": 2, "released": 0}
    # Paid is paid: the repeat is free, and only what is new costs anything.
    assert succeeded(await built.reveal(other, "a", "b"))
    await wait_for(lambda: not ada.look().holds)
    assert ada.look().spent == 2
    assert succeeded(await built.reveal(other, "b", "c"))
    await wait_for(lambda: not ada.look().holds)
    assert ada.look().spent == 3
    assert await built.verified()
