"""A sidecar with an admin API, shared by the tests of a file: each test uses accounts of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.admin_api.support import Api, section
from tests.support.rig import rig
from tests.support.store import StoreServer


@pytest.fixture
async def api(tmp_path: Path, store_server: StoreServer) -> AsyncIterator[Api]:
    async with rig(tmp_path, store_server, admin_api=section()) as running:
        yield Api.of(running)
