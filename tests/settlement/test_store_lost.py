"""Settlement rows for a store that is unreachable, slow or killed at admission or settlement."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest

from sidecar.ledger.settlement_table import SettlementRow
from tests.settlement.orphans import working
from tests.settlement.script import rows
from tests.settlement.stage import Play, Stage, staged
from tests.support.processes import succeeded, wait_for
from tests.support.rig import Reply
from tests.support.store import FaultProxy, StoreServer

pytestmark = [pytest.mark.timeout(300), pytest.mark.asyncio(loop_scope="module")]


async def refused(play: Play) -> None:
    """The call, which is not admitted."""
    reply = await play.call()
    assert (reply.status, reply.code) == (503, "store_unavailable")


async def delivered(work: asyncio.Event, calls: Sequence[asyncio.Task[Reply]]) -> None:
    """The backend answers, and the clients get it: what has run is not kept from them."""
    work.set()
    assert [succeeded(reply) for reply in await asyncio.gather(*calls)] == [True] * len(calls)


async def noticed(stage: Stage) -> None:
    """Wait until the sidecar knows that its store is away."""
    async with asyncio.timeout(60):
        while (await stage.house.ready(stage.sidecar))[0] == 200:  # noqa: ASYNC110 - it is another process
            await asyncio.sleep(0.01)


# --- when the call is admitted -------------------------------------------------------------------


@rows("admission_unanswered")
async def test_an_admission_that_is_not_answered_reserves_nothing(
    tmp_path: Path, server: StoreServer, ending: SettlementRow
):
    async with (
        FaultProxy(server.path) as proxy,
        staged(tmp_path, server, store_url=proxy.url) as stage,
        stage.plays(ending) as plays,
    ):
        proxy.drop_replies = True
        await asyncio.gather(*map(refused, plays))
        for play in plays:
            await play.held()
        proxy.drop_replies = False
        for play in plays:
            await play.resolved()
        assert not stage.asked


@rows("admission_late")
async def test_an_admission_that_arrives_after_its_release_reserves_nothing(
    tmp_path: Path, server: StoreServer, ending: SettlementRow
):
    async with (
        FaultProxy(server.path) as proxy,
        staged(tmp_path, server, store_url=proxy.url) as stage,
        stage.plays(ending) as plays,
    ):
        for play in plays:
            await late_admission(proxy, play)
            await play.resolved()
        assert not stage.asked


async def late_admission(proxy: FaultProxy, play: Play) -> None:
    """Call, and let the admission arrive when the store has heard that the call was given up."""
    late = proxy.stall()
    await refused(play)
    assert proxy.stalled
    await wait_for(lambda: play.ledger.tombstones > 0)
    before = play.ledger.scripts_run
    late.set()
    await wait_for(lambda: play.ledger.scripts_run > before)


# --- when it is settled --------------------------------------------------------------------------


@rows("settle_unanswered")
async def test_a_settle_whose_answer_is_lost_is_applied_once(
    tmp_path: Path, server: StoreServer, ending: SettlementRow
):
    async with (
        FaultProxy(server.path) as proxy,
        staged(tmp_path, server, store_url=proxy.url) as stage,
        stage.plays(ending) as plays,
    ):
        async with working(plays) as (work, calls):
            proxy.drop_replies = True
            await delivered(work, calls)
        await wait_for(lambda: not any(play.ledger.books().holds for play in plays))
        before = plays[0].ledger.scripts_run
        proxy.drop_replies = False
        proxy.cut()
        await wait_for(lambda: len(stage.sidecar.events("call")) == len(plays))
        assert plays[0].ledger.scripts_run >= before + len(plays)
        for play in plays:
            await play.resolved()


@rows("store_killed")
async def test_a_settle_during_an_outage_of_the_store_is_applied_afterwards(
    tmp_path: Path, own_server: StoreServer, ending: SettlementRow
):
    async with staged(tmp_path, own_server) as stage, stage.plays(ending) as plays:
        async with working(plays) as (work, calls):
            own_server.kill()
            await noticed(stage)
            await delivered(work, calls)
        own_server.start()
        for play in plays:
            await play.resolved()
        await wait_for(lambda: len(stage.sidecar.events("call")) == len(plays))
        assert [line["credits"] for line in stage.sidecar.events("call")] == [{"contact": 1, "line": 2}] * len(plays)


@rows("store_paused")
async def test_a_settle_that_a_paused_store_does_not_answer_is_applied_when_it_resumes(
    tmp_path: Path, own_server: StoreServer, ending: SettlementRow
):
    async with staged(tmp_path, own_server) as stage, stage.plays(ending) as plays:
        async with working(plays) as (work, calls):
            own_server.pause()
            try:
                await delivered(work, calls)
                await noticed(stage)
            finally:
                own_server.resume()
        for play in plays:
            await play.resolved()
        await wait_for(lambda: len(stage.sidecar.events("call")) == len(plays))


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
@rows("both_killed")
async def test_a_settle_that_died_with_its_sidecar_is_decided_by_the_lease(
    tmp_path: Path, own_server: StoreServer, ending: SettlementRow, how: signal.Signals
):
    async with staged(tmp_path, own_server) as stage, stage.plays(ending) as plays:
        async with working(plays) as (work, calls):
            own_server.kill()
            await noticed(stage)
            await delivered(work, calls)
        stage.sidecar.signal(how)
        await stage.sidecar.ended()
        own_server.start()
        other = await stage.house.start()
        for play in plays:
            play.sidecar = other
            await play.held()
            await play.lapse()
            await play.resolved()
