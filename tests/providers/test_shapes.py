"""Tokens of documented shapes meet the config of the provider's page: provider by provider, kind by kind."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.providers.shapes import OTHER, RESOURCE, Providers, Shape
from tests.support.rig import Json, Reply, Rig, rig
from tests.support.store import StoreServer

POLICY: Final[Json] = {
    "scopes": {"usage:read": "Usage.", "stores:read": "Stores."},
    "consent": "first_use",
    "tools": {"list_taxonomy": {"scopes": ["stores:read"]}},
}

AUDIENCE: Final = "it was issued for another resource"
OPAQUE: Final = "it is not a signed JWT (found 1 parts"
DOTTED: Final = "it is not a signed JWT (found 2 parts"
AT_HASH: Final = "it has at_hash, so it is an ID token"
NO_TYPE: Final = "its typ is not that of an access token (found jwt"
REFUSED: Final = {  # the sentence about the ID token, and about the refresh token
    "auth0": (f"{AUDIENCE} (found my_client_id", DOTTED),
    "auth0-default-profile": (f"{AUDIENCE} (found my_client_id", DOTTED),
    "authentik": (AT_HASH, OPAQUE),
    "better-auth": (NO_TYPE, OPAQUE),
    "clerk": (NO_TYPE, OPAQUE),
    "cognito": ("its token_use is not that of a bearer access token; it is an ID token", "it is encrypted"),
    "entra": (f"{AUDIENCE} (found 33333333-", DOTTED),
    "entra-tenants": (f"{AUDIENCE} (found 33333333-", DOTTED),
    "google": (AT_HASH, OPAQUE),
    "keycloak": ("its typ is not that of a bearer access token; it is an ID token", "its algorithm is not accepted"),
    "oidc-provider": (NO_TYPE, OPAQUE),
    "okta": (AT_HASH, OPAQUE),
    "sap": (AT_HASH, OPAQUE),
    "supabase": ("its client is not one of those", DOTTED),
    "workos": (f"{AUDIENCE} (found client_", OPAQUE),
    "zitadel": (AT_HASH, "its issuer says that it is not active"),
}
NOT_FROM_TOKENS: Final = {"google", "sap", "supabase", "zitadel"}
"""Their scopes come from `grants`: lacking one is a tool result, because no login obtains it."""
REDUCED: Final = {  # what the page says of a missing setting
    ("authentik", "audience"): f"{AUDIENCE} (found xT9qP2cLwM5vR8kB",
    ("cognito", "scope_prefix"): "insufficient_scope",
    ("entra", "audience"): f"{AUDIENCE} (found 22222222-",
    ("google", "grants"): "insufficient_scope",
    ("okta", "claims"): "its client id is missing",
    ("sap", "audience"): f"{AUDIENCE} (found 1ab2cd3e-",
    ("sap", "grants"): "insufficient_scope",
    ("supabase", "audience"): f"{AUDIENCE} (found authenticated",
    ("supabase", "grants"): "insufficient_scope",
}
MISCONFIGURED: Final[tuple[tuple[str, Json, str], ...]] = (  # at the provider: what the token then lacks
    ("authentik", {"scope": None}, "nothing says that it is an access token"),
    ("clerk", {"aud": None}, "its aud is missing"),
    ("cognito", {"aud": None}, "its aud is missing"),
    ("google", {"aud": OTHER}, AUDIENCE),
    ("keycloak", {"aud": "account"}, f"{AUDIENCE} (found account"),
    ("okta", {"aud": "api://default"}, f"{AUDIENCE} (found api://default"),
    ("sap", {"aud": "e7c7e327-86c0-48a6-af57-a1234b567869"}, "nothing says that it is an access token"),
    ("supabase", {"client_id": None}, "its client is not one of those"),
    ("workos", {"aud": "client_123456789"}, f"{AUDIENCE} (found client_123456789"),
)


@asynccontextmanager
async def deployment(
    folder: Path, store: StoreServer, *, introspected: bool = False, reduced: Iterable[tuple[str, str]] = ()
) -> AsyncIterator[tuple[Rig, dict[str, Shape]]]:
    """A sidecar with the configs of the pages, all in one; one issuer at most can have introspection."""
    async with Providers(reduced) as providers:
        chosen = {name: shape for name, shape in providers.shapes.items() if shape.is_jwt != introspected}
        issuers = [with_secret(shape.settings()) for shape in chosen.values()]
        async with rig(folder, store, policy=POLICY, resource=RESOURCE, hosts=["127.0.0.1"], issuers=issuers) as built:
            yield built, chosen


def with_secret(settings: Json) -> Json:
    """Settings of a page, with a secret in the place of the reference to it."""
    if "introspection" in settings:
        settings["introspection"]["client_secret"] = "a secret"
    return settings


def sentence(reply: Reply) -> str:
    """The sentence of a refused token; else the code of a refusal, empty when there is none."""
    challenge = re.search(r'error_description="([^"]*)"', reply.headers.get("WWW-Authenticate", ""))
    return challenge[1] if challenge and reply.status == 401 else reply.code or ""


@pytest.mark.parametrize("introspected", [False, True])
async def test_each_kind_of_token_of_each_provider(tmp_path: Path, store_server: StoreServer, introspected: bool):
    wrong: list[object] = []
    served = 0
    async with deployment(tmp_path, store_server, introspected=introspected) as (built, providers):

        async def meets(name: str, kind: str, token: str, status: int, said: str) -> None:
            nonlocal served
            reply = await built.call("list_taxonomy", token=token)
            served += reply.status == 200 and reply.code is None
            if reply.status != status or said not in sentence(reply) or (not said and sentence(reply)):
                wrong.append((name, kind, reply.status, sentence(reply)))

        for name, shape in providers.items():
            of_id, of_refresh = REFUSED[name]
            await meets(name, "accepted", shape.access(), 200, "")
            await meets(name, "audience", shape.access(aud=OTHER), 401, f"{AUDIENCE} (found {OTHER}")
            await meets(name, "id", shape.id_token(), 401, of_id)
            await meets(name, "refresh", shape.refresh(), 401, of_refresh)
            if "jwt" in shape.fixture:
                await meets(name, "jwt", shape.jwt(), 401, "nothing says that it is an access token")
            if shape.fixture["without_scope"]:
                status = 200 if name in NOT_FROM_TOKENS else 403
                await meets(name, "scope", shape.without_scope(), status, "insufficient_scope")
        callers = {line["issuer"]: line for line in await built.lines_with(served, code="ok")}
    assert wrong == []
    assert len(providers) == (1 if introspected else 15)
    for shape in providers.values():
        line, caller = callers[shape.issuer], shape.fixture["caller"]
        found = (line["account"], line["client_id"], line["scopes"].split())
        assert found == (caller["account"], caller["client"], caller["scopes"]), shape.name


async def test_id_tokens_are_refused_even_with_the_audience_of_access_tokens(tmp_path: Path, store_server: StoreServer):
    accepted = []
    async with deployment(tmp_path, store_server) as (built, providers):
        for name, shape in providers.items():
            audience = shape.fixture["access"]["claims"]["aud"]
            reply = await built.call("list_taxonomy", token=shape.id_token(aud=audience))
            if reply.status != 401:
                accepted.append((name, reply.status))
    assert accepted == []


async def test_a_setting_that_a_page_has_is_needed_and_its_absence_explained(tmp_path: Path, store_server: StoreServer):
    said = {}
    async with deployment(tmp_path, store_server, reduced=REDUCED) as (built, providers):
        for name, setting in REDUCED:
            reply = await built.call("list_taxonomy", token=providers[f"{name}-without-{setting}"].access())
            said[name, setting] = sentence(reply)
        for name, changes, expected in MISCONFIGURED:
            reply = await built.call("list_taxonomy", token=providers[name].access(**changes))
            assert expected in sentence(reply), (name, changes)
    assert {case: expected for case, expected in REDUCED.items() if expected not in said[case]} == {}, said
