"""Fixtures every folder of tests shares: stores, and the loop production runs on."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator

import hypothesis
import pytest
import uvloop

from tests.support import node
from tests.support.store import FaultProxy, StoreServer

# On a machine that is busy with something else an example may take any time: none is a failure.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop}


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "node: needs Node and the packages of tests/package.json")


def pytest_collection_finish(session: pytest.Session) -> None:
    """Install what npm must bring before any test's time runs."""
    if session.config.option.collectonly or not any(item.get_closest_marker("node") for item in session.items):
        return
    with contextlib.suppress(node.UnavailableError):  # the tests say so, each for itself
        node.prepare()


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("node"):
        node.node()


@pytest.fixture(scope="session")
def _shared_store() -> Iterator[StoreServer]:
    server = StoreServer().start()
    yield server
    server.close()


@pytest.fixture
def store_server(_shared_store: StoreServer) -> StoreServer:
    """A running, empty server shared by the tests of one process: do not kill or pause it."""
    with _shared_store.client() as client:
        client.flushall()
        client.script_flush()
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
