"""Sidecars that trace, and the collector that they export to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from tests.proxy.conftest import bare, launch
from tests.proxy.support import Launch
from tests.support.collector import Collector
from tests.support.rig import Rig

__all__ = ["bare", "launch"]

Traced = Callable[..., Awaitable[Rig]]


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    async with Collector() as made:
        yield made


@pytest.fixture
def traced(launch: Launch, collector: Collector) -> Traced:
    """Start a sidecar that traces every request."""

    async def start(*, tracing: Any = None, **options: Any) -> Rig:
        return await launch(tracing={"endpoint": collector.url, "sample": 1, **(tracing or {})}, **options)

    return start
