"""Helpers for calls that are in flight when their sidecar ends, and for the sidecar that resolves them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from tests.settlement.script import answered
from tests.settlement.stage import Play, Stage, has_store
from tests.support import backend as scripted
from tests.support.backend import Turn
from tests.support.rig import LEGACY, Reply

LEASE = 120_000
"""Milliseconds: the timeout of the call, sixty seconds, and what a hold outlives it by."""


@asynccontextmanager
async def calling(plays: Sequence[Play], **options: Any) -> AsyncIterator[list[asyncio.Task[Reply]]]:
    """The plays' calls, at the same time; they are over when this is."""
    calls = [asyncio.create_task(play.call(**options)) for play in plays]
    try:
        yield calls
    finally:
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)


async def succeeded_by_another(stage: Stage, plays: Sequence[Play], *, ready: bool = True) -> None:
    """Start another sidecar; what the calls have reserved stays so meanwhile."""
    stage.sidecar = await stage.house.start(ready=ready)
    if not ready:
        await has_store(stage.house, stage.sidecar)
    for play in plays:
        play.sidecar = stage.sidecar
        await play.held()
        [until] = play.ledger.books().leases.values()
        assert 0 < until - play.ledger.now <= LEASE
        assert await stage.house.verified(play.ledger.account)


async def decided(plays: Sequence[Play]) -> None:
    """The leases end; the next call of the account finds that, and the books say what the row says."""
    for play in plays:
        await play.lapse()
        await play.resolved()


async def begun(play: Play) -> tuple[str, asyncio.Task[Any]]:
    """Call on a session; the stream has an event to go on from, and nothing more comes. The session, and the call."""

    async def behave(turn: Turn) -> None:
        await turn.open_stream()
        await turn.chunk(b"id: 1\ndata:\n\n")
        await turn.hang_up()

    session, seen = await play.session(), asyncio.Event()
    play.behaves(behave)

    async def read() -> None:
        async with play.stream(revision=LEGACY, session=session) as stream:
            while line := (await stream.answer.content.readline()).decode():
                if line.startswith("id: "):
                    play.note_event(line[4:].strip())
                seen.set()

    call = asyncio.create_task(read())
    await seen.wait()
    return session, call


@asynccontextmanager
async def working(plays: Sequence[Play]) -> AsyncIterator[tuple[asyncio.Event, list[asyncio.Task[Reply]]]]:
    """The plays' calls are with the backend, which answers them all when the event is set."""
    work = asyncio.Event()
    for play in plays:
        play.behaves(scripted.after(work, answered))
    calls = [asyncio.create_task(play.call()) for play in plays]
    try:
        for play in plays:
            await play.reached()
        yield work, calls
    finally:
        work.set()
        await asyncio.gather(*calls, return_exceptions=True)
