"""One dead address of a name, refusing or silent, is no outage: of the backend, the store and an issuer."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from pathlib import Path

import pytest

from sidecar.identity.egress.issuer_client import IssuerClient
from sidecar.identity.jwt.discovery import KeySource, session
from sidecar.proxy.backend.pool import BackendPool, Outgoing
from sidecar.store.connection.store_connection import StoreConnection
from sidecar.store.connection.store_url import parse_url
from sidecar.system.dialing import dial
from sidecar.system.resolver import AddressInfo, Resolver
from tests.support.addresses import DEAD, LIVE, WAYS, both, dead, resolver
from tests.support.backend import Backend
from tests.support.issuer import Issuer
from tests.support.store import StoreServer, free_port

PATIENCE = 5.0
"""Seconds to connect; a dead address alone would take longer."""


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def test_the_backend(way: str):
    async with Backend() as backend:
        with dead(way, backend.port):
            upstream = BackendPool(
                f"http://backend.test:{backend.port}{backend.path}", connect_timeout=PATIENCE, resolver=resolver()
            )
            for _ in range(4):  # whichever address is the first to be tried
                await upstream.probe()
                upstream._drop_idle()
            assert upstream.connected
            upstream.close()


async def test_the_store(way: str, tmp_path: Path):
    port = free_port()
    server = StoreServer(tmp_path, options=("--port", str(port), "--bind", LIVE, "--protected-mode", "no")).start()
    try:
        with dead(way, port):
            endpoint = parse_url(f"redis://store.test:{port}")
            object.__setattr__(endpoint, "resolver", resolver())
            for _ in range(4):
                connection = StoreConnection(endpoint, attempt_timeout=PATIENCE)
                await connection.start(within=PATIENCE)
                assert connection.failed_attempts == 0
                assert await connection.call("PING") == b"PONG"
                await connection.close()
    finally:
        server.close()


async def test_an_issuer(way: str):
    async with Issuer(resource="http://127.0.0.1:1/mcp") as issuer:
        port = int(issuer.url.split(":")[2].partition("/")[0])
        with dead(way, port):
            async with session(resolver()) as client:
                source = KeySource(IssuerClient(client), issuer.url, issuer.jwks_uri.replace(LIVE, "issuer.test"))
                document = await source.fetch()
    assert isinstance(document, dict)
    assert document["keys"]


async def test_an_address_that_was_slower_comes_last_for_a_while():
    async with Backend() as backend:
        with dead("silent", backend.port):
            names = resolver()
            for _ in range(2):  # one of these begins with the dead address
                await dial(asyncio.Protocol, "backend.test", backend.port, resolver=names)
            orders = [[each[4][0] for each in await names.addresses("backend.test", backend.port)] for _ in range(4)]
    assert orders == [[LIVE, DEAD]] * 4


async def test_a_name_is_looked_up_again_when_all_addresses_fail():
    async with Backend() as backend:
        now = 0.0
        known: list[AddressInfo] = both(backend.port)[:1]
        names = Resolver(lambda host, port: list(known), clock=lambda: now)
        with pytest.raises(OSError, match="Connect call failed"):
            await dial(asyncio.Protocol, "backend.test", backend.port, resolver=names)
        known = both(backend.port)[1:]
        now += 1.0  # the old answer is still fresh
        await dial(asyncio.Protocol, "backend.test", backend.port, resolver=names)


async def test_a_name_without_an_address_is_an_error():
    def look_up(host: str, port: int) -> list[AddressInfo]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    with pytest.raises(OSError, match="not known"):
        await dial(asyncio.Protocol, "nowhere.test", 1, resolver=Resolver(look_up))


async def test_cancelling_leaves_no_socket_open():
    port = free_port()
    with dead("silent", port):
        names = Resolver(lambda host, port: both(port)[:1])
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await dial(asyncio.Protocol, "backend.test", port, resolver=names)


async def test_connections_are_not_used_beyond_their_age():
    """Busy or not: each carries one more call at most once its time is over."""
    async with Backend() as backend:
        upstream = BackendPool(backend.url, max_age=0.0)
        for _ in range(3):
            answer = await upstream.send(Outgoing("DELETE", [("Mcp-Session-Id", "none")]))
            with contextlib.suppress(Exception):
                await answer.read(1 << 16)
            assert upstream.idle == 0
        young = BackendPool(backend.url, max_age=60.0)
        await young.probe()
        assert young.idle == 1
        young.close()
