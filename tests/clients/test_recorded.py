"""Headers that never reach a backend, whatever an unmodified client adds to its messages."""

from __future__ import annotations

from pathlib import Path

import httpx2
import pytest
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client

from demo.backend import serving
from tests.clients.arrived import Disguise, check_arrived
from tests.clients.servers.chatter import Chatter
from tests.clients.support import ALLOW_ALL
from tests.support.recorder import Recorder
from tests.support.rig import MODERN, rig
from tests.support.store import StoreServer

HOP_BY_HOP = {
    "Connection": "X-Hop, X-MCP-Account",
    "X-Hop": "{mark}",
    "Keep-Alive": "timeout={mark}",
    "TE": "trailers, {mark}",
    "Trailer": "X-{mark}",
    "Upgrade": "{mark}/1",
    "Proxy-Connection": "{mark}",
    "Proxy-Authenticate": "Basic realm={mark}",
    "HTTP2-Settings": "{mark}",
    "Expect": "100-continue",
    "Max-Forwards": "0",
    "Authorization-Info": "{mark}",
    "Range": "bytes=0-1",
    "If-None-Match": '"{mark}"',
    "Last-Event-ID": "{mark}",
    "Mcp-Param-Other": "1",
    "Mcp-Role": "{mark}",
}
"""Headers that are about one connection, about a cached answer or about nothing here; none is about the message."""


@pytest.mark.parametrize("mode", ["legacy", MODERN])
async def test_hop_by_hop_headers_are_not_forwarded(tmp_path: Path, store_server: StoreServer, mode: str):
    disguise = Disguise.make()
    odd = {name: value.format(mark=disguise.mark) for name, value in HOP_BY_HOP.items()}
    # Where they mean something they are passed on: a stream's last event, and an argument that no schema here names.
    del odd["Mcp-Param-Other" if mode == MODERN else "Last-Event-ID"]
    async with (
        serving(Chatter()) as url,
        Recorder(url) as arrived,
        rig(tmp_path, store_server, policy=ALLOW_ALL, backend_url=arrived.url, shutdown_grace="100ms") as built,
    ):
        token = built.issuer.mint()
        headers = {**disguise.headers, **odd, "Authorization": f"bearer {token}"}
        async with (
            httpx2.AsyncClient(headers=headers, params={"access_token": token, "x": disguise.mark}) as http,
            Client(streamable_http_client(built.url, http_client=http), mode=mode) as client,
        ):
            await client.list_tools()
            assert not (await client.call_tool("echo", {"value": 1})).is_error
        check_arrived(await arrived.requests(), token, disguise.mark)
        assert {request.target for request in await arrived.requests()} == {"/mcp"}


@pytest.mark.parametrize(
    "forged",
    [
        {"Mcp-Method": "tools/list"},
        {"Mcp-Name": "fail"},
        {"MCP-Protocol-Version": "2024-11-05"},
        {"Authorization": "Bearer forged"},
        {"Origin": "https://evil.example"},
        {"Host": "evil.example"},
        {"Content-Encoding": "gzip"},
    ],
    ids=lambda forged: next(iter(forged)),
)
async def test_headers_that_contradict_a_message_refuse_it(
    tmp_path: Path, store_server: StoreServer, forged: dict[str, str]
):
    """A hook changes the headers after the client has made them, as something on its way might."""

    async def forge(request: httpx2.Request) -> None:
        if b'"tools/call"' in request.content:
            request.headers.update(forged)

    async with (
        serving(Chatter()) as url,
        Recorder(url) as arrived,
        rig(tmp_path, store_server, policy=ALLOW_ALL, backend_url=arrived.url, shutdown_grace="100ms") as built,
        httpx2.AsyncClient(headers=built.issuer.bearer(), event_hooks={"request": [forge]}) as http,
        Client(streamable_http_client(built.url, http_client=http), mode=MODERN) as client,
    ):
        await client.list_tools()
        with pytest.raises(MCPError):
            await client.call_tool("echo", {"value": 1})
        assert {request.message["method"] for request in await arrived.requests()} == {"tools/list"}
