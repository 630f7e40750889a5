from __future__ import annotations

from typing import Any

import pytest

from sidecar.config.documents.merging import DocumentError, parse
from sidecar.config.settings.settings import settings_of
from sidecar.config.settings.token_settings import ClientAudience

HEAD = """\
resource: https://mcp.example.com/mcp
backend: {url: "http://127.0.0.1:8000/mcp"}
issuers:
  - issuer: https://a
"""


def issuer(line: str) -> Any:
    return settings_of(parse("config.yaml", f"{HEAD}    {line}\n")).issuers[0]


def test_an_audience_is_text_a_list_or_clients():
    assert issuer("audience: api").audience == ("api",)
    assert issuer("audience: [api, old]").audience == ("api", "old")
    assert issuer("audience: {client_ids: cli-1, aud: absent}").audience == ClientAudience(
        client_ids=("cli-1",), aud="absent"
    )
    listed = issuer("audience: {client_ids: [a, b], aud: [account, absent]}").audience
    assert (listed.client_ids, listed.aud) == (("a", "b"), ("account", "absent"))


def test_scopes_have_paths_a_prefix_and_grants():
    assert issuer("claims: {scopes: permissions}").claims.scopes == ("permissions",)
    paths = ("scope", "realm_access.roles", "https://example.com/roles")
    assert issuer(f"claims: {{scopes: [{', '.join(paths)}]}}").claims.scopes == paths
    assert issuer("scope_prefix: api://5f1c/").scope_prefix == "api://5f1c/"
    every, clients, groups = issuer(
        "grants: [{all: true, scopes: a}, {clients: x, scopes: [a, b]}, {claim: r.g, values: g, scopes: [a]}]"
    ).grants
    assert (every.all, every.scopes) == (True, ("a",))
    assert (clients.clients, clients.scopes) == (("x",), ("a", "b"))
    assert (groups.claim, groups.values) == ("r.g", ("g",))


CONSTANTS = "absent, or a list of the constants that these tokens have"
RECEIVERS = "either all, or clients, or claim with values"


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("audience: []", "5:15: issuers[0].audience: too few entries; accepted: at least 1"),
        ("audience: ''", "5:15: issuers[0].audience: too short; accepted: at least 1 characters"),
        ("audience: [7]", "5:16: issuers[0].audience[0]: an integer is given; accepted: text"),
        ("audience: {aud: absent}", "5:5: issuers[0].audience.client_ids: required but missing"),
        ("audience: {client_ids: [a]}", "5:5: issuers[0].audience.aud: required but missing"),
        ("audience: {client_ids: [], aud: absent}", "issuers[0].audience.client_ids: too few entries"),
        (
            "audience: {client_ids: [a], aud: account}",
            f"issuers[0].audience.aud: of no accepted form; accepted: {CONSTANTS}",
        ),
        (
            "audience: {client_ids: [a], aud: null}",
            f"issuers[0].audience.aud: of no accepted form; accepted: {CONSTANTS}",
        ),
        (
            "audience: {client_ids: [a], aud: []}",
            f"issuers[0].audience.aud: of no accepted form; accepted: {CONSTANTS}",
        ),
        (
            "audience: {client_ids: [a], clients: [a], aud: absent}",
            "issuers[0].audience.clients: unknown key; accepted: client_ids, aud",
        ),
        ("audience: {client_ids: [a], aud: [7]}", "issuers[0].audience.aud[0]: an integer is given; accepted: text"),
        ("claims: {scopes: []}", "issuers[0].claims.scopes: too few entries"),
        ("claims: {scopes: [scope, scope]}", "issuers[0].claims.scopes[1]: given twice; accepted: each path once"),
        ("claims: {scopes: a..b}", "issuers[0].claims.scopes: an empty name between dots"),
        ("claims: {scopes: [scope, .a]}", "5:30: issuers[0].claims.scopes[1]: an empty name between dots"),
        ("claims: {scopes: scope.read}", "issuers[0].claims.scopes: scope has no members"),
        ("claims: {account: jti}", "issuers[0].claims.account: jti never names an account or a client"),
        ("claims: {account: iss}", "issuers[0].claims.account: iss never names an account or a client"),
        ("claims: {client_id: scope}", "issuers[0].claims.client_id: scope never names an account or a client"),
        ("claims: {scopes: [exp]}", "issuers[0].claims.scopes[0]: exp never holds scopes"),
        (f"claims: {{scopes: {'a.' * 16}a}}", "issuers[0].claims.scopes: too many dots; accepted: at most 15"),
        ("scope_prefix: 'a b'", "issuers[0].scope_prefix: not of the accepted form"),
        ("scope_prefix: ''", "issuers[0].scope_prefix: not of the accepted form"),
        ("grants: [{scopes: [a]}]", f"5:14: issuers[0].grants[0]: no receiver; accepted: {RECEIVERS}"),
        ("grants: [{all: false, scopes: [a]}]", "issuers[0].grants[0].all: false; accepted: true, or"),
        (
            "grants: [{all: true, clients: [x], scopes: [a]}]",
            f"issuers[0].grants[0]: all and clients together; accepted: {RECEIVERS}",
        ),
        ("grants: [{claim: groups, scopes: [a]}]", f"issuers[0].grants[0]: claim alone; accepted: {RECEIVERS}"),
        ("grants: [{values: [x], scopes: [a]}]", f"issuers[0].grants[0]: values alone; accepted: {RECEIVERS}"),
        ("grants: [{claim: sub.x, values: [x], scopes: [a]}]", "issuers[0].grants[0].claim: sub has no members"),
        ("grants: [{all: true}]", "issuers[0].grants[0].scopes: required but missing"),
        ("grants: [{all: true, scopes: []}]", "issuers[0].grants[0].scopes: too few entries"),
        ("grants: [{clients: [], scopes: [a]}]", "issuers[0].grants[0].clients: too few entries"),
        ("grants: [{group: x, scopes: [a]}]", "issuers[0].grants[0].group: unknown key; accepted: all, clients, claim"),
    ],
)
def test_problems_name_the_place_and_what_is_accepted(line: str, problem: str):
    with pytest.raises(DocumentError) as caught:
        issuer(line)
    (found,) = map(str, caught.value.problems)
    assert problem in found
