"""Sidecars for the tests of the proxy."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.proxy.relay.task_office import STRANGERS, Office, office_of
from tests.proxy.support import POLICY, Launch
from tests.support import rig as rigs
from tests.support.rig import Rig
from tests.support.store import StoreServer, until


@pytest.fixture
async def bare(tmp_path: Path, store_server: StoreServer) -> AsyncIterator[Launch]:
    """Start a sidecar without any account or consent."""
    async with AsyncExitStack() as stack:

        async def start(*, server: StoreServer = store_server, **options: Any) -> Rig:
            return await stack.enter_async_context(rigs.rig(tmp_path, server, **{"policy": POLICY, **options}))

        yield start


@pytest.fixture
def launch(bare: Launch) -> Launch:
    """Start a sidecar; Ada is on the growth plan with ten credits, and has approved cli-1."""

    async def start(*, plan: str = "growth", credits: int = 10, **options: Any) -> Rig:
        rig = await bare(**options)
        await until(lambda: rig.sidecar.store.up)
        await rig.account(plan=plan, credits=credits)
        await rig.grant()
        return rig

    return start


@pytest.fixture
async def rig(launch: Launch) -> Rig:
    """A sidecar that is ready; Ada is on the growth plan with ten credits, and has approved cli-1."""
    return await launch()


@pytest.fixture
async def office(launch: Launch) -> Office:
    return await office_of(launch)


@pytest.fixture(params=list(STRANGERS.values()), ids=list(STRANGERS))
def stranger(request: pytest.FixtureRequest, office: Office) -> str:
    """A token of a caller that may call, but has not started the task."""
    return office.mint(**request.param)
