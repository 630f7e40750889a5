"""Fixtures every folder of tests shares: stores, and the loop production runs on."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from pathlib import Path

import hypothesis
import pytest
import redis

from tests.support import hangs, node, ordering, purity, pypi
from tests.support.certificates import Authority, Pair
from tests.support.store import FaultProxy, StoreServer
from tests.support.topology import ClusterServers

# On a machine that is busy with something else an example may take any time: none is a failure.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": hangs.TestLoop}


_watchdog = hangs.Watchdog()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    seconds = hangs.seconds_of(item)
    if not seconds:
        return (yield)
    with _watchdog.watch(item.nodeid, seconds):
        return (yield)


def pytest_configure(config: pytest.Config) -> None:
    # A shell ignores SIGINT for its background jobs, and programs that tests start would inherit that.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    config.addinivalue_line("markers", "node: needs Node and the packages of tests/package.json")
    config.addinivalue_line("markers", "pypi(requirement): needs a program of PyPI in an environment of its own")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect without the garbage collector: what it would visit again and again are tests and modules, which stay."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if purity.is_pure(item):
            item.add_marker(purity.MARK)
    workers = int(getattr(config, "workerinput", {}).get("workercount", 1))
    if workers > 1:
        items[:] = ordering.spread(items, workers, lambda item: item.nodeid.partition("::")[0], hangs.seconds_of)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    with purity.guard(item):
        return (yield)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Install what npm and pip must bring before any test's time runs."""
    if session.config.option.collectonly:
        return
    # Where that fails the tests say so, each for itself.
    if any(item.get_closest_marker("node") for item in session.items):
        with contextlib.suppress(node.UnavailableError):
            node.prepare()
    for requirement in sorted({mark.args[0] for item in session.items for mark in item.iter_markers("pypi")}):
        with contextlib.suppress(pypi.UnavailableError):
            pypi.prepare(requirement)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("node"):
        node.node()


@pytest.fixture(scope="session")
def _shared_store() -> Iterator[StoreServer]:
    server = StoreServer().start()
    yield server
    server.close()


@pytest.fixture(scope="session")
def _shared_store_client(_shared_store: StoreServer) -> Iterator[redis.Redis]:
    with _shared_store.client() as client:
        yield client


@pytest.fixture
def store_server(_shared_store: StoreServer, _shared_store_client: redis.Redis) -> StoreServer:
    """A running, empty server shared by the tests of one process: do not kill or pause it.

    It keeps the scripts that it has compiled, which costs more than all else that a sidecar's start asks of it.
    """
    _shared_store_client.flushall()
    return _shared_store


@pytest.fixture
def own_server() -> Iterator[StoreServer]:
    """A durable server of this test alone: it may be killed, paused and restarted."""
    server = StoreServer(durable=True).start()
    yield server
    server.close()


@pytest.fixture
async def fault_proxy(own_server: StoreServer) -> AsyncIterator[FaultProxy]:
    """A proxy in front of `own_server`."""
    async with FaultProxy(own_server.path) as proxy:
        yield proxy


@pytest.fixture(scope="session")
def _shared_cluster() -> Iterator[ClusterServers]:
    with ClusterServers() as cluster:
        yield cluster


@pytest.fixture
def cluster(_shared_cluster: ClusterServers) -> ClusterServers:
    """A running, empty cluster shared by the tests of one process: do not kill its nodes or move its slots."""
    for server in _shared_cluster.nodes:
        server.ask("FLUSHALL")
        server.ask("SCRIPT", "FLUSH")
    return _shared_cluster


@pytest.fixture
def own_cluster() -> Iterator[ClusterServers]:
    """A cluster of this test alone: its nodes may be killed and its slots moved."""
    with ClusterServers() as cluster:
        yield cluster


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """A certificate authority that no system trusts; its files are in `tmp_path`."""
    return Authority(tmp_path)


@pytest.fixture
def pair(authority: Authority) -> Pair:
    """The certificate of a server on loopback: `server.pem` and `server.key`."""
    return authority.issue("server")


@pytest.fixture
def mine(authority: Authority) -> Pair:
    """The client certificate of the sidecar."""
    return authority.issue("sidecar", alternatives=())
