"""States that alerts are about, in a running sidecar: the gauges and counters are as the rules expect them."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.proxy.support import POLICY
from tests.support.rig import Rig, rig
from tests.support.store import StoreServer

AWAY = 'mcp_sidecar_refusals_total{code="issuer_unavailable",gate="token",pool="",quota=""}'
KEYS = 'mcp_sidecar_keys_up{issuer="main"}'


async def becomes(running: Rig, series: str, value: float) -> None:
    async with asyncio.timeout(20):
        while await running.metric(series) != value:  # noqa: ASYNC110 - a scrape cannot set an event
            await asyncio.sleep(0.02)


async def test_a_new_key_while_the_issuer_is_away_is_refused_with_usable_keys(
    tmp_path: Path, store_server: StoreServer
):
    async with rig(tmp_path, store_server, policy=POLICY) as running:
        await running.account()
        await running.grant()
        known = running.issuer.mint()
        assert await running.metric(AWAY) == 0
        running.issuer.rotate()
        running.issuer.fault = 503
        assert (await running.call("list_taxonomy")).code == "issuer_unavailable"
        assert (await running.call("list_taxonomy", token=known)).code is None
        await becomes(running, AWAY, 1)
        assert await running.metric(KEYS) == 1


async def test_a_sidecar_without_its_store_is_not_ready(tmp_path: Path, own_server: StoreServer):
    async with rig(tmp_path, own_server, policy=POLICY) as running:
        assert await running.metric("mcp_sidecar_ready") == 1
        own_server.kill()
        await becomes(running, "mcp_sidecar_ready", 0)
        assert (await running.ready())[0] == 503
        assert await running.metric("mcp_sidecar_store_up") == 0
        own_server.start()
        await becomes(running, "mcp_sidecar_ready", 1)


async def test_a_client_in_a_loop_shows_as_one_account(tmp_path: Path, store_server: StoreServer):
    async with rig(tmp_path, store_server, policy=POLICY) as running:
        await running.account()
        await running.grant()
        for _ in range(20):
            assert (await running.call("no_such_tool")).code == "tool_unknown"
        await becomes(running, "mcp_sidecar_account_refusals_max", 20)
