"""Tasks in the backend's answers and on its streams, and the cost of tasks."""

from __future__ import annotations

import pytest

from tests.proxy.relay.task_office import DECLARED, ERAS, STRANGERS, Office, office_of, unknown
from tests.proxy.support import Launch
from tests.support import backend as scripted
from tests.support.backend import Turn
from tests.support.rig import LEGACY, MODERN, Json, Reply, Stream, unstamped
from tests.support.store import FaultProxy, StoreServer, until
from tests.support.tasks import RELATED

# --- what the backend answers --------------------------------------------------------------------


async def test_a_list_shows_the_callers_own_tasks_in_order_with_its_cursors(office: Office):
    other = office.mint(client_id="cli-2")
    for name, token in (("a", ""), ("x", other), ("y", other), ("z", other), ("b", ""), ("c", "")):
        await office.started(name, LEGACY, token=token)

    async def pages(token: str) -> list[tuple[list[str], str | None]]:
        found: list[tuple[list[str], str | None]] = []
        cursor: Json = {}
        while True:
            result = (await office.rig.post("tasks/list", cursor, revision=LEGACY, token=token)).json["result"]
            found.append(([task["taskId"] for task in result["tasks"]], result.get("nextCursor")))
            if "nextCursor" not in result:
                return found
            cursor = {"cursor": result["nextCursor"]}

    assert await pages(office.mint()) == [(["a"], "2"), ([], "4"), (["b", "c"], None)]
    assert await pages(other) == [(["x"], "2"), (["y", "z"], "4"), ([], None)]
    assert await pages(office.mint(**STRANGERS["account"])) == [([], "2"), ([], "4"), ([], None)]


async def test_a_list_on_an_event_stream_is_filtered_too(office: Office):
    await office.started("mine", LEGACY)
    await office.started("theirs", LEGACY, token=office.mint(client_id="cli-2"))
    listed = {"tasks": [{"taskId": "theirs"}, {"taskId": "mine"}, {"taskId": 5}], "nextCursor": "n"}
    office.rig.backend.once(scripted.sse({"jsonrpc": "2.0", "id": 9, "result": listed}, response=False))
    reply = await office.rig.post("tasks/list", revision=LEGACY, token=office.mint(), id_=9)
    assert reply.events == [{"jsonrpc": "2.0", "id": 9, "result": {"tasks": [{"taskId": "mine"}], "nextCursor": "n"}}]


async def test_a_list_that_is_itself_about_another_callers_task_is_no_answer(office: Office):
    await office.started("theirs", LEGACY, token=office.mint(client_id="cli-2"))
    office.rig.backend.once(scripted.result({"tasks": [], "_meta": {RELATED: {"taskId": "theirs"}}}))
    assert (await office.rig.post("tasks/list", revision=LEGACY, token=office.mint())).status == 502


async def test_a_long_page_is_filtered_whole(office: Office):
    await office.started("mine", LEGACY)
    listed = {"tasks": [{"taskId": f"t{number}"} for number in range(1200)] + [{"taskId": "mine"}]}
    office.rig.backend.once(scripted.result(listed))
    reply = await office.rig.post("tasks/list", revision=LEGACY, token=office.mint())
    assert reply.json["result"]["tasks"] == [{"taskId": "mine"}]


@pytest.mark.parametrize(
    "result",
    [
        {"taskId": "theirs", "status": "working"},
        {"taskId": "mine-too", "status": "working"},
        {"taskId": "mine", "status": "completed", "result": {"_meta": {RELATED: {"taskId": "theirs"}}}},
        {"taskId": "mine", "inputRequests": {"k": {"params": {"_meta": {RELATED: {"taskId": "theirs"}}}}}},
        {"task": {"taskId": "new"}},
        {"taskId": 7},
    ],
    ids=str,
)
@pytest.mark.parametrize("verb", ["get", "cancel"])
async def test_the_answer_about_another_task_is_no_answer(office: Office, verb: str, result: Json):
    await office.started("theirs", token=office.mint(client_id="cli-2"))
    await office.started("mine-too")
    await office.started("mine")
    office.rig.backend.once(scripted.result(result))
    reply = await office.ask(verb, "mine")
    assert (reply.status, reply.code) == (502, "backend_unavailable")
    with office.rig.redis() as client:
        assert not client.exists(office.binding("new"))


async def test_a_result_of_another_task_is_no_answer(office: Office):
    for name in ("mine", "other"):
        await office.started(name, LEGACY)
        office.desk.finish(name)
    office.rig.backend.once(scripted.result({"content": [], "_meta": {RELATED: {"taskId": "other"}}}))
    assert (await office.ask("result", "mine", LEGACY)).status == 502
    assert (await office.ask("result", "mine", LEGACY)).json["result"]["_meta"] == {RELATED: {"taskId": "mine"}}


async def test_the_state_of_a_task_is_no_new_task_whatever_it_says_it_is(office: Office):
    """SEP-2663 has examples of `tasks/get` with the type of the result that starts one."""
    name = await office.started("t1")
    result = {"resultType": "task", "taskId": name, "status": "failed", "error": {"code": 1, "message": "no"}}
    office.rig.backend.once(scripted.result(result))
    assert (await office.ask("get", name)).json["result"] == result
    assert {line["code"] for line in await office.rig.recorded(2)} == {"task_started", "ok"}


async def test_the_backends_own_error_for_a_task_passes(office: Office):
    name = await office.started("t1", LEGACY)
    office.desk.finish(name, error={"code": -32603, "message": "it broke"})
    assert (await office.ask("result", name, LEGACY)).json["error"] == {"code": -32603, "message": "it broke"}
    del office.desk.tasks[name]
    reply = await office.ask("get", name, LEGACY)
    assert reply.json["error"] == {"code": -32602, "message": "Task not found"}


# --- streams -------------------------------------------------------------------------------------


def message_about(name: str, method: str = "notifications/message") -> Json:
    return {"jsonrpc": "2.0", "method": method, "params": {"level": "info", "_meta": {RELATED: {"taskId": name}}}}


LAST: Json = {"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}


async def seen_until_last(stream: Stream) -> list[Json]:
    found: list[Json] = []
    while (message := await stream.message()) != LAST:
        assert message is not None
        found.append(message)
    return found


async def test_a_get_stream_tells_of_the_callers_own_tasks_alone(office: Office):
    other = office.mint(client_id="cli-2")
    await office.started("mine", LEGACY)
    await office.started("theirs", LEGACY, token=other)
    sessions = {token: await office.rig.session(token=token) for token in (office.mint(), other)}
    mine, theirs = sessions
    async with (
        office.rig.stream(token=mine, session=sessions[mine]) as ours,
        office.rig.stream(token=theirs, session=sessions[theirs]) as others,
    ):
        await until(lambda: len(office.rig.backend.streams) == 2)
        for name in ("theirs", "never-was", "mine"):
            if name in office.desk.tasks:
                await office.desk.tell_status(name)
            await office.desk.tell(message_about(name))
            await office.desk.tell({**message_about(name, "elicitation/create"), "id": 4})
        await office.desk.tell({"jsonrpc": "2.0", "method": "notifications/tasks/status", "params": {"taskId": 5}})
        await office.desk.tell({"jsonrpc": "2.0", "id": 5, "method": "tasks/get", "params": {"taskId": "never-was"}})
        await office.desk.tell(LAST)
        for stream, name in ((ours, "mine"), (others, "theirs")):
            seen = await seen_until_last(stream)
            assert [message["method"] for message in seen] == [
                "notifications/tasks/status",
                "notifications/message",
                "elicitation/create",
            ]
            assert all(name in str(message) for message in seen)


async def test_a_listen_stream_tells_of_the_callers_own_tasks_alone(office: Office):
    other = office.mint(client_id="cli-2")
    await office.started("mine")
    await office.started("theirs", token=other)
    async with office.listen("mine") as ours, office.listen("theirs", token=other) as others:
        for name in ("theirs", "mine"):
            office.desk.finish(name)
            await office.desk.tell_status(name)
        await office.desk.tell(LAST)
        for stream, name in ((ours, "mine"), (others, "theirs")):
            seen = await seen_until_last(stream)
            assert [message["params"]["taskId"] for message in seen] == [name]
            assert seen[0]["params"]["result"]["content"]


async def test_a_calls_own_stream_names_no_other_callers_task(office: Office):
    await office.started("mine", LEGACY)
    await office.started("theirs", LEGACY, token=office.mint(client_id="cli-2"))
    new = {"jsonrpc": "2.0", "method": "notifications/tasks/status", "params": {"taskId": "new", "status": "working"}}
    messages = [message_about("theirs"), new, message_about("mine"), LAST]
    office.rig.backend.once(scripted.sse(*messages))
    reply = await office.rig.call("list_taxonomy", revision=LEGACY, token=office.mint())
    assert reply.events[:-1] == [message_about("mine"), LAST]
    assert "result" in reply.events[-1]
    with office.rig.redis() as client:
        assert not client.exists(office.binding("new"))  # a notification gives nothing to anybody


async def test_what_cannot_be_checked_is_not_passed_on(
    fault_proxy: FaultProxy, own_server: StoreServer, launch: Launch
):
    office = await office_of(launch, server=own_server, store_url=fault_proxy.url)
    await office.started("mine", LEGACY)
    session = await office.rig.session(token=office.mint())
    async with office.rig.stream(token=office.mint(), session=session) as stream:
        await until(lambda: len(office.rig.backend.streams) == 1)
        await fault_proxy.refuse()
        await office.desk.tell_status("mine")
        await office.desk.tell(LAST)
        assert await seen_until_last(stream) == []
        await fault_proxy.listen()
        await until(lambda: office.rig.sidecar.store.up)
        await office.desk.tell_status("mine")
        await office.desk.tell(LAST)
        assert len(await seen_until_last(stream)) == 1


# --- resumed streams -----------------------------------------------------------------------------


async def broken_off(turn: scripted.Turn) -> None:
    """A stream with an id on its events, and no response: the client may come back for it."""
    await turn.open_stream()
    await turn.event("", "1")
    await turn.end_stream()


async def polled(office: Office, method: str, params: Json) -> tuple[dict[str, str], int]:
    """A request whose answer is to come on another stream: its session, and its id."""
    session = {"Mcp-Session-Id": await office.rig.session(token=office.mint())}
    office.rig.backend.once(broken_off)
    reply = await office.rig.post(method, params, revision=LEGACY, token=office.mint(), headers=session)
    assert (reply.status, reply.events) == (200, [])
    return session, office.rig.ids


async def goes_on(office: Office, session: dict[str, str], *results: Json, version: str | None = LEGACY) -> Reply:
    """The answer to a GET that goes on from the session's call, on which the backend says this."""
    rig, name = office.rig, session["Mcp-Session-Id"]
    rig.backend.once(
        scripted.sse(*[{**each, "id": await rig.sent_id(name, each["id"])} for each in results], response=False)
    )
    headers = {"Last-Event-ID": rig.marked[name, "1"], "MCP-Protocol-Version": version}
    return await rig.get(session=name, token=office.mint(), headers=headers)


async def resumed(office: Office, session: dict[str, str], *results: Json) -> list[Json]:
    """Messages that the stream of the session's call replays."""
    reply = await goes_on(office, session, *results)
    assert reply.status == 200
    return reply.events


async def test_a_task_that_is_handed_out_on_a_resumed_stream_is_bound_and_paid(office: Office):
    params = {"name": "search_shopify_contacts", "task": {}}
    session, asked = await polled(office, "tools/call", params)
    answer = {"jsonrpc": "2.0", "id": asked, "result": {"task": {"taskId": "late", "status": "working", "ttl": None}}}
    assert [unstamped(each) for each in await resumed(office, session, answer)] == [answer]
    with office.rig.redis() as client:
        assert client.exists(office.binding("late"))
    books = await office.rig.books()
    assert (books.left(), books.holds) == (7, 0)


async def test_what_a_resumed_stream_says_of_another_callers_task_is_dropped(office: Office):
    other = office.mint(client_id="cli-2")
    await office.started("theirs", LEGACY, token=other)
    await office.started("mine", LEGACY)
    session, asked = await polled(office, "tasks/list", {})
    answers: list[Json] = [
        {"jsonrpc": "2.0", "id": asked, "result": result}
        for result in (
            {"task": {"taskId": "theirs"}},
            {"taskId": "theirs", "status": "working"},
            {"content": [], "_meta": {RELATED: {"taskId": "theirs"}}},
            {"tasks": [{"taskId": "theirs"}, {"taskId": "mine"}], "nextCursor": "n"},
            {"taskId": "mine", "status": "working"},
        )
    ]
    seen = await resumed(office, session, *answers)
    assert [message["result"] for message in seen] == [
        {"tasks": [{"taskId": "mine"}], "nextCursor": "n"},
        {"taskId": "mine", "status": "working"},
    ]


@pytest.mark.parametrize("version", [None, "2025-03-26", "2025-06-18"])
async def test_a_resumed_stream_is_no_way_round_by_naming_a_revision_without_tasks(office: Office, version: str | None):
    """The revision of a GET is what its client says; what its stream replays was asked in another."""
    other = office.mint(client_id="cli-2")
    await office.started("theirs", LEGACY, token=other)
    session, asked = await polled(office, "tasks/list", {})
    answers = [
        {"jsonrpc": "2.0", "id": asked, "result": result}
        for result in ({"taskId": "theirs", "status": "working"}, {"tasks": [{"taskId": "theirs"}], "nextCursor": "n"})
    ]
    reply = await goes_on(office, session, *answers, version=version)
    assert [message["result"] for message in reply.events] == [{"tasks": [], "nextCursor": "n"}]


async def test_an_answer_that_was_no_answer_is_not_waited_for(office: Office):
    """The stream has ids, but its response was there: nothing else can come for this call."""
    other = office.mint(client_id="cli-2")
    await office.started("theirs", LEGACY, token=other)
    session = {"Mcp-Session-Id": await office.rig.session(token=office.mint())}

    async def behave(turn: Turn) -> None:
        await turn.open_stream()
        await turn.event("", "0")
        await turn.event(turn.response({"result": {"task": {"taskId": "theirs", "status": "working"}}}), "1")
        await turn.end_stream()

    office.rig.backend.once(behave)
    params = {"name": "search_shopify_contacts", "task": {}}
    reply = await office.rig.post("tools/call", params, revision=LEGACY, token=office.mint(), headers=session, id_=99)
    assert reply.events[-1]["error"]["data"]["code"] == "backend_unavailable"
    assert b"theirs" not in reply.body
    books = await office.rig.books()
    assert (books.left(), books.holds) == (10, 0)


# --- money ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("fails", [False, True])
async def test_a_task_costs_what_was_reserved_however_it_ends(office: Office, era: str, fails: bool):
    name = await office.started("t1", era, tool="search_shopify_contacts", arguments={"limit": 4})
    books = await office.rig.books()
    assert (books.left(), books.holds) == (6, 0)
    office.desk.finish(name, error={"code": -32603, "message": "it broke"} if fails else None)
    office.desk.tasks[name].status = "input_required"
    await office.ask("update", name) if era == MODERN else await office.ask("result", name, era)
    await office.ask("get", name, era)
    await office.ask("cancel", name, era)
    assert (await office.rig.books()).left() == 6


async def test_a_call_that_the_account_cannot_pay_starts_no_task(office: Office):
    reply = await office.start(tool="search_shopify_contacts", arguments={"limit": 11})
    assert reply.code == "insufficient_credits"
    assert not office.desk.tasks


async def test_items_of_a_task_are_paid_and_their_repeat_is_free(office: Office):
    arguments = {"contact_ids": ["a", "b"], "confirm_spend_credits": True}
    token = office.mint(scopes=["contacts:reveal"])
    for name in ("t1", "t2"):
        await office.started(name, tool="reveal_contacts", arguments=arguments, token=token)
        assert (await office.rig.books()).left() == 8
    assert await office.rig.paid() == {"a", "b"}


async def test_asking_for_a_task_costs_what_its_method_says_and_a_guess_nothing(launch: Launch):
    methods = {**DECLARED, "tasks/get": {"scopes": [], "uses": {"requests": 1}}}
    office = await office_of(launch, methods=methods)
    name = await office.started("t1")
    used = (await office.rig.books()).used["requests"]
    await office.ask("get", name)
    assert (await office.rig.books()).used["requests"] == used + 1
    assert unknown(await office.ask("get", "guess"))
    assert (await office.rig.books()).used["requests"] == used + 1


async def test_the_log_says_that_a_task_was_started_and_never_which(office: Office):
    name = await office.started("canary-id")
    await office.ask("get", name)
    await office.ask("get", "canary-guess")
    lines = await office.rig.recorded(3)
    assert sorted((line["method"], line["code"]) for line in lines) == [
        ("tasks/get", "ok"),
        ("tasks/get", "task_unknown"),
        ("tools/call", "task_started"),
    ]
    assert "canary" not in str(office.rig.log)
    assert "canary" not in await office.rig.metrics()
