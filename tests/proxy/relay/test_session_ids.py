"""Request ids of sessions as the backend sees them, and event ids as clients do, over HTTP."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.proxy.support import Launch
from tests.support import backend as scripted
from tests.support.backend import Backend, Turn, tool_result
from tests.support.rig import LEGACY, MODERN, Json, Rig, second_sidecar
from tests.support.store import StoreServer, until


@pytest.fixture
async def rig(launch: Launch) -> Rig:
    return await launch(scripted=Backend(sessions=True))


def answers(text: str) -> scripted.Behaviour:
    """Answer this JSON text, with the request's id in it as `ID`."""

    async def behave(turn: Turn) -> None:
        body = text.replace("ID", json.dumps(turn.request.message["id"])).encode()
        await turn.reply(200, body, media="application/json")

    return behave


def streams(text: str) -> scripted.Behaviour:
    """Answer this event stream, with the request's id in it as `ID`."""

    async def behave(turn: Turn) -> None:
        await turn.open_stream()
        await turn.chunk(text.replace("ID", json.dumps(turn.request.message["id"])).encode())
        await turn.end_stream()

    return behave


# --- requests ------------------------------------------------------------------------------------


@pytest.mark.parametrize("id_", [0, 7, -1, "7", "", "ü", 2**53 - 1, "x" * 128])
async def test_a_session_s_request_has_a_tagged_id_and_its_answer_the_client_s(rig: Rig, id_: Any):
    one, other = await rig.session(), await rig.session()
    seen = []
    for session in (one, other):
        reply = await rig.call("list_taxonomy", revision=LEGACY, id_=id_, headers={"Mcp-Session-Id": session})
        assert (reply.json["id"], type(reply.json["id"])) == (id_, type(id_))
        seen.append(rig.backend.last.message["id"])
    assert all(re.fullmatch(r"[0-9a-f]{32}\.[is].*", each) and each.endswith(str(id_)) for each in seen)
    assert len({each.partition(".")[0] for each in seen}) == 2


@pytest.mark.parametrize("method", ["initialize", "ping"])
async def test_without_a_session_ids_are_forwarded_as_they_are(rig: Rig, method: str):
    if method == "initialize":
        assert (await rig.initialize()).json["id"] == rig.ids
    else:
        assert (await rig.post(method, revision=LEGACY)).json["id"] == rig.ids
    assert rig.backend.last.message["id"] == rig.ids


async def test_ids_of_the_stateless_revision_are_forwarded_as_they_are(rig: Rig):
    headers = {"Mcp-Session-Id": await rig.session()}
    reply = await rig.call("list_taxonomy", revision=MODERN, id_=7, headers=headers)
    assert reply.json["id"] == rig.backend.last.message["id"] == 7


async def test_a_posted_response_keeps_the_id_of_the_server_s_request(rig: Rig):
    await rig.respond(session=await rig.session())
    assert rig.backend.last.message == {"jsonrpc": "2.0", "id": 1, "result": {}}


@pytest.mark.parametrize("said", [7, "7"])
async def test_a_cancellation_names_the_request_that_the_backend_has(rig: Rig, said: Any):
    session, gate = await rig.session(), asyncio.Event()
    headers = {"Mcp-Session-Id": session}
    rig.backend.on("list_taxonomy", scripted.after(gate, scripted.default()))
    call = asyncio.create_task(rig.call("list_taxonomy", revision=LEGACY, id_=7, headers=headers))
    await until(lambda: len(rig.backend.received) == 2)
    cancel = {"requestId": said, "reason": "enough"}
    assert (await rig.post("notifications/cancelled", cancel, revision=LEGACY, headers=headers)).status == 202
    asked, cancelled = (each.message for each in rig.backend.received[-2:])
    assert cancelled["params"] == {"requestId": asked["id"], "reason": "enough"}
    gate.set()
    await call


# --- answers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("priced", [False, True])
async def test_nothing_but_the_id_changes_in_an_answer(rig: Rig, priced: bool):
    headers = {"Mcp-Session-Id": await rig.session()}
    tool = "search_shopify_contacts" if priced else "list_taxonomy"
    text = '{ "result": {"content":[], "n": 1.0, "big": 123456789012345678901, "id": ID}, "id" : ID, "jsonrpc":"2.0"}'
    rig.backend.on(tool, answers(text))
    rig.backend.on("GET", scripted.default())
    reply = await rig.call(tool, {"limit": 1} if priced else {}, revision=LEGACY, id_=7, headers=headers)
    sent = rig.backend.last.message["id"]
    assert b'"n": 1.0, "big": 123456789012345678901, "id": "%s"}, "id" : 7,' % sent.encode() in reply.body


ID_OF_OTHERS = {
    "the client's": '{"jsonrpc":"2.0","id":7,"result":{"content":[]}}',
    "as text": '{"jsonrpc":"2.0","id":"7","result":{"content":[]}}',
    "another tag": '{"jsonrpc":"2.0","id":"00000000000000000000000000000000.i7","result":{"content":[]}}',
}


@pytest.mark.parametrize("text", ID_OF_OTHERS.values(), ids=ID_OF_OTHERS)
@pytest.mark.parametrize("form", ["json", "stream"])
async def test_an_answer_that_has_another_session_s_id_is_none(rig: Rig, text: str, form: str):
    headers = {"Mcp-Session-Id": await rig.session()}
    rig.backend.on("list_taxonomy", answers(text) if form == "json" else streams(f"data: {text}\n\n"))
    reply = await rig.call("list_taxonomy", revision=LEGACY, id_=7, headers=headers)
    message = reply.json if form == "json" else reply.events[-1]
    assert (message["id"], message["error"]["data"]["code"]) == (7, "backend_unavailable")


@pytest.mark.parametrize("status", [400, 404, 429])
async def test_a_refusal_of_the_backend_has_the_client_s_id(rig: Rig, status: int):
    headers = {"Mcp-Session-Id": await rig.session()}
    refused = '{"jsonrpc":"2.0",  "error":{"code":-32000,"message":"no","data":1.0},"id":%s}'

    async def behave(turn: Turn) -> None:
        body = (refused % json.dumps(turn.request.message["id"])).encode()
        await turn.reply(status, body, media="application/json")

    rig.backend.on("list_taxonomy", behave)
    reply = await rig.call("list_taxonomy", revision=LEGACY, id_=7, headers=headers)
    assert (reply.status, reply.body) == (status, (refused % 7).encode())


async def test_a_refusal_that_nests_too_deep_to_be_edited_is_relayed_as_it_is(rig: Rig):
    bodies: list[bytes] = []

    async def refuse(turn: Turn) -> None:
        sent = json.dumps(turn.request.message["id"])
        data = f'[{{"id":{sent}}},{"[" * 1000}{"]" * 1000}]'
        bodies.append(f'{{"jsonrpc":"2.0","id":{sent},"error":{{"code":1,"message":"","data":{data}}}}}'.encode())
        await turn.reply(400, bodies[0], media="application/json")

    session = await rig.session()
    rig.backend.once(refuse)
    reply = await rig.call("list_taxonomy", revision=LEGACY, headers={"Mcp-Session-Id": session})
    assert (reply.status, reply.body) == (400, bodies[0])


async def test_a_refusal_that_takes_more_memory_than_is_left_is_not_decoded(launch: Launch):
    """`{"":{}}` takes forty times its bytes; an error may quote what was sent."""
    rig = await launch(scripted=Backend(sessions=True), limits={"memory": "64MiB", "body": "64KiB", "response": "8MiB"})

    async def refuse(turn: Turn) -> None:
        sent, dense = json.dumps(turn.request.message["id"]), ",".join(['{"":{}}'] * 200_000)
        await turn.reply(400, f'{{"jsonrpc":"2.0","id":{sent},"error":[{dense}]}}'.encode(), media="application/json")

    session = await rig.session()
    rig.backend.once(refuse)
    reply = await rig.call("list_taxonomy", revision=LEGACY, headers={"Mcp-Session-Id": session})
    assert (reply.status, reply.code) == (503, "overloaded")
    line = await rig.line(tool="list_taxonomy")
    assert line["credits"] in (None, {}), "its status says that it did not run"
    assert rig.sidecar.pipeline.memory.used == 0


async def test_an_error_that_the_sidecar_makes_has_the_client_s_id(rig: Rig):
    headers = {"Mcp-Session-Id": await rig.session()}
    rig.backend.on("list_taxonomy", scripted.hang_up())
    reply = await rig.call("list_taxonomy", revision=LEGACY, id_="mine", headers=headers)
    assert (reply.status, reply.json["id"]) == (502, "mine")


async def test_a_request_of_the_server_keeps_its_id_on_every_stream(rig: Rig):
    session = await rig.session()
    asked: Json = {"jsonrpc": "2.0", "id": 7, "method": "elicitation/create", "params": {}}
    rig.backend.on("list_taxonomy", scripted.sse(asked))
    reply = await rig.call("list_taxonomy", revision=LEGACY, id_=7, headers={"Mcp-Session-Id": session})
    assert reply.events[0] == asked
    rig.backend.on("GET", scripted.sse(asked, response=False))
    assert (await rig.get(session=session)).events == [asked]


async def test_progress_keeps_its_token(rig: Rig):
    session = await rig.session()
    sent: Json = {"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": 7, "progress": 1}}
    rig.backend.on("list_taxonomy", scripted.sse(sent))
    call = {"name": "list_taxonomy", "arguments": {}, "_meta": {"progressToken": 7}}
    reply = await rig.post("tools/call", call, revision=LEGACY, id_=7, headers={"Mcp-Session-Id": session})
    assert reply.events[0] == sent
    assert rig.backend.last.message["params"]["_meta"]["progressToken"] == 7


# --- events --------------------------------------------------------------------------------------


async def test_the_backend_gets_its_own_event_id_back(rig: Rig):
    session = await rig.session()
    rig.backend.on("list_taxonomy", streams("id: a.b c%2F=\ndata:\n\n"))
    reply = await rig.call("list_taxonomy", revision=LEGACY, headers={"Mcp-Session-Id": session})
    rig.backend.on("GET", scripted.http(405))
    await rig.get(session=session, headers={"Last-Event-ID": reply.event_ids[0]})
    assert rig.backend.last.header("last-event-id") == "a.b c%2F="


@pytest.mark.parametrize("id_", ["ü", " a", "a ", "a\tb", "\x01"])
async def test_a_stream_that_no_header_could_resume_has_no_id_and_is_not_waited_for(rig: Rig, id_: str):
    session = await rig.session()
    rig.backend.on("search_shopify_contacts", streams(f"id: {id_}\nretry: 5\ndata:\n\n"))
    reply = await rig.call(
        "search_shopify_contacts", {"limit": 3}, revision=LEGACY, headers={"Mcp-Session-Id": session}
    )
    assert reply.event_ids == []
    assert b"retry: 5\n" in reply.body
    assert reply.events[-1]["error"]["data"]["code"] == "backend_unavailable"
    assert (await rig.books()).holds == 0


async def test_an_empty_event_id_stays_empty(rig: Rig):
    """It makes a client forget the last one (WHATWG HTML, section 9.2.6)."""
    session = await rig.session()
    rig.backend.on("GET", streams_of_get(b"id:\ndata:\n\n"))
    assert (await rig.get(session=session)).body == b"id: \ndata: \n\n"


def streams_of_get(data: bytes) -> scripted.Behaviour:
    async def behave(turn: Turn) -> None:
        await turn.open_stream()
        await turn.chunk(data)
        await turn.end_stream()

    return behave


@pytest.mark.parametrize("events", ["shared", "scoped"])
async def test_a_get_stream_is_resumed_only_where_the_backend_keeps_sessions_apart(launch: Launch, events: str):
    rig = await launch(scripted=Backend(sessions=True), backend={"events": events})
    session = await rig.session()
    note: Json = {"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "x"}}
    rig.backend.on("GET", scripted.sse(note, ids=True, response=False))
    first = await rig.get(session=session)
    again = await rig.get(session=session, headers={"Last-Event-ID": first.event_ids[-1]})
    assert again.events == [note]
    assert rig.backend.last.header("last-event-id") == ("1" if events == "scoped" else None)


async def test_a_reload_changes_whether_get_streams_are_resumed(rig: Rig):
    session = await rig.session()
    rig.backend.on("GET", scripted.sse(ids=True, response=False))
    last = {"Last-Event-ID": (await rig.get(session=session)).event_ids[-1]}
    config = json.loads(rig.config.read_text())
    config["backend"]["events"] = "scoped"
    rig.config.write_text(json.dumps(config))
    assert await rig.sidecar.reload()
    await rig.get(session=session, headers=last)
    assert rig.backend.last.header("last-event-id") == "0"


async def test_an_event_id_passes_from_one_sidecar_to_another(rig: Rig, tmp_path: Path):
    session = await rig.session()
    rig.backend.on("list_taxonomy", streams("id: 1\ndata:\n\n"))
    reply = await rig.call("list_taxonomy", revision=LEGACY, id_=7, headers={"Mcp-Session-Id": session})
    late = {"jsonrpc": "2.0", "id": rig.backend.last.message["id"], "result": tool_result({})}
    rig.backend.on("GET", scripted.sse(late, response=False))
    folder = tmp_path / "beside"
    folder.mkdir()
    async with second_sidecar(rig, folder) as other:
        resumed = await other.get(session=session, headers={"Last-Event-ID": reply.event_ids[0]})
    assert [each["id"] for each in resumed.events] == [7]


# --- the key -------------------------------------------------------------------------------------


async def test_without_a_key_that_can_be_read_a_session_s_call_is_refused_and_costs_nothing(
    launch: Launch, own_server: StoreServer
):
    with own_server.client() as client:
        client.set("mcp:stream-key", "damaged")
        rig = await launch(server=own_server, scripted=Backend(sessions=True))
        session = await rig.session()  # which needs none
        reply = await rig.call(
            "search_shopify_contacts", {"limit": 3}, revision=LEGACY, headers={"Mcp-Session-Id": session}
        )
        assert (reply.status, reply.code) == (503, "store_unavailable")
        assert len(rig.backend.received) == 1
        books = await rig.books()
        assert (books.left(), books.holds) == (10, 0)
        line = await rig.line(tool="search_shopify_contacts")
        assert "mcp:stream-key value is not a key of 64 hexadecimal digits" in line["notes"][0]
        client.delete("mcp:stream-key")
        again = await rig.call("list_taxonomy", revision=LEGACY, headers={"Mcp-Session-Id": session})
        assert again.status == 200
