"""Lists as clients see them: what the policy, their scopes and their plan leave of the backend's."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sidecar.model import Call, CallKind, Revision
from sidecar.proxy.relay.listings import Viewer, editor
from tests.proxy.support import Launch, policy
from tests.support import backend as scripted
from tests.support.backend import TOOLS, Behaviour, Turn
from tests.support.rig import LEGACY, MODERN, Json, Reply, Rig

ERAS = pytest.mark.parametrize("revision", [MODERN, LEGACY])
DECLARED = [name for name in TOOLS if name != "get_usage"] + ["get_usage"]


def listed(reply: Reply) -> list[str]:
    return [tool["name"] for tool in result_of(reply)["tools"]]


def result_of(reply: Reply) -> Json:
    assert reply.status == 200, reply
    message = reply.events[-1] if reply.headers["Content-Type"] == "text/event-stream" else reply.json
    return dict(message["result"])


def page(*tools: str | Json, **members: Any) -> Json:
    entries = [{"name": tool, "inputSchema": {"type": "object"}} if isinstance(tool, str) else tool for tool in tools]
    return {"tools": entries, **members}


def as_sse(result: Json) -> Behaviour:
    async def behave(turn: Turn) -> None:
        await turn.open_stream()
        await turn.event(turn.response({"result": result}), "1")
        await turn.end_stream()

    return behave


MEDIA = {"json": scripted.result, "sse": as_sse}


async def tools(rig: Rig, *, revision: str = MODERN, cursor: str | None = None, **options: Any) -> Reply:
    return await rig.post("tools/list", {} if cursor is None else {"cursor": cursor}, revision=revision, **options)


# --- tools ---------------------------------------------------------------------------------------


@ERAS
@pytest.mark.parametrize("media", MEDIA)
async def test_only_declared_tools_are_listed_in_the_backends_order(rig: Rig, revision: str, media: str):
    answer = page("reveal_contacts", "delete_everything", "Reveal_Contacts", "list_taxonomy", {"name": 7}, "get_usage")
    rig.backend.once(MEDIA[media](answer))
    assert listed(await tools(rig, revision=revision)) == ["reveal_contacts", "list_taxonomy", "get_usage"]


async def test_the_whole_list_of_a_backend_left_alone(rig: Rig):
    assert listed(await tools(rig)) == DECLARED


@pytest.mark.parametrize(("missing_scope", "shown"), [("show", DECLARED), ("hide", ["search_shopify_contacts"])])
async def test_tools_whose_scope_is_missing_are_shown_or_hidden(launch: Launch, missing_scope: str, shown: list[str]):
    rig = await launch(policy=policy(listing={"missing_scope": missing_scope}))
    assert listed(await tools(rig, token=rig.issuer.mint(scopes=["contacts:search"]))) == shown


async def test_an_implied_scope_shows_a_tool(launch: Launch):
    rig = await launch(policy=policy(listing={"missing_scope": "hide"}))
    reply = await tools(rig, token=rig.issuer.mint(scopes=["contacts:reveal"]))
    assert listed(reply) == ["search_shopify_contacts", "reveal_contacts"]


async def test_scopes_that_the_consent_leaves_out_hide_a_tool(launch: Launch):
    rig = await launch(policy=policy(listing={"missing_scope": "hide"}))
    await rig.grant(scopes=["usage:read"])
    assert listed(await tools(rig)) == ["get_usage"]


@pytest.mark.parametrize(("missing_plan", "shown"), [("hide", ["list_taxonomy", "get_usage"]), ("show", DECLARED)])
async def test_tools_that_the_plan_does_not_include_are_hidden_or_shown(
    launch: Launch, missing_plan: str, shown: list[str]
):
    rig = await launch(policy=policy(listing={"missing_plan": missing_plan}), plan="free")
    assert listed(await tools(rig)) == shown


async def test_a_new_plan_shows_at_the_next_list(launch: Launch):
    rig = await launch(plan="free")
    assert "reveal_contacts" not in listed(await tools(rig))
    await rig.account(plan="growth")
    assert "reveal_contacts" in listed(await tools(rig))


@ERAS
async def test_a_list_needs_consent_and_an_enabled_account(rig: Rig, revision: str):
    reply = await tools(rig, revision=revision, token=rig.issuer.mint(client_id="cli-2"))
    assert (reply.status, reply.code, reply.json["error"]["code"]) == (200, "consent_missing", 4033)
    await rig.account(active=False)
    reply = await tools(rig, revision=revision)
    assert (reply.status, reply.code, reply.json["error"]["code"]) == (200, "account_disabled", 4036)
    assert not rig.backend.received


async def test_a_list_costs_nothing(rig: Rig):
    await tools(rig)
    books = await rig.books()
    assert (books.used, books.left()) == ({}, 10)


async def test_a_definition_keeps_all_but_its_task_support(rig: Rig):
    definition = {
        "name": "list_taxonomy",
        "title": "Taxonomy",
        "inputSchema": {"type": "object", "properties": {"q": {"type": "string"}}},
        "outputSchema": {"type": "object"},
        "annotations": {"readOnlyHint": True},
        "_meta": {"x": 1},
    }
    rig.backend.once(scripted.result(page({**definition, "execution": {"taskSupport": "required"}})))
    assert result_of(await tools(rig))["tools"][0] == definition


async def test_other_members_of_the_result_are_kept(rig: Rig):
    rig.backend.once(scripted.result(page("list_taxonomy", _meta={"x": 1})))
    assert result_of(await tools(rig))["_meta"] == {"x": 1}


@pytest.mark.parametrize("wrong", [None, 7, {"name": "list_taxonomy"}, [7, None, {"name": None}]])
async def test_a_list_that_is_none_is_an_empty_one(rig: Rig, wrong: Any):
    rig.backend.once(scripted.result({"tools": wrong}))
    assert listed(await tools(rig)) == ["get_usage"]


async def test_an_error_of_the_backend_is_relayed(rig: Rig):
    rig.backend.once(scripted.rpc_error(-32602, "bad cursor"))
    reply = await tools(rig, cursor="x")
    assert reply.json["error"]["message"] == "bad cursor"


# --- pages ---------------------------------------------------------------------------------------


async def test_cursors_go_to_the_backend_and_come_back(rig: Rig):
    rig.backend.once(scripted.result(page("list_taxonomy", nextCursor="two")))
    assert result_of(await tools(rig))["nextCursor"] == "two"
    await tools(rig, cursor="two")
    assert rig.backend.last.message["params"]["cursor"] == "two"


async def test_an_emptied_page_keeps_its_cursor(rig: Rig):
    rig.backend.once(scripted.result(page("delete_everything", nextCursor="two")))
    result = result_of(await tools(rig))
    assert (result["tools"], result["nextCursor"]) == ([], "two")


@ERAS
@pytest.mark.parametrize("media", MEDIA)
async def test_the_served_tool_is_appended_to_the_last_page_only(rig: Rig, revision: str, media: str):
    first, last = page("get_usage", "list_taxonomy", nextCursor="two"), page("reveal_contacts", "get_usage")
    rig.backend.once(MEDIA[media](first), MEDIA[media](last))
    assert listed(await tools(rig, revision=revision)) == ["list_taxonomy"]
    assert listed(await tools(rig, revision=revision, cursor="two")) == ["reveal_contacts", "get_usage"]


async def test_the_served_tools_definition_is_our_own(rig: Rig):
    foreign = {"name": "get_usage", "description": "canary", "inputSchema": {"type": "object", "properties": {"x": {}}}}
    rig.backend.once(scripted.result(page(foreign)))
    (definition,) = result_of(await tools(rig))["tools"]
    assert definition["inputSchema"] == {"type": "object", "properties": {}, "additionalProperties": False}
    assert "canary" not in str(definition)


@ERAS
async def test_the_served_tool_answers_from_the_store(launch: Launch, revision: str):
    rig = await launch(plan="plus")
    await rig.call("search_shopify_contacts", {"limit": 1})
    result = result_of(await rig.call("get_usage", revision=revision))
    usage = result["structuredContent"]
    assert (usage["plan"], usage["status"]) == ("plus", "active")
    assert usage["quotas"]["requests"]["day"]["used"] == 2
    assert usage["credits"]["contact"]["included"]["used"] == 1
    assert usage["credits"]["contact"]["left"] == 11
    assert json.loads(result["content"][0]["text"]) == usage
    assert result.get("resultType") == ("complete" if revision == MODERN else None)
    assert [run.tool for run in rig.backend.executed] == ["search_shopify_contacts"]


async def test_the_served_tool_takes_no_arguments(rig: Rig):
    assert (await rig.call("get_usage", {"account": "bob"})).code == "arguments_refused"


# --- injected confirmations ----------------------------------------------------------------------


@ERAS
async def test_an_injected_confirmation_is_added_to_the_schema(rig: Rig, revision: str):
    result = result_of(await tools(rig, revision=revision))
    schema = next(tool for tool in result["tools"] if tool["name"] == "get_shopify_store")["inputSchema"]
    assert schema["properties"]["domain"] == {"type": "string"}
    assert schema["properties"]["sure"]["type"] == "boolean"
    assert "sure" not in schema.get("required", [])


async def test_a_tool_whose_schema_has_the_argument_already_is_not_served(rig: Rig):
    schema = {"type": "object", "properties": {"sure": {"type": "boolean"}}}
    rig.backend.once(scripted.result(page("list_taxonomy", {"name": "get_shopify_store", "inputSchema": schema})))
    assert listed(await tools(rig)) == ["list_taxonomy", "get_usage"]
    reply = await rig.call("get_shopify_store", {"sure": True})
    assert reply.code == "tool_unknown"
    assert [request.message["method"] for request in rig.backend.received] == ["tools/list"]
    rig.backend.once(scripted.result(page("get_shopify_store")))
    assert listed(await tools(rig)) == ["get_shopify_store", "get_usage"]
    assert (await rig.call("get_shopify_store", {"sure": True})).code is None


# --- other lists ---------------------------------------------------------------------------------

OTHERS = {"resources/list": "resources", "resources/templates/list": "resourceTemplates", "prompts/list": "prompts"}


@ERAS
@pytest.mark.parametrize(("method", "member"), OTHERS.items())
async def test_other_lists_come_back_empty_with_their_cursor(rig: Rig, method: str, member: str, revision: str):
    rig.backend.once(scripted.result({member: [{"name": "canary", "uri": "canary://x"}], "nextCursor": "two"}))
    reply = await rig.post(method, revision=revision)
    assert b"canary" not in reply.body
    result = result_of(reply)
    assert (result[member], result["nextCursor"]) == ([], "two")


NOT_DECLARED: dict[str, tuple[Json, str, int]] = {
    "resources/read": ({"uri": "docs://x"}, "resource_unknown", -32002),
    "resources/subscribe": ({"uri": "docs://x"}, "resource_unknown", -32002),
    "prompts/get": ({"name": "x"}, "prompt_unknown", -32602),
    "completion/complete": ({"ref": {"type": "ref/prompt", "name": "x"}}, "method_not_allowed", -32601),
    "logging/setLevel": ({"level": "debug"}, "method_not_allowed", -32601),
    "tasks/get": ({"taskId": "x"}, "method_not_allowed", -32601),
    "tasks/list": ({}, "method_not_allowed", -32601),
}


@pytest.mark.parametrize("method", NOT_DECLARED)
async def test_what_lists_do_not_show_cannot_be_had(rig: Rig, method: str):
    params, code, number = NOT_DECLARED[method]
    reply = await rig.post(method, params, revision=LEGACY)
    assert (reply.status, reply.code, reply.json["error"]["code"]) == (200, code, number)
    assert not rig.backend.received


# --- caching -------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["tools/list", *OTHERS])
async def test_a_filtered_list_is_private_and_short_lived(rig: Rig, method: str):
    for sent, kept in ((3_600_000, 60_000), (5, 5), (0, 0), (None, 0), (-1, 0), ("x", 0), (True, 0)):
        caching = {} if sent is None else {"ttlMs": sent}
        rig.backend.once(scripted.result({"tools": [], "cacheScope": "public", **caching}))
        result = result_of(await rig.post(method))
        assert (result["cacheScope"], result["ttlMs"]) == ("private", kept), sent


@pytest.mark.parametrize("method", ["tools/call", "tasks/get"])
async def test_the_lifetime_of_a_task_is_no_caching_hint(rig: Rig, method: str):
    task = {"taskId": "t-1", "status": "working", "createdAt": "2026-11-25T00:00:00Z", "ttlMs": 3_600_000}
    call = Call(CallKind.REQUEST, Revision.V2026_07_28, method)
    sent = {"resultType": "task" if method == "tools/call" else "complete", **task}
    snapshot = rig.sidecar.pipeline.snapshot
    edit = editor(call, snapshot.policy, Viewer(None, frozenset(), tasks=True), snapshot.tools)
    assert edit is not None
    assert edit(sent) == sent
    assert edit({**sent, "cacheScope": "public"}) == {**sent, "cacheScope": "private"}


async def test_older_revisions_get_no_caching_members(rig: Rig):
    result = result_of(await tools(rig, revision=LEGACY))
    assert not {"cacheScope", "ttlMs"} & result.keys()


# --- capabilities --------------------------------------------------------------------------------

PROMISES = {
    "tools": {"listChanged": True},
    "tasks": {"requests": {"tools": {"call": {}}}},
    "extensions": {"io.modelcontextprotocol/tasks": {}, "io.example/other": {}},
}
KEPT = {"tools": {"listChanged": True}, "extensions": {"io.example/other": {}}}


@pytest.mark.parametrize("media", MEDIA)
async def test_the_task_capability_is_removed_from_what_the_server_promises(rig: Rig, media: str):
    answer = MEDIA[media]({"protocolVersion": LEGACY, "capabilities": PROMISES, "serverInfo": {"name": "x"}})
    rig.backend.once(answer)
    assert result_of(await rig.initialize())["capabilities"] == KEPT
    rig.backend.once(answer)
    modern = {**KEPT, "tools": {}}  # without subscriptions nothing can be announced
    assert result_of(await rig.post("server/discover"))["capabilities"] == modern


CLOSED = {"logging": {}, "completions": {}, "prompts": {}, "resources": {"subscribe": True}}


@pytest.mark.parametrize("media", MEDIA)
async def test_capabilities_that_the_policy_closes_are_not_announced(launch: Launch, media: str):
    rig = await launch()
    capabilities = {"tools": {}, **CLOSED}
    answer = MEDIA[media]({"protocolVersion": LEGACY, "capabilities": capabilities, "serverInfo": {"name": "x"}})
    rig.backend.once(answer)
    assert result_of(await rig.initialize())["capabilities"] == {"tools": {"listChanged": True}}
    rig.backend.once(answer)
    assert result_of(await rig.post("server/discover"))["capabilities"] == {"tools": {}}


async def test_the_task_capability_is_removed_from_what_the_client_promises(rig: Rig):
    await rig.initialize(capabilities=PROMISES)
    assert rig.backend.last.message["params"]["capabilities"] == KEPT


async def test_discover_needs_a_token_only(bare: Launch):
    rig = await bare()
    assert result_of(await rig.post("server/discover"))["supportedVersions"] == [MODERN]
    assert (await rig.post("server/discover", token=None)).status == 401
