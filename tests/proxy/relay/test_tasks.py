"""Tasks through the sidecar: served as declared, and theirs alone who started them, from before they know."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sidecar.store.commands.keys import claim_key
from tests.proxy.relay.task_office import ERAS, OFFER, STRANGERS, Office, office_of, unknown
from tests.proxy.support import Launch
from tests.support import backend as scripted
from tests.support.rig import LEGACY, MODERN, Json, Stream, unstamped
from tests.support.store import FaultProxy, StoreServer, until
from tests.support.tasks import EXTENSION, RELATED

# --- the life of a task --------------------------------------------------------------------------


async def test_a_task_of_2025_11_25_is_started_polled_and_collected(office: Office):
    name = await office.started("t1", LEGACY)
    assert (await office.ask("get", name, LEGACY)).json["result"]["status"] == "working"
    collecting = asyncio.create_task(office.ask("result", name, LEGACY))
    await until(lambda: office.rig.backend.last.message["method"] == "tasks/result")
    office.desk.finish(name)
    result = (await collecting).json["result"]
    assert result["_meta"] == {RELATED: {"taskId": name}}
    assert result["structuredContent"] is not None
    assert [run.tool for run in office.rig.backend.executed] == ["list_taxonomy"]
    assert (await office.rig.post("tasks/list", revision=LEGACY, token=office.mint())).json["result"]["tasks"]
    name = await office.started("t2", LEGACY)
    assert (await office.ask("cancel", name, LEGACY)).json["result"]["status"] == "cancelled"


async def test_a_task_of_2026_07_28_is_started_polled_fed_and_cancelled(office: Office):
    name = await office.started("t1")
    office.desk.tasks[name].status = "input_required"
    asked = (await office.ask("get", name)).json["result"]
    assert asked["status"] == "input_required"
    assert office.rig.backend.last.header("mcp-name") == name
    assert (await office.ask("update", name)).json["result"] == {"resultType": "complete"}
    assert office.desk.tasks[name].input == [{}]
    office.desk.finish(name)
    assert (await office.ask("get", name)).json["result"]["result"]["structuredContent"] is not None
    assert (await office.ask("cancel", name)).json["result"] == {"resultType": "complete"}
    assert office.desk.tasks[name].status == "cancelled"


async def test_what_the_policy_does_not_declare_is_not_there(launch: Launch):
    office = await office_of(launch, methods={"tasks/get": {"scopes": ["stores:read"]}})
    name = await office.started("t1")
    before = office.reached
    reply = await office.ask("cancel", name)
    assert (reply.status, reply.code) == (404, "method_not_allowed")
    reply = await office.ask("cancel", "another's", LEGACY)
    assert (reply.status, reply.code) == (200, "method_not_allowed")
    reply = await office.ask("get", name, token=office.mint(scopes=["usage:read"]))
    assert (reply.status, reply.code) == (403, "insufficient_scope")
    assert office.reached == before
    assert (await office.ask("get", name)).status == 200
    promised = (await office.rig.initialize(token=office.mint())).json["result"]["capabilities"]
    assert promised["tasks"] == {}
    assert promised["extensions"] == {"com.example/x": {}}
    discovered = (await office.rig.post("server/discover", token=office.mint())).json["result"]["capabilities"]
    assert "tasks" not in discovered
    assert discovered["extensions"] == {EXTENSION: {}, "com.example/x": {}}


async def test_tools_say_that_they_support_tasks_only_where_tasks_are_served(launch: Launch, office: Office):
    for era, said in ((LEGACY, True), (MODERN, True), ("2025-06-18", False)):
        listed = (await office.rig.post("tools/list", revision=era, token=office.mint())).json["result"]["tools"]
        backends = [tool for tool in listed if tool["name"] != "get_usage"]
        assert backends
        assert all(("execution" in tool) is said for tool in backends), era


# --- not served ----------------------------------------------------------------------------------


@pytest.mark.parametrize("era", ERAS)
async def test_without_tasks_get_no_task_is_asked_for(launch: Launch, era: str):
    office = await office_of(launch, methods={})
    reply = await office.start(era)
    assert reply.json["result"]["content"]
    assert not office.desk.tasks
    assert (await office.ask("get", "t1", era)).code == "method_not_allowed"
    promised = (await office.rig.initialize(token=office.mint())).json["result"]["capabilities"]
    assert promised == {"tools": {"listChanged": True}, "extensions": {"com.example/x": {}}}
    listed = (await office.rig.post("tools/list", revision=era, token=office.mint())).json["result"]["tools"]
    assert not any("execution" in tool for tool in listed)


@pytest.mark.parametrize("era", ERAS)
async def test_without_tasks_get_no_other_method_of_tasks_is_there(launch: Launch, era: str):
    office = await office_of(launch, methods={})
    before = office.reached
    for verb in ("get", "result", "update", "cancel", "list", "vendor"):
        reply = await office.ask(verb, "t1", era)
        assert reply.code == "method_not_allowed", verb
    reply = await office.rig.post(
        "notifications/tasks/status", {"taskId": "t1", "status": "failed"}, revision=LEGACY, token=office.mint()
    )
    assert (reply.status, reply.code) == (403, "method_not_allowed")
    assert office.reached == before


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_task_without_a_usable_id_to_follow_is_no_answer(launch: Launch, streamed: bool):
    office = await office_of(launch, methods={})
    result = {"resultType": "task", "taskId": "canary", "status": "working", "ttlMs": None}
    message = {"jsonrpc": "2.0", "id": 9, "result": result}
    office.rig.backend.once(scripted.sse(message, response=False) if streamed else scripted.result(result))
    reply = await office.rig.call("enrich_shopify_domains", {"domains": ["a"]}, token=office.mint(), id_=9)
    assert b"canary" not in reply.body
    if streamed:
        assert reply.events[0]["error"]["data"]["code"] == "backend_unavailable"
    else:
        assert (reply.status, reply.code) == (502, "backend_unavailable")
    assert office.bound() == 0
    assert (await office.rig.books()).left() == 10  # its outcome is unknown: released, as the tool says


# --- whose a task is -----------------------------------------------------------------------------


@pytest.mark.parametrize("era", ERAS)
async def test_another_callers_task_does_not_exist(office: Office, stranger: str, era: str):
    name = await office.started("secret", era)
    office.desk.finish(name)
    before = office.reached
    for verb in ("get", "result", "cancel") if era == LEGACY else ("get", "update", "cancel"):
        theirs, nobodys = [await office.ask(verb, each, era, token=stranger) for each in (name, "never-was")]
        assert unknown(theirs)
        assert {**theirs.json, "id": 0} == {**nobodys.json, "id": 0}  # nothing tells them apart
        assert (theirs.status, theirs.headers.keys()) == (nobodys.status, nobodys.headers.keys())
    assert office.reached == before
    assert (await office.ask("get", name, era)).json["result"]["status"] == "completed"


async def test_another_callers_task_is_named_in_no_message(office: Office, stranger: str):
    rig, name = office.rig, await office.started("secret", LEGACY)
    session = {"Mcp-Session-Id": await rig.session(token=stranger)}
    legacy: Json = {"revision": LEGACY, "token": stranger, "headers": session}
    related = {"_meta": {RELATED: {"taskId": name}}}
    before = office.reached
    refused = [
        await rig.post("tools/call", {"name": "list_taxonomy", **related}, **legacy),
        await rig.post("tools/call", {"name": "list_taxonomy", "task": {"taskId": name}}, **legacy),
        await rig.post("tools/list", related, **legacy),
        await rig.post("ping", related, **legacy),
        await rig.post("server/discover", related, token=stranger),
    ]
    assert all(map(unknown, refused)), refused
    response: Json = {"jsonrpc": "2.0", "id": 1, "result": {"action": "accept", **related}}
    headers = rig.request_headers(response, LEGACY, stranger, session)
    quiet = [
        await rig.post("notifications/progress", {"progressToken": 1, "progress": 1, **related}, **legacy),
        await rig.post("notifications/tasks/status", {"taskId": name, "status": "failed"}, **legacy),
        await rig.post("notifications/initialized", related, **legacy),
        await rig.send(response, headers),
        await rig.send({**response, "result": {"task": {"taskId": name}}}, headers),
        await rig.send({**response, "result": {"taskId": name, "status": "completed"}}, headers),
    ]
    assert [(reply.status, reply.code) for reply in quiet] == [(403, "task_unknown")] * len(quiet)
    assert office.reached == before


async def test_a_caller_may_name_its_own_task_everywhere(office: Office):
    rig, name = office.rig, await office.started("mine", LEGACY)
    session = {"Mcp-Session-Id": await rig.session(token=office.mint())}
    legacy: Json = {"revision": LEGACY, "token": office.mint(), "headers": session}
    related = {"_meta": {RELATED: {"taskId": name}}}
    assert (await rig.post("tools/call", {"name": "list_taxonomy", **related}, **legacy)).status == 200
    assert (await rig.post("ping", related, **legacy)).status == 200
    response: Json = {"jsonrpc": "2.0", "id": 1, "result": {"action": "accept", **related}}
    assert (await rig.send(response, rig.request_headers(response, LEGACY, office.mint(), session))).status == 202
    assert rig.backend.last.message == response


@pytest.mark.parametrize("wanted", [["secret"], ["mine", "secret"], ["mine", "never-was"], ["mine", "Mine"]], ids=str)
async def test_no_caller_listens_for_a_task_of_another(office: Office, stranger: str, wanted: list[str]):
    await office.started("secret")
    await office.started("mine", token=stranger)
    before = office.reached
    params = {"notifications": {"taskIds": wanted, "toolsListChanged": True}, **OFFER}
    assert unknown(await office.rig.post("subscriptions/listen", params, token=stranger))
    assert office.reached == before


ALIKE = ["T1", "t1 ", " t1", "t1\u200b", "\uff541", "t\u2460", "t\uff11", "t1\u0301"]


@pytest.mark.parametrize("guess", [*ALIKE, "", 1, True, None, ["t1"]], ids=repr)
@pytest.mark.parametrize("era", ERAS)
async def test_what_looks_like_an_id_is_another(office: Office, era: str, guess: Any):
    await office.started("t1", era)
    await office.started("1", era)
    before = office.reached
    headers = {"Mcp-Name": None} if not isinstance(guess, str) else {}
    params = {"taskId": guess, **(OFFER if era == MODERN else {})}
    reply = await office.rig.post("tasks/get", params, revision=era, token=office.mint(), headers=headers)
    malformed = not isinstance(guess, str) or not guess
    assert reply.code in (("params_malformed", "header_mismatch") if malformed else ("task_unknown",))
    assert office.reached == before


async def test_the_task_that_is_judged_is_the_one_that_is_asked_for(office: Office):
    """Names that a backend might read instead are refused, and headers agree with the body."""
    await office.started("secret", token=office.mint(client_id="cli-2"))
    await office.started("mine")
    before = office.reached
    related: Json = {"_meta": {**OFFER["_meta"], RELATED: {"taskId": "secret"}}}
    for params in ({"TaskId": "secret"}, {"\uff34askId": "secret"}, related):
        reply = await office.rig.post("tasks/get", {"taskId": "mine", **OFFER, **params}, token=office.mint())
        assert reply.code in ("message_unparsable", "params_malformed", "task_unknown")
    headers = {"Mcp-Name": "secret"}
    reply = await office.rig.post("tasks/get", {"taskId": "mine", **OFFER}, token=office.mint(), headers=headers)
    assert reply.code == "header_mismatch"
    assert office.reached == before


async def test_a_revoked_client_is_refused_as_revoked_for_its_own_task(office: Office):
    name = await office.started("mine")
    await office.rig.revoke()
    before = office.reached
    assert (await office.ask("get", name)).code == "consent_revoked"
    assert unknown(await office.ask("get", "never-was"))
    assert office.reached == before


# --- bound before it is known --------------------------------------------------------------------


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("streamed", [False, True], ids=["json", "sse"])
async def test_an_id_is_not_relayed_when_it_cannot_be_bound(
    fault_proxy: FaultProxy, own_server: StoreServer, launch: Launch, streamed: bool, era: str
):
    office = await office_of(launch, server=own_server, store_url=fault_proxy.url)
    office.desk.stream, office.desk.before = streamed, fault_proxy.refuse
    office.desk.ids.append("canary")
    reply = await office.start(era, "search_shopify_contacts")
    assert b"canary" not in reply.body
    if streamed:
        assert reply.status == 200
        assert [event.get("method") for event in reply.events] == ["notifications/message", None]
        assert reply.events[1]["error"]["data"]["code"] == "store_unavailable"
    else:
        assert (reply.status, reply.code) == (503, "store_unavailable")
        assert reply.headers["Retry-After"] == "1"
    await fault_proxy.listen()
    await until(lambda: office.rig.sidecar.store.up and not office.rig.sidecar.store.outbox.undelivered)
    assert office.bound() == 0
    books = await office.rig.books()
    assert (books.left(), books.holds) == (7, 0)  # it was started all the same
    office.desk.before = None
    before = office.reached
    assert unknown(await office.ask("get", "canary", era))
    assert office.reached == before


@pytest.mark.parametrize("era", ERAS)
async def test_an_id_is_bound_when_its_event_is_relayed(office: Office, era: str):
    """The stream is still open when the id is used."""
    office.desk.ids.append("early")
    more = asyncio.Event()

    async def behave(turn: scripted.Turn) -> None:
        shown: Json = {"taskId": "early", "status": "working", "createdAt": "x", "lastUpdatedAt": "x"}
        result = {"resultType": "task", **shown, "ttlMs": 1} if era == MODERN else {"task": {**shown, "ttl": 1}}
        await turn.open_stream()
        await turn.event(turn.response({"result": result}))
        await more.wait()
        await turn.end_stream()

    office.rig.backend.once(behave)
    message = office.rig.message("tools/call", {"name": "list_taxonomy", **OFFER}, revision=era)
    headers = office.rig.request_headers(message, era, office.mint())
    async with office.rig.http.post(office.rig.url, json=message, headers=headers) as answer:
        assert "early" in str(await Stream(answer).message())
        reply = await office.ask("get", "early", era)
        assert reply.json["error"]["message"] == "Task not found"  # the backend's own words: it was asked
        more.set()


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("other", [STRANGERS["client"], STRANGERS["subject"]], ids=["client", "subject"])
async def test_an_id_that_is_another_callers_is_not_given_out(office: Office, era: str, other: Json):
    name = await office.started("same", era)
    office.desk.ids.append(name)
    reply = await office.start(era, token=office.mint(**other))
    assert (reply.status, reply.code) == (502, "backend_unavailable")
    assert name.encode() not in reply.body
    assert unknown(await office.ask("get", name, era, token=office.mint(**other)))
    assert (await office.ask("get", name, era)).status == 200


@pytest.mark.parametrize("era", ERAS)
async def test_an_id_that_another_account_has_already_is_not_given_out(office: Office, era: str):
    bob = office.mint(**STRANGERS["account"])
    await office.started("same", era)
    office.desk.ids.append("same")
    reply = await office.start(era, token=bob)
    assert (reply.status, reply.code) == (502, "backend_unavailable")
    assert (office.bound("ada"), office.bound("bob")) == (1, 0)
    assert unknown(await office.ask("get", "same", era, token=bob))
    assert (await office.ask("get", "same", era)).status == 200
    await office.started("same", era)  # the same caller may get it again


@pytest.mark.parametrize(
    "result",
    [
        {"resultType": "task", "status": "working"},
        {"resultType": "task", "taskId": 7, "status": "working"},
        {"resultType": "task", "taskId": "", "status": "working"},
        {"resultType": "task", "taskId": "x" * 2000, "status": "working"},
        {"resultType": "task", "taskId": "t", "task": {"taskId": ["t"]}},
        {"resultType": "complete", "content": [], "_meta": {RELATED: "canary"}},
    ],
    ids=lambda result: str(result)[:60],
)
async def test_a_task_whose_id_is_ambiguous_is_no_answer(office: Office, result: Json):
    office.rig.backend.once(scripted.result(result))
    reply = await office.start()
    assert (reply.status, reply.code) == (502, "backend_unavailable")
    assert office.bound() == 0


@pytest.mark.parametrize(
    "result",
    [
        {"resultType": "task", "task": {"taskId": "t", "status": "working", "ttlMs": 5}},
        {"resultType": "task", "taskId": "t", "status": "working", "_meta": {RELATED: {"taskId": "t"}}},
        {"resultType": "complete", "content": [], "_meta": {RELATED: {"taskId": "t"}}},
        {"resultType": "complete", "content": [], "task": {"taskId": "t"}},
    ],
    ids=str,
)
async def test_every_shape_that_reveals_a_task_binds_it(office: Office, result: Json):
    office.rig.backend.once(scripted.result(result))
    reply = await office.start()
    assert unstamped(reply.json)["result"] == result
    with office.rig.redis() as client:
        assert client.exists(office.binding("t"))


# --- how long ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ttl", "seconds"),
    [
        (60_000, 86_400),
        (7 * 86_400_000, 7 * 86_400),
        (365 * 86_400_000, 30 * 86_400),
        (None, 30 * 86_400),
        ("60000", 86_400),
    ],
)
@pytest.mark.parametrize("era", ERAS)
async def test_a_task_stays_its_callers_for_a_day_or_as_long_as_the_backend_keeps_it(
    office: Office, era: str, ttl: Any, seconds: int
):
    office.desk.ttl = ttl
    name = await office.started("t1", era)
    with office.rig.redis() as client:
        assert seconds - 100 < client.ttl(office.binding(name)) <= seconds


async def test_an_expired_task_is_not_there_and_use_keeps_it(office: Office):
    name = await office.started("t1")
    with office.rig.redis() as client:
        client.expire(office.binding(name), 60)
        await office.ask("get", name)
        assert client.ttl(office.binding(name)) > 86_000
        client.delete(office.binding(name), claim_key("task", name))
    before = office.reached
    assert unknown(await office.ask("get", name))
    params = {"notifications": {"taskIds": [name]}, **OFFER}
    assert unknown(await office.rig.post("subscriptions/listen", params, token=office.mint()))
    assert office.reached == before
    # The backend hands the id out again, to another caller, which now owns it.
    await office.started(name, token=office.mint(client_id="cli-2"))
    assert unknown(await office.ask("get", name))
