"""Settlement rows for streams that end early and can be resumed: deferred until the response is relayed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from sidecar.ledger.settlement_table import SettlementRow
from tests.settlement.script import DATA, Json, rows
from tests.settlement.stage import Act, Play, Stage
from tests.support.backend import Turn, tool_result
from tests.support.processes import SidecarProcess, wait_for
from tests.support.rig import LEGACY, Reply, unstamped

pytestmark = [pytest.mark.timeout(300), pytest.mark.asyncio(loop_scope="module")]

RESULT: Json = {"result": tool_result(DATA)}
FAILED: Json = {"result": tool_result(DATA, is_error=True)}
ERROR: Json = {"error": {"code": -32000, "message": "no"}}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def another(stage: Stage) -> AsyncIterator[SidecarProcess]:
    """A second sidecar on the same store."""
    yield await stage.house.start()


async def broken_off(play: Play, how: str = "ended") -> str:
    """Call on a session; the stream has an event to go on from, and ends without the response. The session."""

    async def behave(turn: Turn) -> None:
        await turn.open_stream()
        await turn.chunk(b"id: 1\nretry: 10\ndata:\n\n")
        if how == "ended":
            await turn.end_stream()
        elif how == "reset":
            turn.reset()
        elif how == "closed":
            turn.close()
        else:
            await turn.hang_up()

    session = await play.session()
    play.behaves(behave)
    await play.call(revision=LEGACY, session=session)
    await wait_for(lambda: any("deferred" in hold for hold in play.ledger.books().holds.values()))
    await play.held()
    return session


def replays(play: Play, outcome: Json, gate: asyncio.Event | None = None) -> None:
    """From now on the backend has the call's response on every stream that is resumed."""
    response = {"jsonrpc": "2.0", "id": play.stage.asked[play.ledger.account], **outcome}

    async def behave(turn: Turn) -> None:
        if gate is not None:
            await gate.wait()
        await turn.open_stream()
        await turn.event(response, "2")
        await turn.end_stream()

    play.behaves(behave)


def passes(outcome: Json, how: str = "ended", last: str | None = "1") -> Act:
    """Call, and come back for the response, which passes after that event, or on a new stream."""

    async def act(play: Play) -> None:
        session = await broken_off(play, how)
        replays(play, outcome)
        assert delivered(await play.resume(session, last), outcome)

    return act


def delivered(reply: Reply, outcome: Json) -> bool:
    """Return if the response has arrived."""
    [event] = reply.events
    return bool(outcome.items() <= unstamped(event).items())


@rows(
    *(("resumed", how, passes(RESULT, how)) for how in ("ended", "reset", "closed")),
    ("resumed_tool_error", "ended", passes(FAILED)),
    ("resumed_rpc_error", "ended", passes(ERROR)),
    *(("resumed_other_stream", kind, passes(said, last=None)) for kind, said in (("result", RESULT), ("error", ERROR))),
)
async def test_the_response_on_another_stream_costs_what_its_row_says(stage: Stage, ending: SettlementRow, way: Act):
    await stage.both(ending, way)


@rows(("resumed", "timed-out", passes(RESULT, "silent")))
async def test_a_call_that_timed_out_can_be_resumed(stage: Stage, ending: SettlementRow, way: Act):
    await stage.both(ending, way, kind="brief")


@rows("resumed_elsewhere")
async def test_the_response_is_settled_when_another_sidecar_relays_it(
    stage: Stage, another: SidecarProcess, ending: SettlementRow
):
    async def act(play: Play) -> None:
        session = await broken_off(play)
        replays(play, RESULT)
        assert delivered(await play.resume(session, "1", another), RESULT)

    await stage.both(ending, act)


@rows("resumed_twice")
async def test_a_response_that_two_sidecars_relay_is_settled_once(
    stage: Stage, another: SidecarProcess, ending: SettlementRow
):
    async def act(play: Play) -> None:
        session, gate = await broken_off(play), asyncio.Event()
        replays(play, RESULT, gate)
        asked = [asyncio.create_task(play.resume(session, "1", each)) for each in (stage.sidecar, another)]
        backend = stage.house.backend
        await wait_for(
            lambda: [r.header("mcp-session-id") for r in backend.received if r.method == "GET"].count(session) == 2
        )
        gate.set()
        assert all(delivered(reply, RESULT) for reply in await asyncio.gather(*asked))

    await stage.both(ending, act)


@rows("not_resumed")
async def test_a_response_that_is_never_resumed(stage: Stage, ending: SettlementRow):
    async def act(play: Play) -> None:
        await broken_off(play)
        await play.lapse()

    await stage.both(ending, act)


@rows("resumed_late")
async def test_a_result_that_is_relayed_after_the_lease_expired(stage: Stage, ending: SettlementRow):
    async def act(play: Play) -> None:
        session = await broken_off(play)
        await play.lapse()
        replays(play, RESULT)
        assert delivered(await play.resume(session, "1"), RESULT)

    await stage.both(ending, act)
