"""A widely used server that is not part of any SDK's tests, `server-everything`, with official clients."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from sidecar.config.documents.merging import parse
from sidecar.mcp_client.conversation import ListingError
from sidecar.mcp_client.survey import survey
from sidecar.policy.drift.backend_drift import Drift
from sidecar.workbench.scaffolding.inventory import Inventory
from sidecar.workbench.scaffolding.policy_scaffold import policy_scaffold
from tests.clients.python_client import code_of, connected, text_of
from tests.clients.support import ALLOW_ALL
from tests.clients.test_inspector import inspect
from tests.support.node import package, started
from tests.support.rig import Rig, rig
from tests.support.store import StoreServer, free_port, until

pytestmark = pytest.mark.node

SERVER = package("@modelcontextprotocol/server-everything", "dist", "index.js")
POLICY = {
    **ALLOW_ALL,
    "quotas": {"calls": {"day": 2}},
    "tools": {"echo": {"scopes": [], "uses": {"calls": 1}}, "get-sum": {"scopes": []}},
}


@asynccontextmanager
async def running() -> AsyncIterator[str]:
    """The server on a free port; gives its URL."""
    port = free_port()
    async with started(SERVER, "streamableHttp", env={"PORT": str(port)}):
        yield f"http://127.0.0.1:{port}/mcp"


@asynccontextmanager
async def behind(tmp_path: Path, store_server: StoreServer) -> AsyncIterator[Rig]:
    """The server behind a sidecar that is ready."""
    async with running() as url, rig(tmp_path, store_server, policy=POLICY, backend_url=url) as built:
        await until(lambda: built.sidecar.pipeline.snapshot.tools.listed, 120)
        await built.account(plan="any")
        await built.grant()
        yield built


async def test_a_python_client_calls_policed_tools(tmp_path: Path, store_server: StoreServer):
    async with behind(tmp_path, store_server) as built, connected(built, "legacy") as client:
        listed = await client.list_tools()
        assert {tool.name for tool in listed.tools} == {"echo", "get-sum"}
        for text in ("one", "two"):
            assert text in text_of(await client.call_tool("echo", {"message": text}))
        assert code_of(await client.call_tool("echo", {"message": "three"})) == "quota_exceeded"
        assert "7" in text_of(await client.call_tool("get-sum", {"a": 3, "b": 4}))


async def test_a_revoked_client_is_refused_at_its_next_call(tmp_path: Path, store_server: StoreServer):
    async with behind(tmp_path, store_server) as built, connected(built, "legacy") as client:
        assert "one" in text_of(await client.call_tool("echo", {"message": "one"}))
        await built.revoke()
        assert code_of(await client.call_tool("echo", {"message": "two"})) == "consent_revoked"


async def test_the_scaffolded_policy_serves_the_pinned_tools(tmp_path: Path, store_server: StoreServer):
    async with running() as url:
        async with asyncio.timeout(120):
            inventory = await listed(url)
        made = policy_scaffold(inventory)
        async with rig(tmp_path, store_server, policy=parse("p.yaml", made.text).value, backend_url=url) as built:
            await until(lambda: built.sidecar.pipeline.snapshot.tools.listed, 120)
            async with connected(built, "legacy", claims={"scopes": list(made.scopes)}) as client:
                assert len((await client.list_tools()).tools) == len(inventory.tools)
                assert "hello" in text_of(await client.call_tool("echo", {"message": "hello"}))
                assert code_of(await client.call_tool("echo", {"message": 7})) == "arguments_refused"
            drift = built.sidecar.pipeline.snapshot.tools.drift
            assert drift == Drift((), (), 0)


async def listed(url: str) -> Inventory:
    """The lists of the server, once it answers."""
    while True:
        try:
            return await survey(url)
        except ListingError:
            await asyncio.sleep(0.1)


async def test_the_inspector_lists_and_calls_tools(tmp_path: Path, store_server: StoreServer):
    async with behind(tmp_path, store_server) as built:
        listed = await inspect(built, tmp_path, "--method", "tools/list")
        assert listed.status == 0, listed
        assert "echo" in listed.stdout
        called = await inspect(
            built, tmp_path, "--method", "tools/call", "--tool-name", "echo", "--tool-arg", "message=hello"
        )
        assert called.status == 0, called
        assert "hello" in called.stdout
