"""Workers that die, hang, or lose their supervisor: which calls fail, and what is counted."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path

import aiohttp
import pytest
import yaml

from sidecar.store.embedded.locks import is_alive
from tests.support.backend import Backend, after, default
from tests.support.processes import accounts, house, succeeded, wait_for
from tests.support.store import StoreServer, free_port
from tests.workers.support import WORKERS, Crewed, Load, crewed

CALLERS = 4
pytestmark = [pytest.mark.process, pytest.mark.timeout(300)]


async def test_a_killed_worker_costs_its_calls_in_flight_only(tmp_path: Path, own_server: StoreServer):
    with accounts(own_server.path, 100_000) as ada:
        async with crewed(tmp_path, own_server.url) as made:
            load, before = Load(made.built, made.process), made.pid(0)
            with ada.watched():
                async with load.calling(CALLERS):
                    await load.further()
                    made.kill(0)
                    await load.further()
                    await made.replaced(0, before)
                    await load.further()
            assert len(load.failed) <= CALLERS, load.failed
            assert [each for each in load.failed if not isinstance(each, aiohttp.ClientError)] == []
            assert await made.built.verified()
            restarts = await made.metrics()
        [line] = made.process.events("worker_ended")
        assert (line["worker"], line["problem"], line["restart_in"]) == (0, "it was killed by SIGKILL", 0.0)
        assert restarts['mcp_sidecar_worker_restarts_total{reason="died"}'] == 1


async def test_a_worker_that_hangs_is_replaced_and_others_take_its_connections(tmp_path: Path, own_server: StoreServer):
    async with crewed(tmp_path, own_server.url) as made:
        before = made.pid(1)
        os.kill(before, signal.SIGSTOP)
        replies = await made.on_new_connections(12)
        assert all(map(succeeded, replies))
        await made.replaced(1, before)
        found = await made.metrics()
    assert [line["worker"] for line in made.process.events("worker_hung")] == [1]
    assert found['mcp_sidecar_worker_restarts_total{reason="hung"}'] == 1


async def test_no_counter_goes_back_when_a_worker_dies(tmp_path: Path, own_server: StoreServer):
    async with crewed(tmp_path, own_server.url) as made:
        await made.on_new_connections(30)
        assert await made.calls_counted() == 30
        before = await made.metrics()
        old = made.pid(0)
        made.kill(0)
        await made.replaced(0, old)
        now = await made.metrics()
        assert await made.calls_counted() == 30
        counters = [name for name in before if "_total" in name or "_bucket" in name or "_count" in name]
        assert [name for name in counters if now.get(name, -1) < before[name]] == []
        assert now["mcp_sidecar_workers"] == WORKERS


async def test_sigterm_drains_every_worker(tmp_path: Path, own_server: StoreServer):
    gate, backend = asyncio.Event(), Backend()
    backend.once(*(after(gate, default()) for _ in range(6)))
    async with crewed(tmp_path, own_server.url, backend=backend, shutdown_grace="30s") as made:
        calls = [
            asyncio.create_task(each) for each in [made.built.call(made.process, "list_taxonomy") for _ in range(6)]
        ]
        await wait_for(lambda: len(backend.received) >= 6)
        made.process.terminate()
        await wait_for(lambda: bool(made.process.events("stopping")))
        gate.set()
        assert all(map(succeeded, await asyncio.gather(*calls)))
        assert await made.process.ended() == 0
        assert sorted(line.get("worker", -1) for line in made.process.events("stopped")) == [-1, 0, 1]


async def test_workers_drain_and_end_when_their_supervisor_is_killed(tmp_path: Path, own_server: StoreServer):
    gate, backend = asyncio.Event(), Backend()
    backend.once(*(after(gate, default()) for _ in range(4)))
    async with crewed(tmp_path, own_server.url, backend=backend, shutdown_grace="30s") as made:
        pids = [made.pid(worker) for worker in range(WORKERS)]
        calls = [
            asyncio.create_task(each) for each in [made.built.call(made.process, "list_taxonomy") for _ in range(4)]
        ]
        await wait_for(lambda: len(backend.received) >= 4)
        await made.process.kill()
        await wait_for(lambda: len(made.process.events("supervisor_lost")) == WORKERS)
        gate.set()
        assert all(map(succeeded, await asyncio.gather(*calls)))
        await wait_for(lambda: not any(map(is_alive, pids)))
        with pytest.raises(aiohttp.ClientConnectorError):
            await made.on_new_connections(1)


async def test_a_port_in_use_is_an_error_in_spite_of_shared_ports(tmp_path: Path, own_server: StoreServer):
    async with crewed(tmp_path, own_server.url, listen=f"127.0.0.1:{free_port()}") as made:
        other = made.built.launch()
        assert await other.ended() == 1
        [line] = other.events("listen_failed")
        assert "cannot listen on" in line["problem"]
        assert all(map(succeeded, await made.on_new_connections(2)))


async def test_a_worker_that_dies_at_its_start_is_started_less_and_less_often(tmp_path: Path, own_server: StoreServer):
    async with house(tmp_path, own_server.url, workers=WORKERS) as built:
        config = yaml.safe_load(built.config.read_text())
        async with built.http.get(f"{built.issuer.url}/jwks") as answer:
            keys = tmp_path / "keys.json"
            keys.write_text(await answer.text())
        config["issuers"] = [{"issuer": built.issuer.url, "jwks": {"file": str(keys)}}]
        built.config.write_text(json.dumps(config))
        made = Crewed(built, await built.start())
        await made.all_serve()
        keys.unlink()
        made.kill(0)
        await wait_for(lambda: len(made.process.events("worker_ended")) >= 4, within=120)
        pauses = [line["restart_in"] for line in made.process.events("worker_ended")]
        assert pauses[:4] == [0, 1, 2, 4]
        assert "issuers[0].jwks.file: cannot be read" in made.process.events("worker_failed")[0]["problem"]
        assert all(map(succeeded, await made.on_new_connections(10)))
        status, body = await built.ready(made.process)
        assert (status, body["checks"]["workers"]) == (200, "1 of 2 serve; not: 0")


async def test_a_worker_that_starts_later_does_not_make_the_sidecar_unready(tmp_path: Path, own_server: StoreServer):
    """Load balancers would drop a sidecar that has just become ready, and the other one is being restarted."""
    async with house(tmp_path, own_server.url, workers=WORKERS) as built:
        made = Crewed(built, built.launch())
        await wait_for(lambda: len(made.process.events("worker_started")) == WORKERS)
        os.kill(made.pid(0), signal.SIGSTOP)
        await made.process.listening()
        first = await built.ready(made.process)
        assert first[1]["checks"]["workers"] == "1 of 2 serve; not: 0"  # `listening` is not said before
        await built.until_ready(made.process)
        os.kill(made.pid(0), signal.SIGCONT)
        answers = [await built.ready(made.process)]
        async with asyncio.timeout(120):
            while answers[-1][1]["checks"]["workers"] != "ok":
                await asyncio.sleep(0.01)
                answers.append(await built.ready(made.process))
        assert [body for status, body in answers if status != 200] == []
        assert answers[0][1]["checks"]["workers"] == "1 of 2 serve; not: 0"


async def test_workers_share_the_embedded_store_which_ends_with_the_last_of_them(tmp_path: Path):
    async with crewed(tmp_path, "embedded") as made:
        assert all(map(succeeded, await made.on_new_connections(6)))
        before = made.pid(0)
        made.kill(0)
        await made.replaced(0, before)
        assert all(map(succeeded, await made.on_new_connections(6)))
        server = int((tmp_path / "var/store/server.pid").read_text())
        made.process.terminate()
        assert await made.process.ended() == 0
        assert not is_alive(server)
