"""Rate of requests to an endpoint, calls while it does not answer, and its health."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest

from sidecar.config.settings.settings import IssuerSettings
from sidecar.errors import ErrorCode
from sidecar.identity.authenticator import Authenticator
from sidecar.identity.egress.issuer_client import IssuerClient
from sidecar.identity.issuers import IssuerRegistry
from sidecar.identity.jwt.discovery import session
from sidecar.identity.opaque import opaque_tokens
from sidecar.identity.opaque.introspection import Introspector
from sidecar.identity.opaque.introspection_endpoint import (
    BURST,
    PLACES,
    PROBE_EVERY,
    RATE,
    WAITING,
    IntrospectionEndpoint,
)
from tests.identity.support import NOW, Clock, Gates, ask, code, configured, enter, made_up, refused, tokens_of, verdict
from tests.support.introspection import Introspection
from tests.support.issuer import RESOURCE, Issuer
from tests.support.store import until

INVALID, UNAVAILABLE = ErrorCode.TOKEN_INVALID, ErrorCode.ISSUER_UNAVAILABLE


# --- bad tokens ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("cache", "seconds"), [("30s", 10), ("1h", 10), ("2s", 2)])
async def test_a_bad_token_is_not_asked_about_again_at_once(
    endpoint: Introspection, gates: Gates, clock: Clock, cache: str, seconds: int
):
    gate = gates(cache=cache)
    for _ in range(50):
        assert await code(gate, "made-up") is INVALID
    assert endpoint.questions("made-up") == 1
    clock.now += seconds - 0.01
    assert await code(gate, "made-up") is INVALID
    assert endpoint.questions("made-up") == 1
    clock.now += 0.01
    assert await code(gate, "made-up") is INVALID
    assert endpoint.questions("made-up") == 2


async def test_a_token_that_becomes_good_is_good_soon(endpoint: Introspection, gates: Gates, clock: Clock):
    gate, token = gates(), endpoint.mint(nbf=NOW + 15)
    with refused(INVALID, "not valid yet"):
        await enter(gate, token)
    clock.now += opaque_tokens.REFUSED_FOR
    await enter(gate, token)


async def test_requests_about_made_up_tokens_are_limited(
    endpoint: Introspection, gates: Gates, clock: Clock, outcomes: Counter[str]
):
    gate = gates(cache="0s")
    flood = made_up(BURST + 50)
    found = Counter([await code(gate, token) for token in flood])
    assert found == {INVALID: BURST, UNAVAILABLE: 50}
    assert outcomes == {"inactive": BURST, "not_asked": 50}
    assert sum(map(endpoint.questions, flood)) == BURST
    clock.now += 1
    more = made_up(BURST)
    found = Counter([await code(gate, token) for token in more])
    assert found == {INVALID: RATE, UNAVAILABLE: BURST - RATE}
    assert sum(map(endpoint.questions, more)) == RATE


async def test_a_refused_flood_gets_retry_after(endpoint: Introspection, gates: Gates):
    gate = gates()
    for token in made_up(BURST):
        await code(gate, token)
    with refused(UNAVAILABLE) as info:
        await enter(gate, endpoint.mint())
    assert info.value.retry_after == 1
    assert "too many requests" in str(info.value.log)


@pytest.fixture
async def patient(gates: Gates, clock: Clock) -> AsyncIterator[opaque_tokens.OpaqueTokens]:
    """Opaque tokens with all the time of a busy machine; an answer is used for a second."""
    settings = gates.settings(cache="1s")
    assert settings.introspection is not None
    async with session() as opened:
        introspector = Introspector(IssuerClient(opened), settings.introspection)
        asked = IntrospectionEndpoint(introspector.ask, monotonic=clock, clock=clock, timeout=50)
        yield tokens_of(settings, asked, clock, capacity=2000)
        await asked.close()


async def test_a_flood_does_not_delay_known_callers(
    endpoint: Introspection, patient: opaque_tokens.OpaqueTokens, clock: Clock
):
    known = [endpoint.mint() for _ in range(40)]
    await asyncio.gather(*(ask(patient, token) for token in known))
    clock.now += 1
    flood = made_up(PLACES + WAITING + 100)
    endpoint.hold.clear()
    endpoint.held = held = set(flood)
    attack = [asyncio.create_task(verdict(patient, token)) for token in flood]
    await until(lambda: len(held.intersection(endpoint.asked)) == PLACES)
    for token in known:
        await ask(patient, token)
        assert endpoint.questions(token) == 2
    assert sum(map(endpoint.questions, flood)) == PLACES
    endpoint.hold.set()
    found = Counter(await asyncio.gather(*attack))
    assert found == {INVALID: BURST, UNAVAILABLE: len(flood) - BURST}
    assert sum(map(endpoint.questions, flood)) == BURST
    clock.now += 1
    await ask(patient, endpoint.mint())  # a newcomer, as soon as there is room


async def test_a_token_for_another_resource_is_a_bad_one(endpoint: Introspection, gates: Gates):
    gate = gates(cache="0s")
    elsewhere = [endpoint.mint(aud="https://other.example") for _ in range(BURST + 20)]
    assert Counter([await code(gate, token) for token in elsewhere]) == {INVALID: BURST, UNAVAILABLE: 20}


async def test_a_revoked_token_is_unknown_again(endpoint: Introspection, gates: Gates):
    gate, token = gates(cache="0s"), endpoint.mint()
    await enter(gate, token)
    endpoint.revoke(token)
    assert await code(gate, token) is INVALID
    for made in made_up(BURST):
        await code(gate, made)
    assert await code(gate, token) is UNAVAILABLE
    assert endpoint.questions(token) == 2


async def test_many_new_callers_at_once_all_get_in(endpoint: Introspection, patient: opaque_tokens.OpaqueTokens):
    tokens = [endpoint.mint() for _ in range(4 * BURST)]
    assert Counter(await asyncio.gather(*(verdict(patient, token) for token in tokens))) == {None: len(tokens)}
    assert endpoint.at_once <= PLACES


# --- no answer -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"fault": 500},
        {"fault": 401},
        {"fault": 429},
        {"fault": 302},
        {"body": b"[]"},
        {"body": b"{}"},
        {"body": b'{"active": true, "active": true}'},
        {"content_type": "text/html"},
        {"drop": 9},
    ],
    ids=lambda change: "-".join(f"{name}-{value}" for name, value in change.items()),
)
async def test_a_missing_answer_neither_accepts_nor_refuses(
    endpoint: Introspection, gates: Gates, clock: Clock, change: dict[str, Any], outcomes: Counter[str]
):
    gate, good, bad = gates(cache="1s"), endpoint.mint(), "made-up"
    await enter(gate, good)
    clock.now += 1
    before = {name: getattr(endpoint, name) for name in change}
    for name, value in change.items():
        setattr(endpoint, name, value)
    for token in (good, bad):
        with refused(UNAVAILABLE) as info:
            await enter(gate, token)
        assert info.value.retry_after == 1
        assert str(info.value.log).startswith("introspection: ")
        assert str(info.value.log).endswith(f" ({endpoint.url})")
    assert outcomes["failed"] >= 1
    for name, value in before.items():
        setattr(endpoint, name, value)
    clock.now += 1
    await enter(gate, good)
    with refused(INVALID):
        await enter(gate, bad)


async def test_a_failure_is_not_repeated_for_every_call(endpoint: Introspection, gates: Gates, clock: Clock):
    gate, token = gates(cache="0s"), endpoint.mint()
    endpoint.fault = 500
    for _ in range(100):
        assert await code(gate, token) is UNAVAILABLE
    assert endpoint.questions(token) == 1
    clock.now += opaque_tokens.RETRY_AFTER
    assert await code(gate, token) is UNAVAILABLE
    assert endpoint.questions(token) == 2


async def test_a_silent_endpoint_times_out(endpoint: Introspection, gates: Gates, clock: Clock):
    settings = gates.settings()
    assert settings.introspection is not None
    endpoint.hold.clear()
    async with session() as opened:
        asked = IntrospectionEndpoint(
            Introspector(IssuerClient(opened), settings.introspection).ask, monotonic=clock, clock=clock, timeout=0.05
        )
        with refused(UNAVAILABLE) as info:
            await ask(tokens_of(settings, asked, clock), endpoint.mint())
        assert "no answer in time" in str(info.value.log)
        await asked.close()


async def test_a_rate_limiting_endpoint_gets_no_requests_about_unknown_tokens(
    endpoint: Introspection, gates: Gates, clock: Clock
):
    gate, known, new = gates(cache="1s"), endpoint.mint(), endpoint.mint()
    await enter(gate, known)
    endpoint.fault, endpoint.headers = 429, {"Retry-After": "20"}
    with refused(UNAVAILABLE) as info:
        await enter(gate, "made-up")
    assert info.value.retry_after == 20
    endpoint.fault = None
    clock.now += 5
    await enter(gate, known)
    with refused(UNAVAILABLE) as info:
        await enter(gate, new)
    assert info.value.retry_after == 15
    assert endpoint.questions(new) == 0
    clock.now += 15
    await enter(gate, new)


async def test_closing_the_registry_ends_all_waiters(endpoint: Introspection, issuer: Issuer, clock: Clock):
    async with IssuerRegistry(monotonic=clock, clock=clock) as ring:
        settings = configured(issuer, introspection=endpoint.settings)
        gate = Authenticator(RESOURCE, [settings], ring, clock=clock)
        endpoint.hold.clear()
        waiting = asyncio.create_task(enter(gate, endpoint.mint()))
        await until(lambda: bool(endpoint.about_minted))
    with refused(UNAVAILABLE):
        await waiting


# --- how the endpoint is -------------------------------------------------------------------------


async def probed(endpoint: Introspection, ring: IssuerRegistry, settings: IssuerSettings, clock: Clock) -> str | None:
    """Let time pass until a probe is due; what it finds to be missing."""
    asked = ring.endpoint(settings)
    assert asked is not None
    await asyncio.gather(*asked._tasks)
    before = len(endpoint.asked)
    clock.now += PROBE_EVERY
    asked.probe_if_due()
    probes = list(asked._tasks)
    await asyncio.gather(*probes)
    assert len(endpoint.asked) == before + len(probes)
    return ring.unavailable_reason(settings)


async def test_the_endpoint_is_probed_at_start(
    endpoint: Introspection, gates: Gates, ring: IssuerRegistry, clock: Clock
):
    settings = gates.settings()
    assert ring.unavailable_reason(settings) == "introspection: not asked yet"
    await until(lambda: ring.unavailable_reason(settings) is None)
    assert len(endpoint.asked) == 1


async def test_a_faulty_endpoint_is_reported_before_the_first_call(
    endpoint: Introspection, gates: Gates, ring: IssuerRegistry, clock: Clock
):
    settings = gates.settings()
    endpoint.fault = 401
    assert "rejects the configured client_id" in str(await probed(endpoint, ring, settings, clock))
    endpoint.fault = None
    assert await probed(endpoint, ring, settings, clock) is None
    count = len(endpoint.asked)
    assert await probed(endpoint, ring, settings, clock) is None
    assert len(endpoint.asked) == count  # it is well: there is nothing to ask
    assert len(set(endpoint.asked)) == count


async def test_the_failure_of_one_token_does_not_fail_the_endpoint(
    endpoint: Introspection, gates: Gates, ring: IssuerRegistry, clock: Clock
):
    settings, gate = gates.settings(), gates()
    assert await probed(endpoint, ring, settings, clock) is None
    endpoint.drop = 2
    assert await code(gate, "poison") is UNAVAILABLE
    assert ring.unavailable_reason(settings) is None
    assert await probed(endpoint, ring, settings, clock) is None


async def test_an_endpoint_that_is_down_is_reported_until_it_answers(
    endpoint: Introspection, gates: Gates, ring: IssuerRegistry, clock: Clock
):
    settings, gate = gates.settings(), gates()
    assert await probed(endpoint, ring, settings, clock) is None
    endpoint.fault = 500
    assert await code(gate, "made-up") is UNAVAILABLE
    for _ in range(2):
        assert "500" in str(await probed(endpoint, ring, settings, clock))
    endpoint.fault = 429  # which is an answer
    assert await probed(endpoint, ring, settings, clock) is None
    endpoint.fault = 500
    assert await code(gate, "made-up") is UNAVAILABLE
    assert "500" in str(await probed(endpoint, ring, settings, clock))
    endpoint.fault = None
    await enter(gate, endpoint.mint())
    assert ring.unavailable_reason(settings) is None


async def test_an_issuer_with_keys_is_usable_without_its_endpoint(
    issuer: Issuer, endpoint: Introspection, gates: Gates, ring: IssuerRegistry, clock: Clock
):
    settings = gates.settings({"jwks_uri": issuer.jwks_uri})
    await ring.of(settings).refresh()
    endpoint.fault = 500
    assert await probed(endpoint, ring, settings, clock) is None
    assert ring.endpoint(settings).problem  # type: ignore[union-attr]


async def test_an_issuer_with_introspection_is_not_polled_for_keys(
    issuer: Issuer, gates: Gates, ring: IssuerRegistry, clock: Clock
):
    keys = ring.of(gates.settings())
    for _ in range(3):
        keys.refresh_if_due()
        clock.now += 100
    assert keys._begun == 0
    assert await keys.refresh()
    clock.now += 1000
    keys.refresh_if_due()
    await until(lambda: issuer.key_fetches == 2)  # once it has some, they are kept fresh


async def test_a_new_secret_is_another_endpoint(gates: Gates, ring: IssuerRegistry):
    first = ring.endpoint(gates.settings())
    assert ring.endpoint(gates.settings(cache="1s")) is first
    changed = gates.settings(client_secret="new")
    assert ring.endpoint(changed) is not first
    await ring.retain([changed])
    assert ring.endpoint(gates.settings()) is not first
