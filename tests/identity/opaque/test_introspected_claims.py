"""Callers and refusals from an issuer's answer about an opaque token."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.errors import ErrorCode, Refusal
from sidecar.identity import claims
from sidecar.identity.jwt import jwt_claims
from sidecar.identity.opaque import introspected_claims
from sidecar.model import Caller
from tests.identity.support import NOW, Clock, configured, refused
from tests.support.introspection import Introspection
from tests.support.issuer import ISSUER, RESOURCE, SCOPES, Issuer

ISSUED = Issuer(clock=Clock())
ENDPOINT = Introspection(clock=Clock())
ASKED = {"url": "https://issuer.example/introspect", "client_id": "side", "client_secret": "car"}
FIRST_SEEN = NOW - 100


def judge(answer: Any = None, /, *, now: float = NOW, settings: dict[str, Any] | None = None, **members: Any) -> Caller:
    """Return the caller of an answer, which has these members unless it is given."""
    document = introspected_claims.read(json.dumps(ENDPOINT.answer(**members) if answer is None else answer).encode())
    issuer = configured(ISSUED, **{"introspection": ASKED, **(settings or {})})
    return introspected_claims.caller(document, issuer, RESOURCE, now=now, first_seen=FIRST_SEEN)


def test_a_good_answer_makes_a_caller():
    assert judge() == Caller(
        issuer_id="main",
        issuer=ISSUER,
        subject="ada",
        account="ada",
        client_id="cli-1",
        scopes=frozenset(SCOPES),
        issued_at=NOW,
        expires_at=NOW + 900,
    )


# --- the token's form ----------------------------------------------------------------------------


@pytest.mark.parametrize("token", ["a", "a==", "aZ09-._~+/==", "a.b", "a.b.c.d", "x" * claims.MAX_TOKEN])
def test_bearer_tokens_have_a_form(token: str):
    introspected_claims.check_form(token)


@pytest.mark.parametrize(
    "token", ["", "=", "a=b", "a b", "a\n", "a&b", "a%20", "é", "a\0", "\udcff", "a,b", '"a"', "x" * 16385]
)
def test_malformed_tokens_are_refused(token: str):
    with refused(ErrorCode.TOKEN_INVALID, "form"):
        introspected_claims.check_form(token)


@pytest.mark.parametrize("change", ["{}", "{}=", "{}==", "{} ", "{}+/", "é{}"])
def test_a_signed_token_is_a_jwt_however_it_is_spelled(change: str):
    token = change.format(ISSUED.mint())
    assert jwt_claims.is_jwt(token)
    assert jwt_claims.is_jwt(token.rpartition(".")[0] + ".")


@pytest.mark.parametrize("token", ["opaque", "a.b", "a.b.c.d", "a.b.c.d.e", ".", ""])
def test_a_token_without_three_parts_is_no_jwt(token: str):
    assert not jwt_claims.is_jwt(token)


# --- an answer that says nothing -----------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"active",
        b"true",
        b"null",
        b"[]",
        b'"active"',
        b"{}",
        b'{"error": "invalid_client"}',
        b'{"Active": true}',
        b'{"active": true, "active": false}',
        b'{"active": false, "act\\u0069ve": true}',
        b'{"active": true, "sub": "a", "sub": "b"}',
        b'{"active": true, "x": {"y": 1, "y": 2}}',
        b'{"active": NaN}',
        b'{"active": true, "exp": NaN}',
        b'{"active": true',
        b'{"active": true}}',
        b'{"active": true} {"active": true}',
        b'\xef\xbb\xbf{"active": true}',
        b'{"active": true, "sub": "\xff"}',
        '{"active": true}'.encode("utf-16"),
        b'{"active": true, "x": ' + b"[" * 65 + b"]" * 65 + b"}",
        b"[" * 100_000,
        b'{"active": true, "x": ' + b'{"x":' * 10_000 + b"1" + b"}" * 10_001,
        b"<html>active</html>",
    ],
)
def test_an_invalid_answer_decides_nothing(body: bytes):
    with pytest.raises(ValueError, match=r"^[^{\"]*$"):
        introspected_claims.read(body)


# --- an answer that says no ----------------------------------------------------------------------


@pytest.mark.parametrize("active", [False, None, "true", "True", 1, 1.0, 0, [], [True], {"active": True}, ""])
def test_only_true_is_active(active: object):
    with refused(ErrorCode.TOKEN_INVALID, "not active"):
        judge({**ENDPOINT.answer(), "active": active})


@pytest.mark.parametrize(
    ("members", "phrase"),
    [
        ({"iss": "https://evil.example"}, "issuer"),
        ({"iss": f"{ISSUER}/"}, "issuer"),
        ({"iss": [ISSUER]}, "issuer"),
        ({"iss": 7}, "issuer"),
        ({"aud": None}, "aud is missing"),
        ({"aud": []}, "aud is missing"),
        ({"aud": ""}, "another resource"),
        ({"aud": [RESOURCE, 7]}, "aud is missing"),
        ({"aud": {"a": RESOURCE}}, "aud is missing"),
        ({"aud": "https://other.example"}, "another resource"),
        ({"aud": f"{RESOURCE}/x"}, "another resource"),
        ({"token_type": "DPoP"}, "token_type"),
        ({"token_type": "mac"}, "token_type"),
        ({"token_type": ["Bearer"]}, "token_type"),
        ({"token_type": "refresh_token"}, "token_type"),
        ({"token_use": "refresh_token"}, "token_use"),
        ({"token_use": "id"}, "token_use"),
        ({"typ": "Refresh"}, "typ"),
        ({"typ": "ID"}, "typ"),
        ({"token_use": "access", "typ": "Offline"}, "refresh token"),
        ({"cnf": {"jkt": "x"}}, "DPoP (RFC 9449)"),
        ({"cnf": {"x5t#S256": "x"}}, "a TLS client certificate (RFC 8705)"),
        ({"cnf": {}}, "bound to a key"),
        ({"sub": None, "username": "ada"}, "sub"),
        ({"sub": ""}, "sub"),
        ({"sub": 7}, "sub"),
        ({"sub": "a\nb"}, "sub"),
        ({"sub": "x" * 256}, "sub"),
        ({"sub": "\ud800"}, "sub"),
        ({"client_id": None}, "client id"),
        ({"client_id": 7}, "client id"),
        ({"client_id": " "}, "client id"),
        ({"scope": 7}, "scope"),
        ({"scope": 'a"b'}, "scope"),
        ({"exp": NOW - 10, "iat": NOW - 900}, "expired"),
        ({"exp": NOW - 10, "iat": None}, "expired"),
        ({"exp": str(NOW + 900)}, "exp is"),
        ({"exp": 1e300}, "exp is"),
        ({"exp": True}, "exp is"),
        ({"exp": -1}, "exp is"),
        ({"exp": 2**41}, "exp is"),
        ({"exp": 0, "iat": None}, "expired"),
        ({"exp": NOW, "iat": NOW}, "its exp is not after its iat"),
        ({"iat": NOW + 11}, "future"),
        ({"iat": "now"}, "iat is"),
        ({"iat": False}, "iat is"),
        ({"nbf": NOW + 11}, "not valid yet"),
        ({"nbf": "x"}, "nbf is"),
    ],
)
def test_an_active_token_is_still_checked(members: dict[str, Any], phrase: str):
    with refused(ErrorCode.TOKEN_INVALID, phrase):
        judge(**members)


def test_null_is_not_absent():
    for member in ("iss", "exp", "iat", "nbf", "cnf", "token_type", "sub", "client_id"):
        with refused(ErrorCode.TOKEN_INVALID):
            judge({**ENDPOINT.answer(), member: None})


# --- variations ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "members",
    [
        {"iss": None},
        {"token_type": None},
        {"token_type": "bearer"},
        {"token_use": "access_token"},
        {"typ": "Bearer"},
        {"typ": "at+jwt"},
        {"aud": [RESOURCE, "https://other.example"]},
        {"nbf": NOW + 10},
        {"iat": NOW + 10},
        {"scope": None},
        {"username": "x", "ext": {"a": [1]}},
        {"Active": False, "SUB": "eve", "x": 1e300, "y": 10**40, "s\0": "\ud800"},
        {"exp": NOW + 900.75, "iat": NOW - 0.5},
        {"exp": NOW + 10**9},
        {"token_type": "urn:ietf:params:oauth:token-type:access_token"},
    ],
)
def test_an_answer_may_say_less_or_more(members: dict[str, Any]):
    assert judge(**members).subject == "ada"


def test_the_config_may_name_another_audience():
    settings = {"audience": ["api", "other"]}
    assert judge(aud="api", settings=settings)
    for audience in (RESOURCE, None):
        with refused(ErrorCode.TOKEN_INVALID):
            judge(aud=audience, settings=settings)


def test_the_config_may_name_other_types():
    assert judge(typ="access", settings={"typ": "access"})
    with refused(ErrorCode.TOKEN_INVALID, "typ"):
        judge(typ="Bearer", settings={"typ": "access"})


def test_claims_have_configured_names():
    names = {"claims": {"account": "org", "client_id": "app", "scopes": "rights"}}
    found = judge(org="acme", app="a", rights=["x", "y"], settings=names)
    assert (found.subject, found.account, found.client_id) == ("ada", "acme", "a")
    assert found.scopes == {"x", "y"}
    with refused(ErrorCode.TOKEN_INVALID, "account"):
        judge(app="a", settings=names)


def test_the_account_replaces_a_missing_subject():
    settings = {"claims": {"account": "username"}}
    found = judge(sub=None, username="ada", settings=settings)
    assert (found.subject, found.account) == ("ada", "ada")
    with refused(ErrorCode.TOKEN_INVALID):
        judge({**ENDPOINT.answer(username="ada"), "sub": None}, settings=settings)


def test_azp_names_the_client_where_client_id_does_not():
    assert judge(client_id=None, azp="cli-9").client_id == "cli-9"


@pytest.mark.parametrize(("cache", "seconds"), [("0s", 0), ("30s", 30), ("500ms", 0)])
def test_a_token_without_exp_ends_with_the_use_of_its_answer(cache: str, seconds: int):
    found = judge(exp=None, settings={"introspection": {**ASKED, "cache": cache}})
    assert found.expires_at == NOW + seconds
    old = judge(exp=None, iat=NOW - 10**8, settings={"introspection": {**ASKED, "cache": cache}})
    assert old.expires_at == NOW + seconds


def test_first_seen_replaces_a_missing_iat():
    assert judge(iat=None).issued_at == FIRST_SEEN
    assert judge(iat=None, exp=None).issued_at == FIRST_SEEN
    assert judge(iat=None, exp=FIRST_SEEN - 5, now=FIRST_SEEN).issued_at == FIRST_SEEN - 5  # within the leeway


# --- anything ------------------------------------------------------------------------------------

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text("aé\n "),
    lambda inner: st.lists(inner) | st.dictionaries(st.text("aé"), inner),
    max_leaves=5,
)


@given(st.sampled_from([*ENDPOINT.answer(), "nbf", "cnf", "typ", "token_use"]), json_values)
def test_any_member_makes_a_caller_or_a_refusal(name: str, value: Any):
    try:
        found = judge({**ENDPOINT.answer(), name: value})
    except Refusal as refusal:
        if refusal.code is not ErrorCode.TOKEN_INVALID:
            raise
    else:
        assert found.issuer == ISSUER
        assert found.expires_at > NOW - 10


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_any_bytes_are_read_or_not(body: bytes):
    with contextlib.suppress(ValueError):
        assert "active" in introspected_claims.read(body)


def test_a_refusal_has_the_value_that_was_wrong():
    for member in ("iss", "exp", "iat", "nbf", "token_type", "typ"):
        with pytest.raises(Refusal) as info:
            judge({**ENDPOINT.answer(), member: "wrong-value"})
        assert info.value.specifics["found"] == "wrong-value", member
        assert info.value.specifics["accepted"], member
        assert "wrong-value" in info.value.detail


def test_a_refusal_has_no_other_part_of_the_answer():
    secret = "zebra-secret"
    with pytest.raises(Refusal) as info:
        judge({**ENDPOINT.answer(), "cnf": {"jkt": secret}, "email": secret, "active": True})
    assert secret not in f"{info.value.detail}{info.value.log}{dict(info.value.specifics)}{info.value!r}"
