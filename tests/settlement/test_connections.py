"""Settlement rows for the backend connection: refused, reset, silent, or a stream that ends early."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sidecar.ledger.settlement_table import SettlementRow
from sidecar.model import OnUnknown
from tests.settlement.script import NOTICE, rows
from tests.settlement.stage import Play, Stage, staged
from tests.settlement.unreachable import never, no_listener, no_tls, nowhere
from tests.support import backend as scripted
from tests.support.backend import Behaviour, Turn
from tests.support.rig import LEGACY, MODERN
from tests.support.store import StoreServer

pytestmark = [pytest.mark.timeout(300), pytest.mark.asyncio(loop_scope="module")]
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n"


def stream(end: str, *, ids: bool = False, first: str = "event") -> Behaviour:
    """A stream that begins, and has no response; then it ends in this way."""

    async def behave(turn: Turn) -> None:
        await turn.open_stream()
        if first == "event":
            await turn.event(NOTICE, "1" if ids else None)
        if end == "ended":
            await turn.end_stream()
        elif end == "reset":
            turn.reset()
        elif end == "closed":
            turn.close()
        elif end == "half":
            await turn.chunk(b'event: message\ndata: {"jsonrpc":')
            turn.close()
        else:
            await turn.hang_up()

    return behave


async def json_reset(turn: Turn) -> None:
    """Reset within a JSON answer."""
    await turn.write(HEAD + b"{")
    turn.reset()


# --- it breaks -----------------------------------------------------------------------------------


@rows(
    ("reset", "reset", scripted.reset()),
    ("closed", "closed", scripted.hang_up()),
    ("json_cut", "closed", scripted.truncated()),
    ("json_cut", "reset", json_reset),
    *(("stream_cut", end, stream(end)) for end in ("reset", "closed", "half")),
    ("stream_cut", "without-a-session", stream("reset", ids=True)),
    ("stream_ended", "without-ids", stream("ended")),
    ("stream_ended", "without-a-session", stream("ended", ids=True)),
)
@pytest.mark.parametrize("revision", [MODERN, LEGACY])
async def test_an_answer_that_breaks_costs_what_its_row_says(
    stage: Stage, ending: SettlementRow, way: Behaviour, revision: str
):
    async def act(play: Play) -> None:
        play.behaves(way)
        await play.call(revision=revision)

    await stage.both(ending, act)


@rows(
    ("stream_cut", "without-ids", stream("reset")),
    ("stream_ended", "without-ids", stream("ended")),
)
async def test_on_a_session_a_stream_without_event_ids_cannot_be_resumed(
    stage: Stage, ending: SettlementRow, way: Behaviour
):
    async def act(play: Play) -> None:
        session = await play.session()
        play.behaves(way)
        await play.call(revision=LEGACY, session=session)

    await stage.both(ending, act)


# --- time ----------------------------------------------------------------------------------------


SILENCES = (
    ("timed_out", "silent", scripted.silent()),
    ("timed_out", "half-a-head", scripted.raw(b"HTTP/1.1 200 OK\r\nContent-", close=False)),
    ("timed_out", "half-an-answer", scripted.raw(HEAD + b"{", close=False)),
    ("timed_out_stream", "silent", stream("silent")),
    ("timed_out_stream", "without-an-event", stream("silent", first="nothing")),
)


@rows(
    *(
        (name, f"{label}-{era}", (way, era))
        for era in (MODERN, LEGACY)
        for name, label, way in SILENCES[:: 1 if era == MODERN else 3]
    )
)
async def test_a_call_that_takes_too_long_costs_what_its_row_says(
    stage: Stage, ending: SettlementRow, way: tuple[Behaviour, str]
):
    behaviour, revision = way

    async def act(play: Play) -> None:
        play.behaves(_patient(behaviour))
        reply = await play.call(revision=revision)
        code = reply.code if reply.status != 200 else reply.events[-1]["error"]["data"]["code"]
        assert code == "backend_timeout"

    await stage.both(ending, act, kind="brief")


def _patient(way: Behaviour) -> Behaviour:
    """Behave so, and keep the connection open until the other side gives it up."""

    async def behave(turn: Turn) -> None:
        await way(turn)
        await turn.hang_up()

    return behave


@rows("idle")
async def test_silence_on_a_stream_costs_what_its_row_says(tmp_path: Path, server: StoreServer, ending: SettlementRow):
    async def act(play: Play) -> None:
        play.behaves(stream("silent"))
        reply = await play.call()
        assert reply.events[-1]["error"]["data"]["code"] == "backend_timeout"

    async with staged(tmp_path, server, backend_settings={"idle_timeout": "300ms"}) as stage:
        await stage.both(ending, act)


@rows("timed_out_unsent")
async def test_a_call_that_times_out_before_it_was_sent_costs_nothing(
    tmp_path: Path, server: StoreServer, ending: SettlementRow
):
    async def act(play: Play) -> None:
        reply = await play.call()
        assert (reply.status, reply.code) == (504, "backend_timeout")

    settings = {"connect_timeout": "60s"}
    async with (
        never() as url,
        staged(tmp_path, server, ready=False, backend_url=url, backend_settings=settings) as stage,
    ):
        await stage.both(ending, act, kind="brief")


# --- there is none ---------------------------------------------------------------------------------


@rows(
    ("connect_refused", "no listener", no_listener),
    ("connect_timeout", "handshake", never),
    ("name_unknown", "invalid", nowhere),
    ("tls_failed", "plain", no_tls),
)
async def test_a_call_that_could_not_be_sent_costs_nothing(
    tmp_path: Path, server: StoreServer, ending: SettlementRow, way: Callable[[], Any]
):
    async def act(play: Play) -> None:
        # Both revisions, since one goes on without its client and the other does not.
        revision = MODERN if play.on_unknown is OnUnknown.SETTLE else LEGACY
        assert (await play.call(revision=revision)).status == 502

    settings = {"connect_timeout": "400ms"}
    async with way() as url, staged(tmp_path, server, ready=False, backend_url=url, backend_settings=settings) as stage:
        await stage.both(ending, act)
