"""Settlement rows for clients that disconnect, cancel or subscribe."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from sidecar.ledger.settlement_table import SettlementRow
from sidecar.model import OnUnknown
from tests.settlement.books import LISTEN
from tests.settlement.script import NOTICE, answered, policy, result_of, rows
from tests.settlement.stage import Act, Play, Stage, staged
from tests.settlement.unreachable import never
from tests.support import backend as scripted
from tests.support.backend import Behaviour, Turn
from tests.support.rig import LEGACY, MODERN
from tests.support.store import FaultProxy, StoreServer, rest

pytestmark = [pytest.mark.timeout(300), pytest.mark.asyncio(loop_scope="module")]


async def left(call: asyncio.Task[object]) -> None:
    """The client of a call disconnects."""
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)


# --- before the result ---------------------------------------------------------------------------


@rows(("left_unadmitted", MODERN, MODERN), ("left_unadmitted", LEGACY, LEGACY))
async def test_a_disconnect_before_the_call_is_admitted_costs_nothing(
    tmp_path: Path, server: StoreServer, ending: SettlementRow, way: str
):
    async with FaultProxy(server.path) as proxy, staged(tmp_path, server, store_url=proxy.url) as stage:

        async def act(play: Play) -> None:
            call = asyncio.create_task(play.call(revision=way))
            await play.held()  # the store has admitted it, and the sidecar has not heard so
            await left(call)

        async with stage.plays(ending) as plays:
            proxy.drop_replies = True
            await asyncio.gather(*map(act, plays))
            proxy.drop_replies = False
            proxy.cut()
            for play in plays:
                await play.resolved()
        assert not stage.asked


@rows("left_unsent")
async def test_a_disconnect_before_the_call_is_sent_costs_nothing(
    tmp_path: Path, server: StoreServer, ending: SettlementRow
):
    settings = {"connect_timeout": "60s"}
    async with (
        never() as url,
        staged(tmp_path, server, ready=False, backend_url=url, backend_settings=settings) as stage,
        stage.plays(ending) as plays,
    ):
        calls = [asyncio.create_task(play.call()) for play in plays]
        while await open_holds(stage) < len(plays):  # in the store they are before the sidecar knows
            await rest()
        for play, call in zip(plays, calls, strict=True):
            await play.held()
            await left(call)
        for play in plays:
            await play.resolved()
            await play.recorded()


async def open_holds(stage: Stage) -> float:
    """Calls of the sidecar that have reserved their price, as far as it knows."""
    async with stage.house.http.get(f"{stage.sidecar.admin}/metrics") as answer:
        lines = (await answer.text()).splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("mcp_sidecar_open_holds "))


def unanswered(revision: str) -> Act:
    """Leave while the backend works; where the call goes on without its client, it answers then."""

    async def act(play: Play) -> None:
        gate = asyncio.Event()
        play.behaves(scripted.after(gate, answered) if revision == LEGACY else scripted.silent())
        call = asyncio.create_task(play.call(revision=revision))
        await play.reached()
        await left(call)
        if revision == LEGACY:
            await play.held()
            gate.set()

    return act


def midway(revision: str) -> Act:
    """Leave in the middle of a stream; as above."""

    async def act(play: Play) -> None:
        gate = asyncio.Event()

        async def behave(turn: Turn) -> None:
            await turn.open_stream()
            await turn.event(NOTICE)
            if revision == LEGACY:
                await gate.wait()
                await turn.event(turn.response({"result": result_of(turn)}))
                await turn.end_stream()
            else:
                await turn.hang_up()

        play.behaves(behave)
        async with play.stream(revision=revision) as stream:
            assert await stream.message() == NOTICE
        await play.held() if revision == LEGACY else None
        gate.set()

    return act


@rows(
    ("left_read_on", "json", unanswered(LEGACY)),
    ("left_read_on", "sse", midway(LEGACY)),
    ("left_cancels", "json", unanswered(MODERN)),
    ("left_cancels", "sse", midway(MODERN)),
)
async def test_a_disconnect_before_the_result_costs_what_its_row_says(stage: Stage, ending: SettlementRow, way: Act):
    await stage.both(ending, way)


@rows(("left_after", MODERN, MODERN), ("left_after", LEGACY, LEGACY))
async def test_a_disconnect_after_the_result_costs_its_price(stage: Stage, ending: SettlementRow, way: str):
    async def act(play: Play) -> None:
        gate = asyncio.Event()

        async def behave(turn: Turn) -> None:
            await turn.open_stream()
            await turn.event(turn.response({"result": result_of(turn)}))
            await gate.wait()
            turn.reset()

        play.behaves(behave)
        async with play.stream(revision=way) as stream:
            assert await stream.message()
        gate.set()

    await stage.both(ending, act)


# --- cancelled -------------------------------------------------------------------------------------


def stream(*, ids: bool, end: str) -> Behaviour:
    async def behave(turn: Turn) -> None:
        await turn.open_stream()
        if ids:
            await turn.event(NOTICE, "1")
        await turn.end_stream() if end == "ended" else turn.reset()

    return behave


def cancelled(then: Behaviour, *, deleted: bool = False) -> Act:
    """Cancel the call, or end its session, while the backend works; then it does this."""

    async def act(play: Play) -> None:
        gate, session = asyncio.Event(), await play.session()
        play.behaves(scripted.after(gate, then))
        call = asyncio.create_task(play.call(revision=LEGACY, session=session))
        await play.reached()
        asked = play.id
        if deleted:
            play.behaves(scripted.http(204, media=None))
            http, headers = play.stage.house.http, play.headers(LEGACY, session)
            async with http.delete(play.sidecar.url, headers=headers) as answer:
                assert answer.status in (200, 204)
        else:
            play.behaves(scripted.http(202, media=None))
            said = {"requestId": asked, "reason": "enough"}
            reply = await play.post("notifications/cancelled", said, revision=LEGACY, session=session)
            assert reply.status == 202
        gate.set()
        await call

    return act


BROKEN = (
    ("closed", scripted.hang_up()),
    ("ended", stream(ids=False, end="ended")),
    ("ended-ids", stream(ids=True, end="ended")),
    ("reset-ids", stream(ids=True, end="reset")),
)


@rows(
    ("cancelled_result", "json", cancelled(answered)),
    ("cancelled_error", "json", cancelled(scripted.rpc_error())),
    ("cancelled_error", "http-404", cancelled(scripted.http(404, b"{}"))),
    *(("cancelled_broken", how, cancelled(way)) for how, way in BROKEN),
    ("cancelled_silent", "silent", cancelled(scripted.silent())),
    ("session_deleted", "error", cancelled(scripted.rpc_error(), deleted=True)),
    ("session_deleted", "http-404", cancelled(scripted.http(404, b"{}"), deleted=True)),
    *(("session_deleted", how, cancelled(way, deleted=True)) for how, way in BROKEN[:2]),
)
async def test_a_cancelled_call_costs_what_its_row_says(stage: Stage, ending: SettlementRow, way: Act):
    await stage.both(ending, way)


# --- listening -------------------------------------------------------------------------------------

WANTED = {"notifications": {"toolsListChanged": True}}


@pytest_asyncio.fixture(loop_scope="module", params=list(OnUnknown))
async def listening(request: pytest.FixtureRequest, tmp_path: Path, server: StoreServer) -> AsyncIterator[Stage]:
    """A sidecar whose policy prices subscriptions; they have one `on_unknown` per policy."""
    async with staged(tmp_path, server, policy=policy(request.param)) as made:
        yield made


def subscribed(speaks: bool) -> Act:
    """Subscribe; it is paid while the stream is open."""

    async def act(play: Play) -> None:
        async def behave(turn: Turn) -> None:
            await turn.open_stream()
            if speaks:
                await turn.event({"jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged", "params": {}})
            await turn.hang_up()

        play.behaves(behave)
        async with play.stream("subscriptions/listen", WANTED) as stream:
            if speaks:
                assert await stream.message()
            await play.resolved()
            assert not stream.answer.content.at_eof()

    return act


async def refused(play: Play) -> None:
    play.behaves(scripted.rpc_error())
    await play.post("subscriptions/listen", WANTED)


@rows(
    ("listen_spoken", "acknowledged", subscribed(speaks=True)),
    ("listen_silent", "silent", subscribed(speaks=False)),
    ("listen_refused", "error", refused),
)
async def test_a_subscription_costs_what_its_row_says(listening: Stage, ending: SettlementRow, way: Act):
    await listening.both(ending, way, price=LISTEN)
