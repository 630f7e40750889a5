"""Lists of resources, templates and prompts, and what no cache may keep: over HTTP, and by the shape of results."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import yaml

from sidecar.config.documents.merging import parse
from sidecar.model import Call, CallKind, Revision
from sidecar.policy.language.compile import compile_policy
from sidecar.policy.rules import Policy
from sidecar.proxy.relay.backend_tools import BackendTools
from sidecar.proxy.relay.listings import Viewer, edit_by_shape, editor
from tests.proxy.support import Launch, policy
from tests.support import backend as scripted
from tests.support.rig import LEGACY, MODERN, Json, Rig

ERAS = pytest.mark.parametrize("revision", [MODERN, LEGACY])
POLICY = policy(
    resources={
        "docs://*": {"scopes": ["stores:read"]},
        "docs://contacts/*": {"scopes": ["contacts:reveal"]},
        "docs://one": {"scopes": []},
    },
    prompts={"outreach": {"scopes": ["stores:read"]}, "free": {"scopes": []}},
    plans={"free": {"resources": ["docs://*"], "prompts": ["free"]}, "growth": {}, "plus": {"resources": []}},
)

RESOURCES = [
    *("docs://a", "docs://contacts/x", "file:///etc/passwd", "docs://one", "docs://a/../contacts/x", "DOCS://a"),
    *("docs://CONTACTS/x", "docs://%63ontacts/x", "docs://b", "docs://contacts"),
]
TEMPLATES = [
    *("docs://{path}", "docs://contacts/{id}", "file://{path}", "{+uri}", "docs://open/{id}{?q}", "DOCS://{path}"),
    "docs://one",
]
PROMPTS = ["outreach", "secret", "free", "Free", "free "]
LISTS: dict[str, tuple[str, str, list[str]]] = {
    "resources/list": ("resources", "uri", RESOURCES),
    "resources/templates/list": ("resourceTemplates", "uriTemplate", TEMPLATES),
    "prompts/list": ("prompts", "name", PROMPTS),
}
SHOWN: dict[str, dict[str, list[str]]] = {
    "growth": {
        "resources/list": ["docs://a", "docs://contacts/x", "docs://one", "docs://b", "docs://contacts"],
        "resources/templates/list": [
            *("docs://{path}", "docs://contacts/{id}", "{+uri}", "docs://open/{id}{?q}", "docs://one")
        ],
        "prompts/list": ["outreach", "free"],
    },
    "free": {
        "resources/list": ["docs://a", "docs://b", "docs://contacts"],
        "resources/templates/list": [
            *("docs://{path}", "docs://contacts/{id}", "{+uri}", "docs://open/{id}{?q}", "docs://one")
        ],
        "prompts/list": ["free"],
    },
    "plus": {"resources/list": [], "resources/templates/list": [], "prompts/list": ["outreach", "free"]},
}


def page(method: str, **members: Any) -> Json:
    member, key, names = LISTS[method]
    entries: list[Any] = [{key: name, "title": name.upper(), "_meta": {"n": n}} for n, name in enumerate(names)]
    return {member: [*entries, 7, None, {key: 7}, {"other": "x"}, [names[0]]], **members}


def names(method: str, result: Json) -> list[str]:
    member, key, _ = LISTS[method]
    return [entry[key] for entry in result[member]]


# --- over HTTP -----------------------------------------------------------------------------------


@ERAS
@pytest.mark.parametrize("plan", SHOWN)
@pytest.mark.parametrize("method", LISTS)
async def test_lists_show_what_is_declared_and_in_the_plan(launch: Launch, method: str, plan: str, revision: str):
    rig = await launch(policy=POLICY, plan=plan)
    rig.backend.once(scripted.result(page(method, nextCursor="two", _meta={"x": 1})))
    # Whatever the token may do: only lists of tools ask for scopes.
    reply = await rig.post(method, {"cursor": "one"}, revision=revision, token=rig.issuer.mint(scopes=["usage:read"]))
    result = reply.json["result"]
    assert names(method, result) == SHOWN[plan][method]
    assert (result["nextCursor"], result["_meta"]) == ("two", {"x": 1})
    assert rig.backend.last.message["params"]["cursor"] == "one"
    caching = (result.get("cacheScope"), result.get("ttlMs"))
    assert caching == (("private", 0) if revision == MODERN else (None, None))


async def test_an_entry_keeps_all_its_members(launch: Launch):
    rig = await launch(policy=POLICY)
    rig.backend.once(scripted.result(page("prompts/list")))
    prompts = (await rig.post("prompts/list")).json["result"]["prompts"]
    assert prompts == [
        {"name": "outreach", "title": "OUTREACH", "_meta": {"n": 0}},
        {"name": "free", "title": "FREE", "_meta": {"n": 2}},
    ]


@pytest.mark.parametrize("wrong", [None, {"uri": "docs://a"}, "docs://a", 7])
@pytest.mark.parametrize("method", LISTS)
async def test_a_list_that_is_none_is_an_empty_one(launch: Launch, method: str, wrong: Any):
    rig = await launch(policy=POLICY)
    rig.backend.once(scripted.result({LISTS[method][0]: wrong}))
    assert (await rig.post(method)).json["result"][LISTS[method][0]] == []


async def test_a_new_plan_shows_at_the_next_list(launch: Launch):
    rig = await launch(policy=POLICY, plan="free")
    rig.backend.on("prompts/list", scripted.result(page("prompts/list")))
    assert names("prompts/list", (await rig.post("prompts/list")).json["result"]) == ["free"]
    await rig.account(plan="growth")
    assert names("prompts/list", (await rig.post("prompts/list")).json["result"]) == ["outreach", "free"]


# --- caches --------------------------------------------------------------------------------------


async def read(rig: Rig, result: Json, **params: Any) -> Json:
    rig.backend.once(scripted.result(result))
    return dict((await rig.post("resources/read", {"uri": "docs://a", **params})).json["result"])


@pytest.mark.parametrize(
    ("sent", "kept"),
    [({}, 0), ({"ttlMs": 3_600_000}, 60_000), ({"ttlMs": 5}, 5), ({"ttlMs": True}, 0), ({"ttlMs": 1.5}, 0)],
)
@pytest.mark.parametrize("method", ["resources/read", "server/discover"])
async def test_what_was_policed_for_one_caller_is_in_no_shared_cache(
    launch: Launch, method: str, sent: Json, kept: int
):
    rig = await launch(policy=POLICY)
    rig.backend.once(scripted.result({"contents": [], "capabilities": {}, "cacheScope": "public", **sent}))
    result = (await rig.post(method, {"uri": "docs://a"})).json["result"]
    assert (result["cacheScope"], result["ttlMs"]) == ("private", kept)
    assert type(result["ttlMs"]) is int


@pytest.mark.parametrize("retry", [{"inputResponses": {}}, {"requestState": "s"}])
async def test_the_answer_to_a_retry_is_nobodys_to_keep(launch: Launch, retry: Json):
    rig = await launch(policy=POLICY)
    result = await read(rig, {"contents": [], "cacheScope": "private", "ttlMs": 5_000}, **retry)
    assert (result["cacheScope"], result["ttlMs"]) == ("private", 0)


async def test_a_wish_for_input_gets_no_hints_that_it_does_not_have(launch: Launch):
    rig = await launch(policy=POLICY)
    wish: Json = {"resultType": "input_required", "requestState": "s"}
    assert await read(rig, wish) == wish
    hinted = await read(rig, {**wish, "cacheScope": "public", "ttlMs": 99})
    assert (hinted["cacheScope"], hinted["ttlMs"]) == ("private", 99)


async def test_other_results_keep_to_themselves_what_they_say_of_caches(launch: Launch):
    rig = await launch(policy=POLICY)
    for method, params in (("tools/call", {"name": "list_taxonomy"}), ("prompts/get", {"name": "free"})):
        rig.backend.once(scripted.result({"content": [], "messages": []}))
        assert not {"cacheScope", "ttlMs"} & (await rig.post(method, params)).json["result"].keys()
        rig.backend.once(scripted.result({"content": [], "messages": [], "cacheScope": "public", "ttlMs": 9}))
        result = (await rig.post(method, params)).json["result"]
        assert (result["cacheScope"], result["ttlMs"]) == ("private", 9)


async def test_a_result_that_needs_no_change_is_relayed_byte_for_byte(launch: Launch):
    rig = await launch(policy=POLICY)
    body = b'{"jsonrpc": "2.0", "id": 1, "result": {"contents": [], "n": 1.0E2, "cacheScope": "private", "ttlMs": 7}}'
    rig.backend.once(scripted.http(200, body))
    assert (await rig.post("resources/read", {"uri": "docs://a"}, id_=1)).body == body


# --- by shape ------------------------------------------------------------------------------------

COMPILED: Policy = compile_policy([parse("p.yaml", yaml.safe_dump(POLICY))])
GROWTH = Viewer("growth", frozenset())
TOOLS = {"tools": [{"name": "list_taxonomy"}, {"name": "delete_everything"}], "nextCursor": "two"}


def replayed(result: Json, viewer: Viewer = GROWTH) -> Json:
    before = copy.deepcopy(result)
    edited = edit_by_shape(result, COMPILED, viewer, BackendTools(COMPILED))
    assert result == before
    return edited


@pytest.mark.parametrize("plan", SHOWN)
@pytest.mark.parametrize("method", LISTS)
def test_a_replayed_list_is_filtered_by_its_shape(method: str, plan: str):
    viewer = Viewer(plan, frozenset())
    assert names(method, replayed(page(method), viewer)) == SHOWN[plan][method]
    call = Call(CallKind.REQUEST, Revision.V2025_11_25, method, 1)
    edit = editor(call, COMPILED, viewer, BackendTools(COMPILED))
    assert edit is not None
    assert edit(page(method)) == replayed(page(method), viewer)


def test_a_replayed_list_of_tools_is_filtered_by_its_shape():
    assert replayed(TOOLS) == {"tools": [{"name": "list_taxonomy"}], "nextCursor": "two"}
    last = replayed({"tools": []})["tools"]
    assert [tool["name"] for tool in last] == ["get_usage"]


def test_a_result_that_holds_several_lists_has_all_of_them_filtered():
    everything = {**TOOLS, **{key: value for method in LISTS for key, value in page(method).items()}}
    edited = replayed(everything)
    assert [tool["name"] for tool in edited["tools"]] == ["list_taxonomy"]
    assert {method: names(method, edited) for method in LISTS} == SHOWN["growth"]


def test_a_replayed_initialization_promises_no_tasks():
    result = {"protocolVersion": LEGACY, "capabilities": {"tasks": {}, "tools": {}}, "serverInfo": {"name": "x"}}
    assert replayed(result)["capabilities"] == {"tools": {"listChanged": True}}


def test_a_replayed_initialization_announces_nothing_that_the_policy_closes():
    result = {"protocolVersion": LEGACY, "capabilities": {"logging": {}, "completions": {}, "prompts": {}}}
    assert replayed(result)["capabilities"] == {"prompts": {"listChanged": True}}


@pytest.mark.parametrize(
    "result", [{}, {"content": [], "structuredContent": {"tools": ["a"]}}, {"tools": {"a": 1}}, {"prompts": "x"}]
)
def test_other_replayed_results_stay_as_they_are(result: Json):
    assert edit_by_shape(result, COMPILED, GROWTH, BackendTools(COMPILED)) is result


def test_collisions_are_noticed_in_replayed_lists_too():
    schema = {"type": "object", "properties": {"sure": {"type": "boolean"}}}
    knowledge = BackendTools(COMPILED)
    result = {"tools": [{"name": "get_shopify_store", "inputSchema": schema}], "nextCursor": "x"}
    assert edit_by_shape(result, COMPILED, GROWTH, knowledge)["tools"] == []
    assert knowledge.collisions == ("get_shopify_store",)
