"""An account's own limits, set by command while the sidecar runs: in force from the next call on."""

from __future__ import annotations

import asyncio

from sidecar.cli import main
from sidecar.store.commands.keys import account_keys
from tests.support.rig import Rig

ROWS = 5


async def set_quota(rig: Rig, limit: str) -> None:
    words = ["account", "set", "ada", "--quota", f"search_rows.month={limit}", "--config", str(rig.config)]
    assert await asyncio.to_thread(main, words) == 0


async def search(rig: Rig) -> tuple[str | None, int | None]:
    """The refusal and the limit it names, if there is one."""
    reply = await rig.call("search_shopify_stores", {"limit": ROWS})
    return reply.code, reply.detail.get("limit")


async def test_an_own_limit_holds_from_the_next_call_on_and_so_does_its_end(rig: Rig):
    rig.backend.rows = ROWS
    assert await search(rig) == (None, None)
    await set_quota(rig, "9")
    assert await search(rig) == ("quota_exceeded", 9)
    await set_quota(rig, "10")
    assert await search(rig) == (None, None)
    assert await search(rig) == ("quota_exceeded", 10)
    await set_quota(rig, "plan")
    assert await search(rig) == (None, None)
    assert (await rig.books()).used["search_rows"] == 3 * ROWS


async def test_unlimited_removes_the_plan_s_limit(rig: Rig):
    rig.backend.rows = 100  # what was returned counts in full
    assert await search(rig) == (None, None)
    assert await search(rig) == ("quota_exceeded", 100)
    await set_quota(rig, "unlimited")
    assert await search(rig) == (None, None)
    await set_quota(rig, "plan")
    assert await search(rig) == ("quota_exceeded", 100)
    with rig.redis() as client:
        assert client.hkeys(account_keys("main", "ada").account) == ["issuer", "account", "plan"]
