"""A store that is killed, hangs and recovers: calls are refused at once, and nothing is lost."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from tests.faults.callers import Callers
from tests.support.embedded import servers_in
from tests.support.processes import (
    Accounts,
    House,
    SidecarProcess,
    accounts,
    house,
    succeeded,
    wait_for,
)
from tests.support.store import StoreServer

GRANTED = 100_000
REFUSED_WITHIN = 2.0
pytestmark = pytest.mark.timeout(300)  # processes start slowly where many tests share a processor
SLACK = 20.0  # what a busy machine may add to the contract's two seconds; without an end it would be for ever


@pytest.fixture
def ada(own_server: StoreServer) -> Iterator[Accounts]:
    with accounts(own_server.path, GRANTED) as made:
        yield made


@pytest.fixture
def directory() -> Iterator[Path]:
    """A short path for an embedded store, and the end of what was left running there."""
    path = Path(tempfile.mkdtemp(prefix="emb-"))
    store = path / "store"
    yield store
    for pid in servers_in(store):
        os.kill(pid, signal.SIGKILL)
    shutil.rmtree(path, ignore_errors=True)


async def healthy(built: House, sidecar: SidecarProcess) -> int:
    async with built.http.get(f"{sidecar.admin}/healthz") as answer:
        return answer.status


async def refused(built: House, sidecar: SidecarProcess) -> None:
    """One call, refused as the contract says."""
    started = time.monotonic()
    reply = await built.reveal(sidecar, "never")
    assert time.monotonic() - started < REFUSED_WITHIN + SLACK
    assert (reply.status, reply.code) == (503, "store_unavailable")
    assert int(reply.headers["Retry-After"]) >= 1


async def unready(built: House, sidecar: SidecarProcess) -> None:
    """Wait until readiness names the store, and nothing else; liveness stays."""
    async with asyncio.timeout(60):
        while True:
            status, body = await built.ready(sidecar)
            if status == 503:
                break
            await asyncio.sleep(0.01)
    assert [name for name, lack in body["checks"].items() if lack != "ok"] == ["store"]
    assert await healthy(built, sidecar) == 200


def executed(built: House) -> set[str]:
    """The items that the backend was asked for."""
    return {item for run in built.backend.executed for item in run.arguments["contact_ids"]}


async def test_killed_under_load_and_restarted(tmp_path: Path, ada: Accounts, own_server: StoreServer):
    async with house(tmp_path, own_server.url) as built:
        sidecar = await built.start()
        load = Callers(built, sidecar, "ada")
        with ada.watched():
            async with load.calling(8):
                for _ in range(2):
                    await load.succeeding(20)
                    own_server.kill()
                    await unready(built, sidecar)
                    ran = len(built.backend.executed)
                    await asyncio.gather(*(refused(built, sidecar) for _ in range(5)))
                    assert "never" not in {
                        item for run in built.backend.executed for item in run.arguments["contact_ids"]
                    }
                    assert len(built.backend.executed) - ran <= 8  # those that had been admitted before
                    own_server.start()
                    await built.until_ready(sidecar)
            # The server answered nothing that it had not written down, and what did not reach it came later.
            await wait_for(lambda: not ada.look().holds)
            seen = ada.look()
        assert await built.verified()
        assert load.refusals == {(503, "store_unavailable")}
        assert load.slowest < REFUSED_WITHIN + SLACK
        assert seen.paid == executed(built) == load.bought
        assert seen.spent == len(load.bought)
        assert not [entry for _, entry in seen.entries if "expired" in entry]


async def test_stopped_and_continued(tmp_path: Path, ada: Accounts, own_server: StoreServer):
    async with house(tmp_path, own_server.url) as built:
        sidecar = await built.start()
        load = Callers(built, sidecar, "ada")
        with ada.watched():
            async with load.calling(4):
                await load.succeeding(20)
                own_server.pause()
                try:
                    await asyncio.gather(*(refused(built, sidecar) for _ in range(5)))
                    await unready(built, sidecar)
                    await refused(built, sidecar)
                finally:
                    own_server.resume()
                await built.until_ready(sidecar)
                await load.succeeding(20)
            await wait_for(lambda: not ada.look().holds)
            seen = ada.look()
        assert load.slowest < REFUSED_WITHIN + SLACK
        assert seen.paid == load.bought
        assert seen.spent == len(load.bought)


# --- the embedded store --------------------------------------------------------------------------


def embedded(tmp_path: Path, directory: Path) -> AbstractAsyncContextManager[House]:
    return house(tmp_path, "", store={"url": "embedded", "directory": str(directory)})


async def test_a_killed_sidecar_leaves_its_server_to_the_next(tmp_path: Path, directory: Path):
    async with embedded(tmp_path, directory) as built:
        first = await built.start()
        [server] = servers_in(directory)
        with accounts(directory / "store.sock", 10) as ada:
            assert succeeded(await built.reveal(first, "a"))
            await first.kill()
            assert servers_in(directory) == [server]
            second = await built.start()
            assert servers_in(directory) == [server]
            assert succeeded(await built.reveal(second, "a", "b"))
            await wait_for(lambda: not ada.look().holds)
            assert (ada.look().balance, ada.look().paid) == (8, {"a", "b"})
        second.terminate()
        assert await second.ended() == 0
        assert servers_in(directory) == []


async def test_a_killed_server_comes_back_with_everything(tmp_path: Path, directory: Path):
    async with embedded(tmp_path, directory) as built:
        sidecar = await built.start()
        [server] = servers_in(directory)
        with accounts(directory / "store.sock", 10):
            assert succeeded(await built.reveal(sidecar, "a"))
        os.kill(server, signal.SIGKILL)
        await wait_for(lambda: servers_in(directory) not in ([], [server]))
        await built.until_ready(sidecar)
        assert succeeded(await built.reveal(sidecar, "a", "b"))
        with accounts(directory / "store.sock") as ada:
            await wait_for(lambda: not ada.look().holds)
            assert ada.look().balanced
            assert (ada.look().balance, ada.look().spent) == (8, 2)


async def test_sidecars_on_one_directory_share_one_server(tmp_path: Path, directory: Path):
    async with embedded(tmp_path, directory) as built:
        sidecars = [built.launch() for _ in range(2)]  # at once: each would start a server
        for sidecar in sidecars:
            await built.until_ready(await sidecar.listening())
        [server] = servers_in(directory)
        with accounts(directory / "store.sock", 10) as ada:
            for sidecar in sidecars:
                assert succeeded(await built.reveal(sidecar, "a"))
            await wait_for(lambda: not ada.look().holds)
            assert (ada.look().balance, ada.look().spent) == (9, 1)
        first, last = sidecars
        first.terminate()
        assert await first.ended() == 0
        assert servers_in(directory) == [server]
        assert succeeded(await built.reveal(last, "a"))
        last.terminate()
        assert await last.ended() == 0
        assert servers_in(directory) == []
