"""Tokens with a signature that a known key did not make: refused without verifying again, and never for too long."""

from __future__ import annotations

import traceback

import pytest

from sidecar.errors import ErrorCode, Refusal
from sidecar.identity.authenticator import Authenticator, token_digest
from sidecar.identity.claims import bearer
from sidecar.identity.invalid_token import invalid
from sidecar.identity.issuers import IssuerRegistry
from sidecar.identity.jwt.issuer_keys import REFRESH, KeySet
from sidecar.identity.jwt.key_set import KeyTable
from sidecar.identity.jwt.refused_tokens import RefusedTokens
from tests.identity.support import Clock, configured, refused
from tests.support.issuer import RESOURCE, Issuer, Signer


@pytest.fixture
def gate(issuer: Issuer, ring: IssuerRegistry, clock: Clock) -> Authenticator:
    return Authenticator(RESOURCE, [configured(issuer)], ring, clock=clock)


def forged(issuer: Issuer, number: int = 9, **changes: object) -> list[str]:
    """A token of a known `kid`, signed with another key."""
    return list(issuer.bearer(signer=Signer(kid=issuer.signer.kid, number=number), **changes).values())


async def refuse(gate: Authenticator, token: list[str], phrase: str = "signature does not verify") -> None:
    with refused(ErrorCode.TOKEN_INVALID, phrase):
        await gate.authenticate(token)


async def test_a_refused_signature_is_refused_again_without_verifying(issuer: Issuer, gate: Authenticator):
    token = forged(issuer)
    assert gate.remembered(token_digest(bearer(token))) is None
    await refuse(gate, token)
    for _ in range(3):
        with refused(ErrorCode.TOKEN_INVALID, "signature does not verify") as info:
            gate.remembered(token_digest(bearer(token)))
        assert info.value.specifics == {"check": "signature", "found": issuer.signer.kid}
    assert gate.remembered(token_digest(bearer(forged(issuer, jti="another")))) is None


async def test_the_refusal_of_a_signature_recurs_and_does_not_grow(issuer: Issuer, gate: Authenticator):
    token = forged(issuer)
    await refuse(gate, token)
    met: set[tuple[Refusal, int]] = set()
    for _ in range(3):
        with refused(ErrorCode.TOKEN_INVALID) as info:
            gate.remembered(token_digest(bearer(token)))
        met.add((info.value, len(traceback.extract_tb(info.value.__traceback__))))
    assert [refusal.recurs for refusal, _ in met] == [True]


async def test_a_key_that_is_published_later_is_not_missed(issuer: Issuer, gate: Authenticator, clock: Clock):
    token = forged(issuer)
    await refuse(gate, token)
    issuer.rotate(Signer(kid=issuer.signer.kid, number=9), drop=True)
    await refuse(gate, token)
    clock.now += REFRESH
    fetched = issuer.key_fetches
    with refused(ErrorCode.TOKEN_INVALID):
        # The known keys are in use until the fetch that this started has ended.
        gate.remembered(token_digest(bearer(token)))
    with pytest.raises(Refusal):  # an unknown key waits for that fetch
        await gate.authenticate(list(issuer.bearer(signer=Signer(kid="unknown", number=8)).values()))
    assert issuer.key_fetches == fetched + 1
    assert gate.remembered(token_digest(bearer(token))) is None
    assert (await gate.authenticate(token)).issuer_id == "main"


async def test_a_refused_token_that_expires_is_refused_as_expired(issuer: Issuer, gate: Authenticator, clock: Clock):
    token = forged(issuer, lifetime=100)
    await refuse(gate, token)
    clock.now += 1000
    await refuse(gate, token, "expired")


async def test_a_flood_of_refused_tokens_evicts_no_verified_one(issuer: Issuer, ring: IssuerRegistry, clock: Clock):
    gate = Authenticator(RESOURCE, [configured(issuer)], ring, clock=clock, capacity=3)
    good = list(issuer.bearer().values())
    who = await gate.authenticate(good)
    for number in range(10):
        await refuse(gate, forged(issuer, jti=str(number)))
    assert gate.remembered(token_digest(bearer(good))) is who


def test_refusals_are_bounded_and_the_least_recently_used_goes_first(issuer: Issuer, clock: Clock):
    tokens, keys = RefusedTokens(capacity=2), KeySet(configured(issuer), fetch=never)
    table = KeyTable(issuer.jwks, ["RS256"])
    for number in (1, 2, 3):
        tokens.put(bytes([number]), invalid("no"), clock.now + 1, keys, table)
    assert len(tokens) == 2
    assert tokens.get(b"\x01", clock.now) is None


async def never() -> object:
    raise AssertionError("no fetch is due")
