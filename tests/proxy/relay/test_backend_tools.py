"""The backend's tools as the sidecar lists them itself: at start, after a reload, when the backend is back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from sidecar.config.documents.merging import parse
from sidecar.mcp_client import conversation
from sidecar.mcp_client.conversation import ListingError
from sidecar.mcp_client.lister import Lister
from sidecar.policy.language.compile import compile_policy
from sidecar.policy.rules import Policy
from sidecar.proxy.backend.pool import BackendPool
from sidecar.proxy.memory import MemoryBudget
from sidecar.proxy.relay.backend_tools import CLEAN_LISTS, BackendTools
from tests.proxy.support import POLICY, Launch, policy
from tests.support import backend as scripted
from tests.support.backend import Backend, Behaviour, Received, Turn
from tests.support.rig import LEGACY, MODERN, Json, Rig
from tests.support.store import rest, until

INJECTED = "get_shopify_store"


def tool(name: str, *properties: str) -> Json:
    schema = {"type": "object", "properties": {each: {"type": "boolean"} for each in properties}}
    return {"name": name, "inputSchema": schema}


def listing(*tools: Json, **more: object) -> Behaviour:
    return scripted.result({"tools": list(tools), **more})


COLLIDING = listing(tool(INJECTED, "sure"), tool("list_taxonomy"))
CURED = listing(tool(INJECTED), tool("list_taxonomy"))


def own(rig: Rig, method: str = "tools/list") -> list[Received]:
    return [request for request in rig.backend.own if request.body and request.message["method"] == method]


async def confirmed(rig: Rig) -> str | None:
    """The code of a call whose confirmation the policy injects; None when it ran."""
    return (await rig.call(INJECTED, {"sure": True})).code


def with_argument(rig: Rig, argument: str) -> None:
    changed = policy(tools={INJECTED: {"confirm": {"argument": argument, "inject": True}}})
    (rig.config.parent / "policy.yaml").write_text(json.dumps(changed))


# --- what a list means for a tool ----------------------------------------------------------------


async def test_a_collision_is_found_before_any_client_has_listed(launch: Launch):
    backend = Backend()
    backend.on("tools/list", COLLIDING)
    rig = await launch(scripted=backend)
    assert await confirmed(rig) == "tool_unknown"
    assert not rig.backend.received
    assert (await rig.call("list_taxonomy")).code is None
    assert [line["tool"] for line in rig.log if line["event"] == "tool_argument_conflict"] == [INJECTED]


async def test_a_collision_that_the_policy_cures_is_over_with_the_reload(launch: Launch):
    backend = Backend()
    backend.on("tools/list", COLLIDING)
    rig = await launch(scripted=backend)
    assert await confirmed(rig) == "tool_unknown"
    with_argument(rig, "certain")
    assert await rig.sidecar.reload()
    assert (await rig.call(INJECTED, {"certain": True})).code is None
    with_argument(rig, "sure")
    assert await rig.sidecar.reload()
    assert await confirmed(rig) == "tool_unknown"


async def test_a_collision_that_the_backend_cures_is_over_with_a_reload_of_the_same_policy(launch: Launch):
    backend = Backend()
    backend.on("tools/list", COLLIDING)
    rig = await launch(scripted=backend)
    assert await confirmed(rig) == "tool_unknown"
    backend.on("tools/list", CURED)
    assert await rig.sidecar.reload()
    assert await confirmed(rig) is None


async def test_until_the_first_list_tools_with_an_injected_argument_are_unavailable(launch: Launch):
    backend = Backend()
    backend.on("tools/list", scripted.rpc_error(-32601))
    rig = await launch(scripted=backend)
    reply = await rig.call(INJECTED, {"sure": True})
    assert (reply.status, reply.code) == (502, "backend_unavailable")
    assert (await rig.call("list_taxonomy")).code is None, "tools without an injected argument are served"
    assert [line["level"] for line in rig.log if line["event"] == "backend_tools_unavailable"] == ["warning"]
    backend.once(CURED)
    await rig.post("tools/list")
    assert await confirmed(rig) is None, "a client's list teaches as much"


async def test_a_listing_that_failed_is_tried_again_before_the_minute_is_over(launch: Launch):
    backend = Backend()
    backend.on("tools/list", scripted.http(500))
    rig = await launch(scripted=backend)
    assert await confirmed(rig) == "backend_unavailable"
    backend.on("tools/list", CURED)
    tries = len(own(rig))
    await until(lambda: len(own(rig)) > tries)
    async with asyncio.timeout(60):
        while await confirmed(rig) is not None:
            await rest()


async def test_a_listing_that_failed_during_a_reload_is_tried_again_before_the_minute_is_over(launch: Launch):
    backend = Backend()
    backend.on("tools/list", CURED)
    rig = await launch(scripted=backend)
    backend.on("tools/list", scripted.http(500))
    with_argument(rig, "certain")
    assert await rig.sidecar.reload()
    assert (await rig.call(INJECTED, {"certain": True})).code == "backend_unavailable"
    backend.on("tools/list", CURED)
    async with asyncio.timeout(60):
        while (await rig.call(INJECTED, {"certain": True})).code is not None:
            await rest()


async def test_a_tool_that_no_list_shows_is_unknown(launch: Launch):
    backend = Backend()
    backend.on("tools/list", listing(tool("list_taxonomy")))
    rig = await launch(scripted=backend)
    assert await confirmed(rig) == "tool_unknown"
    assert [line["tool"] for line in rig.log if line["event"] == "tool_unlisted"] == [INJECTED]


async def test_a_clients_list_teaches_of_tools_that_its_account_may_not_see(launch: Launch):
    rig = await launch(plan="free")
    rig.backend.once(COLLIDING)
    await rig.post("tools/list")
    assert rig.sidecar.pipeline.snapshot.tools.collisions == (INJECTED,)


async def test_a_backend_that_comes_back_is_listed_again(launch: Launch):
    rig = await launch()
    assert await confirmed(rig) is None
    await rig.backend.stop()
    await until(lambda: any(line["event"] == "backend_unreachable" for line in rig.log))
    rig.backend.on("tools/list", COLLIDING)
    await rig.backend.start()
    await until(lambda: any(line["event"] == "tool_argument_conflict" for line in rig.log))
    assert await confirmed(rig) == "tool_unknown"
    assert rig.backend.executed[0].tool == INJECTED
    assert len(rig.backend.executed) == 1


# --- load-balanced backends ----------------------------------------------------------------------


def compiled(**changes: object) -> Policy:
    return compile_policy((parse("policy.yaml", json.dumps(POLICY | changes)),))


def knowledge(**changes: object) -> BackendTools:
    return BackendTools(compiled(**changes))


def test_backends_that_disagree_do_not_serve_the_tool_by_turns():
    tools = knowledge()
    colliding, clean = [tool(INJECTED, "sure")], [tool(INJECTED)]
    tools.learn(colliding)
    tools.learn(clean)
    assert tools.refusal(INJECTED) is None, "one cure is a cure"
    tools.learn(colliding)
    refused = []
    for _ in range(CLEAN_LISTS):
        refused.append(tools.refusal(INJECTED) is not None)
        tools.learn(clean)
    assert all(refused)
    assert tools.refusal(INJECTED) is None, "they have agreed for a while"


def test_a_clients_list_does_not_count_as_agreement():
    tools, tools_of = knowledge(), compiled().tools
    for _ in range(2):
        tools.learn([tool(INJECTED, "sure")])
        tools.learn([tool(INJECTED)])
    for _ in range(2 * CLEAN_LISTS):
        tools.shows(tools_of[INJECTED], tool(INJECTED))
    assert tools.refusal(INJECTED) is not None


async def test_two_servers_of_different_versions_behind_one_address(launch: Launch):
    backend = Backend()
    turns = 0

    async def alternate(turn: Turn) -> None:
        nonlocal turns
        turns += 1
        await (COLLIDING if turns % 2 else CURED)(turn)

    backend.on("tools/list", alternate)
    rig = await launch(scripted=backend)
    assert await confirmed(rig) == "tool_unknown"
    await rig.post("tools/list")
    assert await confirmed(rig) is None
    await rig.post("tools/list")
    await rig.post("tools/list")
    assert await confirmed(rig) == "tool_unknown"


# --- how it lists --------------------------------------------------------------------------------

List = Callable[[], Awaitable[list[Json]]]


@asynccontextmanager
async def listed_by(backend: Backend):
    """A lister of a scripted backend."""
    async with backend:
        upstream = BackendPool(backend.url, headers=[("X-Api-Key", "k")])
        try:
            yield Lister(upstream)
        finally:
            upstream.close()


def legacy(backend: Backend) -> Backend:
    """A backend of the older revisions."""
    backend.on("server/discover", scripted.http(400, b'{"jsonrpc":"2.0","id":1,"error":{"code":-32600,"message":""}}'))
    backend.sessions = True
    return backend


async def test_a_modern_backend_is_listed_without_a_session_and_without_an_identity():
    backend = Backend()
    async with listed_by(backend) as listing_client:
        names = [each["name"] for each in await listing_client.list_tools()]
    assert names == list(scripted.TOOLS)
    assert [each.message["method"] for each in backend.own] == ["server/discover", "tools/list"]
    for request in backend.own:
        meta = request.message["params"]["_meta"]
        assert meta["io.modelcontextprotocol/protocolVersion"] == MODERN
        assert meta["io.modelcontextprotocol/clientCapabilities"] == {}
        assert request.header("mcp-protocol-version") == MODERN
        assert request.header("mcp-method") == request.message["method"]
        assert request.header("x-api-key") == "k"
        assert not [name for name, _ in request.headers if name.startswith("x-mcp-") or name == "authorization"]


async def test_a_backend_of_the_older_revisions_is_listed_in_a_session_that_is_ended():
    backend = legacy(Backend())
    async with listed_by(backend) as listing_client:
        await listing_client.list_tools()
        assert [each.message["method"] if each.body else each.method for each in backend.own] == [
            *("server/discover", "initialize", "notifications/initialized", "tools/list", "DELETE")
        ]
        initialize, initialized, listed, deleted = backend.own[1:]
        assert initialize.header("mcp-session-id") is None
        assert initialize.message["params"]["protocolVersion"] == LEGACY
        sessions = {each.header("mcp-session-id") for each in (initialized, listed, deleted)}
        assert len(sessions) == 1
        assert None not in sessions
        assert {each.header("mcp-protocol-version") for each in (initialized, listed, deleted)} == {LEGACY}
        assert "_meta" not in listed.message["params"]
        backend.own.clear()
        await listing_client.list_tools()
        assert backend.own[0].message["method"] == "initialize", "the era is remembered"


@pytest.mark.parametrize("era", [lambda backend: backend, legacy], ids=["modern", "legacy"])
async def test_every_page_is_read(era: Callable[[Backend], Backend]):
    backend = era(Backend())

    async def page(turn: Turn) -> None:
        cursor = turn.request.message["params"].get("cursor")
        more = {} if cursor else {"nextCursor": "two"}
        await listing(tool(f"tool-{cursor}"), **more)(turn)

    backend.on("tools/list", page)
    async with listed_by(backend) as listing_client:
        assert [each["name"] for each in await listing_client.list_tools()] == ["tool-None", "tool-two"]


@pytest.mark.parametrize("era", [lambda backend: backend, legacy], ids=["modern", "legacy"])
async def test_an_answer_may_be_an_event_stream(era: Callable[[Backend], Backend]):
    backend = era(Backend())

    async def stream(turn: Turn) -> None:
        await turn.open_stream()
        await turn.event("", "0")
        await turn.event({"jsonrpc": "2.0", "method": "notifications/message", "params": {}})
        await turn.event(turn.response({"result": {"tools": [tool("a")]}}))
        await turn.end_stream()

    backend.on("tools/list", stream)
    async with listed_by(backend) as listing_client:
        assert [each["name"] for each in await listing_client.list_tools()] == ["a"]


BAD: dict[str, Behaviour] = {
    "an error": scripted.rpc_error(),
    "a status": scripted.http(503),
    "no list": scripted.result({"tools": "all"}),
    "a loop": listing(nextCursor="again"),
    "a cursor that is no text": listing(nextCursor=7),
    "no JSON": scripted.http(200, b"<html>"),
    "another id": scripted.http(200, b'{"jsonrpc":"2.0","id":999,"result":{"tools":[]}}'),
    "a broken connection": scripted.reset(),
    "a stream without a response": scripted.sse(response=False),
    "too many bytes": scripted.http(
        200, b'{"jsonrpc":"2.0","id":2,"result":{"tools":[],"x":"' + b"x" * conversation.MAX_BYTES
    ),
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
async def test_a_list_that_cannot_be_had_is_no_list(bad: Behaviour):
    backend = legacy(Backend())
    backend.on("tools/list", bad)
    async with listed_by(backend) as listing_client:
        with pytest.raises(ListingError):
            await listing_client.list_tools()
    assert backend.own[-1].method == "DELETE", "the session is ended all the same"


DENSE = b",".join([b'{"":{}}'] * 100_000)
"""Less than a megabyte that takes more than sixteen when it is decoded."""


async def dense_stream(turn: Turn) -> None:
    await turn.open_stream()
    await turn.event(f'{{"jsonrpc":"2.0","method":"notifications/x","params":{{"x":[{DENSE.decode()}]}}}}')
    await turn.event(f'{{"jsonrpc":"2.0","id":2,"result":{{"tools":[],"x":[{DENSE.decode()}]}}}}')
    await turn.end_stream()


def dense_page(turn: Turn) -> Awaitable[None]:
    page = b'{"jsonrpc":"2.0","id":%d,"result":{"tools":[],"x":[%b]}}' % (turn.request.message["id"], DENSE)
    return scripted.http(200, page)(turn)


@pytest.mark.parametrize("answer", [dense_page, dense_stream], ids=["a page", "a stream"])
async def test_a_list_that_takes_more_memory_than_is_left_is_not_decoded(answer: Behaviour):
    backend = Backend()
    backend.on("tools/list", answer)
    budget = MemoryBudget()
    async with listed_by(backend) as listing_client:
        memory = budget.lease("backend tools", 32 * 1024 * 1024)
        with pytest.raises(ListingError, match=r"limits\.memory"):
            await listing_client.list_tools(memory=memory)
        memory.close()
        roomy = budget.lease("backend tools", 512 * 1024 * 1024)
        assert await listing_client.list_tools(memory=roomy) == []
        assert roomy.kept > 4 * len(DENSE)
        roomy.close()
    assert budget.used == 0


async def test_the_sidecars_own_list_counts_for_the_memory_of_the_process(launch: Launch):
    rig = await launch()
    assert rig.sidecar.pipeline.memory.peak > 0
    assert not rig.backend.received
    assert rig.sidecar.pipeline.memory.used == 0


async def test_endless_pages_are_given_up():
    backend = Backend()
    pages = 0

    async def page(turn: Turn) -> None:
        nonlocal pages
        pages += 1
        await listing(nextCursor=str(pages))(turn)

    backend.on("tools/list", page)
    async with listed_by(backend) as listing_client:
        with pytest.raises(ListingError, match="pages"):
            await listing_client.list_tools()
    assert pages == conversation.MAX_PAGES


async def test_a_backend_that_never_answers_is_given_up():
    backend = Backend()
    backend.on("tools/list", scripted.silent())
    async with listed_by(backend) as listing_client:
        with pytest.raises(ListingError):
            await listing_client.list_tools(within=0.2)


@pytest.mark.parametrize(
    "refused", [scripted.http(404), scripted.http(500), scripted.rpc_error(-32601), scripted.hang_up()]
)
async def test_whatever_is_no_offer_of_the_newest_revision_means_the_older_ones(refused: Behaviour):
    backend = legacy(Backend())
    backend.on("server/discover", refused)
    async with listed_by(backend) as listing_client:
        assert len(await listing_client.list_tools()) == len(scripted.TOOLS)
