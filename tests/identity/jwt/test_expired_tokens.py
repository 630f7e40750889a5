"""Scopes of expired tokens: only of those that were good and whose signature holds, and never by a fetch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from sidecar.errors import ErrorCode
from sidecar.identity.authenticator import Authenticator
from sidecar.identity.invalid_token import invalid
from sidecar.identity.issuers import IssuerRegistry
from sidecar.identity.jwt import key_set
from sidecar.identity.jwt.expired_tokens import ExpiredTokens
from sidecar.identity.jwt.issuer_keys import REFRESH, STALE
from sidecar.identity.jwt.jwt_claims import read
from tests.identity.support import Clock, configured, refused
from tests.support.issuer import RESOURCE, Issuer, Signer

LIFETIME, LEEWAY = 900, 10
SCOPES = ["stores:read", "contacts:reveal"]


@pytest.fixture
def gate(issuer: Issuer, ring: IssuerRegistry, clock: Clock) -> Authenticator:
    return Authenticator(RESOURCE, [configured(issuer)], ring, clock=clock)


def bearer(issuer: Issuer, **changes: Any) -> list[str]:
    return list(issuer.bearer(**{"scopes": SCOPES, "lifetime": LIFETIME, **changes}).values())


async def scopes_of_refusal(gate: Authenticator, header: Sequence[str], phrase: str = "expired") -> tuple[str, ...]:
    with refused(ErrorCode.TOKEN_INVALID, phrase) as info:
        await gate.authenticate(header)
    return info.value.scopes


async def fetched(issuer: Issuer, gate: Authenticator) -> None:
    """Let the sidecar fetch the keys, for a good token."""
    await gate.authenticate(bearer(issuer))


async def test_an_expired_token_has_the_scopes_that_it_had(issuer: Issuer, gate: Authenticator):
    await fetched(issuer, gate)
    assert await scopes_of_refusal(gate, bearer(issuer, age=LIFETIME + LEEWAY)) == ("contacts:reveal", "stores:read")


async def test_a_remembered_token_that_expires_has_its_scopes(issuer: Issuer, gate: Authenticator, clock: Clock):
    header = bearer(issuer)
    await gate.authenticate(header)
    clock.now += LIFETIME + LEEWAY
    assert await scopes_of_refusal(gate, header) == ("contacts:reveal", "stores:read")


@pytest.mark.parametrize(
    ("change", "phrase"),
    [
        ({"audience": "https://other.example/mcp", "age": LIFETIME + LEEWAY}, "another resource"),
        ({"header": {"typ": "refresh+jwt"}, "age": LIFETIME + LEEWAY}, "typ"),
        ({"header": {"alg": "HS256"}, "age": LIFETIME + LEEWAY}, "algorithm"),
        ({"subject": "", "age": LIFETIME + LEEWAY}, ""),
        ({"signer": Signer(number=7), "age": LIFETIME + LEEWAY}, "expired"),
        ({"nbf": 1_900_000_000, "age": LIFETIME + LEEWAY}, "not valid yet"),
        ({"age": -LEEWAY - 1}, "future"),
        ({"exp": "soon"}, "exp"),
    ],
)
async def test_a_token_with_another_fault_names_no_scopes(
    issuer: Issuer, gate: Authenticator, change: dict[str, Any], phrase: str
):
    await fetched(issuer, gate)
    assert await scopes_of_refusal(gate, bearer(issuer, **change), phrase) == ()


async def test_a_token_with_another_signature_names_no_scopes(issuer: Issuer, gate: Authenticator):
    await fetched(issuer, gate)
    [good] = bearer(issuer, age=LIFETIME + LEEWAY)
    [other] = bearer(issuer, age=LIFETIME + LEEWAY, scopes=["admin"])
    forged = f"{other.rpartition('.')[0]}.{good.rpartition('.')[2]}"
    assert await scopes_of_refusal(gate, [forged]) == ()


async def test_no_keys_are_fetched_for_an_expired_token(issuer: Issuer, ring: IssuerRegistry, clock: Clock):
    # An issuer with introspection and no jwks_uri has no keys before one of its JWTs needs one.
    asked = {"url": "http://127.0.0.1:9/introspect", "client_id": "rs", "client_secret": "s"}
    gate = Authenticator(RESOURCE, [configured(issuer, introspection=asked)], ring, clock=clock)
    assert await scopes_of_refusal(gate, bearer(issuer, age=LIFETIME + LEEWAY)) == ()
    unknown = issuer.rotate()
    assert await scopes_of_refusal(gate, bearer(issuer, signer=unknown, age=LIFETIME + LEEWAY)) == ()
    assert issuer.requests == []


async def test_no_fetch_that_is_due_starts_for_an_expired_token(issuer: Issuer, ring: IssuerRegistry, clock: Clock):
    keys = ring.of(configured(issuer))
    await keys.refresh()
    fetches = issuer.key_fetches
    clock.now += REFRESH
    assert keys.known() is not None
    clock.now += STALE
    assert keys.known() is None
    assert issuer.key_fetches == fetches


async def test_a_token_that_is_sent_again_is_verified_once(
    issuer: Issuer, gate: Authenticator, monkeypatch: pytest.MonkeyPatch
):
    await fetched(issuer, gate)
    seen: list[str | None] = []
    original = key_set.KeyTable.verifies

    def counting(self: key_set.KeyTable, token: key_set.SignedText, kid: str | None, algorithm: str) -> bool | None:
        seen.append(kid)
        return original(self, token, kid, algorithm)

    monkeypatch.setattr(key_set.KeyTable, "verifies", counting)
    header = bearer(issuer, age=LIFETIME + LEEWAY)
    for _ in range(3):
        assert await scopes_of_refusal(gate, header) == ("contacts:reveal", "stores:read")
    assert len(seen) == 1


async def test_the_verdicts_are_bounded(issuer: Issuer, ring: IssuerRegistry, clock: Clock):
    settings, expired = configured(issuer), ExpiredTokens(RESOURCE, capacity=3)
    keys = ring.of(settings)
    await keys.refresh()
    for number in range(8):
        token = read(issuer.mint(subject=f"s{number}", age=LIFETIME + LEEWAY, lifetime=LIFETIME))
        refusal = expired.with_scopes(invalid("it has expired"), token, bytes([number]), settings, keys, clock.now)
        assert refusal.scopes
    assert len(expired._verdicts) == 3
