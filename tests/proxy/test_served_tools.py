"""`serve: connections` and `serve: revoke_connection`: a person's own clients, and the end of one."""

from __future__ import annotations

from typing import Any

import pytest

from sidecar.store.commands import changes
from sidecar.store.commands.keys import account_keys
from tests.proxy.confirming.support import answer, ask, question_of, state_of
from tests.proxy.support import Launch, policy
from tests.support.backend import Backend
from tests.support.rig import LEGACY, REFUSAL, Rig

TOOLS: dict[str, Any] = {
    "connections": {"scopes": ["usage:read"], "serve": "connections"},
    "disconnect": {"scopes": ["usage:read"], "serve": "revoke_connection"},
}


@pytest.fixture
async def served(launch: Launch) -> Rig:
    """A sidecar with both tools."""
    return await launch(policy=policy(tools=TOOLS), scripted=Backend(sessions=True))


async def connections(rig: Rig, **options: Any) -> dict[str, dict[str, Any]]:
    reply = await rig.call("connections", **options)
    assert reply.code is None, reply
    return {each["client_id"]: each for each in reply.json["result"]["structuredContent"]["connections"]}


async def test_a_person_sees_own_clients_and_what_they_have_used(served: Rig):
    rig = served
    url = "https://app.example/client.json"
    name = "<b>Ignore</b>\n[this](x)" + "x" * 100
    await rig.run(changes.grant("main", "ada", "ada", url, ["usage:read"], client_name=name))
    await rig.run(changes.grant("main", "ada", "bob", "theirs"))
    assert (await rig.call("search_shopify_contacts", {"limit": 2})).code is None
    await rig.recorded(1)
    found = await connections(rig)
    assert found.keys() == {"cli-1", url}
    own, other = found["cli-1"], found[url]
    assert (own["this_client"], own["status"], own["scopes"]) == (True, "granted", None)
    assert own["last_tool"] in ("connections", "search_shopify_contacts")
    assert own["credits"].keys() == {"contact"}
    assert own["since"] <= own["last_used"]
    assert (other["host"], other["scopes"], other["last_used"]) == ("app.example", ["usage:read"], None)
    assert len(other["name"]) < 200
    assert not set(other["name"]) & set("<>[]\n")


async def test_a_revoked_client_is_refused_and_its_streams_end(served: Rig):
    rig = served
    await rig.grant(client="cli-2")
    other = rig.issuer.mint(client_id="cli-2", age=-5)
    session = await rig.session(token=other)
    async with rig.stream(session=session, token=other) as stream:
        reply = await rig.call("disconnect", {"client_id": "cli-2"})
        assert reply.json["result"]["structuredContent"] == {
            "client_id": "cli-2",
            "status": "revoked",
            "was": "granted",
        }
        while await stream.message() is not None:
            pass
    assert (await rig.call("list_taxonomy", token=other)).code == "consent_revoked"
    assert (await rig.call("list_taxonomy")).code is None
    assert {name: each["status"] for name, each in (await connections(rig)).items()} == {
        "cli-1": "granted",
        "cli-2": "revoked",
    }
    again = await rig.call("disconnect", {"client_id": "cli-2"})
    assert again.json["result"]["structuredContent"]["was"] == "revoked"
    with rig.redis() as client:
        entries = [fields for _, fields in client.xrange(account_keys("main", "ada").usage)]
    assert {each["by"] for each in entries if each["event"] == "consent_revoked"} == {"holder"}


async def test_a_client_may_end_its_own_access(served: Rig):
    assert (await served.call("disconnect", {"client_id": "cli-1"})).code is None
    reply = await served.call("list_taxonomy", token=served.issuer.mint(age=-5))
    assert reply.code == "consent_revoked"


async def test_nobody_else_s_client_can_be_ended_and_the_try_costs_nothing(served: Rig):
    rig = served
    await rig.run(changes.grant("main", "ada", "bob", "theirs"))
    await rig.grant("eve", "cli-1")
    before = (await rig.seen()).state.quotas
    for client in ("theirs", "unknown", "CLI-1"):
        reply = await rig.call("disconnect", {"client_id": client})
        assert (reply.status, reply.code) == (200, "arguments_refused")
        assert client not in reply.json["result"]["content"][0]["text"]
        assert reply.json["result"]["_meta"][REFUSAL]["code"] == "arguments_refused"
    await rig.recorded(3)
    assert {key: each.used for key, each in (await rig.seen()).state.quotas.items()} == {
        key: each.used for key, each in before.items()
    } | dict.fromkeys((await rig.seen()).state.quotas.keys() - before.keys(), 0)
    for arguments in ({}, {"client_id": ""}, {"client_id": 7}, {"client_id": "x" * 2049}, {"client_id": "a", "b": 1}):
        assert (await rig.call("disconnect", arguments)).code == "arguments_refused"
    with rig.redis() as client:
        keys = account_keys("main", "ada")
        assert client.hget(keys.consent("bob", "theirs"), "status") == "granted"
        assert not client.exists(keys.consent("ada", "unknown"))


@pytest.mark.parametrize("revision", [LEGACY, "2026-07-28"])
async def test_both_tools_are_listed_with_their_arguments(served: Rig, revision: str):
    reply = await served.post("tools/list", {}, revision=revision)
    tools = {each["name"]: each for each in reply.json["result"]["tools"]}
    assert tools["connections"]["annotations"]["readOnlyHint"] is True
    assert tools["disconnect"]["annotations"] == {
        "readOnlyHint": False,
        "destructiveHint": True,
        "idempotentHint": True,
        "openWorldHint": False,
    }
    assert tools["disconnect"]["inputSchema"]["required"] == ["client_id"]


async def test_an_injected_confirmation_is_listed_and_wanted(launch: Launch):
    confirm = {"argument": "sure", "inject": True}
    rig = await launch(policy=policy(tools=TOOLS | {"disconnect": {**TOOLS["disconnect"], "confirm": confirm}}))
    tools = (await rig.post("tools/list", {})).json["result"]["tools"]
    (listed,) = (each for each in tools if each["name"] == "disconnect")
    assert listed["inputSchema"]["properties"].keys() == {"client_id", "sure"}
    assert (await rig.call("disconnect", {"client_id": "cli-1"})).code == "confirmation_required"
    assert (await rig.call("disconnect", {"client_id": "cli-1", "sure": True})).code is None


async def test_in_an_organisation_each_person_has_own_clients(bare: Launch):
    rig = await bare(policy=policy(tools=TOOLS), issuer={"claims": {"account": "org"}})
    await rig.account("acme", plan="growth", credits=10)
    tokens = {}
    for subject in ("ann", "bob"):
        await rig.run(changes.grant("main", "acme", subject, "cli-1"))
        tokens[subject] = rig.issuer.mint(sub=subject, org="acme", age=-5)
    assert (await rig.call("search_shopify_contacts", {"limit": 2}, token=tokens["bob"])).code is None
    await rig.recorded(1)
    assert (await connections(rig, token=tokens["ann"]))["cli-1"]["credits"] == {}
    assert (await rig.call("disconnect", {"client_id": "cli-1"}, token=tokens["ann"])).code is None
    assert (await rig.call("list_taxonomy", token=tokens["ann"])).code == "consent_revoked"
    assert (await rig.call("list_taxonomy", token=tokens["bob"])).code is None


async def test_a_person_confirms_the_end_of_a_client_and_of_no_other(launch: Launch):
    confirm = {"by": "person", "message": "End the access of {client_id}?", "title": "Revoke"}
    rig = await launch(policy=policy(tools=TOOLS | {"disconnect": {**TOOLS["disconnect"], "confirm": confirm}}))
    for client in ("cli-2", "cli-3"):
        await rig.grant(client=client)
    asked = await ask(rig, {"client_id": "cli-2"}, tool="disconnect")
    assert question_of(asked)["message"].startswith('Revoke: End the access of "cli-2"?')
    assert {each["status"] for each in (await connections(rig)).values()} == {"granted"}
    state = state_of(asked)
    other = await ask(rig, {"client_id": "cli-3"}, tool="disconnect", params=answer(state))
    assert other.json["result"]["resultType"] == "input_required", "the person has confirmed another client"
    done = await ask(rig, {"client_id": "cli-2"}, tool="disconnect", params=answer(state))
    assert done.json["result"]["structuredContent"]["status"] == "revoked"
    again = await ask(rig, {"client_id": "cli-2"}, tool="disconnect", params=answer(state))
    assert again.code == "confirmation_expired"
    assert {name: each["status"] for name, each in (await connections(rig)).items()} == {
        "cli-1": "granted",
        "cli-2": "revoked",
        "cli-3": "granted",
    }
    declined = state_of(await ask(rig, {"client_id": "cli-3"}, tool="disconnect"))
    refused = await ask(rig, {"client_id": "cli-3"}, tool="disconnect", params=answer(declined, "decline"))
    assert refused.code == "confirmation_declined"
    assert (await connections(rig))["cli-3"]["status"] == "granted"
