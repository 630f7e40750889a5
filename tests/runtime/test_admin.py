"""The operator's listener: it repeats nothing, says nothing of itself, and is no use to a page in a browser."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.rig import Json, Rig, rig
from tests.support.store import StoreServer

POLICY: Json = {"scopes": {}, "tools": {"search_shopify_stores": {"scopes": []}}}


@pytest.fixture
async def running(tmp_path: Path, store_server: StoreServer) -> AsyncIterator[Rig]:
    hosts = ["prometheus.internal", "metrics.internal:1234"]
    async with rig(tmp_path, store_server, policy=POLICY, admin_hosts=hosts) as made:
        yield made


async def answer(running: Rig, data: bytes, name: str = "admin") -> bytes:
    """Return the answer to these bytes, to the end of the connection."""
    address = running.sidecar.addresses[name]
    reader, writer = await asyncio.open_connection(address.host, address.port)
    try:
        writer.write(data)
        async with asyncio.timeout(60):
            return await reader.read()
    finally:
        writer.transport.abort()


async def status(running: Rig, host: str, name: str = "admin", path: str = "/healthz") -> int:
    said = await answer(running, f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode(), name)
    return int(said.split()[1])


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "127.0.0.1:9090", "10.1.2.3:9090", "[::1]", "[::1]:9090", "[2001:db8::7]:80"),
        *("localhost", "LocalHost:9090", "prometheus.internal", "Prometheus.Internal:9090", "metrics.internal:1234"),
    ],
)
async def test_literals_localhost_and_named_hosts_are_served(running: Rig, host: str):
    assert await status(running, host) == 200


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "metrics.internal", "metrics.internal:1"),
        *(
            "::1",
            "[127.0.0.1]",
            "[evil]",
            "[::1",
            "[::1]x",
            "127.0.0.1:x",
            "2130706433",
            "0x7f.1",
            "",
            "user@127.0.0.1",
        ),
    ],
)
@pytest.mark.parametrize("path", ["/healthz", "/metrics"])
async def test_a_name_that_anybody_can_give_this_address_is_not(running: Rig, host: str, path: str):
    assert await status(running, host, path=path) == 403


async def test_two_hosts_are_not_served_and_none_is_for_what_is_no_browser(running: Rig):
    twice = await answer(running, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n")
    assert twice.split()[1] in (b"400", b"403")
    assert (await answer(running, b"GET /healthz HTTP/1.0\r\n\r\n")).split()[1] == b"200"


GOOD = b"Host: localhost\r\nConnection: close\r\n"


@pytest.mark.parametrize(
    "data",
    [
        b"GET /CANARY HTTP/1.1\r\n" + GOOD + b"\r\n",
        b"GET /healthz?CANARY HTTP/1.1\r\n" + GOOD + b"\r\n",
        b"POST /CANARY HTTP/1.1\r\n" + GOOD + b"Content-Length: 6\r\n\r\nCANARY",
        b"GET / HTTP/1.1\r\nHost: CANARY.example\r\nConnection: close\r\n\r\n",
        b"GET http://CANARY/metrics HTTP/1.1\r\n" + GOOD + b"\r\n",
        b"CANARY\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\n" + GOOD + b"X: CANARY\x00\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\n" + GOOD + b"CANARY CANARY: x\r\n\r\n",
        b"GET /" + b"CANARY" * 20_000 + b" HTTP/1.1\r\n" + GOOD + b"\r\n",
        b"GET /healthz HTTP/1.1\r\n" + GOOD + b"Authorization: Bearer " + b"CANARY" * 20_000 + b"\r\n\r\n",
        b"GET /healthz HTTP/9.9\r\n" + GOOD + b"X: CANARY\r\n\r\n",
        b"\x16\x03\x01CANARY\r\n\r\n",
    ],
)
async def test_no_answer_repeats_a_request_or_names_a_server(running: Rig, data: bytes):
    said = await answer(running, data)
    assert said.startswith((b"HTTP/1.0 ", b"HTTP/1.1 "))
    assert b"CANARY" not in said
    assert b"\r\nserver:" not in said.lower().partition(b"\r\n\r\n")[0]
    for word in (b"aiohttp", b"python", b"traceback"):
        assert word not in said.lower()
    assert b"CANARY" not in b"".join(json.dumps(line).encode() for line in running.log)


@pytest.mark.parametrize(("path", "expected"), [("/healthz", 200), ("/readyz", 200), ("/metrics", 200), ("/", 404)])
async def test_no_page_names_its_server(running: Rig, path: str, expected: int):
    async with running.http.get(f"{running.admin}{path}") as given:
        assert given.status == expected
        assert "Server" not in given.headers


async def test_a_head_that_is_too_large_is_refused(running: Rig):
    """Each header is bounded as on the public listener."""
    large = b"GET /healthz HTTP/1.1\r\n" + GOOD + b"X: " + b"a" * 20_000 + b"\r\n\r\n"
    assert (await answer(running, large)).split()[1] == b"400"
    fits = b"GET /healthz HTTP/1.1\r\n" + GOOD + b"X: " + b"a" * 10_000 + b"\r\n\r\n"
    assert (await answer(running, fits)).split()[1] == b"200"


@pytest.mark.parametrize("data", [b"CANARY\r\n\r\n", b"GET / HTTP/1.1\r\nHost: x\r\nX: CANARY\x00\r\n\r\n"])
async def test_the_public_listener_names_no_version_either(running: Rig, data: bytes):
    said = await answer(running, data, "listen")
    assert b"CANARY" not in said
    assert b"aiohttp" not in said.lower()


# --- formats of /metrics -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("accept", "expected", "ending"),
    [
        ("Accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5\r\n", b"openmetrics-text", b"# EOF\n"),
        ("Accept: text/plain;q=0.5\r\nAccept: application/openmetrics-text\r\n", b"openmetrics-text", b"# EOF\n"),
        ("Accept: text/plain\r\n", b"text/plain; version=0.0.4", b"\n"),
        ("", b"text/plain; version=0.0.4", b"\n"),
    ],
)
async def test_metrics_are_in_the_format_that_is_asked_for(running: Rig, accept: str, expected: bytes, ending: bytes):
    request = f"GET /metrics HTTP/1.1\r\nHost: localhost\r\n{accept}Connection: close\r\n\r\n"
    head, _, body = (await answer(running, request.encode())).partition(b"\r\n\r\n")
    (content_type,) = re.findall(rb"\r\nContent-Type: ([^\r]+)", head)
    assert expected in content_type
    assert b"\r\nVary: Accept" in head
    assert body.endswith(ending)
    assert b"\nprocess_open_fds " in body
    assert b"\nmcp_sidecar_ready 1.0\n" in body
