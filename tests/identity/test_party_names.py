"""Names of a token's parties: those of users, of clients and of tenants never meet."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.config.settings.settings import IssuerSettings
from sidecar.errors import ErrorCode, Refusal
from sidecar.identity.parties.party_names import party_names
from tests.identity.support import refused

ISSUER = "https://login.example/t/v2.0"


def settings(**keys: Any) -> IssuerSettings:
    return IssuerSettings.model_validate({"issuer": ISSUER, **keys})


PLAIN = settings()
ORG = settings(claims={"account": "org"})
TENANT = settings(issuer="https://login.example/{tenantid}/v2.0", tenants="any").for_tenant("t")


def names(issuer: IssuerSettings = PLAIN, **claims: Any) -> tuple[str, str]:
    """Account and subject."""
    found = party_names({"client_id": "cli", **claims}, issuer)
    assert found.client_id == "cli"
    return found.account, found.subject


@pytest.mark.parametrize(
    ("issuer", "claims", "expected"),
    [
        (PLAIN, {"sub": "ada"}, ("ada", "ada")),
        (ORG, {"sub": "ada", "org": "acme"}, ("acme", "ada")),
        (ORG, {"org": "acme"}, ("acme", "acme")),
        (TENANT, {"sub": "ada", "tid": "t"}, ("t/ada", "t/ada")),
        # Tokens without a user.
        (PLAIN, {}, ("client:cli", "client:cli")),
        (ORG, {}, ("client:cli", "client:cli")),
        (PLAIN, {"sub": "cli"}, ("client:cli", "client:cli")),
        (PLAIN, {"sub": "f2b7", "idtyp": "app"}, ("client:cli", "client:cli")),
        (PLAIN, {"sub": "cli@clients", "gty": "client-credentials"}, ("client:cli", "client:cli")),
        (ORG, {"sub": "cli"}, ("client:cli", "client:cli")),
        (ORG, {"sub": "cli", "org": "acme"}, ("acme", "client:cli")),
        (TENANT, {"sub": "f2b7", "idtyp": "app"}, ("t/client:cli", "t/client:cli")),
        # Not evidence of a client's own token.
        (PLAIN, {"sub": "f2b7", "idtyp": "user"}, ("f2b7", "f2b7")),
        (PLAIN, {"sub": "f2b7", "gty": "password"}, ("f2b7", "f2b7")),
        (PLAIN, {"sub": "Cli"}, ("Cli", "Cli")),
        (settings(claims={"account": "client_id"}), {"sub": "cli"}, ("cli", "client:cli")),
    ],
)
def test_names_of_the_parties(issuer: IssuerSettings, claims: dict[str, Any], expected: tuple[str, str]):
    assert names(issuer, **claims) == expected


PEOPLE = "username preferred_username user_name user_id given_name family_name email upn unique_name auth_time amr sid"


@pytest.mark.parametrize("claim", [*PEOPLE.split(), "session_state"])
def test_users_of_an_issuer_without_sub_do_not_share_an_account(claim: str):
    with refused(ErrorCode.TOKEN_INVALID, "sub is missing"):
        names(PLAIN, **{claim: "ada"})


@pytest.mark.parametrize("sub", ["client:cli", "client:", "client:other"])
def test_a_sub_that_looks_like_a_clients_account_is_refused(sub: str):
    with refused(ErrorCode.TOKEN_INVALID, "client:"):
        names(sub=sub)
    with refused(ErrorCode.TOKEN_INVALID, "client:"):
        names(ORG, sub="ada", org=sub)


@pytest.mark.parametrize("sub", [None, "", 7, ["ada"], {}, " ada", "a\nb", "x" * 256])
def test_a_malformed_sub_is_not_a_missing_one(sub: Any):
    with refused(ErrorCode.TOKEN_INVALID, "sub"):
        names(sub=sub)


TEXT = st.text(st.sampled_from("acli:/t-"), max_size=12)


@given(claims=st.fixed_dictionaries({}, optional={"sub": TEXT, "idtyp": st.sampled_from(["app", "user"])}), user=TEXT)
def test_no_user_has_the_name_of_a_client(claims: dict[str, Any], user: str):
    """Whatever the texts are, an account of a user and one of a client differ, in one tenant and across tenants."""
    other = settings(issuer="https://login.example/{tenantid}/v2.0", tenants="any").for_tenant("t-a")
    for issuer in (PLAIN, TENANT, other):
        try:
            account, subject = names(issuer, **claims)
            person, someone = names(issuer, sub=user)
        except Refusal:
            continue
        if user != "cli" and claims.get("sub") != user:
            assert (account, subject) != (person, someone)
    try:
        assert names(TENANT, **claims)[0] != names(other, sub=user)[0]
    except Refusal:
        return
