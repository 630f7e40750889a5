"""The memory budget through the whole sidecar: what is refused, what it costs, and that all of it is given back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from sidecar.proxy.memory import RESERVE, SHARE, MemoryLease
from tests.proxy.support import Launch
from tests.support import backend as scripted
from tests.support.backend import Backend, Behaviour, Turn, tool_result
from tests.support.rig import LEGACY, MODERN, Rig
from tests.support.store import until

MEMORY = 16 << 20
LIMITS = {"memory": "16MiB", "body": "256KiB", "response": "2MiB"}
LARGE = {"rows": [{"id": "x" * 900_000}]}
"""A result that fits while nothing else is held, and for which three rows are reserved."""


def fill(rig: Rig, share: int) -> list[MemoryLease]:
    """Hold what is meant for large requests and answers, in the name of other accounts, and leave so much."""
    left = MEMORY - MEMORY // RESERVE - share
    leases: list[MemoryLease] = []
    while left > 0:
        lease = rig.sidecar.pipeline.memory.lease(f"other-{len(leases)}", MEMORY)
        size = min(left, MEMORY // SHARE - MEMORY // SHARE // RESERVE)
        assert lease.keep(size)
        left -= size
        leases.append(lease)
    return leases


def held(rig: Rig) -> int:
    return rig.sidecar.pipeline.memory.used


async def nothing_is_held(rig: Rig) -> None:
    await until(lambda: held(rig) == 0 and rig.sidecar.pipeline.memory.accounts == 0)
    assert await rig.metric("mcp_sidecar_memory_bytes") == 0


def streamed(result: dict[str, Any]) -> Behaviour:
    async def behave(turn: Turn) -> None:
        await turn.open_stream()
        await turn.event(turn.response({"result": result}))
        await turn.end_stream()

    return behave


# --- what does not fit ---------------------------------------------------------------------------


async def test_a_body_whose_length_does_not_fit_is_refused_before_it_is_sent(launch: Launch):
    rig = await launch(limits=LIMITS)
    leases = fill(rig, 100_000)
    address = rig.sidecar.addresses["listen"]
    reader, writer = await asyncio.open_connection(address.host, address.port)
    headers = rig.request_headers(rig.message("ping"), MODERN, "")
    headers |= {"Host": rig.url.split("/")[2], "Content-Length": "200000", "Expect": "100-continue"}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    writer.write(f"POST /mcp HTTP/1.1\r\n{lines}\r\n".encode())
    async with asyncio.timeout(60):
        head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 ")
    assert b"Retry-After: 1\r\n" in head
    writer.close()
    assert "limits.memory" in str((await rig.recorded())[0])
    for lease in leases:
        lease.close()
    await nothing_is_held(rig)


async def test_large_bodies_are_refused_while_small_calls_go_on(launch: Launch):
    rig = await launch(limits=LIMITS)
    leases = fill(rig, 0)
    large = await rig.call("list_taxonomy", {"text": "x" * 200_000})
    assert (large.status, large.code) == (503, "overloaded")
    assert large.headers["Retry-After"] == "1"
    assert not rig.backend.received
    assert (await rig.call("list_taxonomy")).status == 200
    for lease in leases:
        lease.close()
    assert (await rig.call("list_taxonomy", {"text": "x" * 200_000})).status == 200
    await nothing_is_held(rig)


async def chunked(rig: Rig, size: int) -> int:
    async def body() -> Any:
        for _ in range(size // 4096):
            yield b" " * 4096

    message = rig.message("ping")
    headers = {key: value for key, value in rig.request_headers(message, MODERN, "").items() if value is not None}
    async with rig.http.post(rig.url, data=body(), headers=headers) as answer:
        return answer.status


async def test_a_body_without_a_length_is_refused_as_it_arrives(launch: Launch):
    rig = await launch(limits=LIMITS)
    leases = fill(rig, 300_000)
    assert await chunked(rig, 240_000) == 503
    for lease in leases:
        lease.close()
    await nothing_is_held(rig)


@pytest.mark.parametrize("media", ["json", "sse"])
async def test_an_answer_that_does_not_fit_is_overloaded_and_charges_what_was_reserved(launch: Launch, media: str):
    """The call was made; its cost is unknown."""
    rig = await launch(limits=LIMITS)
    rig.backend.on("search_shopify_contacts", scripted.result(tool_result(LARGE)))
    if media == "sse":
        rig.backend.on("search_shopify_contacts", streamed(tool_result(LARGE)))
    leases = fill(rig, 500_000)
    reply = await rig.call("search_shopify_contacts", {"limit": 3})
    answer = reply.json if reply.status == 503 else reply.events[-1]  # a stream may have begun, or not
    assert media == "sse" or reply.status == 503
    assert (answer["id"], answer["error"]["data"]["code"]) == (rig.ids, "overloaded")
    assert "was made" in answer["error"]["message"]
    books = await rig.books()
    assert (books.left(), books.holds) == (7, 0)
    for lease in leases:
        lease.close()
    assert (await rig.call("search_shopify_contacts", {"limit": 3})).status == 200
    assert (await rig.books()).left() == 6  # one row came
    await nothing_is_held(rig)


async def test_an_answer_that_has_room_but_cannot_be_decoded_is_overloaded(launch: Launch):
    """Half a million empty lists are a megabyte and a half, and take thirty times as much."""
    rig = await launch(limits=LIMITS)
    rig.backend.on("list_taxonomy", scripted.result({"content": [], "structuredContent": {"a": [[]] * 500_000}}))
    assert (await rig.call("list_taxonomy")).code == "overloaded"
    rig.backend.on("list_taxonomy", scripted.result({"content": [], "structuredContent": {"a": [[]] * 50_000}}))
    assert (await rig.call("list_taxonomy")).status == 200
    await nothing_is_held(rig)


async def test_a_list_page_counts_like_every_answer(launch: Launch):
    rig = await launch(limits=LIMITS)
    tools = [{"name": "list_taxonomy", "description": "x" * (1 << 20), "inputSchema": {"type": "object"}}]
    rig.backend.on("tools/list", scripted.result({"tools": tools}))
    leases = fill(rig, 500_000)
    assert (await rig.post("tools/list")).code == "overloaded"
    for lease in leases:
        lease.close()
    assert (await rig.post("tools/list")).status == 200
    await nothing_is_held(rig)


# --- all of it is given back -----------------------------------------------------------------------


async def answered(rig: Rig) -> None:
    await rig.call("list_taxonomy", {"text": "x" * 100_000})


async def refused(rig: Rig) -> None:
    await rig.call("no_such_tool", {"text": "x" * 100_000})
    await rig.send(b"{" + b" " * 100_000, rig.request_headers(rig.message("ping"), MODERN, ""))


async def timed_out(rig: Rig) -> None:
    rig.backend.once(scripted.silent())
    assert (await rig.call("search_shopify_stores", {"limit": 1})).status == 504


async def broken(rig: Rig) -> None:
    rig.backend.once(scripted.truncated(b"{" + b" " * 100_000, 200_000))
    assert (await rig.call("list_taxonomy")).status == 502


async def too_large(rig: Rig) -> None:
    rig.backend.once(scripted.result({"text": "x" * (3 << 20)}), streamed({"text": "x" * (3 << 20)}))
    assert (await rig.call("list_taxonomy")).status == 502
    await rig.call("list_taxonomy")


async def stream(rig: Rig) -> None:
    rig.backend.once(streamed({"text": "x" * 100_000}))
    assert (await rig.call("list_taxonomy")).status == 200


async def left(rig: Rig, revision: str) -> None:
    """The client leaves while half an answer has arrived."""
    sent = asyncio.Event()

    async def behave(turn: Turn) -> None:
        await turn.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 200000\r\n\r\n")
        await turn.write(b"{" + b" " * 100_000)
        sent.set()
        await turn.hang_up()

    rig.backend.once(behave)
    call = asyncio.create_task(rig.call("search_shopify_stores", {"limit": 1}, revision=revision))
    await sent.wait()
    await until(lambda: held(rig) > 100_000)
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)


async def left_within_body(rig: Rig) -> None:
    async def body() -> Any:
        yield b" " * 100_000
        await asyncio.Event().wait()

    headers = rig.request_headers(rig.message("ping"), MODERN, "")

    async def post() -> None:
        async with rig.http.post(rig.url, data=body(), headers=headers):
            pass

    call = asyncio.create_task(post())
    await until(lambda: held(rig) >= 100_000)
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)


async def backend_away(rig: Rig) -> None:
    await rig.backend.stop()
    assert (await rig.call("list_taxonomy", {"text": "x" * 100_000})).status == 502


async def listening(rig: Rig) -> None:
    """A GET stream that has relayed something large, and whose client leaves."""
    session = await rig.session()
    note = {"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "x" * 100_000}}
    async with rig.http.get(rig.url, headers=rig.bare_headers(session, "")) as answer:
        await until(lambda: len(rig.backend.streams) == 1)
        await rig.backend.streams[0].event(note)
        assert await answer.content.readexactly(50_000)
    await until(lambda: not rig.backend.streams)


ENDS: dict[str, Callable[[Rig], Awaitable[None]]] = {
    "answered": answered,
    "refused": refused,
    "timed out": timed_out,
    "backend breaks off": broken,
    "too large": too_large,
    "stream": stream,
    "client leaves": lambda rig: left(rig, MODERN),
    "client leaves, and the call goes on": lambda rig: left(rig, LEGACY),
    "client leaves within its body": left_within_body,
    "no backend": backend_away,
    "GET stream": listening,
}


@pytest.mark.parametrize("end", list(ENDS.values()), ids=list(ENDS))
async def test_however_a_request_ends_nothing_is_held_any_more(launch: Launch, end: Callable[[Rig], Awaitable[None]]):
    rig = await launch(limits=LIMITS, backend={"timeout": "2s"}, scripted=Backend(sessions=True))
    await end(rig)
    assert rig.sidecar.pipeline.memory.peak > 0
    await nothing_is_held(rig)


async def test_what_a_call_was_asked_is_held_until_its_price_is_known(launch: Launch):
    """It is kept in memory for just as long."""
    rig = await launch(limits=LIMITS)
    gate = asyncio.Event()
    rig.backend.once(scripted.after(gate, scripted.default()))
    call = asyncio.create_task(rig.call("list_taxonomy", {"a": [[]] * 10_000}))
    await until(lambda: len(rig.backend.received) == 1)
    assert held(rig) > 20 * 20_000
    gate.set()
    assert (await call).status == 200
    await nothing_is_held(rig)
