"""Event streams: relayed as they come, held back without a reader, and ended when they must."""

from __future__ import annotations

import asyncio
import json
import socket
from typing import Any

import pytest

from tests.proxy.support import Launch
from tests.support import backend as scripted
from tests.support.backend import Backend, Turn, tool_result
from tests.support.rig import LEGACY, MODERN, Json, Rig
from tests.support.store import until

ERAS = pytest.mark.parametrize("revision", [MODERN, LEGACY])


def progress(number: int) -> Json:
    return {"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progress": number}}


def pushed(data: str) -> scripted.Behaviour:
    """A stream of these bytes, then the response."""

    async def behave(turn: Turn) -> None:
        await turn.open_stream()
        await turn.chunk(data.encode())
        await turn.event(turn.response({"result": tool_result({})}))
        await turn.end_stream()

    return behave


# --- a call's stream -----------------------------------------------------------------------------


@ERAS
async def test_each_event_is_relayed_before_the_next_is_sent(rig: Rig, revision: str):
    seen = [asyncio.Event() for _ in range(5)]

    async def behave(turn: Turn) -> None:
        await turn.open_stream()
        for number, each in enumerate(seen):
            await turn.event(progress(number))
            await each.wait()
        await turn.event(turn.response({"result": tool_result({})}))
        await turn.end_stream()

    rig.backend.once(behave)
    async with rig.stream("list_taxonomy", revision=revision) as stream:
        for number, each in enumerate(seen):
            assert await stream.message() == progress(number)
            each.set()
        assert (await stream.message() or {})["id"] == rig.ids
        assert await stream.event() is None


async def test_an_event_that_arrives_in_pieces_is_relayed_whole(rig: Rig):
    first = asyncio.Event()

    async def behave(turn: Turn) -> None:
        await turn.open_stream()
        await turn.event(progress(0))
        await turn.chunk(b'data: {"jsonrpc":"2.0",')
        await first.wait()
        await turn.chunk(b'"method":"notifications/message"}\n')
        await turn.chunk(b"\n")
        await turn.event(turn.response({"result": tool_result({})}))
        await turn.end_stream()

    rig.backend.once(behave)
    async with rig.stream("list_taxonomy") as stream:
        assert await stream.message() == progress(0)
        first.set()
        assert (await stream.message() or {})["method"] == "notifications/message"


async def test_priming_events_ids_and_retry_times_are_kept(rig: Rig):
    rig.backend.once(pushed(f"id: 7\nretry: 1500\ndata:\n\nid: 8\nevent: message\ndata: {json.dumps(progress(1))}\n\n"))
    async with rig.stream("list_taxonomy", revision=LEGACY) as stream:
        assert await stream.event() == "id: 7\nretry: 1500\ndata: \n"
        assert await stream.event() == f"event: message\nid: 8\ndata: {json.dumps(progress(1))}\n"
        assert await stream.message()
        assert await stream.event() is None


async def test_data_of_several_lines_keeps_its_lines(rig: Rig):
    rig.backend.once(pushed('data: {"jsonrpc": "2.0",\ndata:  "method": "notifications/message"}\n\n'))
    async with rig.stream("list_taxonomy") as stream:
        assert await stream.event() == 'data: {"jsonrpc": "2.0",\ndata:  "method": "notifications/message"}\n'


UNDECODABLE = {
    "no json": "data: canary\n\n",
    "truncated json": 'data: {"canary":\n\n',
    "an array": 'data: [{"jsonrpc":"2.0","method":"canary"}]\n\n',
    "no message": 'data: {"canary": 1}\n\n',
    "id of no kind": 'data: {"jsonrpc":"2.0","id":{"canary":1},"result":{}}\n\n',
    "foreign id": 'data: {"jsonrpc":"2.0","id":"canary","result":{}}\n\n',
    "foreign error": 'data: {"jsonrpc":"2.0","id":999,"error":{"code":1,"message":"canary"}}\n\n',
    "comment": ": canary\n\n",
    "unknown field": "canary: x\n\n",
}


@pytest.mark.parametrize("data", UNDECODABLE.values(), ids=UNDECODABLE.keys())
async def test_what_cannot_be_judged_or_was_not_asked_for_is_dropped(rig: Rig, data: str):
    rig.backend.once(pushed(data))
    reply = await rig.call("list_taxonomy")
    assert b"canary" not in reply.body
    assert [event["id"] for event in reply.events] == [rig.ids]


async def test_a_request_of_the_server_is_passed_on(rig: Rig):
    asked = {"jsonrpc": "2.0", "id": 99, "method": "elicitation/create", "params": {}}
    rig.backend.once(pushed(f"data: {json.dumps(asked)}\n\n"))
    reply = await rig.call("list_taxonomy", revision=LEGACY)
    assert reply.events[0] == asked


async def test_events_that_are_split_at_every_byte_arrive_whole(rig: Rig):
    async def behave(turn: Turn) -> None:
        await turn.open_stream()
        data = (
            f"data: {json.dumps(progress(1))}\r\n\r\ndata: {json.dumps(turn.response({'result': tool_result({})}))}\r\r"
        )
        for byte in data.encode():
            await turn.chunk(bytes([byte]))
        await turn.end_stream()

    rig.backend.once(behave)
    reply = await rig.call("list_taxonomy")
    assert reply.events[0] == progress(1)
    assert reply.events[1]["result"]["isError"] is False


async def test_a_stream_beyond_the_limit_ends_with_an_error(launch: Launch):
    rig = await launch(limits={"response": "4KiB"})
    seen = asyncio.Event()

    async def behave(turn: Turn) -> None:
        await turn.open_stream()
        await turn.event(progress(0))
        await seen.wait()
        await turn.event({**progress(1), "padding": "x" * 5000})
        await turn.event(turn.response({"result": tool_result({})}))
        await turn.end_stream()

    rig.backend.once(behave)
    async with rig.stream("list_taxonomy") as stream:
        assert await stream.message() == progress(0)
        seen.set()
        refused = await stream.message() or {}
        assert (refused["id"], refused["error"]["code"]) == (rig.ids, 5021)
        assert await stream.event() is None


async def test_a_silent_stream_ends_at_the_idle_timeout(launch: Launch):
    rig = await launch(backend={"idle_timeout": "500ms"})

    async def behave(turn: Turn) -> None:
        await turn.open_stream()
        await turn.event(progress(0))
        await turn.hang_up()

    rig.backend.once(behave)
    reply = await rig.call("list_taxonomy")
    assert [event.get("method") for event in reply.events] == ["notifications/progress", None]
    assert reply.events[-1]["error"]["data"]["code"] == "backend_timeout"
    await until(lambda: len(rig.backend.hang_ups) == 1)
    assert (await rig.recorded())[0]["code"] == "backend_timeout"


async def test_a_stream_that_goes_on_ends_at_the_calls_timeout(launch: Launch):
    rig = await launch(backend={"timeout": "1s"})
    written = 0

    async def behave(turn: Turn) -> None:
        nonlocal written
        await turn.open_stream()
        while not turn.writer.is_closing():
            await turn.event(progress(written))
            written += 1
            await asyncio.sleep(0.005)

    rig.backend.once(behave)
    reply = await rig.call("list_taxonomy")
    assert reply.events[-1]["error"]["data"]["code"] == "backend_timeout"


# --- back-pressure -------------------------------------------------------------------------------


async def test_a_client_that_does_not_read_holds_the_backend_back(launch: Launch):
    """The backend offers 64 MiB; what fits into sockets and small buffers is all that is taken."""
    rig = await launch(limits={"response": "1GiB", "memory": "8GiB"})
    offered = 64 << 20
    written = 0
    stalled = asyncio.Event()

    async def behave(turn: Turn) -> None:
        nonlocal written
        await turn.open_stream()
        event = f"data: {json.dumps({**progress(0), 'padding': 'x' * 65_000})}\n\n".encode()
        while written < offered:
            turn.writer.write(b"%x\r\n%s\r\n" % (len(event), event))
            written += len(event)
            try:
                async with asyncio.timeout(0.5):
                    await turn.writer.drain()
            except TimeoutError:
                stalled.set()
                await turn.hang_up()
                return

    rig.backend.once(behave)
    message = rig.message("tools/call", {"name": "list_taxonomy", "arguments": {}})
    headers = rig.request_headers(message, MODERN, "")
    client = connect(rig, 4096)
    client.sendall(http_request(rig, message, headers))
    async with asyncio.timeout(60):
        await stalled.wait()
    assert written < 24 << 20
    client.close()
    await until(lambda: len(rig.backend.hang_ups) == 1)
    assert (await rig.recorded())[0]["code"] == "client_gone"


async def test_a_client_that_never_reads_again_is_let_go(launch: Launch):
    rig = await launch(backend={"idle_timeout": "1s"}, limits={"response": "1GiB", "memory": "8GiB"})
    rig.backend.rows = 1

    async def behave(turn: Turn) -> None:
        await turn.open_stream()
        for _ in range(400):
            await turn.event({**progress(0), "padding": "x" * 65_000})
        await turn.event(turn.response({"result": tool_result({"rows": [1]})}))
        await turn.end_stream()

    rig.backend.once(behave)
    message = rig.message("tools/call", {"name": "search_shopify_contacts", "arguments": {}}, revision=LEGACY)
    client = connect(rig, 4096)
    client.sendall(http_request(rig, message, rig.request_headers(message, LEGACY, "")))
    line = (await rig.recorded())[0]
    assert (line["code"], line["credits"]) == ("ok", {"contact": 1})  # the call is read to its end without it
    client.close()


def connect(rig: Rig, buffer: int) -> socket.socket:
    """A connection with a small receive buffer and no reader."""
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    address = rig.sidecar.addresses["listen"]
    made.connect((address.host, address.port))
    return made


def http_request(rig: Rig, message: Json, headers: dict[str, str]) -> bytes:
    body = json.dumps(message).encode()
    lines = ["POST /mcp HTTP/1.1", f"Host: {rig.url.split('/')[2]}", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


# --- the server's own stream ---------------------------------------------------------------------


@pytest.fixture
async def listening(launch: Launch) -> Rig:
    """A sidecar whose backend has sessions and a stream of its own."""
    return await launch(scripted=Backend(sessions=True))


async def test_a_get_stream_passes_what_can_be_read(listening: Rig):
    rig = listening
    session = await rig.session()
    async with rig.stream(session=session) as stream:
        assert stream.answer.headers["Content-Type"] == "text/event-stream"
        await until(lambda: len(rig.backend.streams) == 1)
        turn = rig.backend.streams[0]
        asked = {"jsonrpc": "2.0", "id": 5, "method": "sampling/createMessage", "params": {}}
        replayed = {"jsonrpc": "2.0", "id": 1, "result": {}}
        sent = {**replayed, "id": await rig.sent_id(session, 1)}
        for event in (progress(1), sent, "canary", replayed, asked):
            await turn.event(event)
        assert await stream.message() == progress(1)
        assert await stream.message() == replayed
        assert await stream.message() == asked
    opened = next(each for each in rig.backend.received if each.method == "GET")
    assert opened.header("accept") == "text/event-stream"
    assert opened.body == b""


async def test_a_get_stream_that_its_client_leaves_is_left(listening: Rig):
    rig = listening
    async with rig.stream(session=await rig.session()):
        await until(lambda: len(rig.backend.streams) == 1)
        assert await rig.metric("mcp_sidecar_open_streams") == 1
    await until(lambda: len(rig.backend.hang_ups) == 1)
    assert (await rig.line(method="GET"))["status"] == "ok"
    assert await rig.metric("mcp_sidecar_open_streams") == 0


async def test_a_get_stream_that_the_backend_ends_ends(listening: Rig):
    rig = listening

    async def behave(turn: Turn) -> None:
        await turn.open_stream()
        await turn.event(progress(1), "1")
        await turn.end_stream()

    rig.backend.on("GET", behave)
    async with rig.stream() as stream:
        assert await stream.event() == f"event: message\nid: 1\ndata: {json.dumps(progress(1))}\n"
        assert await stream.event() is None
    assert (await rig.recorded())[0]["code"] == "ok"


async def test_a_silent_get_stream_ends_at_the_idle_timeout(launch: Launch):
    rig = await launch(scripted=Backend(sessions=True), backend={"idle_timeout": "500ms"})
    async with rig.stream() as stream:
        assert await stream.event() is None
    await until(lambda: len(rig.backend.hang_ups) == 1)


async def test_a_backend_without_a_stream_says_so_itself(rig: Rig):
    rig.backend.on("GET", scripted.http(405, b"no", ("Allow", "POST"), media="text/plain"))
    reply = await rig.get()
    assert (reply.status, reply.body, reply.headers["Allow"]) == (405, b"no", "POST")


async def test_a_get_answer_that_is_no_stream_is_502(rig: Rig):
    rig.backend.on("GET", scripted.http(200, b"{}"))
    reply = await rig.get()
    assert (reply.status, reply.code) == (502, "backend_unavailable")


async def test_get_streams_do_not_count_as_calls_in_flight(launch: Launch):
    rig = await launch(scripted=Backend(sessions=True), limits={"in_flight": 2})
    async with rig.stream(), rig.stream(), rig.stream():
        await until(lambda: len(rig.backend.streams) == 3)
        assert (await rig.call("list_taxonomy")).status == 200


# --- shutdown ------------------------------------------------------------------------------------


async def shut_down(rig: Rig) -> None:
    """End the sidecar while the test goes on; ending it again later changes nothing."""
    await rig.sidecar.__aexit__(None, None, None)


@ERAS
async def test_shutdown_lets_calls_in_flight_finish(launch: Launch, revision: str):
    rig = await launch()
    gate = asyncio.Event()
    rig.backend.rows = 1
    rig.backend.once(scripted.after(gate, scripted.default()))
    call = asyncio.create_task(rig.call("search_shopify_contacts", {"limit": 3}, revision=revision))
    await until(lambda: len(rig.backend.received) == 1)
    ending = asyncio.create_task(shut_down(rig))
    await until(lambda: rig.sidecar.pipeline.stopping)
    gate.set()
    assert (await call).status == 200
    await ending
    assert rig.calls[-1]["credits"] == {"contact": 1}
    assert rig.log[-1]["event"] == "stopped"


async def test_shutdown_waits_for_calls_whose_client_left(launch: Launch):
    rig = await launch()
    gate = asyncio.Event()
    rig.backend.rows = 1
    rig.backend.once(scripted.after(gate, scripted.default()))
    call = asyncio.create_task(rig.call("search_shopify_contacts", {"limit": 3}, revision=LEGACY))
    await until(lambda: len(rig.backend.received) == 1)
    call.cancel()
    await until(lambda: rig.sidecar.pipeline.detached == 1)
    ending = asyncio.create_task(shut_down(rig))
    await until(lambda: rig.sidecar.pipeline.stopping)
    gate.set()
    await ending
    assert rig.calls[-1]["credits"] == {"contact": 1}


@pytest.mark.parametrize(
    ("tool", "arguments", "left"),
    [
        ("search_shopify_contacts", {"limit": 3}, 10),
        ("reveal_contacts", {"contact_ids": ["a"], "confirm_spend_credits": True}, 9),
    ],
)
async def test_calls_that_outlast_the_grace_are_resolved_as_unknown(
    launch: Launch, tool: str, arguments: Json, left: int
):
    rig = await launch(shutdown_grace="100ms")
    rig.backend.once(scripted.silent())
    call = asyncio.create_task(rig.call(tool, arguments))
    await until(lambda: len(rig.backend.received) == 1)
    await shut_down(rig)
    await asyncio.gather(call, return_exceptions=True)
    with rig.redis() as client:
        ledger: Any = next(client.hgetall(key) for key in client.scan_iter("*:ledger"))
        assert not list(client.scan_iter("*:holds"))
    assert str(left) in ledger.values()
    assert rig.calls[-1]["code"] == "owner_died"
