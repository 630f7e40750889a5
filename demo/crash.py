"""Kill the sidecar in the middle of a paid call: no credit is lost and none is created."""

from __future__ import annotations

import asyncio
import json
from typing import Final

from demo.backend import SLOW_CONTACT
from demo.narration import ACCOUNT, Step, Story, expect, why
from demo.processes import until
from demo.records import scrape
from demo.stage import MARGIN

_TIMEOUT: Final = 5.0
"""Timeout of `reveal_contacts` in the demo's policy; a lease lasts this long plus the margin."""
_CALL: Final = {"contact_ids": ["c7", SLOW_CONTACT], "confirm_spend_credits": True}


async def _play(story: Story) -> None:
    before = await story.money()
    await _kill(story)
    await story.stage.start_sidecar()
    story.say("the sidecar has restarted")
    held = await story.money()
    expect((held.held, held.spent) == (2, before.spent), "2 credits are held, and none is spent yet")
    await story.command("usage", ACCOUNT)
    story.say("waiting for the lease of the killed sidecar's hold to end ...")

    async def resolved() -> bool:
        return not (await story.stage.usage(ACCOUNT))["holds"]

    await until("the hold is resolved", resolved, _TIMEOUT + MARGIN + 20, every=0.5)
    after = await story.money()
    story.by_lease = after.spent - before.spent
    expect((after.held, story.by_lease) == (0, 2), "the hold is settled: revealed contacts stay paid")
    await story.stage.behave(slow=0)
    async with story.client() as client:
        await story.play(client, "reveal_contacts", _CALL)
    expect(await story.money() == after, "the repeat is free: the account has lost nothing")


async def _kill(story: Story) -> None:
    """Kill the sidecar while the backend works on a call that costs credits."""
    stage = story.stage
    calls = (await stage.received())["tool_calls"]

    async def call() -> None:
        async with story.client() as client:
            await client.call_tool("reveal_contacts", _CALL)

    task = asyncio.create_task(call())
    try:

        async def arrived() -> bool:
            return bool((await stage.received())["tool_calls"] > calls)

        await until("the call arrives at the backend", arrived)
        story.steps_of(story.memory.wires)
        story.say(f"> POST /mcp [2026-07-28] tools/call reveal_contacts {json.dumps(_CALL)}")
        await story.count(1)
        story.scrapes.append(await scrape(story))
        pid = stage.sidecar.pid
        stage.sidecar.kill()
        story.say(f"$ kill -9 {pid}   (the sidecar)")
        await asyncio.wait([task], timeout=30)
        expect(task.done() and task.exception() is not None, "the call breaks off")
        story.say(f"< {why(task.exception() or Exception())}")
    finally:
        task.cancel()


STEPS: Final = (
    Step(
        "kill -9 of the sidecar in the middle of a paid call",
        "Right after the restart the call's price is held. When the lease of the killed process ends, the hold is "
        "settled. At every moment credits + held + spent == granted.",
        _play,
    ),
)
