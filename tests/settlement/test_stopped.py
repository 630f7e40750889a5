"""Settlement rows for a sidecar that is stopped with SIGTERM."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp
import pytest

from sidecar.ledger.settlement_table import SettlementRow
from tests.settlement.orphans import begun, calling, decided, succeeded_by_another
from tests.settlement.script import answered, rows
from tests.settlement.stage import Play, staged
from tests.support import backend as scripted
from tests.support.processes import succeeded, wait_for
from tests.support.rig import LEGACY, MODERN
from tests.support.store import StoreServer

pytestmark = [pytest.mark.timeout(300), pytest.mark.asyncio(loop_scope="module")]


async def nobody_new_is_let_in(play: Play) -> None:
    """Wait until a sidecar that was asked to leave takes no more calls."""
    async with asyncio.timeout(60):
        while True:
            try:
                await play.look()
            except aiohttp.ClientError:
                return


@rows(("stopped_in_time", MODERN, MODERN), ("stopped_in_time", LEGACY, LEGACY))
async def test_a_sidecar_that_stops_finishes_its_calls(
    tmp_path: Path, server: StoreServer, ending: SettlementRow, way: str
):
    work = asyncio.Event()
    async with staged(tmp_path, server, shutdown_grace="30s") as stage, stage.plays(ending) as plays:
        for play in plays:
            play.behaves(scripted.after(work, answered))
        async with calling(plays, revision=way) as calls:
            for play in plays:
                await play.reached()
            stage.sidecar.terminate()
            await wait_for(lambda: bool(stage.sidecar.events("stopping")))
            await nobody_new_is_let_in(plays[0])
            work.set()
            assert [succeeded(reply) for reply in await asyncio.gather(*calls)] == [True, True]
            assert await stage.sidecar.ended() == 0
        for play in plays:
            await play.resolved()
        costs = [line["credits"] for line in stage.sidecar.events("call") if line["tool"] != "get_usage"]
        assert costs == [{"contact": 1, "line": 2}] * 2
        assert stage.sidecar.lines[-1]["event"] == "stopped"


@rows(("stopped_working", MODERN, MODERN), ("stopped_working", LEGACY, LEGACY))
async def test_a_call_that_outlasts_the_shutdown_grace_is_resolved_as_unknown(
    tmp_path: Path, server: StoreServer, ending: SettlementRow, way: str
):
    async with staged(tmp_path, server, shutdown_grace="500ms") as stage, stage.plays(ending) as plays:
        for play in plays:
            play.behaves(scripted.silent())
        async with calling(plays, revision=way) as calls:
            for play in plays:
                await play.reached()
            stage.sidecar.terminate()
            assert await stage.sidecar.ended() == 0
            replies = await asyncio.gather(*calls, return_exceptions=True)
        assert not any(succeeded(reply) for reply in replies)
        for play in plays:
            await play.resolved()
        assert len(stage.sidecar.events("call")) == 2


@rows("stopped_resumable")
async def test_a_call_that_can_be_resumed_stays_open_after_a_stop(
    tmp_path: Path, server: StoreServer, ending: SettlementRow
):
    async with staged(tmp_path, server, shutdown_grace="500ms") as stage, stage.plays(ending) as plays:
        begins = [await begun(play) for play in plays]
        stage.sidecar.terminate()
        assert await stage.sidecar.ended() == 0
        await asyncio.gather(*(call for _, call in begins), return_exceptions=True)
        await succeeded_by_another(stage, plays)
        await decided(plays)
