"""An issuer, an introspection endpoint, what is kept of them, and clocks that stand still."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator

import pytest
from pytest_aiohttp import AiohttpServer

from sidecar.identity.issuers import IssuerRegistry
from tests.identity.support import Clock, Gates
from tests.support.introspection import Introspection
from tests.support.issuer import Issuer


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def issuer(clock: Clock) -> AsyncIterator[Issuer]:
    async with Issuer(clock=clock) as served:
        yield served


@pytest.fixture
async def endpoint(issuer: Issuer, clock: Clock, aiohttp_server: AiohttpServer) -> Introspection:
    return await Introspection(issuer=issuer.url, clock=clock).serve(aiohttp_server)


@pytest.fixture
def outcomes() -> Counter[str]:
    """Outcomes of the introspection requests."""
    return Counter()


@pytest.fixture
async def ring(clock: Clock, outcomes: Counter[str]) -> AsyncIterator[IssuerRegistry]:
    async with IssuerRegistry(
        monotonic=clock, clock=clock, introspected=lambda outcome: outcomes.update([outcome])
    ) as opened:
        yield opened


@pytest.fixture
def gates(issuer: Issuer, endpoint: Introspection, ring: IssuerRegistry, clock: Clock) -> Gates:
    return Gates(issuer, endpoint, ring, clock)
