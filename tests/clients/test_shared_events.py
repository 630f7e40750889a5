"""The event store of the official Python SDK, which all sessions share, behind the sidecar: each gets its own events.

It keys events by request id, and all GET streams by one name. Clients count their requests alike.
"""

from __future__ import annotations

import asyncio
import json
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mcp.server.mcpserver import Context, MCPServer

from demo.backend import serving
from tests.clients.servers.chatter import Chatter
from tests.clients.support import ALLOW_ALL
from tests.support.processes import House, SidecarProcess, house, wait_for
from tests.support.recorder import Recorder
from tests.support.rig import ACCEPT, LEGACY, Reply, Stream
from tests.support.store import StoreServer, rest, until

Json = dict[str, Any]

POLICY: Json = {
    **ALLOW_ALL,
    "tools": {**ALLOW_ALL["tools"], "whisper": {"scopes": []}, "report": {"scopes": []}, "later": {"scopes": []}},
}


class Gossip(Chatter):
    """A server that says something of each call on the session's GET stream, too."""

    def server(self) -> MCPServer[Any]:
        server = super().server()

        @server.tool()
        async def whisper(text: str, ctx: Context) -> str:
            """Say it on the session's own stream."""
            with warnings.catch_warnings(action="ignore"):  # deprecated, and still spoken
                await ctx.session.send_log_message("info", text)
            return "whispered"

        @server.tool()
        async def later(key: str, ctx: Context) -> str:
            """Close the stream, and answer once `proceed` was called."""
            await ctx.close_sse_stream()
            await self.gates[key].wait()
            return f"for {key}"

        @server.tool()
        async def report(text: str, ctx: Context) -> str:
            """Close the stream, then report progress, and say it."""
            await ctx.close_sse_stream()
            await ctx.report_progress(1, 2, text)
            return text

        return server


@dataclass(slots=True)
class Person:
    """A client of one account, at one sidecar after the other."""

    house: House
    name: str
    session: str = ""

    def headers(self, extra: Json | None = None) -> dict[str, str]:
        made = {
            "Accept": ACCEPT,
            "Authorization": f"Bearer {self.house.issuer.mint(subject=self.name)}",
            "MCP-Protocol-Version": LEGACY,
            **({"Mcp-Session-Id": self.session} if self.session else {}),
        }
        return made | (extra or {})

    async def post(self, sidecar: SidecarProcess, message: Json) -> Reply:
        made = {"jsonrpc": "2.0", **message}
        async with self.house.http.post(sidecar.url, json=made, headers=self.headers()) as answer:
            return Reply(answer.status, answer.headers, await answer.read())

    async def initialize(self, sidecar: SidecarProcess) -> Reply:
        hello = {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": {"name": self.name, "version": "1"}}
        reply = await self.post(sidecar, {"id": 0, "method": "initialize", "params": hello})
        assert reply.status == 200, reply
        assert reply.events[-1]["id"] == 0
        self.session = reply.headers["Mcp-Session-Id"]
        assert (await self.post(sidecar, {"method": "notifications/initialized"})).status == 202
        return reply

    async def call(self, sidecar: SidecarProcess, tool: str, arguments: Json, id_: Any = 7, **meta: Any) -> Reply:
        params: Json = {"name": tool, "arguments": arguments, **({"_meta": meta} if meta else {})}
        return await self.post(sidecar, {"id": id_, "method": "tools/call", "params": params})

    @asynccontextmanager
    async def listen(self, sidecar: SidecarProcess, last: str | None = None) -> AsyncIterator[Stream]:
        headers = self.headers({"Last-Event-ID": last} if last else None)
        answer = await self.house.http.get(sidecar.url, headers=headers)
        while answer.status == 409:  # the server has not noticed yet that the stream before has ended
            answer = await self.house.http.get(sidecar.url, headers=headers)
        try:
            yield Stream(answer)
        finally:
            answer.close()

    async def resume(self, sidecar: SidecarProcess, last: str) -> tuple[int, list[Json]]:
        """GET what follows an event, up to the response; the status, and the messages."""
        async with self.listen(sidecar, last) as stream:
            seen: list[Json] = []
            if stream.status == 200:
                async with asyncio.timeout(60):
                    while (message := await stream.message()) is not None:
                        seen.append(message)
                        if "result" in message or "error" in message:
                            break
            return stream.status, seen


@dataclass(slots=True)
class Place:
    """Two sidecars on one store, before one server with one event store; Ada and Bob have a session each."""

    house: House
    server: Gossip
    recorder: Recorder
    sidecar: SidecarProcess
    other: SidecarProcess
    ada: Person
    bob: Person

    async def kept(self, request: Awaitable[Reply], responses: int = 1) -> Reply:
        """Wait until the server has kept what comes of a request: it loses what it says while a stream is resumed."""
        wanted = self.server.events.responses + responses
        reply = await request
        await until(lambda: self.server.events.responses >= wanted, within=30)
        return reply

    async def report(self, person: Person, text: str, id_: Any = 7, **meta: Any) -> Reply:
        """A call whose stream has ended, and whose response is kept."""
        return await self.kept(person.call(self.sidecar, "report", {"text": text}, id_, **meta))

    async def gets(self) -> list[str | None]:
        """The `Last-Event-ID` of every GET that the server has had."""
        asked = [each for each in await self.recorder.requests() if each.method == "GET"]
        return [each.header("last-event-id") for each in asked]


Open = Callable[..., Awaitable[Place]]


@pytest.fixture
async def place_of(tmp_path: Path, store_server: StoreServer) -> AsyncIterator[Open]:
    async with AsyncExitStack() as stack:

        async def build(**backend: Any) -> Place:
            server = Gossip(resumable=True)
            url = await stack.enter_async_context(serving(server))
            recorder = await stack.enter_async_context(Recorder(url))
            built = await stack.enter_async_context(
                house(
                    tmp_path,
                    store_server.url,
                    policy=json.dumps(POLICY),
                    backend_url=lambda _: recorder.url,
                    backend_settings=backend,
                    shutdown_grace="100ms",
                )
            )
            sidecars = [await built.start(), await built.start()]
            people = [Person(built, "ada"), Person(built, "bob")]
            for person in people:
                await person.initialize(sidecars[0])
            return Place(built, server, recorder, sidecars[0], sidecars[1], people[0], people[1])

        yield build


@pytest.fixture
async def place(place_of: Open) -> Place:
    return await place_of()


def text_of(message: Json) -> str:
    text: str = message["result"]["content"][0]["text"]
    return text


# --- the stream of a call ------------------------------------------------------------------------


@pytest.mark.parametrize("elsewhere", [False, True], ids=["same-sidecar", "other-sidecar"])
async def test_a_resumed_call_gets_its_own_result_and_no_other_account_s(place: Place, elsewhere: bool):
    polled = await place.bob.call(place.sidecar, "later", {"key": "bob"})
    assert polled.events == []
    # Ada's answers have the same request id, and lie behind the event from which Bob goes on.
    ada_s = await place.ada.call(place.sidecar, "later", {"key": "ada"})
    await place.kept(place.ada.call(place.sidecar, "proceed", {"key": "ada"}, id_=8), 2)
    _, seen = await place.ada.resume(place.sidecar, ada_s.event_ids[-1])
    assert [text_of(each) for each in seen] == ["for ada"]
    await place.kept(place.bob.call(place.sidecar, "proceed", {"key": "bob"}, id_=8), 2)
    status, seen = await place.bob.resume(place.other if elsewhere else place.sidecar, polled.event_ids[-1])
    assert status == 200
    assert [(each["id"], text_of(each)) for each in seen] == [(7, "for bob")]


@pytest.mark.parametrize("id_", [0, 7, -3, "7", "i7", 'q"\\/ü\n', "x" * 128, ""])
async def test_answers_have_the_client_s_id_whatever_it_is(place: Place, id_: Any):
    reply = await place.ada.call(place.sidecar, "echo", {"value": 1}, id_=id_)
    assert [each["id"] for each in reply.events] == [id_]
    assert [type(each["id"]) for each in reply.events] == [type(id_)]
    polled = await place.report(place.ada, "late", id_=id_)
    _, seen = await place.ada.resume(place.other, polled.event_ids[-1])
    assert [(each["id"], text_of(each)) for each in seen if "result" in each] == [(id_, "late")]


async def test_progress_of_a_resumed_call_has_the_client_s_token(place: Place):
    polled = await place.report(place.ada, "half", progressToken=7)
    await place.report(place.bob, "bob's", progressToken=7)
    _, seen = await place.ada.resume(place.sidecar, polled.event_ids[-1])
    assert [each.get("method") for each in seen] == ["notifications/progress", None]
    assert seen[0]["params"] == {"progressToken": 7, "progress": 1, "total": 2, "message": "half"}


async def test_a_call_is_cancelled_by_the_client_s_id(place: Place):
    calls = [asyncio.create_task(each.call(place.sidecar, "wait", {"key": each.name}, id_=7)) for each in people(place)]

    async def seen(person: Person) -> Json:
        reply = await person.call(place.sidecar, "seen", {"key": person.name}, id_=8)
        found: Json = reply.events[-1]["result"]["structuredContent"]
        return found

    async with asyncio.timeout(60):
        for person in people(place):
            while (await seen(person))["begun"] == 0:
                await rest()
        said = {"method": "notifications/cancelled", "params": {"requestId": 7}}
        assert (await place.ada.post(place.sidecar, said)).status == 202
        while (await seen(place.ada))["cancelled"] == 0:
            await rest()
    assert (await seen(place.bob))["cancelled"] == 0
    await place.bob.call(place.sidecar, "proceed", {"key": "bob"}, id_=9)
    await asyncio.gather(*calls)


async def test_the_answer_that_opens_a_session_has_no_event_to_go_on_from(place: Place):
    """It was asked without a session, so that all sessions' are one stream to the server."""
    assert (await Person(place.house, "ada").initialize(place.sidecar)).event_ids == []


# --- the session's own stream --------------------------------------------------------------------


async def overheard(person: Person, sidecar: SidecarProcess, text: str) -> str:
    """Listen until something was whispered; the id of that event."""
    async with person.listen(sidecar) as stream:
        await person.call(sidecar, "whisper", {"text": text})
        async with asyncio.timeout(60):
            while text not in (event := await stream.event() or ""):
                assert event
    [last] = [line[4:] for line in event.splitlines() if line.startswith("id: ")]
    return last


async def test_a_new_get_stream_is_opened_where_the_server_may_mix_sessions(place: Place):
    last = await overheard(place.bob, place.sidecar, "bob's first")
    await place.ada.call(place.sidecar, "whisper", {"text": "secret of ada"})
    asked = len(await place.gets())
    async with place.bob.listen(place.other, last) as stream:
        assert stream.status == 200
        await place.bob.call(place.sidecar, "whisper", {"text": "bob's second"})
        message = await stream.message()
    assert message is not None
    assert message["params"]["data"] == "bob's second"
    assert set((await place.gets())[asked:]) == {None}


async def test_a_get_stream_is_resumed_where_the_server_keeps_sessions_apart(place_of: Open):
    place = await place_of(events="scoped")
    last = await overheard(place.bob, place.sidecar, "bob's first")
    await place.bob.call(place.sidecar, "whisper", {"text": "bob's missed"})
    async with place.bob.listen(place.other, last) as stream:
        message = await stream.message()
    assert message is not None
    assert message["params"]["data"] == "bob's missed"


# --- event ids -----------------------------------------------------------------------------------


@pytest.mark.parametrize("of", ["call", "stream"])
async def test_an_event_id_that_is_not_the_session_s_is_refused_before_the_server_is_asked(place: Place, of: str):
    if of == "call":
        good = (await place.report(place.ada, "for ada")).event_ids[-1]
    else:
        good = await overheard(place.ada, place.sidecar, "for ada")
    mac, stream, event = good.split(".", 2)
    another = await place.report(place.ada, "again", id_=9)
    of_another = another.event_ids[-1].split(".")[1]
    asked = len(await place.gets())
    forged = [
        *(event, f".{event}", f"{mac}.{stream}.", f"{mac}.{stream}.{int(event) + 1}", f"{mac}.{stream}.{event} "[:-2]),
        *(f"{mac[::-1]}.{stream}.{event}", f"{'0' * 32}.{stream}.{event}", f"{mac.upper()}0.{stream}.{event}"),
        *(f"{mac}.get.{event}" if of == "call" else f"{mac}.{of_another}.{event}", f"{mac}.{of_another}.{event}"),
    ]
    for last in forged:
        assert (await place.ada.resume(place.sidecar, last))[0] == 400, last
    for sidecar in (place.sidecar, place.other):
        assert (await place.bob.resume(sidecar, good))[0] == 400
    assert len(await place.gets()) == asked

    def refused() -> int:
        return [line["code"] for line in place.sidecar.events("call")].count("event_unknown")

    await wait_for(lambda: refused() > len(forged))
    assert refused() == len(forged) + 1


async def test_another_account_s_session_is_no_way_to_its_events(place: Place):
    good = (await place.report(place.ada, "for ada")).event_ids[-1]
    thief = Person(place.house, "bob", place.ada.session)
    assert await thief.resume(place.sidecar, good) == (404, [])


# --- the key -------------------------------------------------------------------------------------


async def test_sessions_go_on_with_one_key_after_the_store_was_emptied(place: Place, store_server: StoreServer):
    with store_server.client() as client:
        before = client.get("mcp:stream-key")
        client.flushall()
        await until(lambda: client.get("mcp:stream-key") == before, within=30)
    assert before


async def test_no_log_has_the_key_or_a_tag(place: Place, store_server: StoreServer):
    await place.report(place.ada, "for ada")
    sent = [each.message["id"] for each in await place.recorder.requests() if "id" in (each.message or {})]
    tag = next(each.split(".")[0] for each in sent if isinstance(each, str))
    with store_server.client() as client:
        key: Any = client.get("mcp:stream-key")
    await wait_for(lambda: bool(place.sidecar.events("call")))
    for sidecar in (place.sidecar, place.other):
        log = sidecar.log.read_text()
        assert key not in log
        assert tag not in log


def people(place: Place) -> list[Person]:
    return [place.ada, place.bob]
