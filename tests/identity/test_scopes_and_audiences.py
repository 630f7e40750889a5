"""Audiences and scopes through gate 2: the same for JWTs and for opaque tokens."""

from __future__ import annotations

from typing import Any

import pytest

from sidecar.errors import ErrorCode, Refusal
from sidecar.identity.authenticator import Authenticator
from sidecar.identity.issuers import IssuerRegistry
from tests.identity.support import Clock, Gates, configured, enter, refused
from tests.support.introspection import Introspection
from tests.support.issuer import RESOURCE, Issuer, Signer

DECLARED = ("usage:read", "stores:read", "contacts:search")
ABSENT = {"audience": {"client_ids": ["cli-1"], "aud": "absent"}}
ROLES = {"claims": {"scopes": ["scope", "realm_access.roles"]}}
GRANTS = {"grants": [{"clients": "cli-1", "scopes": "usage:read"}], "scope_prefix": "p/"}

CASES: list[tuple[dict[str, Any], dict[str, Any], set[str] | None]] = [
    (ABSENT, {"aud": None}, {"stores:read"}),
    (ABSENT, {"aud": None, "client_id": "cli-2"}, None),
    (ABSENT, {"aud": RESOURCE}, None),
    ({"audience": {"client_ids": ["cli-1"], "aud": ["account"]}}, {"aud": ["account"]}, {"stores:read"}),
    ({"audience": {"client_ids": ["cli-1"], "aud": ["account"]}}, {"aud": None}, None),
    ({}, {"aud": None}, None),
    (ROLES, {"realm_access": {"roles": ["contacts:search"]}}, {"stores:read"}),
    (ROLES, {"scope": "email", "realm_access": {"roles": ["contacts:search"]}}, {"contacts:search"}),
    (ROLES, {"scope": "email", "realm_access": {"roles": 7}}, None),
    (GRANTS, {"scope": "p/stores:read"}, {"stores:read", "usage:read"}),
    (GRANTS, {"scope": "stores:read", "client_id": "cli-2"}, {"stores:read"}),
]


async def scopes(gate: Authenticator, token: str) -> set[str] | None:
    """The scopes of a token's caller; None when the token is refused."""
    try:
        return set((await enter(gate, token)).scopes)
    except Refusal as refusal:
        if refusal.code is not ErrorCode.TOKEN_INVALID:
            raise
        return None


@pytest.mark.parametrize(("settings", "claims", "found"), CASES)
async def test_both_kinds_of_token_follow_the_same_rules(
    issuer: Issuer,
    endpoint: Introspection,
    gates: Gates,
    ring: IssuerRegistry,
    clock: Clock,
    settings: dict[str, Any],
    claims: dict[str, Any],
    found: set[str] | None,
):
    gate = Authenticator(
        RESOURCE, [gates.settings({**settings, "jwks_uri": issuer.jwks_uri})], ring, clock=clock, declared=DECLARED
    )
    members = {"scope": "stores:read", **claims}
    assert await scopes(gate, issuer.mint(**members)) == found
    assert await scopes(gate, endpoint.mint(**members)) == found


async def test_a_remembered_token_keeps_its_caller(issuer: Issuer, ring: IssuerRegistry, clock: Clock):
    """Nothing of the token is read again, so the number of paths and grants costs no later call anything."""
    gate = Authenticator(RESOURCE, [configured(issuer, **ROLES)], ring, clock=clock, declared=DECLARED)
    token = issuer.mint()
    assert await enter(gate, token) is await enter(gate, token)


async def test_the_declared_scopes_of_another_policy_choose_another_path(
    issuer: Issuer, ring: IssuerRegistry, clock: Clock
):
    token = issuer.mint(scope="email", realm_access={"roles": ["stores:read"]})
    found = []
    for declared in (DECLARED, ("email", "stores:read")):
        gate = Authenticator(RESOURCE, [configured(issuer, **ROLES)], ring, clock=clock, declared=declared)
        found.append(await scopes(gate, token))
    assert found == [{"stores:read"}, {"email"}]


async def test_only_verified_tokens_report_a_path_that_they_lack(issuer: Issuer, clock: Clock):
    reported: list[tuple[str, str]] = []
    async with IssuerRegistry(
        monotonic=clock, clock=clock, unmatched=lambda issuer, path: reported.append((issuer, path))
    ) as ring:
        gate = Authenticator(RESOURCE, [configured(issuer, **ROLES)], ring, clock=clock, declared=DECLARED)
        with refused(ErrorCode.TOKEN_INVALID, "signature"):
            await enter(gate, issuer.mint(scope="email", signer=Signer(kid=issuer.signer.kid, number=9)))
        assert reported == []
        for number in range(2):
            await enter(gate, issuer.mint(scope="email", jti=str(number)))
        assert reported == [(issuer.url, "realm_access.roles")]
