"""Reloads of several workers: all of them or none, and no failed call."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.support.processes import accounts, paid_policy, succeeded, wait_for
from tests.support.store import StoreServer
from tests.workers.support import FREE, Crewed, Load, crewed

MORE = "  search_shopify_stores: {scopes: []}\n"
BROKEN = "  search_shopify_stores: {scopes: [none]}\n"
SEARCH = "search_shopify_stores"
pytestmark = [pytest.mark.process, pytest.mark.timeout(300)]


async def reloads(made: Crewed, text: str, event: str) -> None:
    """Save a policy, send SIGHUP and wait for the outcome."""
    before = len(made.process.events(event))
    made.save(text)
    made.process.signal(signal.SIGHUP)
    await wait_for(lambda: len(made.process.events(event)) > before)


async def outcomes(made: Crewed) -> set[bool]:
    return {succeeded(reply) for reply in await made.on_new_connections(12, SEARCH)}


async def test_a_rolling_reload_under_load_fails_no_call_and_reaches_every_worker(
    tmp_path: Path, own_server: StoreServer
):
    with accounts(own_server.path, 100_000):
        async with crewed(tmp_path, own_server.url) as made:
            load = Load(made.built, made.process)
            assert await outcomes(made) == {False}
            async with load.calling():
                for number in range(4):
                    await load.further(10)
                    await reloads(made, paid_policy() + FREE + (MORE, "")[number % 2], "reloaded")
                    assert await outcomes(made) == {number % 2 == 0}
                await load.further(10)
            assert load.failed == []
    assert [line["changes"] for line in made.process.events("reloaded")][:2] == [
        [f"+tool {SEARCH}"],
        [f"-tool {SEARCH}"],
    ]


async def test_a_bad_policy_keeps_every_worker_on_the_old_one(tmp_path: Path, own_server: StoreServer):
    async with crewed(tmp_path, own_server.url) as made:
        await reloads(made, paid_policy() + FREE + BROKEN, "reload_failed")
        assert await outcomes(made) == {False}
        assert all(map(succeeded, await made.on_new_connections(8)))
        found = await made.metrics()
        assert (found["mcp_sidecar_last_reload_success"], found["mcp_sidecar_reload_failures_total"]) == (0, 1)
        assert (found["mcp_sidecar_files_valid"], found["mcp_sidecar_files_differ"]) == (0, 1)


async def test_a_replaced_worker_serves_by_the_files_in_force(tmp_path: Path, own_server: StoreServer):
    async with crewed(tmp_path, own_server.url) as made:
        await reloads(made, paid_policy() + FREE + MORE, "reloaded")
        (tmp_path / "policy.yaml").write_text("tools: [")
        before = made.pid(0)
        made.kill(0)
        await made.replaced(0, before)
        assert await outcomes(made) == {True}
        (tmp_path / "policy.yaml").unlink()
        before = made.pid(1)
        made.kill(1)
        await made.replaced(1, before)
        assert await outcomes(made) == {True}
