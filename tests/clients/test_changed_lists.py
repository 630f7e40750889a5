"""The official Python client is notified of lists that a reload or another plan has changed, in both eras."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import mcp_types as types
import pytest
from mcp.client.subscriptions import ToolsListChanged

from tests.clients.python_client import connected
from tests.proxy.relay.test_list_changes import LISTEN, POLICY, listens
from tests.proxy.support import policy
from tests.support.backend import Backend
from tests.support.open_streams import relayed
from tests.support.rig import MODERN, Rig, rig
from tests.support.store import StoreServer


@pytest.fixture
async def built(tmp_path: Path, store_server: StoreServer) -> AsyncIterator[Rig]:
    async with rig(tmp_path, store_server, policy=POLICY, scripted=Backend(sessions=True)) as made:
        made.backend.on(LISTEN, listens)
        await made.account()
        await made.grant()
        yield made


async def names(client: Any) -> set[str]:
    return {tool.name for tool in (await client.list_tools(cache_mode="refresh")).tools}


async def test_a_subscription_sees_the_change_and_the_new_list(built: Rig):
    async with connected(built, MODERN) as client, asyncio.timeout(60):
        assert "search_shopify_stores" in await names(client)
        async with client.listen(tools_list_changed=True) as stream:
            assert stream.honored.tools_list_changed
            await relayed(built)
            await built.account(plan="free")
            async for event in stream:
                assert isinstance(event, ToolsListChanged)
                break
        assert await names(client) == {"get_usage", "list_taxonomy"}


async def test_a_session_sees_the_change_and_the_new_list(built: Rig):
    heard = asyncio.Event()

    async def handle(message: object) -> None:
        if isinstance(message, types.ToolListChangedNotification):
            heard.set()

    async with connected(built, "legacy", message_handler=handle) as client, asyncio.timeout(60):
        await relayed(built)
        tools = dict(policy()["tools"])
        del tools["get_shopify_store"]
        (built.config.parent / "policy.yaml").write_text(json.dumps({**POLICY, "tools": tools}))
        assert await built.sidecar.reload()
        await heard.wait()
        assert "get_shopify_store" not in await names(client)
