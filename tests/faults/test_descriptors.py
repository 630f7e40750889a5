"""Clients that exhaust the descriptors: open connections work, new ones wait, and the log stays small."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from sidecar.system.descriptors import Descriptors
from tests.support.processes import House, house, succeeded
from tests.support.running import Running, ports, running
from tests.support.store import StoreServer, rest, until

POLICY = "scopes: {}\nconsent: first_use\ntools: {search_shopify_stores: {scopes: []}}\n"
LIMIT = 128
CROWD = 400


@asynccontextmanager
async def crowd(port: int, count: int) -> AsyncIterator[list[socket.socket]]:
    """So many connections that send nothing."""
    loop = asyncio.get_running_loop()
    async with AsyncExitStack() as stack:
        made = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in made:
            each.setblocking(False)
        await asyncio.gather(*(loop.sock_connect(each, ("127.0.0.1", port)) for each in made))
        yield made


async def metrics(built: House, sidecar: Running) -> dict[str, float]:
    async with built.http.get(f"{sidecar.admin}/metrics") as answer:
        lines = [line for line in (await answer.text()).splitlines() if not line.startswith("#")]
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines}


async def test_waiting_clients_take_no_descriptors_from_open_calls(tmp_path: Path, store_server: StoreServer):
    where, log = ports(), tmp_path / "log"
    share = Descriptors.of(LIMIT)
    async with (
        house(tmp_path, store_server.url, policy=POLICY, **where) as built,
        running(built, where, stdout=log.open("ab"), descriptors=LIMIT) as sidecar,
    ):
        assert succeeded(await built.call(sidecar, "search_shopify_stores"))
        async with crowd(sidecar.port, CROWD):
            async with asyncio.timeout(30):
                while (await metrics(built, sidecar))["mcp_sidecar_connections"] < share.clients:
                    await rest()
            for _ in range(20):  # on the connection that was open before
                assert succeeded(await built.call(sidecar, "search_shopify_stores"))
            for path in ("healthz", "readyz"):
                async with built.http.get(f"{sidecar.admin}/{path}") as answer:
                    assert answer.status == 200
            seen = await metrics(built, sidecar)
            assert seen["mcp_sidecar_connections"] == share.clients
            assert seen['mcp_sidecar_accepts_paused_total{listener="listen",reason="limit"}'] >= 1
            assert seen['mcp_sidecar_accepts_paused_total{listener="listen",reason="descriptors"}'] == 0
            async with aiohttp.ClientSession() as other:  # waits for its turn
                waiting = asyncio.create_task(fetch(other, sidecar))
                await asyncio.sleep(0)
                assert succeeded(await built.call(sidecar, "search_shopify_stores"))
                assert not waiting.done()
                waiting.cancel()
                await asyncio.wait([waiting])
        async with aiohttp.ClientSession() as other, asyncio.timeout(30):
            assert await fetch(other, sidecar) == 200
        assert await sidecar.stops()
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    [waiting] = [line for line in lines if line["event"] == "accepts_paused"]
    assert (waiting["listener"], waiting["why"], waiting["limit"]) == ("listen", "limit", LIMIT)
    assert [line for line in lines if line["event"] == "library"] == []


async def test_a_kernel_without_descriptors_is_asked_once_a_second(tmp_path: Path, store_server: StoreServer):
    """However they were lost: connections that are open go on, new ones wait, and nothing is logged for each."""
    where, log = ports(), tmp_path / "log"
    async with (
        house(tmp_path, store_server.url, policy=POLICY, **where) as built,
        running(built, where, stdout=log.open("ab"), descriptors=1024) as sidecar,
    ):
        assert succeeded(await built.call(sidecar, "search_shopify_stores"))
        await metrics(built, sidecar)
        held = {int(each) for each in os.listdir(f"/proc/{sidecar.process.pid}/fd")}
        none_left = next(number for number in range(1024) if number not in held)
        resource.prlimit(sidecar.process.pid, resource.RLIMIT_NOFILE, (none_left, 1024))
        async with crowd(sidecar.port, 50):
            async with asyncio.timeout(30):
                name = 'mcp_sidecar_accepts_paused_total{listener="listen",reason="descriptors"}'
                while (await metrics(built, sidecar))[name] < 2:
                    await rest()
            resource.prlimit(sidecar.process.pid, resource.RLIMIT_NOFILE, (1024, 1024))
            async with aiohttp.ClientSession() as other, asyncio.timeout(30):
                assert await fetch(other, sidecar) == 200
        assert await sidecar.stops()
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    [waiting] = [line for line in lines if line["event"] == "accepts_paused"]
    assert waiting["why"] == "descriptors"
    assert [line for line in lines if line["event"] == "library"] == []


async def fetch(http: aiohttp.ClientSession, sidecar: Running) -> int:
    url = f"http://127.0.0.1:{sidecar.port}/.well-known/oauth-protected-resource/mcp"
    async with http.get(url, headers={"Host": "127.0.0.1:1"}) as answer:
        return answer.status


async def test_connections_to_the_admin_listener_take_no_descriptors_from_clients(
    tmp_path: Path, store_server: StoreServer
):
    where, log = ports(), tmp_path / "log"
    async with (
        house(tmp_path, store_server.url, policy=POLICY, **where) as built,
        running(built, where, stdout=log.open("ab"), descriptors=LIMIT) as sidecar,
    ):
        async with crowd(sidecar.admin_port, CROWD):
            for _ in range(20):
                assert succeeded(await built.call(sidecar, "search_shopify_stores"))
        await until(lambda: '"accepts_paused"' in log.read_text())
        assert (await metrics(built, sidecar))["mcp_sidecar_in_flight"] == 0
        assert await sidecar.stops()


@pytest.mark.parametrize("limit", [16, 64, 128, 1024, 20_000, 1 << 18])
def test_descriptors_of_clients_leave_as_many_for_the_backend(limit: int):
    share = Descriptors.of(limit)
    assert share.clients >= 1
    assert 2 * share.clients + share.admin < limit
