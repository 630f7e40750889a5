from __future__ import annotations

from typing import Any

import pytest

from sidecar.identity.claim_path import ENOUGH, UnmatchedPaths, value_at


@pytest.mark.parametrize(
    ("path", "claims", "value"),
    [
        ("roles", {"roles": ["a"]}, ["a"]),
        ("roles", {}, None),
        ("roles", {"roles": None}, None),
        ("realm_access.roles", {"realm_access": {"roles": ["a"]}}, ["a"]),
        ("realm_access.roles", {"realm_access": ["roles"]}, None),
        ("realm_access.roles", {"realm_access": {}}, None),
        ("realm_access.roles", {"realm_access": None}, None),
        ("https://example.com/roles", {"https://example.com/roles": ["a"]}, ["a"]),
        ("https://example.com/x.roles", {"https://example.com/x": {"roles": ["a"]}}, ["a"]),
        # The claim with the whole name comes before the path of the same spelling.
        ("a.b", {"a.b": 1, "a": {"b": 2}}, 1),
        ("a.b.c", {"a.b": {"c": 1}, "a": {"b.c": 2}}, 1),
        ("a.b.c", {"a": {"b.c": 2, "b": {"c": 3}}}, 2),
        # A name that exists is taken: another reading of the same path would depend on what it holds.
        ("a.b.c", {"a.b": {}, "a": {"b": {"c": 1}}}, None),
        ("resource_access.mcp.eu.roles", {"resource_access": {"mcp.eu": {"roles": ["a"]}}}, ["a"]),
    ],
)
def test_a_path_leads_into_objects_by_the_longest_name(path: str, claims: dict[str, Any], value: object):
    assert value_at(claims, path) == value


def test_deep_claims_are_read_in_a_few_steps():
    """Without a limit on the readings of a path, 16 parts would have 2**15 of them."""
    claims: dict[str, Any] = {}
    for _ in range(16):
        claims = {".".join(["a"] * length): claims for length in range(1, 17)}
    assert value_at(claims, ".".join(["a"] * 15 + ["b"])) is None


@pytest.fixture
def reported() -> list[str]:
    return []


def test_a_path_that_a_token_without_scopes_lacks_is_reported_once(reported: list[str]):
    paths = UnmatchedPaths(["scope", "realm.roles"], reported.append)
    for _ in range(3):
        paths.note({"scope": "openid"}, scoped=False)
    assert reported == ["realm.roles"]


def test_a_path_that_every_token_lacks_is_reported_once_although_others_match(reported: list[str]):
    paths = UnmatchedPaths(["relam.roles", "scope"], reported.append)
    for _ in range(ENOUGH - 1):
        paths.note({"scope": "stores:read"}, scoped=True)
    assert reported == []
    for _ in range(ENOUGH):
        paths.note({"scope": "stores:read"}, scoped=True)
    assert reported == ["relam.roles"]


def test_a_path_that_one_token_had_is_never_reported(reported: list[str]):
    paths = UnmatchedPaths(["roles"], reported.append)
    paths.note({"roles": []}, scoped=True)
    for _ in range(2 * ENOUGH):
        paths.note({}, scoped=False)
    assert reported == []
