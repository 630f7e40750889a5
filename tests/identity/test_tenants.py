"""Issuers with tenants: each tenant is an issuer of its own, and none speaks for another."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from sidecar.config.settings.settings import IssuerSettings
from sidecar.errors import ErrorCode, Refusal
from sidecar.identity.authenticator import Authenticator
from sidecar.identity.issuers import IssuerRegistry
from sidecar.identity.jwt.issuer_keys import INTERVAL
from sidecar.identity.parties.tenants import TrustedIssuers
from tests.identity.support import Clock, enter, refused
from tests.support.issuer import RESOURCE
from tests.support.tenants import TenantServer

TEMPLATE = "https://login.example/{tenantid}/v2.0"
GUID = "8eaef023-2b34-4da1-9baa-8bc8c9d6a490"


@pytest.fixture
async def server(clock: Clock) -> AsyncIterator[TenantServer]:
    async with TenantServer("contoso", "fabrikam", clock=clock) as served:
        yield served


def settings(issuer: str, tenants: Any, **keys: Any) -> IssuerSettings:
    return IssuerSettings.model_validate({"issuer": issuer, "tenants": tenants, **keys})


def gate(server: TenantServer, ring: IssuerRegistry, clock: Clock, tenants: Any, **keys: Any) -> Authenticator:
    return Authenticator(RESOURCE, [settings(server.template, tenants, **keys)], ring, clock=clock)


# --- the `iss` of a token ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tenants", "iss", "tenant"),
    [
        ([GUID], f"https://login.example/{GUID}/v2.0", GUID),
        (["contoso", GUID], "https://login.example/contoso/v2.0", "contoso"),
        ([GUID], f"https://login.example/{GUID.upper()}/v2.0", None),
        ([GUID], "https://login.example/contoso/v2.0", None),
        ([GUID], "https://login.example/{tenantid}/v2.0", None),
        ("any", "https://login.example/contoso/v2.0", "contoso"),
        ("any", f"https://login.example/{GUID}/v2.0", GUID),
        ("any", f"https://login.example/{'a' * 64}/v2.0", "a" * 64),
        ("any", f"https://login.example/{'a' * 65}/v2.0", None),
        ("any", "https://login.example/contoso.onmicrosoft.com/v2.0", "contoso.onmicrosoft.com"),
        ("any", "https://login.example/{tenantid}/v2.0", None),
        ("any", "https://login.example//v2.0", None),
        ("any", "https://login.example/a/b/v2.0", None),
        ("any", "https://login.example/../v2.0", None),
        ("any", "https://login.example/-a/v2.0", None),
        ("any", "https://login.example/a%2Fb/v2.0", None),
        ("any", "https://login.example/a b/v2.0", None),
        ("any", "https://login.example/contoso/v2.0\n", None),
        ("any", "https://login.example/contoso/v2.0/", None),
        ("any", "https://login.example/contoso/v1.0", None),
        ("any", "http://login.example/contoso/v2.0", None),
        ("any", "https://login.example/v2.0", None),
        ("any", "https://login.example/", None),
        ("any", "", None),
        ("any", "https://login.example/\uff43/v2.0", None),
    ],
)
def test_a_tenant_is_one_strict_segment(tenants: Any, iss: str, tenant: str | None):
    trusted = TrustedIssuers([settings(TEMPLATE, tenants)])
    if tenant is None:
        with refused(ErrorCode.TOKEN_INVALID, "issuer"):
            trusted.of(iss)
        return
    found = trusted.of(iss).settings
    assert (found.issuer, found.tenant) == (iss, tenant)


def test_an_exact_issuer_precedes_any_tenant():
    own = IssuerSettings.model_validate({"issuer": f"https://login.example/{GUID}/v2.0", "id": "own"})
    trusted = TrustedIssuers([settings(TEMPLATE, "any", id="all"), own])
    assert trusted.of(own.issuer).settings is own
    assert trusted.of("https://login.example/contoso/v2.0").settings.id == "all"


def test_a_megabyte_of_iss_is_refused_with_a_short_sentence():
    with pytest.raises(Refusal) as info:
        TrustedIssuers([settings(TEMPLATE, "any")]).of("https://login.example/" + "a" * 1_000_000)
    assert len(info.value.detail) < 1000


@pytest.mark.parametrize(
    ("tenants", "advertise", "urls"),
    [
        ([GUID], True, [f"https://login.example/{GUID}/v2.0"]),
        (["a", "b"], True, ["https://login.example/a/v2.0", "https://login.example/b/v2.0"]),
        ("any", True, ["https://login.example/common/v2.0"]),
        ("any", "https://as.example", ["https://as.example"]),
        ("any", False, []),
    ],
)
def test_clients_are_sent_to_issuers_without_a_placeholder(tenants: Any, advertise: Any, urls: list[str]):
    assert list(settings(TEMPLATE, tenants, advertise=advertise).advertised) == urls


# --- tokens of tenants ---------------------------------------------------------------------------


@pytest.mark.parametrize("tenants", [["contoso", "fabrikam"], "any"])
async def test_names_carry_the_tenant(server: TenantServer, ring: IssuerRegistry, clock: Clock, tenants: Any):
    entrance = gate(server, ring, clock, tenants)
    for tenant in ("contoso", "fabrikam"):
        caller = await enter(entrance, server.mint(tenant, tid=tenant))
        assert (caller.issuer_id, caller.issuer) == ("main", server.issuer(tenant))
        assert (caller.account, caller.subject, caller.client_id) == (f"{tenant}/ada", f"{tenant}/ada", "cli-1")


async def test_a_tenant_that_is_not_listed_is_refused_without_a_request(
    server: TenantServer, ring: IssuerRegistry, clock: Clock
):
    entrance = gate(server, ring, clock, ["contoso"])
    with refused(ErrorCode.TOKEN_INVALID, f"found {server.issuer('fabrikam')}"):
        await enter(entrance, server.mint("fabrikam"))
    assert server.requests == []


@pytest.mark.parametrize("tid", ["fabrikam", "", None, 7, ["contoso"], "CONTOSO"])
async def test_the_tid_must_be_the_tenant(server: TenantServer, ring: IssuerRegistry, clock: Clock, tid: Any):
    entrance = gate(server, ring, clock, "any")
    claims = {**server_claims(server, "contoso", clock), "tid": tid}
    token = server.signers["contoso"].sign({"alg": "RS256", "typ": "at+jwt", "kid": "contoso-key"}, claims)
    with refused(ErrorCode.TOKEN_INVALID, "tid"):
        await enter(entrance, token)


def server_claims(server: TenantServer, tenant: str, clock: Clock) -> dict[str, Any]:
    now = int(clock())
    names = {"sub": "ada", "client_id": "cli-1", "aud": RESOURCE, "scope": ""}
    return {"iss": server.issuer(tenant), **names, "iat": now, "exp": now + 900}


@pytest.mark.parametrize("tenants", [["contoso", "fabrikam"], "any"])
async def test_a_tenants_key_signs_for_no_other_tenant(
    server: TenantServer, ring: IssuerRegistry, clock: Clock, tenants: Any
):
    entrance = gate(server, ring, clock, tenants)
    assert (await enter(entrance, server.mint("contoso"))).account == "contoso/ada"
    forged = server.mint("contoso", iss=server.issuer("fabrikam"))
    clock.now += INTERVAL
    with refused(ErrorCode.TOKEN_INVALID, "no such key"):
        await enter(entrance, forged)


async def test_a_key_without_an_own_issuer_is_of_every_tenant(server: TenantServer, ring: IssuerRegistry, clock: Clock):
    server.own = {"contoso": f"{server.origin}/{{tenantid}}/v2.0", "fabrikam": None}
    entrance = gate(server, ring, clock, "any")
    for signer in server.signers.values():
        for tenant in server.signers:
            assert (await enter(entrance, server.mint(tenant, signer=signer))).account == f"{tenant}/ada"


@pytest.mark.parametrize(
    ("owner", "accepted"),
    [
        ("/fabrikam/v2.0", False),  # a key of another tenant, such as that of all personal accounts
        ("/contoso/v2.0", True),
        ("/{tenantid}/v2.0", True),
        ("elsewhere", True),  # not understood, so ignored
    ],
)
async def test_a_single_tenant_does_not_accept_the_keys_of_others(
    server: TenantServer, ring: IssuerRegistry, clock: Clock, owner: str, accepted: bool
):
    server.own = {"contoso": f"{server.origin}{owner}" if owner.startswith("/") else owner}
    single = IssuerSettings.model_validate({"issuer": server.issuer("contoso")})
    entrance = Authenticator(RESOURCE, [single], ring, clock=clock)
    if accepted:
        assert (await enter(entrance, server.mint("contoso"))).account == "ada"
        return
    with refused(ErrorCode.ISSUER_UNAVAILABLE):
        await enter(entrance, server.mint("contoso"))
    assert ring.health(single).problem == "no usable key in the JWK set"


@pytest.mark.parametrize("owner", [7, "", "contoso"])
async def test_a_key_of_a_malformed_issuer_is_of_no_tenant(
    server: TenantServer, ring: IssuerRegistry, clock: Clock, owner: Any
):
    server.own = {"contoso": owner}
    entrance = gate(server, ring, clock, "any")
    assert (await enter(entrance, server.mint("fabrikam"))).account == "fabrikam/ada"
    clock.now += INTERVAL
    with refused(ErrorCode.TOKEN_INVALID, "no such key"):
        await enter(entrance, server.mint("contoso"))


async def test_invented_tenants_cause_no_requests(server: TenantServer, ring: IssuerRegistry, clock: Clock):
    """All tenants of `any` share one key set, and its fetches are limited."""
    entrance = gate(server, ring, clock, "any")
    await enter(entrance, server.mint("contoso"))
    before = len(server.requests)
    for number in range(50):
        with pytest.raises(Refusal):
            await enter(entrance, server.mint("contoso", iss=server.issuer(f"tenant-{number}")))
    assert len(server.requests) == before
    assert {path.split("/")[1] for path in server.requests} == {"common"}


async def test_listed_tenants_can_share_a_configured_set(server: TenantServer, ring: IssuerRegistry, clock: Clock):
    keys = f"{server.origin}/common/keys"
    entrance = gate(server, ring, clock, ["contoso", "fabrikam"], jwks_uri=keys)
    for tenant in ("contoso", "fabrikam"):
        assert (await enter(entrance, server.mint(tenant))).account == f"{tenant}/ada"
    assert server.requests == ["/common/keys"]
    clock.now += INTERVAL
    with refused(ErrorCode.TOKEN_INVALID):
        await enter(entrance, server.mint("contoso", iss=server.issuer("fabrikam")))


async def test_tenants_keys_can_be_in_a_file(server: TenantServer, ring: IssuerRegistry, clock: Clock, tmp_path: Path):
    file = tmp_path / "keys.json"
    file.write_text(json.dumps({"keys": [server.jwk("contoso"), server.jwk("fabrikam")]}))
    entrance = gate(server, ring, clock, "any", jwks={"file": file})
    assert (await enter(entrance, server.mint("contoso"))).account == "contoso/ada"
    clock.now += INTERVAL
    with refused(ErrorCode.TOKEN_INVALID, "no such key"):
        await enter(entrance, server.mint("contoso", iss=server.issuer("fabrikam")))
    assert server.requests == []


# --- registry ------------------------------------------------------------------------------------


async def test_a_reload_with_another_tenant_keeps_the_keys_of_the_first(
    server: TenantServer, ring: IssuerRegistry, clock: Clock
):
    await enter(gate(server, ring, clock, ["contoso"]), server.mint("contoso"))
    before = len(server.requests)
    more = settings(server.template, ["contoso", "fabrikam"])
    entrance = Authenticator(RESOURCE, [more], ring, clock=clock)
    await ring.retain([more])
    await enter(entrance, server.mint("contoso"))
    assert not [path for path in server.requests[before:] if "contoso" in path]
    await enter(entrance, server.mint("fabrikam"))
    await ring.retain([settings(server.template, ["fabrikam"])])
    assert len(ring._sets) == 1


async def test_health_sums_the_tenants(server: TenantServer, ring: IssuerRegistry, clock: Clock):
    given = settings(server.template, ["contoso", "unknown"])
    for keys in ring.key_sets(given).values():
        await keys.refresh()
    health = ring.health(given)
    assert (health.keys, health.age) == (1, 0)
    assert health.problem is not None
    asked = f"{server.issuer('unknown')}/.well-known/openid-configuration"
    assert f"{asked}: the metadata was answered with status 400 (application/octet-stream)" in health.problem
    assert ring.unavailable_reason(given) is None


async def test_an_expired_token_keeps_its_scopes_in_its_own_tenant_only(
    server: TenantServer, ring: IssuerRegistry, clock: Clock
):
    given = settings(server.template, "any")
    entrance = Authenticator(RESOURCE, [given], ring, clock=clock, declared=["stores:read"])
    await enter(entrance, server.mint("contoso"))
    for signed_by, expected in (("contoso", ("stores:read",)), ("fabrikam", ())):
        token = server.mint("contoso", signer=server.signers[signed_by], scopes=["stores:read"], age=1000)
        with refused(ErrorCode.TOKEN_INVALID, "expired") as info:
            await enter(entrance, token)
        assert tuple(info.value.scopes or ()) == expected
