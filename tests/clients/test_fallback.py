"""Clients detect a server's revision by its refusal of a probe: the refusal must arrive byte for byte."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from tests.clients.driven import ClientError, driven
from tests.clients.support import ALLOW_ALL, node_server
from tests.support.backend import Backend, http
from tests.support.recorder import Recorder
from tests.support.rig import Rig, rig
from tests.support.store import StoreServer

Json = dict[str, Any]
JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Answer `server/discover` like a server that does not know 2026-07-28."""

    status: int
    body: bytes
    media: str | None = JSON


REFUSALS = {
    "no session": Refusal(
        400,
        b'{"jsonrpc":"2.0","error":{"code":-32000,"message":"Bad Request: Server not initialized"},"id":null}',
    ),
    "oddly spelt": Refusal(
        400,
        b' {"error" : { "message":"\\u0041\xe2\x98\x95\\/" ,"code":-32000.0e0,"data":{"a":1,"a":2}},"id":"" } \r\n',
        "application/json; charset=utf-8",
    ),
    "version": Refusal(
        400,
        b'{"jsonrpc": "2.0", "id": "x", "error": {"code": -32022, "message": "no", '
        b'"data": {"supported": ["2025-11-25"], "requested": "2026-07-28"}}}',
    ),
    "words": Refusal(400, b"Missing session ID\n", "text/plain"),
    "no text at all": Refusal(400, b"\xff\xfe\x00\x80", "application/octet-stream"),
    "empty": Refusal(400, b"", None),
    "not found": Refusal(404, b"<html><body>Not Found</body></html>", "text/html; charset=iso-8859-1"),
    "unknown method": Refusal(
        200, b'{"jsonrpc":"2.0","id":"server-discover-probe-1","error":{"code":-32601,"message":"Method not found"}}'
    ),
}
every_refusal = pytest.mark.parametrize("refusal", REFUSALS.values(), ids=REFUSALS)


@pytest.fixture
async def old(tmp_path: Path, store_server: StoreServer) -> AsyncIterator[Rig]:
    """A sidecar in front of a scripted server."""
    policy = {**ALLOW_ALL, "tools": {"list_taxonomy": {"scopes": []}}}
    async with rig(
        tmp_path, store_server, policy=policy, scripted=Backend(sessions=True), shutdown_grace="100ms"
    ) as built:
        yield built


@pytest.mark.node
@every_refusal
async def test_typescript_falls_back_on_the_server_s_own_error(old: Rig, refusal: Refusal):
    old.backend.on("server/discover", http(refusal.status, refusal.body, media=refusal.media))
    async with driven("v2-modern", old.url, token=old.issuer.mint(), mode="auto") as client:
        await client.connect()
        assert await client.tools() == {"list_taxonomy"}
        probe, initialized, *_ = await client.answers()
    assert (probe.asked, initialized.asked) == ("server/discover", "initialize")
    assert Refusal(probe.status, probe.body or b"", probe.media) == refusal
    arrived = old.backend.received
    assert [request.message.get("method") for request in arrived[:2]] == ["server/discover", "initialize"]
    assert {request.header("mcp-protocol-version") for request in arrived[2:]} == {"2025-11-25"}


@every_refusal
async def test_python_falls_back_on_the_server_s_own_error(old: Rig, refusal: Refusal):
    body = refusal.body.replace(b'"server-discover-probe-1"', b"1")  # each client names its probe in its own way
    old.backend.on("server/discover", http(refusal.status, body, media=refusal.media))
    answers: list[Refusal] = []

    async def watch(response: httpx2.Response) -> None:
        if not answers:
            answers.append(Refusal(response.status_code, await response.aread(), response.headers.get("content-type")))

    async with (
        httpx2.AsyncClient(headers=old.issuer.bearer(), event_hooks={"response": [watch]}) as session,
        Client(streamable_http_client(old.url, http_client=session), mode="auto") as client,
    ):
        assert client.protocol_version == "2025-11-25"
        assert [tool.name for tool in (await client.list_tools()).tools] == ["list_taxonomy"]
    assert answers == [Refusal(refusal.status, body, refusal.media)]


@pytest.mark.node
async def test_the_error_of_a_real_older_server_arrives_byte_for_byte(tmp_path: Path, store_server: StoreServer):
    async with (
        node_server("v1.mjs") as url,
        Recorder(url) as arrived,
        rig(tmp_path, store_server, policy=ALLOW_ALL, backend_url=arrived.url, shutdown_grace="100ms") as built,
        driven("v2-modern", built.url, token=built.issuer.mint(), mode="auto") as client,
    ):
        await client.connect()
        probe, *_ = await client.answers()
        assert probe.status == 400
        assert probe.body
        assert any(b"\r\n\r\n" + probe.body in passed.answered for passed in arrived.connections)


# --- where there is no way to agree ----------------------------------------------------------------


@pytest.mark.node
@pytest.mark.parametrize(
    ("server", "mode"),
    [(("v1.mjs",), "2026-07-28"), (("v2.mjs", "strict"), "legacy")],
    ids=["a new client at an old server", "an old client at a new server"],
)
async def test_a_client_without_a_common_revision_gets_the_bare_server_s_error(
    tmp_path: Path, store_server: StoreServer, server: tuple[str, ...], mode: str
):
    async with (
        node_server(*server) as url,
        rig(tmp_path, store_server, policy=ALLOW_ALL, backend_url=url, shutdown_grace="100ms") as built,
    ):
        errors = []
        for target in (url, built.url):
            async with driven("v2-modern", target, token=built.issuer.mint(), mode=mode) as client:
                with pytest.raises(ClientError) as refused:
                    await client.connect()
                [answer] = await client.answers()
                errors.append((str(refused.value), answer))
        assert errors[0] == errors[1]
