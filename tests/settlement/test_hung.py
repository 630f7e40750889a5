"""Settlement rows for a sidecar that hangs past its lease and resumes."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from sidecar.ledger.settlement_table import SettlementRow
from sidecar.model import OnUnknown
from tests.settlement.books import LISTEN, REPORT, Price
from tests.settlement.orphans import working
from tests.settlement.script import rows
from tests.settlement.stage import Play, staged
from tests.support.store import FaultProxy, StoreServer

WANTED = {"notifications": {"toolsListChanged": True}}
pytestmark = [pytest.mark.timeout(300), pytest.mark.asyncio(loop_scope="module")]


@pytest.mark.parametrize("price", [REPORT, LISTEN], ids=["call", "subscription"])
@rows("hung_unsent")
async def test_a_call_whose_lease_may_have_expired_is_not_sent(
    tmp_path: Path, server: StoreServer, ending: SettlementRow, price: Price
):
    """Its lease is waited for in real time: the sidecar is to see by its own clock that it is over."""
    async with (
        FaultProxy(server.path) as proxy,
        staged(tmp_path, server, store_url=proxy.url, margin=0.1) as stage,
        stage.plays(ending, kind="brief", price=price) as both,
    ):
        # The policy has one `on_unknown` for subscriptions.
        plays = [play for play in both if price is REPORT or play.on_unknown is OnUnknown.RELEASE]
        other = await stage.house.start()
        late = proxy.stall(replies=True)
        proxy.drop_replies = True  # so that nothing can be given up on another connection, either
        asked = [play.call() if price is REPORT else play.post("subscriptions/listen", WANTED) for play in plays]
        replies = asyncio.gather(*asked)
        for play in plays:
            await play.held()
        stage.sidecar.pause()
        proxy.drop_replies = False
        late.set()  # that the call is admitted lies there unread
        for play in plays:
            play.sidecar = other
            await overdue(play)
        stage.sidecar.resume()
        assert {reply.status for reply in await replies} <= {503, 504}
        for play in plays:
            await play.resolved()
        assert not stage.asked


async def overdue(play: Play) -> None:
    """Call until the lease has ended and been decided."""
    async with asyncio.timeout(60):
        while play.ledger.books().holds:
            await play.look()  # it may not have its store again at once


@rows("hung_sent")
async def test_a_settle_that_comes_after_the_lease_is_late_and_changes_nothing(
    tmp_path: Path, server: StoreServer, ending: SettlementRow
):
    async with staged(tmp_path, server) as stage, stage.plays(ending) as plays:
        other = await stage.house.start()
        async with working(plays) as (work, calls):
            stage.sidecar.pause()
            work.set()
            for play in plays:
                play.sidecar = other
                await play.lapse()
                assert play.ledger.books().sums == play.price.of(ending, play.on_unknown).sums
            stage.sidecar.resume()
            await asyncio.wait(calls)
            for play in plays:
                await play.resolved()
