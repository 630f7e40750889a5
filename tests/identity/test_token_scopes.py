from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.errors import ErrorCode
from sidecar.identity.token_scopes import DEFAULT_PATHS, PublishedScopes, scopes_of
from tests.identity.support import configured, refused
from tests.support.issuer import Issuer

ISSUED = Issuer()
DECLARED = ("usage:read", "stores:read", "contacts:search")
PREFIX = "api://5f1c/"


def scopes(token: dict[str, Any], *, client_id: str = "cli-1", **keys: Any) -> set[str]:
    """The scopes of a token with these claims, under these settings of its issuer."""
    return set(scopes_of(token, configured(ISSUED, **keys), client_id, DECLARED))


# --- paths ---------------------------------------------------------------------------------------

ROLES = {"realm_access": {"roles": ["stores:read", "contacts:search", "default-roles"]}}
PATHS = {"scopes": ["scope", "realm_access.roles", "resource_access.mcp.roles", "https://example.com/roles"]}


@pytest.mark.parametrize(
    ("claims", "found"),
    [
        ({}, set()),
        ({"scope": "usage:read", **ROLES}, {"usage:read"}),
        ({"scope": "openid usage:read", **ROLES}, {"openid", "usage:read"}),
        ({"scope": "openid profile", **ROLES}, {"stores:read", "contacts:search", "default-roles"}),
        ({"scope": "", **ROLES}, {"stores:read", "contacts:search", "default-roles"}),
        ({"scope": None, **ROLES}, {"stores:read", "contacts:search", "default-roles"}),
        ({**ROLES, "https://example.com/roles": ["usage:read"]}, {"stores:read", "contacts:search", "default-roles"}),
        ({"realm_access": {"roles": ["admin"]}, "resource_access": {"mcp": {"roles": ["usage:read"]}}}, {"usage:read"}),
        ({"https://example.com/roles": ["stores:read"]}, {"stores:read"}),
        # Without a declared scope, the first claim that is present: it permits nothing, and the log shows it.
        ({"scope": "openid", "https://example.com/roles": ["admin"]}, {"openid"}),
        # Claims that are not configured are not read.
        ({"scp": ["stores:read"], "roles": ["stores:read"]}, set()),
    ],
)
def test_the_first_path_that_names_a_declared_scope_is_used(claims: dict[str, Any], found: set[str]):
    assert scopes(claims, claims=PATHS) == found


@pytest.mark.parametrize(
    ("claims", "found"),
    [
        ({"scope": "stores:read", "scp": ["usage:read"]}, {"stores:read"}),
        ({"scope": "openid", "scp": ["usage:read"]}, {"usage:read"}),
        ({"scp": "stores:read usage:read"}, {"stores:read", "usage:read"}),
        ({"roles": ["stores:read"]}, set()),
    ],
)
def test_without_paths_scope_and_scp_are_read(claims: dict[str, Any], found: set[str]):
    assert scopes(claims) == found


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("stores:read  usage:read ", {"stores:read", "usage:read"}),
        (["stores:read", "Team A", "", "é"], {"stores:read"}),
        ({"stores:read": {"42": "example.com"}, "two words": {}}, {"stores:read"}),
        ({"stores:read": False, "usage:read": True, "contacts:search": None, "contacts:reveal": 0}, {"usage:read"}),
        ({"stores:read": "", "usage:read": []}, {"usage:read"}),
        ([], set()),
        ({}, set()),
    ],
)
def test_a_claim_is_text_a_list_or_an_object(value: object, found: set[str]):
    assert scopes({"roles": value}, claims={"scopes": "roles"}) == found


@pytest.mark.parametrize(
    "value", [7, True, False, 0, 1.5, ["stores:read", 7], [["stores:read"]], "a\tb", 'stores:read "']
)
def test_a_malformed_claim_is_refused_and_not_skipped_for_the_next(value: object):
    with refused(ErrorCode.TOKEN_INVALID, "its roles is malformed") as info:
        scopes({"roles": value, "scope": "stores:read"}, claims={"scopes": ["roles", "scope"]})
    assert info.value.specifics["check"] == "scope"
    assert info.value.specifics["accepted"] == "space-separated scopes a list of scopes"


names = st.sampled_from([*DECLARED, f"{PREFIX}stores:read", "admin", "openid", "Team A"])
values: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.lists(names, max_size=3),
    st.lists(names.filter(lambda name: " " not in name), max_size=3).map(" ".join),
    st.dictionaries(names, st.just({}), max_size=3),
)
PLACES = ("scope", "realm_access.roles", "https://example.com/roles", "groups")
grants = st.lists(
    st.one_of(
        st.fixed_dictionaries({"all": st.just(True), "scopes": st.lists(st.sampled_from(DECLARED), min_size=1)}),
        st.fixed_dictionaries(
            {"clients": st.sampled_from(["cli-1", "cli-2"]), "scopes": st.lists(st.sampled_from(DECLARED), min_size=1)}
        ),
    ),
    max_size=2,
)


@given(
    st.dictionaries(st.sampled_from(PLACES), values),
    st.lists(st.sampled_from(PLACES), min_size=1, unique=True),
    grants,
    st.sampled_from([None, PREFIX]),
)
def test_scopes_are_never_wider_than_the_first_matching_path_and_the_grants(
    written: dict[str, Any], paths: list[str], given_grants: list[Any], prefix: str | None
):
    claims = {name: value for name, value in written.items() if name != "realm_access.roles"}
    if "realm_access.roles" in written:
        claims["realm_access"] = {"roles": written["realm_access.roles"]}
    keys: dict[str, Any] = {"scope_prefix": prefix}
    each = [scopes(claims, claims={"scopes": path}, **keys) for path in paths]
    first = next((found for found in each if found & set(DECLARED)), set())
    granted = {
        scope
        for grant in given_grants
        if grant.get("all") or grant.get("clients") == "cli-1"
        for scope in grant["scopes"]
    }
    found = scopes(claims, claims={"scopes": paths}, grants=given_grants, **keys)
    assert found & set(DECLARED) == (first | granted) & set(DECLARED)
    assert any(found <= one | granted for one in each)


# --- prefix --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("claim", "found"),
    [
        (f"{PREFIX}stores:read", {"stores:read"}),
        ("stores:read", {"stores:read"}),
        (f"{PREFIX}stores:read usage:read", {"stores:read", "usage:read"}),
        (f"{PREFIX}{PREFIX}stores:read", {f"{PREFIX}stores:read"}),
        (PREFIX, {PREFIX}),
        ("api://other/stores:read", {"api://other/stores:read"}),
        (f"x{PREFIX}stores:read", {f"x{PREFIX}stores:read"}),
        (f"{PREFIX.upper()}stores:read", {f"{PREFIX.upper()}stores:read"}),
    ],
)
def test_scopes_are_compared_without_the_prefix(claim: str, found: set[str]):
    assert scopes({"scp": claim}, scope_prefix=PREFIX) == found


def test_without_a_prefix_nothing_is_removed():
    assert scopes({"scp": f"{PREFIX}stores:read"}) == {f"{PREFIX}stores:read"}


# --- grants --------------------------------------------------------------------------------------

GRANTS = [
    {"all": True, "scopes": "usage:read"},
    {"clients": ["batch", "cli-9"], "scopes": ["stores:read"]},
    {"claim": "realm.groups", "values": ["sales", "team a"], "scopes": ["contacts:search"]},
]


@pytest.mark.parametrize(
    ("claims", "client_id", "found"),
    [
        ({}, "cli-1", {"usage:read"}),
        ({}, "batch", {"usage:read", "stores:read"}),
        ({}, "Batch", {"usage:read"}),
        ({"realm": {"groups": ["sales"]}}, "cli-1", {"usage:read", "contacts:search"}),
        ({"realm": {"groups": ["other", "team a"]}}, "cli-1", {"usage:read", "contacts:search"}),
        ({"realm": {"groups": "sales"}}, "cli-1", {"usage:read", "contacts:search"}),
        ({"realm": {"groups": {"sales": {"1": "x"}}}}, "cli-1", {"usage:read", "contacts:search"}),
        ({"realm": {"groups": {"sales": False, "team a": None}}}, "cli-1", {"usage:read"}),
        ({"realm": {"groups": ["salesperson", 7, None, ["sales"]]}}, "cli-1", {"usage:read"}),
        ({"realm": {"groups": "sales team"}}, "cli-1", {"usage:read"}),
        ({"realm": {"groups": 7}}, "cli-1", {"usage:read"}),
        ({"realm.groups": ["sales"]}, "cli-1", {"usage:read", "contacts:search"}),
        ({"groups": ["sales"]}, "cli-1", {"usage:read"}),
        # What the token says and what is granted are joined.
        ({"scope": "stores:read"}, "cli-1", {"usage:read", "stores:read"}),
        # A grant does not end the search for the token's own scopes.
        ({"scope": "openid", "scp": ["stores:read"]}, "cli-1", {"usage:read", "stores:read"}),
    ],
)
def test_grants_by_client_group_or_for_every_token(claims: dict[str, Any], client_id: str, found: set[str]):
    assert scopes(claims, client_id=client_id, grants=GRANTS) - {"openid"} == found


def test_a_claim_of_many_groups_is_read_once_for_all_grants():
    """Each forged token would cost milliseconds for every hundred grants otherwise."""

    class Groups(list[str]):
        reads = 0

        def __iter__(self) -> Iterator[str]:
            Groups.reads += 1
            return super().__iter__()

    grants = [{"claim": "groups", "values": [f"g{number}"], "scopes": ["stores:read"]} for number in range(50)]
    assert scopes({"groups": Groups(f"g{number}" for number in range(40, 90))}, grants=grants) == {"stores:read"}
    assert Groups.reads == 1


# --- to clients ----------------------------------------------------------------------------------


def published(*issuers: dict[str, Any]) -> PublishedScopes:
    return PublishedScopes(configured(Issuer(), id=f"i{number}", **keys) for number, keys in enumerate(issuers))


GRANTED = {"grants": [{"clients": "batch", "scopes": ["contacts:search"]}]}


@pytest.mark.parametrize(
    ("issuers", "supported", "challenged"),
    [
        ([{}], DECLARED, DECLARED),
        ([{"scope_prefix": "p/"}], tuple(f"p/{each}" for each in DECLARED), tuple(f"p/{each}" for each in DECLARED)),
        ([GRANTED], DECLARED[:2], DECLARED[:2]),
        ([{}, {}], DECLARED, DECLARED),
        (
            [{"scope_prefix": "p/"}, {}],
            (*(f"p/{each}" for each in DECLARED), *DECLARED),
            tuple(f"p/{each}" for each in DECLARED),
        ),
        ([GRANTED, {}], DECLARED, DECLARED[:2]),
        # Clients are not sent to an issuer that is not advertised.
        ([{"scope_prefix": "p/", "advertise": False}, {}], DECLARED, DECLARED),
        ([{**GRANTED, "advertise": "https://login.example"}, {"advertise": False}], DECLARED[:2], DECLARED[:2]),
        ([{"advertise": False}], DECLARED, DECLARED),
    ],
)
def test_published_scopes_are_those_of_each_issuer_and_challenged_ones_those_of_the_first(
    issuers: list[dict[str, Any]], supported: tuple[str, ...], challenged: tuple[str, ...]
):
    assert published(*issuers).supported(DECLARED) == supported
    assert published(*issuers).spelled(DECLARED) == challenged


def test_a_known_caller_is_challenged_as_its_issuer_spells():
    scopes = published({"scope_prefix": "p/"}, {"scope_prefix": "q/", "advertise": False, **GRANTED})
    assert scopes.spelled(("stores:read", "contacts:search"), "i1") == ("q/stores:read",)
    assert scopes.unobtainable(("stores:read", "contacts:search"), "i1") == ("contacts:search",)
    assert scopes.unobtainable(("stores:read", "contacts:search"), "i0") == ()


def test_scopes_of_openid_have_no_prefix():
    scopes = published({"scope_prefix": "p/"})
    assert scopes.spelled(("openid", "offline_access", "stores:read")) == ("openid", "offline_access", "p/stores:read")


def test_the_default_paths_are_those_of_the_standards():
    assert DEFAULT_PATHS == ("scope", "scp")  # RFC 8693 section 4.2, and the list of Entra, Okta and others
