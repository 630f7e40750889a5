"""Scopes as issuers have them, through the whole sidecar: paths, prefix and grants."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.proxy.support import POLICY, Launch
from tests.support.rig import Reply, Rig
from tests.support.store import until

PREFIX = "api://5f1c/"
CONTACTS = {"contact_ids": ["a"], "confirm_spend_credits": True}
DECLARED = ("usage:read", "stores:read", "contacts:search", "contacts:reveal")


async def published(rig: Rig) -> list[str]:
    reply = await rig.request("GET", rig.url.replace("/mcp", "/.well-known/oauth-protected-resource/mcp"))
    return list(reply.json["scopes_supported"])


def challenged(reply: Reply) -> list[str]:
    scope = re.search(r'scope="([^"]*)"', reply.headers["WWW-Authenticate"])
    return [] if scope is None else scope[1].split()


async def test_a_prefix_is_published_and_challenged_and_never_forwarded(launch: Launch):
    rig = await launch(issuer={"scope_prefix": PREFIX})
    assert await published(rig) == [f"{PREFIX}{scope}" for scope in DECLARED]
    assert challenged(await rig.call("list_taxonomy", token=None)) == [f"{PREFIX}usage:read", f"{PREFIX}stores:read"]
    for scope in ("stores:read", f"{PREFIX}stores:read"):
        token = rig.issuer.mint(scopes=[scope])
        assert (await rig.call("list_taxonomy", token=token)).status == 200
        assert rig.backend.last.header("x-mcp-scopes") == "stores:read"
        lacking = await rig.call("reveal_contacts", CONTACTS, token=token)
        assert lacking.status == 403
        assert challenged(lacking) == [f"{PREFIX}contacts:reveal", f"{PREFIX}stores:read"]
    await until(lambda: sum(line["account"] is not None for line in rig.calls) == 4)
    assert {line["scopes"] for line in rig.calls if line["account"] is not None} == {"stores:read"}


async def test_a_repeated_challenge_names_the_scope_as_the_issuer_does(launch: Launch):
    rig = await launch(issuer={"scope_prefix": PREFIX})
    first, second = [rig.issuer.mint(scopes=["stores:read"], age=age) for age in (0, -5)]
    assert (await rig.call("reveal_contacts", CONTACTS, token=first)).status == 403
    repeated = await rig.call("reveal_contacts", CONTACTS, token=second)
    assert f"the scope {PREFIX}contacts:reveal" in repeated.json["result"]["content"][0]["text"]
    assert repeated.detail["missing_scopes"] == ["contacts:reveal"]


async def test_an_expired_token_is_challenged_as_its_issuer_spells_and_without_granted_scopes(launch: Launch):
    rig = await launch(issuer={"scope_prefix": PREFIX, **grants({"all": True, "scopes": "usage:read"})})
    expired = rig.issuer.mint(scopes=["contacts:reveal"], age=1000)
    reply = await rig.call("list_taxonomy", token=expired)
    assert reply.status == 401
    assert challenged(reply) == [f"{PREFIX}stores:read", f"{PREFIX}contacts:reveal"]


async def test_roles_do_not_widen_what_a_person_delegated(launch: Launch):
    rig = await launch(issuer={"claims": {"scopes": ["scope", "realm_access.roles"]}})
    roles: dict[str, Any] = {"realm_access": {"roles": ["contacts:reveal"]}}
    delegated = rig.issuer.mint(scopes=["stores:read"], **roles)
    assert (await rig.call("reveal_contacts", CONTACTS, token=delegated)).code == "insufficient_scope"
    assert (
        await rig.call("reveal_contacts", CONTACTS, token=rig.issuer.mint(scopes=["openid"], **roles))
    ).status == 200


async def test_a_path_that_no_token_has_is_logged_once(launch: Launch):
    rig = await launch(issuer={"claims": {"scopes": ["realm_acces.roles"]}})
    for number in range(3):
        token = rig.issuer.mint(realm_access={"roles": ["stores:read"]}, jti=str(number))
        assert (await rig.call("list_taxonomy", token=token)).code == "insufficient_scope"
    lines = [line for line in rig.log if line["event"] == "scope_path_unmatched"]
    assert [(line["level"], line["issuer"], line["path"]) for line in lines] == [
        ("warning", rig.issuer.url, "realm_acces.roles")
    ]


def grants(*granted: dict[str, Any]) -> dict[str, Any]:
    return {"grants": list(granted)}


GRANTED = grants(
    {"all": True, "scopes": ["usage:read"]},
    {"clients": ["cli-1"], "scopes": ["stores:read"]},
    {"claim": "groups", "values": ["sales"], "scopes": ["contacts:reveal"]},
)


async def test_granted_scopes_open_tools_and_imply_others(launch: Launch):
    rig = await launch(issuer=GRANTED)
    token = rig.issuer.mint(scope=None, groups=["sales"])
    for tool, arguments in (("list_taxonomy", {}), ("search_shopify_contacts", {"limit": 1}), ("get_usage", {})):
        assert (await rig.call(tool, arguments, token=token)).code is None
    assert rig.backend.last.header("x-mcp-scopes") == "contacts:reveal contacts:search stores:read usage:read"


async def test_a_scope_in_grants_is_neither_published_nor_challenged_and_lacking_it_is_a_result(launch: Launch):
    rig = await launch(issuer=GRANTED)
    assert await published(rig) == ["contacts:search"]
    assert "scope=" not in (await rig.call("list_taxonomy", token=None)).headers["WWW-Authenticate"]
    token = rig.issuer.mint(scope=None)
    lacking = await rig.call("reveal_contacts", CONTACTS, token=token)
    assert (lacking.status, lacking.code) == (200, "insufficient_scope")
    assert "WWW-Authenticate" not in lacking.headers
    result = lacking.json["result"]
    assert result["isError"] is True
    assert "no login gives: contacts:reveal" in result["content"][0]["text"]
    assert lacking.detail["missing_scopes"] == ["contacts:reveal"]
    requestable = await rig.call("search_shopify_contacts", {"limit": 1}, token=token)
    assert (requestable.status, challenged(requestable)) == (403, ["contacts:search"])
    assert not rig.backend.received


async def test_a_call_that_lacks_both_kinds_of_scope_is_a_result(launch: Launch):
    policy = json.loads(json.dumps(POLICY))
    policy["tools"]["list_taxonomy"]["scopes"] = ["stores:read", "contacts:search"]
    rig = await launch(policy=policy, issuer=grants({"clients": "batch", "scopes": "stores:read"}))
    both = await rig.call("list_taxonomy", token=rig.issuer.mint(scopes=[]))
    assert (both.status, both.detail["missing_scopes"]) == (200, ["stores:read", "contacts:search"])
    other = await rig.call("list_taxonomy", token=rig.issuer.mint(scopes=["contacts:search"]))
    assert (other.status, other.detail["missing_scopes"]) == (200, ["stores:read"])
    await rig.grant(client="batch")
    granted = await rig.call("list_taxonomy", token=rig.issuer.mint(scopes=[], client_id="batch"))
    assert (granted.status, challenged(granted)) == (403, ["contacts:search"])


async def test_the_consent_record_narrows_granted_scopes(launch: Launch):
    rig = await launch(issuer=GRANTED)
    await rig.grant(scopes=["stores:read"])
    token = rig.issuer.mint(scope=None, groups=["sales"], age=60)
    assert (await rig.call("list_taxonomy", token=token)).status == 200
    assert rig.backend.last.header("x-mcp-scopes") == "stores:read"
    # The record is newer than the token, and yet no login adds the scope: the issuer does not know it.
    narrowed = await rig.call("reveal_contacts", CONTACTS, token=token)
    assert (narrowed.status, narrowed.code) == (200, "insufficient_scope")
    assert "WWW-Authenticate" not in narrowed.headers


async def test_a_reload_changes_the_scopes_of_tokens_that_are_remembered(launch: Launch):
    rig = await launch(issuer=grants({"clients": "cli-1", "scopes": "stores:read"}))
    token = rig.issuer.mint(scope=None)
    assert (await rig.call("list_taxonomy", token=token)).status == 200
    config = json.loads(rig.config.read_text())
    config["issuers"][0]["grants"] = []
    rig.config.write_text(json.dumps(config))
    assert await rig.sidecar.reload()
    assert (await rig.call("list_taxonomy", token=token)).status == 403


async def test_tokens_without_audience_are_accepted_of_listed_clients_with_a_warning_in_the_log(launch: Launch):
    rig = await launch(issuer={"audience": {"client_ids": ["cli-1"], "aud": "absent"}})
    (warning,) = [line for line in rig.log if line["event"] == "config_warning"]
    assert "bound to no resource" in warning["problem"]
    assert (await rig.call("list_taxonomy", token=rig.issuer.mint(aud=None))).status == 200
    refused = [
        rig.issuer.mint(aud=None, client_id="registered-itself"),
        rig.issuer.mint(aud="https://other.example/mcp"),
        rig.issuer.mint(),
    ]
    for token in refused:
        assert (await rig.call("list_taxonomy", token=token)).status == 401
    await until(lambda: len(rig.calls) == 4)
    # A line is written once its call is settled, which may be after those of later calls.
    notes = [note for line in rig.calls for note in line.get("notes", ())]
    assert any("found https://other.example/mcp; accepted no aud" in note for note in notes)


@pytest.mark.parametrize("revision", ["2025-11-25", "2026-07-28"])
async def test_a_lacking_grant_is_a_result_in_both_eras(launch: Launch, revision: str):
    rig = await launch(issuer=GRANTED)
    lacking = await rig.call("reveal_contacts", CONTACTS, token=rig.issuer.mint(scope=None), revision=revision)
    assert (lacking.status, lacking.code) == (200, "insufficient_scope")
