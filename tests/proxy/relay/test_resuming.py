"""Calls whose stream ends before their answer: reserved until it passes on another stream of the session."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from sidecar.store.commands.keys import account_keys
from tests.proxy.support import Launch, contacts, policy
from tests.support import backend as scripted
from tests.support.backend import Backend, Behaviour, Turn, tool_result
from tests.support.rig import LEGACY, Json, Rig, second_sidecar, unstamped
from tests.support.store import StoreServer, rest, until

PRIMING = {"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "begun"}}


def broken_off(how: str) -> Behaviour:
    """A stream with an id on its events, and no response."""

    async def behave(turn: Turn) -> None:
        await turn.open_stream()
        await turn.chunk(b"id: 1\nretry: 10\ndata:\n\n")
        if how == "ended":
            await turn.end_stream()
        elif how == "reset":
            turn.reset()
        elif how == "closed":
            turn.close()
        else:
            await turn.hang_up()

    return behave


@pytest.fixture
async def rig(launch: Launch) -> Rig:
    return await launch(scripted=Backend(sessions=True))


async def poll(rig: Rig, session: str, tool: str = "search_shopify_contacts", arguments: Json | None = None) -> Any:
    """Call a tool whose stream ends at once; the id of the request."""
    reply = await rig.call(tool, arguments or {"limit": 3}, revision=LEGACY, headers={"Mcp-Session-Id": session})
    assert reply.status == 200
    assert reply.events == []
    return rig.ids


async def answered(rig: Rig, session: str, *messages: Json, headers: Json | None = None) -> list[Json]:
    """GET a stream on which the backend says this, in its own ids, and read it to its end.

    The client goes on from event 1 of its call, if it has seen that, or opens a new stream.
    """
    said = [{**each, "id": await rig.sent_id(session, each["id"])} for each in messages]
    rig.backend.on("GET", scripted.sse(*said, response=False))
    reply = await rig.get(session=session, headers={"Last-Event-ID": rig.marked.get((session, "1")), **(headers or {})})
    assert reply.status == 200, reply
    return reply.events


def rows(id_: Any, count: int) -> Json:
    return {"jsonrpc": "2.0", "id": id_, "result": tool_result({"rows": list(range(count))})}


async def settled(rig: Rig, count: int = 1) -> list[Json]:
    lines: list[Json] = []

    def found() -> bool:
        lines[:] = [line for line in rig.log if line["event"] == "settled"]
        return len(lines) >= count

    await until(found)
    return lines


@pytest.mark.parametrize("how", ["ended", "reset", "closed"])
async def test_the_answer_on_another_stream_is_charged_at_its_true_price(rig: Rig, how: str):
    session = await rig.session()
    rig.backend.on("search_shopify_contacts", broken_off(how))
    asked = await poll(rig, session)
    deferred = await rig.line(code="deferred")
    books = await rig.books()
    assert (books.left(), books.holds) == (7, 1)
    assert [unstamped(each) for each in await answered(rig, session, rows(asked, 1))] == [rows(asked, 1)]
    assert (await rig.books()).left() == 9
    line = (await settled(rig))[0]
    assert line["request_id"] == deferred["request_id"]
    assert (line["tool"], line["code"], line["credits"]) == ("search_shopify_contacts", "ok", {"contact": 1})
    assert await rig.metric('mcp_sidecar_credits_reserved_total{pool="contact"}') == 3
    assert await rig.metric('mcp_sidecar_credits_spent_total{pool="contact"}') == 1
    assert await rig.metric('mcp_sidecar_credits_released_total{pool="contact"}') == 2
    assert await rig.metric("mcp_sidecar_open_holds") == 0


async def test_the_backend_gets_the_event_to_resume_from(rig: Rig):
    session = await rig.session()
    rig.backend.on("list_taxonomy", scripted.raw(_polled("stream-1_42")))
    await poll(rig, session, "list_taxonomy", {})
    rig.backend.on("GET", scripted.http(405))
    await rig.get(session=session, headers={"Last-Event-ID": rig.marked[session, "stream-1_42"]})
    assert rig.backend.last.header("last-event-id") == "stream-1_42"
    assert rig.backend.last.header("mcp-session-id") == session


@pytest.mark.parametrize("values", [["a", "b"], ["a\x01"], ["ä"]])
async def test_a_last_event_id_that_two_could_read_differently_is_refused(rig: Rig, values: list[str]):
    session = await rig.session()
    head = [f"GET /mcp HTTP/1.1\r\nHost: {rig.url.split('/')[2]}\r\nConnection: close"]
    head += [f"{name}: {value}" for name, value in rig.bare_headers(session, "").items()]
    head += [f"Last-Event-ID: {value}" for value in values]
    answer = await rig.raw("\r\n".join([*head, "", ""]).encode())
    assert answer.split()[1] == b"400"
    assert len(rig.backend.received) == 1


async def test_another_callers_session_cannot_be_resumed(rig: Rig):
    session = await rig.session()
    await rig.account("bob")
    await rig.grant("bob")
    reply = await rig.get(session=session, token=rig.issuer.mint(subject="bob"), headers={"Last-Event-ID": "1"})
    assert (reply.status, reply.code) == (404, "session_unknown")
    assert len(rig.backend.received) == 1


async def test_without_a_session_a_new_stream_begins_and_carries_no_response(rig: Rig):
    rig.backend.on("GET", scripted.sse(PRIMING, rows(1, 1), response=False))
    reply = await rig.get(headers={"Last-Event-ID": "1"})
    assert reply.events == [PRIMING]
    assert rig.backend.last.header("last-event-id") is None


@pytest.mark.parametrize(
    ("answer", "left"),
    [
        ({"error": {"code": 1, "message": "no"}}, 10),
        ({"result": {"content": [], "isError": True}}, 10),
        ({"result": {"content": []}}, 7),  # a result that does not say what it cost
    ],
    ids=["error", "isError", "unpriced"],
)
async def test_other_answers_on_another_stream_cost_what_they_would_have_cost(rig: Rig, answer: Json, left: int):
    session = await rig.session()
    rig.backend.on("search_shopify_contacts", broken_off("ended"))
    asked = await poll(rig, session)
    await answered(rig, session, {"jsonrpc": "2.0", "id": asked, **answer})
    assert (await rig.books()).left() == left


async def test_items_that_were_paid_before_stay_free(rig: Rig):
    session = await rig.session()
    await rig.call("reveal_contacts", contacts("a"), revision=LEGACY, headers={"Mcp-Session-Id": session})
    rig.backend.on("reveal_contacts", broken_off("ended"))
    asked = await poll(rig, session, "reveal_contacts", contacts("a", "b", "c"))
    delivered = {"contacts": [{"id": "a"}, {"id": "b"}]}
    await answered(rig, session, {"jsonrpc": "2.0", "id": asked, "result": tool_result(delivered)})
    assert (await rig.books()).left() == 8
    assert await rig.paid() == {"a", "b"}


async def test_the_store_keeps_no_argument_that_settling_does_not_read(rig: Rig):
    session = await rig.session()
    rig.backend.on("search_shopify_contacts", broken_off("ended"))
    await poll(rig, session, arguments={"limit": 3, "query": "canary"})
    with rig.redis() as client:
        held: Any = client.hgetall(account_keys("main", "ada").holds)
    assert held
    assert "canary" not in str(held)


async def test_another_answer_of_the_session_settles_nothing(rig: Rig):
    session, other = await rig.session(), await rig.session()
    rig.backend.on("search_shopify_contacts", broken_off("ended"))
    asked = await poll(rig, session)
    another = rows(asked + 1000, 1)
    assert await answered(rig, session, another, headers={"Last-Event-ID": None}) == [another]
    await answered(rig, other, rows(asked, 1))
    assert (await rig.books()).holds == 1


async def test_a_resumed_stream_carries_the_answer_to_its_own_request_alone(rig: Rig):
    session = await rig.session()
    rig.backend.on("search_shopify_contacts", broken_off("ended"))
    asked = await poll(rig, session)
    assert await answered(rig, session, rows(asked + 1000, 1), rows(str(asked), 1)) == []
    assert (await rig.books()).holds == 1


async def test_the_answer_settles_once_however_often_it_is_replayed(rig: Rig):
    session = await rig.session()
    rig.backend.on("search_shopify_contacts", broken_off("ended"))
    asked = await poll(rig, session)
    for count in (1, 2, 3):
        await answered(rig, session, rows(asked, count), rows(asked, 3))
    assert (await rig.books()).left() == 9
    assert len(await settled(rig)) == 1


async def test_the_answer_is_recorded_once_when_two_streams_replay_it_at_one_time(rig: Rig):
    session = await rig.session()
    rig.backend.on("search_shopify_contacts", broken_off("ended"))
    asked = await poll(rig, session)
    gate, said = asyncio.Event(), rows(await rig.sent_id(session, asked), 1)
    rig.backend.on("GET", scripted.after(gate, scripted.sse(said, response=False)))
    async with asyncio.TaskGroup() as tasks:
        for _ in range(8):
            tasks.create_task(rig.get(session=session, headers={"Last-Event-ID": rig.marked[session, "1"]}))
        await until(lambda: sum(request.method == "GET" for request in rig.backend.received) == 8)
        gate.set()
    assert (await rig.books()).left() == 9
    assert len(await settled(rig)) == 1
    assert await rig.metric('mcp_sidecar_credits_spent_total{pool="contact"}') == 1


async def test_a_deferred_request_id_is_refused(rig: Rig):
    session = await rig.session()
    rig.backend.on("search_shopify_contacts", broken_off("ended"))
    asked = await poll(rig, session)
    for id_ in (asked, str(asked)):
        again = await rig.call("list_taxonomy", revision=LEGACY, id_=id_, headers={"Mcp-Session-Id": session})
        assert (again.status, again.code) == (400, "message_malformed")
    await answered(rig, session, rows(asked, 1))
    again = await rig.call("list_taxonomy", revision=LEGACY, id_=asked, headers={"Mcp-Session-Id": session})
    assert again.status == 200


async def test_a_call_that_outlasts_the_sidecar_can_still_be_fetched_and_so_is_not_free(launch: Launch):
    rig = await launch(scripted=Backend(sessions=True), shutdown_grace="100ms")  # on_unknown: release
    session = await rig.session()
    rig.backend.on("search_shopify_contacts", broken_off("silent"))
    async with rig.stream("search_shopify_contacts", {"limit": 3}, revision=LEGACY, session=session) as stream:
        assert await stream.event()
        await rig.sidecar.__aexit__(None, None, None)
    with rig.redis() as client:
        held: Any = client.hgetall(account_keys("main", "ada").holds)
    assert [json.loads(text)["deferred"] != "" for text in held.values()] == [True]
    assert (await rig.line(tool="search_shopify_contacts"))["code"] == "deferred"


@pytest.mark.parametrize("seconds", ["idle_timeout", "timeout"])
async def test_a_call_that_timed_out_can_still_be_fetched_and_so_is_not_free(launch: Launch, seconds: str):
    rig = await launch(scripted=Backend(sessions=True), backend={seconds: "1s"})
    session = await rig.session()
    rig.backend.on("search_shopify_contacts", broken_off("silent"))
    reply = await rig.call(
        "search_shopify_contacts", {"limit": 3}, revision=LEGACY, headers={"Mcp-Session-Id": session}
    )
    asked = rig.ids
    assert reply.events[-1]["error"]["data"]["code"] == "backend_timeout"
    assert (await rig.books()).holds == 1
    await answered(rig, session, rows(asked, 2))
    assert (await rig.books()).left() == 8


async def test_without_a_resume_the_lease_charges_what_was_reserved(launch: Launch):
    rig = await launch(scripted=Backend(sessions=True), lease_margin=-59.0)  # on_unknown: release
    session = await rig.session()
    rig.backend.on("search_shopify_contacts", broken_off("ended"))
    await poll(rig, session)

    async def over() -> bool:
        return (await rig.books()).holds == 0

    while not await over():
        await rest()
    assert (await rig.books()).left() == 7


async def test_a_client_that_left_and_came_back_pays_once(rig: Rig):
    session = await rig.session()

    async def behave(turn: Turn) -> None:
        await turn.open_stream()
        await turn.chunk(b"id: 1\ndata:\n\n")
        await until(lambda: rig.sidecar.pipeline.detached == 1)
        await turn.event(turn.response({"result": tool_result({"rows": [1]})}), "2")
        await turn.end_stream()

    rig.backend.on("search_shopify_contacts", behave)
    async with rig.stream("search_shopify_contacts", {"limit": 3}, revision=LEGACY, session=session) as stream:
        assert await stream.event()
    asked = rig.ids
    assert (await rig.line(tool="search_shopify_contacts"))["credits"] == {"contact": 1}
    assert [unstamped(each) for each in await answered(rig, session, rows(asked, 1))] == [rows(asked, 1)]
    assert (await rig.books()).left() == 9


async def test_an_argument_beyond_64_bits_is_kept_for_settling_too(launch: Launch):
    shape = {"properties": {"domains": {"type": "array"}}}
    spends = {"contact": {"items": "arguments.domains[].name", "settle": "data.rows[].domain"}}
    tools = {"enrich_shopify_domains": {"arguments": shape, "spends": spends}}
    rig = await launch(scripted=Backend(sessions=True), policy=policy(tools=tools))
    session = await rig.session()
    rig.backend.on("enrich_shopify_domains", broken_off("ended"))
    domains = [{"name": name, "more": 10**30} for name in ("a", "b")]
    asked = await poll(rig, session, "enrich_shopify_domains", {"domains": domains})
    await rig.line(tool="enrich_shopify_domains", code="deferred")
    result = tool_result({"rows": [{"domain": "b"}]})
    await answered(rig, session, {"jsonrpc": "2.0", "id": asked, "result": result})
    assert (await rig.books()).left() == 9


async def test_a_cancelled_call_that_is_broken_off_later_is_not_free(rig: Rig):
    session = await rig.session()
    open_now, cancelled = asyncio.Event(), asyncio.Event()

    async def behave(turn: Turn) -> None:
        await turn.open_stream()
        await turn.chunk(b"id: 1\ndata:\n\n")
        open_now.set()
        await cancelled.wait()
        await turn.end_stream()

    rig.backend.on("search_shopify_contacts", behave)
    async with rig.stream("search_shopify_contacts", {"limit": 3}, revision=LEGACY, session=session) as stream:
        asked = rig.ids
        await open_now.wait()
        reply = await rig.post(
            "notifications/cancelled", {"requestId": asked}, revision=LEGACY, headers={"Mcp-Session-Id": session}
        )
        assert reply.status == 202
        cancelled.set()
        while await stream.event():
            pass
    await answered(rig, session, {"jsonrpc": "2.0", "id": asked, "error": {"code": 0, "message": "cancelled"}})
    books = await rig.books()
    assert (books.left(), books.holds) == (7, 0)


@pytest.mark.parametrize("answer", [{"error": {"code": 1, "message": "no"}}, {"result": tool_result({"rows": []})}])
async def test_what_another_request_of_the_same_id_was_answered_does_not_make_a_call_cheaper(rig: Rig, answer: Json):
    """Streams can be replayed as often as one likes, and an id used again: so an old answer could stand in."""
    session = await rig.session()

    async def earlier(turn: Turn) -> None:
        await turn.open_stream()
        await turn.event("", "old-0")
        await turn.event(turn.response(answer), "old-1")
        await turn.end_stream()

    rig.backend.on("tools/list", earlier)
    headers = {"Mcp-Session-Id": session}
    await rig.post("tools/list", revision=LEGACY, id_=77, headers=headers)
    rig.backend.on("search_shopify_contacts", broken_off("ended"))
    await rig.call("search_shopify_contacts", {"limit": 3}, revision=LEGACY, id_=77, headers=headers)
    earlier_stream = {"Last-Event-ID": rig.marked[session, "old-0"]}
    await answered(rig, session, {"jsonrpc": "2.0", "id": 77, **answer}, headers=earlier_stream)
    await answered(rig, session, rows(77, 3))
    assert (await rig.books()).left() == 7


async def test_a_stream_that_is_resumed_again_and_again_is_charged_at_its_true_price(rig: Rig):
    session = await rig.session()
    rig.backend.on("search_shopify_contacts", broken_off("ended"))
    asked = await poll(rig, session)
    for seen, next_ in (("1", "2"), ("2", "3")):
        rig.backend.on("GET", scripted.raw(_polled(next_)))
        assert (await rig.get(session=session, headers={"Last-Event-ID": rig.marked[session, seen]})).status == 200
    await answered(rig, session, rows(asked, 1), headers={"Last-Event-ID": rig.marked[session, "3"]})
    assert (await rig.books()).left() == 9


def _polled(id_: str) -> bytes:
    """A stream that is ended behind its first event, for its client to come back."""
    head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
    return f"{head}id: {id_}\nretry: 10\ndata:\n\n".encode()


# --- two sidecars on one store -------------------------------------------------------------------


async def test_the_answer_may_pass_in_another_sidecar(rig: Rig, tmp_path: Path):
    session = await rig.session()
    rig.backend.on("search_shopify_contacts", broken_off("ended"))
    folder = tmp_path / "beside"
    folder.mkdir()
    async with second_sidecar(rig, folder) as other:
        asked = await poll(rig, session)
        again = await other.call("list_taxonomy", revision=LEGACY, id_=asked, headers={"Mcp-Session-Id": session})
        assert (again.status, again.code) == (400, "message_malformed")
        await answered(other, session, rows(asked, 1))
        line = (await settled(other))[0]
    deferred = await rig.line(code="deferred")
    assert (line["request_id"], line["credits"]) == (deferred["request_id"], {"contact": 1})
    assert (await rig.books()).left() == 9


async def test_an_answer_is_not_relayed_while_the_store_is_unreachable(launch: Launch, own_server: StoreServer):
    rig = await launch(server=own_server, scripted=Backend(sessions=True))
    session = await rig.session()
    rig.backend.on("search_shopify_contacts", broken_off("ended"))
    asked = await poll(rig, session)
    said = rows(await rig.sent_id(session, asked), 1)
    rig.backend.on("GET", scripted.default())
    async with rig.stream(session=session) as stream:
        await until(lambda: len(rig.backend.streams) == 1)
        own_server.kill()
        await until(lambda: not rig.sidecar.store.up)
        await rig.backend.streams[0].event(said, "2")
        assert await stream.event() is None
    own_server.start()
    await until(lambda: rig.sidecar.store.up)
    await answered(rig, session, rows(asked, 1))
    assert (await rig.books()).left() == 9


async def test_a_replayed_list_is_filtered_as_the_list_was(rig: Rig):
    session = await rig.session()
    tools = [{"name": name, "inputSchema": {"type": "object"}} for name in ("undeclared", "list_taxonomy")]
    replayed = [
        {"jsonrpc": "2.0", "id": 7, "result": {"tools": tools, "nextCursor": "more"}},
        {"jsonrpc": "2.0", "id": 8, "result": {"resources": [{"uri": "secret://a", "name": "a"}]}},
        {"jsonrpc": "2.0", "id": 9, "result": {"prompts": [{"name": "p"}]}},
        {"jsonrpc": "2.0", "id": 10, "result": {"resourceTemplates": [{"uriTemplate": "secret://{a}", "name": "a"}]}},
    ]
    seen = [message["result"] for message in await answered(rig, session, *replayed)]
    assert [tool["name"] for tool in seen[0]["tools"]] == ["list_taxonomy"]
    assert seen[0]["nextCursor"] == "more"
    assert seen[1:] == [{"resources": []}, {"prompts": []}, {"resourceTemplates": []}]
