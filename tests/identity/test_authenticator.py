from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sidecar.config.settings.settings import ALGORITHMS
from sidecar.errors import ErrorCode
from sidecar.identity.authenticator import Authenticator, token_digest
from sidecar.identity.claims import bearer
from sidecar.identity.issuers import IssuerRegistry
from sidecar.identity.jwt import key_set
from sidecar.identity.jwt.issuer_keys import INTERVAL, STALE
from tests.identity.support import Clock, configured, refused
from tests.support.issuer import RESOURCE, Issuer, Signer
from tests.support.store import until
from tests.support.work import calls


@pytest.fixture
def gate(issuer: Issuer, ring: IssuerRegistry, clock: Clock) -> Authenticator:
    return Authenticator(RESOURCE, [configured(issuer)], ring, clock=clock)


@pytest.fixture
def verifications(monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
    """The `kid` of every signature verified."""
    seen: list[str | None] = []
    original = key_set.KeyTable.verifies

    def counting(self: key_set.KeyTable, token: key_set.SignedText, kid: str | None, algorithm: str) -> bool | None:
        seen.append(kid)
        return original(self, token, kid, algorithm)

    monkeypatch.setattr(key_set.KeyTable, "verifies", counting)
    return seen


def header(issuer: Issuer, **changes: Any) -> list[str]:
    return list(issuer.bearer(**changes).values())


async def test_a_good_token_is_a_caller(issuer: Issuer, gate: Authenticator):
    who = await gate.authenticate(header(issuer, subject="bob", scopes=["stores:read"]))
    assert (who.issuer_id, who.issuer, who.subject, who.client_id) == ("main", issuer.url, "bob", "cli-1")
    assert who.scopes == {"stores:read"}


async def test_no_token_is_missing(gate: Authenticator):
    with refused(ErrorCode.TOKEN_MISSING):
        await gate.authenticate([])


@pytest.mark.parametrize(
    "change",
    [
        {"iss": "https://evil.example"},
        {"iss": None},
        {"aud": "https://other.example"},
        {"exp": 1},
        {"iat": None},
        {"sub": None, "username": "ada"},
        {"client_id": None},
        {"scope": 7},
        {"header": {"typ": "id_token"}},
        {"header": {"alg": "none"}},
        {"header": {"alg": "HS256"}},
        {"header": {"crit": ["x"]}},
    ],
)
async def test_faults_that_no_signature_repairs_fetch_no_keys(
    issuer: Issuer, gate: Authenticator, change: dict[str, Any]
):
    with refused(ErrorCode.TOKEN_INVALID):
        await gate.authenticate(header(issuer, **change))
    assert issuer.requests == []


async def test_another_signature_is_refused(issuer: Issuer, gate: Authenticator):
    with refused(ErrorCode.TOKEN_INVALID, "signature"):
        await gate.authenticate(header(issuer, signer=Signer(kid=issuer.signer.kid, number=9)))


async def test_surrogates_in_a_header_are_refused(gate: Authenticator):
    with refused(ErrorCode.TOKEN_INVALID):
        await gate.authenticate(["Bearer \udcff"])


async def test_an_issuer_that_is_down_is_not_the_tokens_fault(
    issuer: Issuer, ring: IssuerRegistry, gate: Authenticator, clock: Clock
):
    issuer.fault = 500
    with refused(ErrorCode.ISSUER_UNAVAILABLE) as info:
        await gate.authenticate(header(issuer))
    assert info.value.retry_after
    assert "500" in (ring.unavailable_reason(configured(issuer)) or "")
    issuer.fault = None
    clock.now += INTERVAL
    await gate.authenticate(header(issuer))
    assert ring.unavailable_reason(configured(issuer)) is None


# --- remembering ---------------------------------------------------------------------------------


async def test_a_token_is_verified_once(issuer: Issuer, gate: Authenticator, verifications: list[str | None]):
    token = header(issuer)
    who = await gate.authenticate(token)
    verifications.clear()
    for _ in range(10):
        assert await gate.authenticate(token) is who
    assert verifications == []
    await gate.authenticate(header(issuer))
    assert len(verifications) == 1


async def test_a_token_is_recalled_once_it_is_verified_and_until_it_expires(
    issuer: Issuer, gate: Authenticator, clock: Clock
):
    token = header(issuer, lifetime=60)
    assert gate.remembered(token_digest(bearer(token))) is None
    who = await gate.authenticate(token)
    assert gate.remembered(token_digest(bearer(token))) is who
    clock.now += 70
    assert gate.remembered(token_digest(bearer(token))) is None
    with refused(ErrorCode.TOKEN_MISSING):
        gate.remembered(token_digest(bearer([])))
    with refused(ErrorCode.TOKEN_INVALID):
        gate.remembered(token_digest(bearer([*token, *token])))


async def test_a_remembered_token_expires(issuer: Issuer, gate: Authenticator, clock: Clock):
    token = header(issuer, lifetime=60)
    await gate.authenticate(token)
    clock.now += 69
    await gate.authenticate(token)
    clock.now += 1
    with refused(ErrorCode.TOKEN_INVALID, "expired"):
        await gate.authenticate(token)


async def test_a_remembered_token_ends_with_its_key(
    issuer: Issuer, ring: IssuerRegistry, gate: Authenticator, clock: Clock
):
    token = header(issuer)
    await gate.authenticate(token)
    issuer.rotate(drop=True)
    clock.now += INTERVAL
    await gate.authenticate(token)
    await ring.of(configured(issuer)).refresh()
    assert gate.remembered(token_digest(bearer(token))) is None
    with refused(ErrorCode.ISSUER_UNAVAILABLE):  # young: the next fetch decides
        await gate.authenticate(token)
    clock.now += INTERVAL
    with refused(ErrorCode.TOKEN_INVALID, "no such key"):
        await gate.authenticate(token)


async def test_a_remembered_token_ends_with_stale_keys(issuer: Issuer, gate: Authenticator, clock: Clock):
    token = header(issuer, lifetime=10 * int(STALE))
    await gate.authenticate(token)
    issuer.fault = 500
    clock.now += STALE - 1
    await gate.authenticate(token)
    await asyncio.sleep(0.05)
    clock.now += INTERVAL
    assert gate.remembered(token_digest(bearer(token))) is None
    with refused(ErrorCode.ISSUER_UNAVAILABLE):
        await gate.authenticate(token)


async def test_refused_tokens_are_not_remembered(issuer: Issuer, gate: Authenticator):
    for _ in range(100):
        with refused(ErrorCode.TOKEN_INVALID):
            await gate.authenticate(header(issuer, aud="x"))
    assert len(gate._remembered) == 0


async def test_the_memory_is_bounded(issuer: Issuer, ring: IssuerRegistry, clock: Clock):
    gate = Authenticator(RESOURCE, [configured(issuer)], ring, clock=clock, capacity=6)
    tokens = [header(issuer) for _ in range(5)]
    for token in [*tokens, *tokens]:
        await gate.authenticate(token)
        assert len(gate._remembered) <= 3


async def test_no_token_is_kept(issuer: Issuer, gate: Authenticator):
    token = issuer.mint()
    await gate.authenticate([f"Bearer {token}"])
    assert token not in repr(gate._remembered)


# --- several issuers, and reloads ----------------------------------------------------------------


async def test_each_issuer_has_its_own_keys_and_rules(issuer: Issuer, ring: IssuerRegistry, clock: Clock):
    async with Issuer(Signer(kid=issuer.signer.kid, number=5), clock=clock) as other:
        settings = [configured(issuer, id="one"), configured(other, id="two", audience="api")]
        gate = Authenticator(RESOURCE, settings, ring, clock=clock)
        assert (await gate.authenticate(header(issuer))).issuer_id == "one"
        assert (await gate.authenticate(header(other, audience="api"))).issuer_id == "two"
        with refused(ErrorCode.TOKEN_INVALID, "another resource"):
            await gate.authenticate(header(other))
        with refused(ErrorCode.TOKEN_INVALID, "signature"):
            await gate.authenticate(header(issuer, signer=other.signer))
        with refused(ErrorCode.TOKEN_INVALID, "signature"):
            await gate.authenticate(header(other, iss=issuer.url))


async def test_one_issuer_that_is_down_does_not_stop_the_other(issuer: Issuer, ring: IssuerRegistry, clock: Clock):
    async with Issuer(clock=clock) as other:
        other.fault = 500
        settings = [configured(issuer, id="one"), configured(other, id="two")]
        gate = Authenticator(RESOURCE, settings, ring, clock=clock)
        with refused(ErrorCode.ISSUER_UNAVAILABLE):
            await gate.authenticate(header(other))
        await gate.authenticate(header(issuer))
        assert [ring.unavailable_reason(each) is None for each in settings] == [True, False]


async def test_a_reload_keeps_keys_and_forgets_verdicts(
    issuer: Issuer, ring: IssuerRegistry, gate: Authenticator, clock: Clock
):
    token = header(issuer)
    await gate.authenticate(token)
    stricter = configured(issuer, audience="api")
    reloaded = Authenticator(RESOURCE, [stricter], ring, clock=clock)
    await ring.retain([stricter])
    with refused(ErrorCode.TOKEN_INVALID, "another resource"):
        await reloaded.authenticate(token)
    await reloaded.authenticate(header(issuer, audience="api"))
    assert issuer.key_fetches == 1


async def test_other_algorithms_are_other_keys(issuer: Issuer, ring: IssuerRegistry):
    settings = configured(issuer)
    assert ring.of(settings) is ring.of(configured(issuer, leeway="5s"))
    assert ring.of(settings) is not ring.of(configured(issuer, algorithms=["RS256"]))


async def test_an_issuer_that_is_no_longer_configured_is_forgotten(issuer: Issuer, ring: IssuerRegistry):
    old = ring.of(configured(issuer))
    await ring.retain([])
    assert ring.of(configured(issuer)) is not old


async def test_the_registry_fetches_in_the_background(issuer: Issuer, ring: IssuerRegistry, gate: Authenticator):
    assert ring.unavailable_reason(configured(issuer)) == "not fetched yet"
    await until(lambda: ring.unavailable_reason(configured(issuer)) is None)
    assert issuer.key_fetches == 1


async def test_a_closed_registry_has_no_keys(issuer: Issuer):
    with pytest.raises(RuntimeError, match="not open"):
        IssuerRegistry().of(configured(issuer))


def test_the_two_lists_of_algorithms_are_one():
    assert set(ALGORITHMS) == key_set.ASYMMETRIC


async def test_a_remembered_token_costs_its_digest_and_few_lookups(issuer: Issuer, gate: Authenticator):
    sent = header(issuer)
    who = await gate.authenticate(sent)
    assert gate.remembered(token_digest(bearer(sent))) is who
    assert calls(lambda: gate.remembered(token_digest(bearer(sent)))) <= 16


async def test_what_is_not_remembered_is_left_to_the_verification(issuer: Issuer, gate: Authenticator, clock: Clock):
    sent = header(issuer)
    assert gate.remembered(token_digest(bearer(sent))) is None
    who = await gate.authenticate(sent)
    assert gate.remembered(token_digest(bearer(header(issuer, subject="bob")))) is None
    clock.now = who.expires_at + configured(issuer).leeway
    assert gate.remembered(token_digest(bearer(sent))) is None
    with refused(ErrorCode.TOKEN_MISSING):
        gate.remembered(token_digest(bearer([])))
