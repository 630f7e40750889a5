"""Fixtures for tables of cases: one sidecar a module, and a view of each case's own changes."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.support import rig as rigs
from tests.support.backend import Backend
from tests.support.rig import Rig
from tests.support.store import StoreServer
from tests.wire.wire import POLICY, Wire


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rig]:
    """Ada is on the growth plan with ten thousand credits, and has approved cli-1."""
    server = StoreServer().start()
    folder = tmp_path_factory.mktemp("wire")
    try:
        async with rigs.rig(folder, server, policy=POLICY, scripted=Backend(sessions=True)) as rig:
            await rig.account(credits=10_000)
            await rig.grant()
            yield rig
    finally:
        server.close()


@pytest_asyncio.fixture(loop_scope="module")
async def wire(served: Rig) -> Wire:
    """The state before one test, which sees only its own changes."""
    return await Wire.of(served)
