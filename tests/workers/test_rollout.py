"""Rolling restarts of two sidecars behind HAProxy, under load: no call fails, whichever builds are on the store."""

from __future__ import annotations

import asyncio
import functools
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from sidecar import __version__
from sidecar.store.connection.layout import LAYOUT_KEY, LAYOUT_VERSION
from tests.support.processes import Accounts, accounts, house, wait_for
from tests.support.store import StoreServer
from tests.workers.front import NAMES, Front, Listener, front
from tests.workers.support import WORKERS, Load

GRANTED = 1_000_000
DELAY = "4s"  # HAProxy needs two failed checks, one each 0.2 seconds
BEFORE = "0.0.0+before"
ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.process, pytest.mark.timeout(400)]


@pytest.fixture
def quick_server() -> Iterator[StoreServer]:
    """A server that is never killed, and so needs no disk: that of a busy machine may stop for seconds."""
    server = StoreServer().start()
    yield server
    server.close()


@functools.cache
def build_before(folder: Path) -> Path:
    """The package before the last change of it, from the history of this clone."""
    listed = subprocess.run(
        ["git", "rev-list", "-n", "2", "--first-parent", "HEAD", "--", "sidecar"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    commits = listed.stdout.split()
    if listed.returncode or len(commits) < 2:
        pytest.skip("this is no clone with the change before the last one")
    tree = folder / "before"
    tree.mkdir()
    archive = subprocess.run(["git", "archive", commits[1], "sidecar"], cwd=ROOT, capture_output=True, check=True)
    subprocess.run(["tar", "-x", "-C", str(tree)], input=archive.stdout, check=True)
    found = re.search(
        r"^LAYOUT_VERSION: Final = (\d+)$", (tree / "sidecar/store/connection/layout.py").read_text(), re.M
    )
    assert found is not None
    if int(found[1]) != LAYOUT_VERSION:
        pytest.skip("the build before has another layout: a rollout with both is not possible, as documented")
    package = tree / "sidecar/__init__.py"
    package.write_text(package.read_text().replace(f'"{__version__}"', f'"{BEFORE}"'))
    return tree


async def verified(made: Front, ada: Accounts, load: Load) -> None:
    """Every call returned its result, and was paid once."""
    assert load.failed == []
    await wait_for(lambda: ada.look().held == 0)
    assert ada.look().spent == len(load.replies)
    assert await made.built.verified()


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_rolling_restart_fails_no_call_and_streams_come_back(
    tmp_path: Path, quick_server: StoreServer, workers: int
):
    with accounts(quick_server.path, GRANTED) as ada:
        async with front(tmp_path, quick_server.url, shutdown_delay=DELAY, workers=workers) as made:
            for name in NAMES:
                await made.start(name)
            load, listener = Load(made.built, made), Listener(made)
            async with listener.listening(), load.calling():
                for name in (*NAMES, *NAMES):
                    await load.further()
                    await made.stop(name)
                    await load.further()
                    await made.start(name)
                    await load.further()
                await wait_for(lambda: listener.opened == len(listener.comments) + 1, within=60)
            await verified(made, ada, load)
            assert listener.comments
            assert set(listener.comments) == {": the server is shutting down"}


async def test_the_build_before_and_this_one_replace_each_other_on_one_store(tmp_path: Path, quick_server: StoreServer):
    before = build_before(tmp_path)
    with accounts(quick_server.path, GRANTED) as ada:
        async with front(tmp_path, quick_server.url) as made:
            for name in NAMES:
                await made.start(name, before)
            load = Load(made.built, made)
            async with load.calling():
                for tree in (None, before):  # forward, and back
                    for name in NAMES:
                        await load.further()
                        await made.stop(name, drain=True)
                        await made.start(name, tree)
                        await load.further()
            await verified(made, ada, load)


async def test_builds_with_several_workers_replace_each_other_and_streams_come_back(
    tmp_path: Path, quick_server: StoreServer
):
    before = build_before(tmp_path)
    with accounts(quick_server.path, GRANTED) as ada:
        async with front(tmp_path, quick_server.url, shutdown_delay=DELAY, workers=WORKERS) as made:
            for name in NAMES:
                await made.start(name, before)
            load, listener = Load(made.built, made), Listener(made)
            async with listener.listening(), load.calling(callers=2):
                for tree in (None, before):  # forward, and back
                    for name in NAMES:
                        await load.further()
                        await made.stop(name)
                        await load.further()
                        await made.start(name, tree)
                        assert await made.versions(name) == {__version__ if tree is None else BEFORE}
                        await load.further()
                await wait_for(lambda: listener.opened == len(listener.comments) + 1, within=60)
            await verified(made, ada, load)
            assert set(listener.comments) == {": the server is shutting down"}


async def test_a_build_with_another_layout_is_not_ready_and_writes_nothing(tmp_path: Path, quick_server: StoreServer):
    client = quick_server.client()
    client.set(LAYOUT_KEY, LAYOUT_VERSION + 1)
    async with house(tmp_path, quick_server.url, workers=2) as built:
        sidecar = await built.start(ready=False)

        async def reason() -> str:
            _, body = await built.ready(sidecar)
            return str(body["checks"].get("store", ""))

        async with asyncio.timeout(120):
            while "version" not in await reason():  # noqa: ASYNC110 - it is another process
                await asyncio.sleep(0.1)
        assert (await built.ready(sidecar))[0] == 503
    assert client.keys("*") == [LAYOUT_KEY]
