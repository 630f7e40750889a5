"""Fixtures for rows that kill nothing: one store and one sidecar a module."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from tests.settlement.stage import Stage, staged
from tests.support.store import StoreServer


@pytest.fixture(scope="module")
def server() -> Iterator[StoreServer]:
    """A store that stays up for the whole module."""
    made = StoreServer().start()
    yield made
    made.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory, server: StoreServer) -> AsyncIterator[Stage]:
    """One sidecar in front of a backend that does what each play says."""
    async with staged(tmp_path_factory.mktemp("stage"), server) as made:
        yield made
