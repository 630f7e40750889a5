"""Kinds of tokens: accepted as access tokens by evidence, or refused as something else, for JWTs and opaque tokens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sidecar.errors import ErrorCode
from sidecar.identity import token_kind
from sidecar.identity.jwt import jwt_claims
from sidecar.identity.opaque import introspected_claims
from sidecar.model import Caller
from tests.identity.support import NOW, Clock, configured, refused
from tests.support.introspection import Introspection
from tests.support.issuer import RESOURCE, Issuer

ISSUED = Issuer(clock=Clock())
ENDPOINT = Introspection(clock=Clock())
Json = dict[str, Any]
INVALID = ErrorCode.TOKEN_INVALID
OWN = {"audience": "cli-1"}
"""An issuer whose tokens name their own client as audience."""
BARE: Json = {"scope": None, "token_type": None}
"""Removes all evidence but `aud`."""


def of_jwt(header: str | None = "JWT", settings: Json | None = None, **claims: Any) -> Caller:
    issuer = configured(ISSUED, **(settings or {}))
    token = jwt_claims.read(ISSUED.mint(header={"typ": header}, **claims))
    jwt_claims.check(token, issuer, RESOURCE, NOW)
    return jwt_claims.caller(token, issuer, NOW)


def of_answer(settings: Json | None = None, **members: Any) -> Caller:
    issuer = configured(ISSUED, **(settings or {}))
    return introspected_claims.caller(ENDPOINT.answer(**members), issuer, RESOURCE, now=NOW, first_seen=NOW)


Judge = Callable[..., Caller]
BOTH = pytest.mark.parametrize("judge", [of_jwt, of_answer], ids=["JWT", "opaque"])

OTHERS: dict[str, tuple[Json, str]] = {
    "Keycloak's ID token": ({"typ": "ID"}, "an ID token"),
    "Keycloak's refresh token": ({"typ": "Refresh"}, "a refresh token"),
    "Keycloak's offline token": ({"typ": "Offline"}, "a refresh token"),
    "Keycloak's logout token": ({"typ": "Logout"}, "a logout token"),
    "a kind of no name": ({"typ": "RegistrationAccessToken"}, "its typ is not that of a bearer"),
    "a kind that is no text": ({"typ": ["Bearer"]}, "its typ is not that of a bearer"),
    "Cognito's ID token": ({"token_use": "id"}, "an ID token"),
    "a refresh token": ({"token_use": "refresh_token"}, "a refresh token"),
    "a refresh token by type": ({"token_type": "refresh"}, "a refresh token"),
    "a DPoP token": ({"token_type": "DPoP"}, "a DPoP token"),
    "a MAC token": ({"token_type": "mac"}, "its token_type is not that of a bearer"),
    "an ID token of the code flow": ({"at_hash": "h"}, "it has at_hash, so it is an ID token"),
    "an ID token of the hybrid flow": ({"c_hash": "h"}, "it has c_hash, so it is an ID token"),
    "an ID token with a state": ({"s_hash": "h"}, "it has s_hash"),
    "a refresh token of UAA": ({"granted_scopes": ["stores:read"]}, "it has granted_scopes, so it is a refresh token"),
    "a logout token": ({"events": {"http://schemas.openid.net/event/backchannel-logout": {}}}, "logout or security"),
    "a DPoP proof": ({"htm": "POST", "htu": RESOURCE}, "a DPoP proof"),
    "an introspection response": ({"token_introspection": {"active": True}}, "an introspection response"),
    "contradicting claims": ({"token_use": "access", "typ": "ID"}, "an ID token"),
}


@BOTH
@pytest.mark.parametrize(("claims", "says"), OTHERS.values(), ids=OTHERS)
def test_a_token_that_says_that_it_is_something_else_is_refused(judge: Judge, claims: Json, says: str):
    with refused(INVALID, says) as info:
        judge(**claims)
    assert info.value.specifics["check"] == "kind"
    assert info.value.specifics["found"]


@pytest.mark.parametrize(("claims", "says"), OTHERS.values(), ids=OTHERS)
def test_neither_a_type_nor_the_config_makes_it_an_access_token(claims: Json, says: str):
    for typ, settings in (("at+jwt", {}), ("JWT", {"typ": ["JWT", "ID", "Refresh", "Offline", "Logout", "DPoP"]})):
        with refused(INVALID, says):
            of_jwt(typ, settings, **claims)


HEADER_TYPES = {
    "id_token": "an ID token",
    "logout+jwt": "a logout token",
    "application/logout+jwt": "a logout token",
    "dpop+jwt": "a DPoP proof",
    "secevent+jwt": "a security event token",
    "token-introspection+jwt": "an introspection response",
    "Refresh": "a refresh token",
    "oauth-id-jag+jwt": "",
    "client-authentication+jwt": "",
    "entity-statement+jwt": "",
    "dc+sd-jwt": "",
    "": "",
}


@pytest.mark.parametrize(("typ", "says"), HEADER_TYPES.items())
def test_a_header_of_another_type_is_refused(typ: str, says: str):
    with refused(INVALID, f"its typ is not that of an access token{says and '; it is ' + says}") as info:
        of_jwt(typ)
    assert (info.value.specifics["check"], info.value.specifics["accepted"]) == ("typ", "at+jwt jwt")


@pytest.mark.parametrize("typ", [typ for typ, says in HEADER_TYPES.items() if says])
def test_the_config_does_not_make_a_header_of_another_type_that_of_an_access_token(typ: str):
    with refused(INVALID, f"it is {HEADER_TYPES[typ]}"):
        of_jwt(typ, {"typ": ["at+jwt", typ]})


EVIDENCE: dict[str, Json] = {
    "scope": {"scope": "openid stores:read"},
    "a scope of OpenID Connect": {"scope": "openid"},
    "no scope": {"scope": ""},
    "scp": {"scp": ["a"]},
    "Entra ID, version 2": {"azpacr": "0"},
    "Entra ID, version 1": {"appidacr": "1"},
    "Keycloak": {"typ": "Bearer"},
    "Cognito": {"token_use": "access"},
    "a token type": {"token_type": "Bearer"},
    "an exchanged token": {"token_type": "urn:ietf:params:oauth:token-type:access_token"},
}


@BOTH
@pytest.mark.parametrize("claims", EVIDENCE.values(), ids=EVIDENCE)
def test_one_sign_of_an_access_token_is_enough(judge: Judge, claims: Json):
    assert judge(settings=OWN, aud="cli-1", nonce="n", **{**BARE, **claims}).client_id == "cli-1"


@BOTH
def test_an_audience_that_is_not_its_own_client_is_a_sign(judge: Judge):
    assert judge(**BARE, nonce="n", auth_time=NOW).client_id == "cli-1"
    assert judge(**BARE, aud=[RESOURCE, "other"]).client_id == "cli-1"
    assert judge(**BARE, client_id=None, azp="cli-2").client_id == "cli-2"
    assert judge(settings={"audience": "api"}, **BARE, aud="api").client_id == "cli-1"


@BOTH
@pytest.mark.parametrize(
    "claims",
    [
        {},
        {"nonce": "n"},
        {"typ": "JWT"},
        {"client_id": None, "azp": "cli-1"},
        {"scope": ["openid"]},  # UAA writes this into ID tokens
    ],
)
@pytest.mark.parametrize("audience", ["cli-1", ["cli-1"], ["cli-1", RESOURCE]])
def test_without_a_sign_a_token_for_its_own_client_is_refused(judge: Judge, claims: Json, audience: Any):
    """OpenID Connect Core 1.0 section 2: the `aud` of an ID token contains its client."""
    with refused(INVALID, "nothing says that it is an access token") as info:
        judge(settings=OWN, aud=audience, **{**BARE, **claims})
    assert info.value.specifics["check"] == "kind"


def test_the_own_client_is_the_configured_claim():
    settings: Json = {"audience": "app", "claims": {"client_id": "appid"}}
    with refused(INVALID, "nothing says"):
        of_jwt(settings=settings, aud="app", appid="app", **BARE)
    assert of_jwt(settings=settings, aud="app", appid="other", **BARE).client_id == "other"


@pytest.mark.parametrize("typ", ["at+jwt", "AT+JWT", "application/at+jwt"])
def test_the_type_of_rfc_9068_is_a_sign(typ: str):
    assert of_jwt(typ, OWN, aud="cli-1", **BARE).subject == "ada"


def test_a_configured_type_is_a_sign_but_jwt_is_none():
    assert of_jwt("custom", {**OWN, "typ": "custom"}, aud="cli-1", **BARE).subject == "ada"
    with refused(INVALID, "nothing says"):
        of_jwt("JWT", {**OWN, "typ": "JWT"}, aud="cli-1", **BARE)


def test_a_configured_type_adds_to_the_values_of_claims():
    with refused(INVALID, "its typ is not that of a bearer"):
        of_jwt(typ="user")
    assert of_jwt(settings={"typ": ["JWT", "user"]}, typ="user").subject == "ada"


BOUND: dict[str, tuple[Any, str, str]] = {
    "DPoP": ({"jkt": "thumb"}, "DPoP (RFC 9449)", "jkt"),
    "mTLS": ({"x5t#S256": "thumb"}, "a TLS client certificate (RFC 8705)", "x5t#S256"),
    "both": ({"x5t#S256": "t", "jkt": "t"}, "DPoP (RFC 9449)", "jkt x5t#S256"),
    "another method": ({"jwk": {"kty": "RSA"}}, "proof of possession (RFC 7800)", "jwk"),
    "no method": ({}, "proof of possession (RFC 7800)", "{}"),
    "no object": ("thumb", "proof of possession (RFC 7800)", "thumb"),
}


@BOTH
@pytest.mark.parametrize(("cnf", "method", "found"), BOUND.values(), ids=BOUND)
def test_a_bound_token_is_refused_with_its_method(judge: Judge, cnf: Any, method: str, found: str):
    with refused(INVALID, f"bound to a key, to be proved by {method}, and cannot be used as a bearer") as info:
        judge(cnf=cnf)
    assert (info.value.specifics["check"], info.value.specifics["found"]) == ("cnf", found)


@pytest.mark.parametrize(
    ("settings", "ambiguous"),
    [
        ({}, ()),
        ({"audience": RESOURCE}, ()),
        ({"audience": "api://6e2c"}, ()),
        ({"audience": ["my-app", RESOURCE]}, ("my-app",)),
        ({"audience": "my-app", "typ": "JWT"}, ("my-app",)),
        ({"audience": {"client_ids": ["a", "b"], "aud": "absent"}}, ()),
        ({"audience": {"client_ids": ["a", "b"], "aud": ["account", "b"]}}, ("b",)),
        ({"audience": "my-app", "typ": "at+jwt"}, ()),
    ],
)
def test_audiences_that_may_be_client_ids_are_found(settings: Json, ambiguous: tuple[str, ...]):
    assert token_kind.ambiguous_audiences(configured(ISSUED, **settings)) == ambiguous
