"""An issuer, an introspection endpoint, what is kept of them, and clocks that stand still."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator

import pytest

from sidecar.identity.ring import KeyRing
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
async def endpoint(issuer: Issuer, clock: Clock) -> AsyncIterator[Introspection]:
    async with Introspection(issuer=issuer.url, clock=clock) as served:
        yield served


@pytest.fixture
def outcomes() -> Counter[str]:
    """What became of the questions."""
    return Counter()


@pytest.fixture
async def ring(clock: Clock, outcomes: Counter[str]) -> AsyncIterator[KeyRing]:
    async with KeyRing(monotonic=clock, clock=clock, introspected=lambda outcome: outcomes.update([outcome])) as opened:
        yield opened


@pytest.fixture
def gates(issuer: Issuer, endpoint: Introspection, ring: KeyRing, clock: Clock) -> Gates:
    return Gates(issuer, endpoint, ring, clock)
