"""A sidecar that dies in the middle of a paid call: nothing is lost, nothing is paid twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from tests.support.backend import Backend, after, default, silent
from tests.support.processes import (
    Accounts,
    Floodgate,
    House,
    Look,
    SidecarProcess,
    accounts,
    house,
    paid_policy,
    succeeded,
    wait_for,
)
from tests.support.rig import LEGACY, MODERN, Reply
from tests.support.store import FaultProxy, StoreServer

GRANTED = 100
TIMEOUT = "3s"
MARGIN = 0.5
pytestmark = pytest.mark.timeout(180)  # processes start slowly where many tests share a processor


@pytest.fixture
def ada(own_server: StoreServer) -> Iterator[Accounts]:
    with accounts(own_server.path, GRANTED) as made:
        yield made


@asynccontextmanager
async def two_calls(built: House, sidecar: SidecarProcess) -> AsyncIterator[list[asyncio.Task[Reply]]]:
    """A call of two items that are paid once, and one that costs three, at the same time."""
    tasks = [asyncio.create_task(built.reveal(sidecar, "a", "b")), asyncio.create_task(built.enrich(sidecar, 3))]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def called_until_resolved(built: House, sidecar: SidecarProcess, ada: Accounts) -> None:
    """Call something that is free until no hold is open: any script of the account resolves what is overdue."""
    async with asyncio.timeout(60):
        while ada.look().holds:
            assert succeeded(await built.call(sidecar, "get_usage"))
            await asyncio.sleep(0.05)


async def resolved_by_another(built: House, ada: Accounts, orphaned: Look) -> None:
    """Start a sidecar, and see what becomes of the holds that the dead one left: what the tools say, on time."""
    assert (orphaned.balance, orphaned.held, orphaned.spent) == (GRANTED - 5, 5, 0)
    assert await built.verified()
    other = await built.start()
    await called_until_resolved(built, other, ada)
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
    other.terminate()
    assert await other.ended() == 0


async def test_killed_before_it_has_read_the_admission(tmp_path: Path, ada: Accounts, fault_proxy: FaultProxy):
    async with house(tmp_path, fault_proxy.url, policy=paid_policy(TIMEOUT), margin=MARGIN) as built:
        sidecar = await built.start()
        fault_proxy.drop_replies = True
        with ada.watched():
            async with two_calls(built, sidecar):
                await wait_for(lambda: len(ada.look().holds) == 2)
                await sidecar.kill()
            orphaned = ada.look()
            fault_proxy.drop_replies = False
            await resolved_by_another(built, ada, orphaned)
        assert len(built.backend.executed) == 2  # the two repeats; the call that was admitted never came


async def test_killed_before_the_backend_got_it(tmp_path: Path, ada: Accounts, own_server: StoreServer):
    async with (
        Floodgate() as gate,
        house(tmp_path, own_server.url, policy=paid_policy(TIMEOUT), margin=MARGIN, backend_url=gate.url) as built,
    ):
        sidecar = await built.start()
        gate.shut = True
        with ada.watched():
            async with two_calls(built, sidecar):
                await wait_for(lambda: gate.held.count(b"tools/call") >= 2 and len(ada.look().holds) == 2)
                await sidecar.kill()
            assert built.backend.executed == []
            orphaned = ada.look()
            gate.shut = False
            await resolved_by_another(built, ada, orphaned)
        assert len(built.backend.executed) == 2


async def test_killed_while_the_backend_works(tmp_path: Path, ada: Accounts, own_server: StoreServer):
    work = asyncio.Event()
    backend = Backend()
    backend.once(after(work, default()), after(work, default()))
    async with house(tmp_path, own_server.url, policy=paid_policy(TIMEOUT), margin=MARGIN, backend=backend) as built:
        sidecar = await built.start()
        with ada.watched():
            async with two_calls(built, sidecar):
                await wait_for(lambda: len(backend.received) == 2)
                await sidecar.kill()
            work.set()
            await wait_for(lambda: len(backend.executed) == 2)  # the backend finishes what it was asked for
            await resolved_by_another(built, ada, ada.look())


async def test_killed_after_the_answer_before_the_settle_arrived(
    tmp_path: Path, ada: Accounts, fault_proxy: FaultProxy
):
    work = asyncio.Event()
    backend = Backend()
    backend.once(after(work, default()), after(work, default()))
    async with house(tmp_path, fault_proxy.url, policy=paid_policy(TIMEOUT), margin=MARGIN, backend=backend) as built:
        sidecar = await built.start()
        with ada.watched():
            async with two_calls(built, sidecar) as calls:
                await wait_for(lambda: len(backend.received) == 2)
                fault_proxy.drop_requests = True
                work.set()
                replies = await asyncio.gather(*calls)
                await sidecar.kill()
            assert [succeeded(reply) for reply in replies] == [True, True]  # nobody waits for a settle
            orphaned = ada.look()
            fault_proxy.drop_requests = False
            await resolved_by_another(built, ada, orphaned)


async def nobody_new_is_let_in(built: House, sidecar: SidecarProcess) -> None:
    """Wait until a sidecar that was asked to leave takes no more calls."""
    async with asyncio.timeout(60):
        while True:
            try:
                await built.call(sidecar, "get_usage")
            except aiohttp.ClientError:
                return


@pytest.mark.parametrize("revision", [MODERN, LEGACY])
async def test_asked_to_leave_it_finishes_its_calls(
    tmp_path: Path, ada: Accounts, own_server: StoreServer, revision: str
):
    work = asyncio.Event()
    backend = Backend(contacts=["a"])  # of two that were asked for
    backend.once(after(work, default()))
    async with house(tmp_path, own_server.url, backend=backend, shutdown_grace="30s") as built:
        sidecar = await built.start()
        with ada.watched():
            call = asyncio.create_task(built.reveal(sidecar, "a", "b", revision=revision))
            await wait_for(lambda: len(backend.received) == 1)
            sidecar.terminate()
            await wait_for(lambda: bool(sidecar.events("stopping")))
            await nobody_new_is_let_in(built, sidecar)
            work.set()
            assert succeeded(await call)
            assert await sidecar.ended() == 0
            seen = ada.look()
        assert (seen.balance, seen.held, seen.spent, seen.paid) == (GRANTED - 1, 0, 1, {"a"})
        assert sidecar.events("call")[-1]["credits"] == {"contact": 1}
        assert sidecar.lines[-1]["event"] == "stopped"


@pytest.mark.parametrize("revision", [MODERN, LEGACY])
async def test_what_outlasts_the_grace_is_resolved_as_unknown(
    tmp_path: Path, ada: Accounts, own_server: StoreServer, revision: str
):
    backend = Backend()
    backend.once(silent(), silent())
    async with house(tmp_path, own_server.url, backend=backend, shutdown_grace="500ms") as built:
        sidecar = await built.start()
        with ada.watched():
            calls = asyncio.gather(
                built.reveal(sidecar, "a", "b", revision=revision),
                built.enrich(sidecar, 3, revision=revision),
                return_exceptions=True,
            )
            await wait_for(lambda: len(backend.received) == 2)
            sidecar.terminate()
            assert await sidecar.ended() == 0
            assert not any(succeeded(reply) for reply in await calls)
            seen = ada.look()
        assert (seen.balance, seen.held, seen.spent, seen.paid) == (GRANTED - 2, 0, 2, {"a", "b"})
        assert sorted(entry["event"] for _, entry in seen.entries) == ["released", "settled"]
        assert len(sidecar.events("call")) == 2


async def test_a_settle_that_comes_after_the_lease_is_late_and_changes_nothing(
    tmp_path: Path, ada: Accounts, own_server: StoreServer
):
    work = asyncio.Event()
    backend = Backend(contacts=["a"])
    backend.once(after(work, default()))
    async with house(tmp_path, own_server.url, policy=paid_policy("1s"), margin=MARGIN, backend=backend) as built:
        sidecar, other = await asyncio.gather(built.start(), built.start())
        with ada.watched():
            call = asyncio.create_task(built.reveal(sidecar, "a", "b"))
            await wait_for(lambda: len(backend.received) == 1)
            sidecar.pause()
            work.set()
            await wait_for(lambda: len(backend.executed) == 1)
            await called_until_resolved(built, other, ada)
            seen = ada.look()
            assert (seen.balance, seen.spent, seen.paid) == (GRANTED - 2, 2, {"a", "b"})
            sidecar.resume()
            await asyncio.wait([call])
            await wait_for(lambda: any(entry["event"] == "late" for _, entry in ada.look().entries))
            seen = ada.look()
        assert (seen.balance, seen.held, seen.spent, seen.paid) == (GRANTED - 2, 0, 2, {"a", "b"})
