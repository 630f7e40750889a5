"""Results that arrive after the sidecar hung past the lease: the credit was released, so none is delivered."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from sidecar.ledger.settlement_table import BY_NAME
from sidecar.model import OnUnknown
from tests.settlement.books import LISTEN, PLAIN, REPORT, Ledger, Price
from tests.settlement.script import METHODS, Json, answered, policy, result_of, streamed
from tests.settlement.stage import Play, Stage, staged
from tests.support import backend as scripted
from tests.support.backend import Behaviour, Turn
from tests.support.processes import SidecarProcess
from tests.support.rig import LEGACY, Reply
from tests.support.store import StoreServer

pytestmark = [pytest.mark.timeout(300), pytest.mark.asyncio(loop_scope="module")]

HUNG = BY_NAME["hung_sent"]
SHORT = ("5s", "20s", "60s")
"""Timeouts of calls, each for a slower machine: all calls must be open when their sidecar is stopped."""


def started(turn: Turn) -> Json:
    """A task in place of the result; its id is its account's name."""
    at = "2026-11-23T10:30:00Z"
    made = {"taskId": turn.request.header("x-mcp-account"), "status": "working", "createdAt": at, "lastUpdatedAt": at}
    return {"resultType": "task", **made, "ttlMs": 60_000}


async def task(turn: Turn) -> None:
    await turn.result(started(turn))


async def streamed_task(turn: Turn) -> None:
    await turn.open_stream()
    await turn.event(turn.response({"result": started(turn)}))
    await turn.end_stream()


async def error(turn: Turn) -> None:
    """A result with `isError`, which this tool charges."""
    await turn.result(result_of(turn, is_error=True))


async def notices(turn: Turn) -> None:
    """The first message of a subscription."""
    await turn.open_stream()
    await turn.event({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})
    await turn.end_stream()


async def listen(play: Play) -> Reply:
    return await play.post("subscriptions/listen", {"notifications": {"toolsListChanged": True}})


async def legacy(play: Play) -> Reply:
    return await play.call(revision=LEGACY, session=await play.session())


@dataclass(frozen=True, slots=True)
class Shape:
    """A way in which a result is asked for and answered."""

    behave: Behaviour
    call: Callable[[Play], Awaitable[Reply]] = Play.call
    price: Price = REPORT
    kind: str = "report"


SHAPES = {
    "json": Shape(answered),
    "sse": Shape(streamed),
    "json in a session": Shape(answered, legacy),
    "sse in a session": Shape(streamed, legacy),
    "task": Shape(task),
    "task on a stream": Shape(streamed_task),
    "charged error": Shape(error, kind="strict"),
    "subscription": Shape(notices, listen, LISTEN),
}

ONE_STEP = {"json without items": Shape(answered, price=PLAIN, kind="plain")}
"""Relayed in one step where no tasks are served (`proxy.calls.usual_answers`)."""


@asynccontextmanager
async def short_leases(folder: Path, server: StoreServer, within: str, *, tasks: bool) -> AsyncIterator[Stage]:
    """A stage whose leases end in real time: the sidecar is to see by its own clock that one is over."""
    text = json.loads(policy())
    for name, tool in text["tools"].items():
        tool |= {} if name == "get_usage" else {"timeout": within}
    text["methods"]["subscriptions/listen"]["timeout"] = within
    for method in () if tasks else METHODS:
        del text["methods"][method]
    async with staged(folder, server, margin=0.2, policy=json.dumps(text)) as stage:
        yield stage


async def overdue(play: Play) -> None:
    """Call until the lease has ended and been decided."""
    async with asyncio.timeout(180):
        while play.ledger.books().holds:
            await play.look()


@asynccontextmanager
async def paused_at_work(stage: Stage) -> AsyncIterator[None]:
    """The sidecar is stopped in the middle of its own code, and goes on in the end.

    A process that is stopped while it waits for something finds its expired timers first. One that is stopped at
    work first reads what has arrived meanwhile, and then looks at its timers.
    """
    sidecar, ledger = stage.sidecar, Ledger(stage.server, "bystander")
    bystander = Play(stage, HUNG, OnUnknown.RELEASE, sidecar, ledger)
    large = {"name": bystander.tool, "arguments": {"padding": [1] * 300_000}}
    before = cpu_time(sidecar)
    work = [asyncio.create_task(bystander.post("tools/call", large)) for _ in range(4)]
    async with asyncio.timeout(60):
        while cpu_time(sidecar) < before + 5 or not is_running(sidecar):  # noqa: ASYNC110 - it is another process
            await asyncio.sleep(0.001)
    sidecar.pause()
    try:
        yield
    finally:
        sidecar.resume()
        await asyncio.gather(*work)
        ledger.close()


def cpu_time(sidecar: SidecarProcess) -> int:
    """Hundredths of a second that a process has worked."""
    fields = Path(f"/proc/{sidecar.pid}/stat").read_text().rpartition(") ")[2].split()
    return int(fields[11])


def is_running(sidecar: SidecarProcess) -> bool:
    return Path(f"/proc/{sidecar.pid}/stat").read_text().rpartition(") ")[2].startswith("R")


def refused(reply: Reply) -> bool:
    """Check that the client got `backend_timeout` and nothing of the result."""
    if reply.status == 504:
        return bool(reply.json["error"]["data"]["code"] == "backend_timeout")
    answers = [event for event in reply.events if "id" in event]
    return reply.status == 200 and [event.get("error", {}).get("data", {}).get("code") for event in answers] == [
        "backend_timeout"
    ]


@asynccontextmanager
async def every_shape(stage: Stage, shapes: Mapping[str, Shape]) -> AsyncIterator[list[tuple[Play, str]]]:
    """A play for every shape of an answer and every `on_unknown`."""
    async with AsyncExitStack() as stack:
        plays: list[tuple[Play, str]] = []
        for name, shape in shapes.items():
            for play in await stack.enter_async_context(stage.plays(HUNG, price=shape.price, kind=shape.kind)):
                if shape.price is not LISTEN or play.on_unknown is OnUnknown.RELEASE:  # subscriptions have one
                    plays.append((play, name))
        yield plays


@pytest.mark.parametrize("shapes", [SHAPES, ONE_STEP], ids=["every shape", "one step"])
async def test_a_result_is_not_delivered_after_its_hold_may_have_been_released(
    tmp_path: Path, server: StoreServer, shapes: Mapping[str, Shape]
):
    for within in SHORT:
        folder = tmp_path / within
        folder.mkdir()
        if await was_open_and_is_refused(folder, server, within, shapes):
            return
    raise AssertionError("no timeout was long enough for all calls to be open at one time")


async def was_open_and_is_refused(folder: Path, server: StoreServer, within: str, shapes: Mapping[str, Shape]) -> bool:
    """Check the answers to all calls; False when one of them had ended before its sidecar was stopped."""
    tasks = shapes is SHAPES
    async with short_leases(folder, server, within, tasks=tasks) as stage, every_shape(stage, shapes) as plays:
        work, other = asyncio.Event(), await stage.house.start()
        calls = []
        for play, name in plays:
            play.behaves(scripted.after(work, shapes[name].behave))
            calls.append(asyncio.ensure_future(shapes[name].call(play)))
        for play, _ in plays:
            await play.reached()
        async with paused_at_work(stage):
            work.set()
            were_open = all(play.ledger.books().holds for play, _ in plays)
            for play, _ in plays if were_open else ():
                play.sidecar = other
                await overdue(play)
        answers = await asyncio.gather(*calls)
        if not were_open:
            return False
        replies = zip(plays, answers, strict=True)
        assert {name: reply for (_, name), reply in replies if not refused(reply)} == {}
        for play, name in plays:
            assert play.ledger.books().sums == play.price.of(HUNG, play.on_unknown).sums
            if "task" in name:  # its id is unknown to the client, and a guess is refused
                reply = await play.post("tasks/get", {"taskId": play.ledger.account})
                assert (reply.status, reply.json["error"]["code"]) == (200, -32602), reply
    return True
