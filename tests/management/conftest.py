"""Operations on a real store."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from sidecar.config.settings.settings import StoreSettings
from sidecar.management.operator_store import OperatorStore
from tests.support.store import StoreServer


@pytest.fixture
async def store(store_server: StoreServer) -> AsyncIterator[OperatorStore]:
    """The operations' own connection to an empty store."""
    opened = OperatorStore(StoreSettings(url=store_server.url))
    try:
        await opened.start(30)
        yield opened
    finally:
        await opened.close()
