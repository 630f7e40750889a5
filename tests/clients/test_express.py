"""A server that has no route for GET and DELETE, and answers 404 there, as Express does: its sessions go on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.clients.driven import DRIVERS, driven
from tests.clients.support import ALLOW_ALL, node_server
from tests.support.rig import LEGACY, Rig, rig
from tests.support.store import StoreServer

pytestmark = pytest.mark.node


@pytest.fixture
async def built(tmp_path: Path, store_server: StoreServer) -> AsyncIterator[Rig]:
    async with (
        node_server("express.mjs") as url,
        rig(tmp_path, store_server, policy=ALLOW_ALL, backend_url=url, shutdown_grace="100ms") as made,
    ):
        yield made


@pytest.mark.parametrize("kind", [kind for kind, (_, mode) in DRIVERS.items() if mode == "legacy"])
async def test_a_client_goes_on_after_its_stream_was_refused(built: Rig, kind: str):
    async with driven(kind, built.url, token=built.issuer.mint()) as client:
        await client.connect()
        assert (await client.seen("GET")).status == 405  # "no stream here" to a client; 404 would end its session
        for value in ("one", "two"):
            assert (await client.call("echo", {"value": value}))["structuredContent"] == {"value": value}
    for method, status in {"initialize": 200, "notifications/initialized": 202, "GET": 405}.items():
        assert {line["http_status"] for line in await built.lines_with(1, method=method)} == {status}
    assert [line["http_status"] for line in await built.lines_with(2, method="tools/call")] == [200, 200]
    assert {line["method"] for line in built.calls if line["code"] != "client_gone"} <= {
        *("initialize", "notifications/initialized", "GET", "tools/call")
    }


async def test_a_session_outlives_a_get_and_a_delete_without_a_route(built: Rig):
    session = await built.session()
    headers = {"Mcp-Session-Id": session}
    assert (await built.get(session=session)).status == 405
    assert (await built.delete(session=session)).status == 404
    reply = await built.post("tools/call", {"name": "echo"}, revision=LEGACY, headers=headers)
    assert "result" in reply.events[-1]
    stale = await built.post(
        "initialize",
        {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}},
        revision=LEGACY,
        headers=headers,
    )
    assert (stale.status, stale.headers["Mcp-Session-Id"] != session) == (200, True)
