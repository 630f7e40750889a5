"""Ways in which a client ends its own call, or keeps it from ending: none is free, and none holds others up."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.proxy.support import Launch
from tests.support import backend as scripted
from tests.support.backend import Backend, Turn, run
from tests.support.rig import LEGACY, MODERN, Rig
from tests.support.store import until

BULK = "x" * 60_000


@asynccontextmanager
async def reader_that_does_not_read(
    rig: Rig, tool: str, arguments: dict[str, Any], revision: str
) -> AsyncIterator[None]:
    """Ask for something and never read the answer: only the smallest of buffers takes it up."""
    message = rig.message("tools/call", {"name": tool, "arguments": arguments}, revision=revision)
    fields = rig.request_headers(message, revision, "", {})
    body = json.dumps(message).encode()
    address = rig.sidecar.addresses["listen"]
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    with socket.socket() as plug:
        plug.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        plug.connect((address.host, address.port))
        plug.sendall(
            f"POST /mcp HTTP/1.1\r\nHost: {address}\r\n{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
        )
        yield


@pytest.mark.parametrize("ending", ["json", "sse"])
async def test_deleting_the_session_under_a_call_does_not_make_it_free(launch: Launch, ending: str):
    rig = await launch(scripted=Backend(sessions=True))  # on_unknown: release
    headers = {"Mcp-Session-Id": await rig.session()}
    gate = asyncio.Event()

    async def behave(turn: Turn) -> None:
        if ending == "sse":
            await turn.open_stream()
        run(turn, "search_shopify_contacts", {"limit": 3})
        await gate.wait()
        turn.close()

    rig.backend.on("search_shopify_contacts", behave)
    call = asyncio.create_task(rig.call("search_shopify_contacts", {"limit": 3}, revision=LEGACY, headers=headers))
    await until(lambda: bool(rig.backend.executed))
    assert (await rig.delete(session=headers["Mcp-Session-Id"])).status in (200, 202, 204)
    gate.set()
    await call
    assert (await rig.books()).left() == 7


@pytest.mark.parametrize("revision", [LEGACY, MODERN])
async def test_a_client_that_does_not_read_pays_before_its_lease_ends(launch: Launch, revision: str):
    rig = await launch(lease_margin=5.0, backend={"timeout": "5s"})

    async def behave(turn: Turn) -> None:
        await turn.open_stream()
        notice = {"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": BULK}}
        for _ in range(200):
            await turn.event(notice)

    rig.backend.on("search_shopify_contacts", behave)
    async with reader_that_does_not_read(rig, "search_shopify_contacts", {"limit": 3}, revision):
        line = (await rig.recorded())[0]
    assert line["credits"] == {"contact": 3}
    assert "notes" not in line or not any("resolved before" in note for note in line["notes"])
    assert (await rig.books()).left() == 7


async def test_an_answer_without_a_reader_is_dropped(launch: Launch):
    rig = await launch(backend={"timeout": "8s"}, limits={"in_flight": 1})
    result = {"content": [], "structuredContent": {"rows": [BULK] * 200}}
    rig.backend.on("list_taxonomy", scripted.result(result))
    async with reader_that_does_not_read(rig, "list_taxonomy", {}, MODERN):
        assert (await rig.recorded())[0]["code"] == "ok"
        await until(lambda: rig.sidecar.pipeline.in_flight == 0)
        assert (await rig.call("get_usage")).status == 200


async def test_calls_that_go_on_without_their_clients_keep_their_places(launch: Launch):
    rig = await launch(limits={"in_flight": 1})
    gate = asyncio.Event()
    rig.backend.once(scripted.after(gate, scripted.default()))
    call = asyncio.create_task(rig.call("list_taxonomy", revision=LEGACY))
    await until(lambda: len(rig.backend.received) == 1)
    call.cancel()
    await until(lambda: rig.sidecar.pipeline.detached == 1)
    assert (await rig.call("list_taxonomy")).code == "overloaded"
    gate.set()
    await until(lambda: rig.sidecar.pipeline.in_flight == 0)
    assert (await rig.call("list_taxonomy")).status == 200


async def test_unfinished_bodies_take_no_place_from_others(launch: Launch):
    rig = await launch(limits={"in_flight": 1})
    message = rig.message("tools/list")
    fields = {**rig.request_headers(message, MODERN, "", {}), "Content-Length": "1000", "Expect": "100-continue"}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    address = rig.sidecar.addresses["listen"]
    writers = []
    for _ in range(3):
        reader, writer = await asyncio.open_connection(address.host, address.port)
        writer.write(f"POST /mcp HTTP/1.1\r\nHost: {address}\r\n{head}\r\n".encode())
        assert b" 100 " in await reader.readline()  # its body is being read
        writers.append(writer)
    assert (await rig.call("list_taxonomy")).status == 200
    for writer in writers:
        writer.close()


async def test_forged_tokens_that_wait_for_keys_take_no_place_from_others(launch: Launch):
    rig = await launch(limits={"in_flight": 1})
    assert (await rig.call("list_taxonomy")).status == 200
    rig.issuer.hold.clear()  # the issuer hangs
    forged = rig.issuer.mint(header={"kid": "unknown"})
    waiting = [asyncio.create_task(rig.call("list_taxonomy", token=forged)) for _ in range(3)]
    try:
        assert (await rig.call("list_taxonomy")).status == 200
    finally:
        rig.issuer.hold.set()
        answers = await asyncio.gather(*waiting)
    assert {answer.status for answer in answers} <= {401, 503}


@pytest.mark.parametrize(("method", "revision"), [("ping", MODERN), ("server/discover", LEGACY)])
async def test_methods_of_another_revision_are_refused_after_consent(rig: Rig, method: str, revision: str):
    assert (await rig.post(method, revision=revision)).code == "method_not_allowed"
    await rig.revoke()
    assert (await rig.post(method, revision=revision, token=rig.issuer.mint(age=-5))).code == "consent_revoked"


# --- cancelled calls -----------------------------------------------------------------------------


async def cancelled(rig: Rig, session: str, id_: int) -> None:
    """Cancel a call in flight, as a client of the older revisions does."""
    said = {"requestId": id_, "reason": "enough"}
    reply = await rig.post("notifications/cancelled", said, revision=LEGACY, headers={"Mcp-Session-Id": session})
    assert reply.status == 202


@pytest.mark.parametrize("ids", [False, True])
async def test_a_cancelled_call_whose_stream_ends_unanswered_is_no_fault_of_the_backend(launch: Launch, ids: bool):
    """2025-11-25, cancellation: the receiver should not answer what was cancelled."""
    rig = await launch(scripted=Backend(sessions=True))
    session, gate = await rig.session(), asyncio.Event()

    async def behave(turn: Turn) -> None:
        await turn.open_stream()
        if ids:
            await turn.event("", "1")
        run(turn, "search_shopify_contacts", {"limit": 3})
        await gate.wait()
        await turn.end_stream()

    rig.backend.on("search_shopify_contacts", behave)
    async with rig.stream("search_shopify_contacts", {"limit": 3}, revision=LEGACY, session=session) as stream:
        await until(lambda: bool(rig.backend.executed))
        await cancelled(rig, session, rig.ids)
        gate.set()
        assert await stream.message() is None
    line = next(line for line in await rig.recorded(3) if line["method"] == "tools/call")
    assert (line["code"], line["status"]) in (("client_gone", "failed"), ("deferred", "ok"))
    assert (await rig.books()).left() == 7


async def test_a_cancelled_call_that_the_backend_never_ends_gives_its_place_back(launch: Launch):
    rig = await launch(scripted=Backend(sessions=True), limits={"in_flight": 2})
    session = await rig.session()
    rig.backend.on("search_shopify_contacts", scripted.silent())
    call = asyncio.create_task(
        rig.call("search_shopify_contacts", {"limit": 3}, revision=LEGACY, headers={"Mcp-Session-Id": session})
    )
    await until(lambda: len(rig.backend.received) == 2)
    await cancelled(rig, session, rig.ids)
    assert (await call).body == b""
    await until(lambda: rig.sidecar.pipeline.in_flight == 0)
    await until(lambda: len(rig.backend.hang_ups) == 1)
    assert (await rig.books()).left() == 7
