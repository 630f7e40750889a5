"""A client whose consent is revoked receives no further events, and its next subscription is refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from mcp import Client
from mcp.client.subscriptions import SubscriptionLost

from tests.clients.driven import ClientError, driven
from tests.clients.python_client import connected
from tests.clients.support import ALLOW_ALL, node_server
from tests.support.rig import MODERN, Rig, rig
from tests.support.store import StoreServer

pytestmark = pytest.mark.node


@pytest.fixture
async def built(tmp_path: Path, store_server: StoreServer, request: pytest.FixtureRequest) -> AsyncIterator[Rig]:
    """A sidecar that wants a consent, in front of the server that the test names."""
    policy = {**ALLOW_ALL, "consent": "required"}
    async with (
        node_server(request.param) as url,
        rig(tmp_path, store_server, policy=policy, backend_url=url, shutdown_grace="100ms") as made,
    ):
        await made.grant()
        yield made


@pytest.mark.parametrize("built", ["v2.mjs"], indirect=True)
async def test_a_typescript_subscription_ends(built: Rig):
    async with driven("v2-modern", built.url, token=built.issuer.mint(age=60)) as client, asyncio.timeout(60):
        await client.connect()
        await client.do("listen")
        await built.revoke()
        assert await client.do("ended") == "remote"
        with pytest.raises(ClientError):
            await client.do("listen")
    await built.line(http_status=401)


@pytest.mark.parametrize("built", ["v2.mjs"], indirect=True)
async def test_a_python_subscription_ends(built: Rig):
    async def hear(client: Client) -> None:
        async with client.listen(tools_list_changed=True) as stream:
            await built.revoke()
            async for _ in stream:
                pass

    async with connected(built, MODERN, claims={"age": 60}) as client, asyncio.timeout(60):
        with pytest.raises(SubscriptionLost):
            await hear(client)


@pytest.mark.parametrize("built", ["v1.mjs"], indirect=True)
@pytest.mark.parametrize("kind", ["v1", "v2-legacy"])
async def test_the_stream_of_a_session_ends_and_cannot_be_opened_again(built: Rig, kind: str):
    async with driven(kind, built.url, token=built.issuer.mint(age=60)) as client:
        await client.connect()
        assert (await client.seen("GET")).status == 200
        await built.revoke()
        assert (await client.seen("GET")).status == 401  # it comes back by itself
