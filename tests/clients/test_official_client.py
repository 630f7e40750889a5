"""The official client, unmodified, through the sidecar to servers made with the official SDK, in both eras."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import httpx2
import mcp_types as types
import pytest
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.resolve import Elicit, Resolve
from pydantic import BaseModel

from sidecar.demo.backend import BROKEN_DOMAIN, SLOW_DOMAIN, Backend, serving
from sidecar.ledger import changes
from sidecar.ledger.keys import account_keys
from tests.support.rig import REFUSAL, Books, Rig, rig
from tests.support.store import StoreServer, until

ERAS = ["legacy", "2026-07-28", "auto"]
both_eras = pytest.mark.parametrize("mode", ERAS)
legacy = pytest.mark.parametrize("mode", ["legacy"])


@asynccontextmanager
async def connected(
    built: Rig, mode: str, *, claims: dict[str, Any] | None = None, **options: Any
) -> AsyncIterator[Client]:
    """The client, with a token in its headers and nothing else of ours."""
    async with (
        httpx2.AsyncClient(headers=built.issuer.bearer(**(claims or {})), timeout=30) as http,
        Client(streamable_http_client(built.url, http_client=http), mode=mode, **options) as client,
    ):
        yield client


# --- the store-intelligence server of the demo, under its policy -----------------------------------


@pytest.fixture
async def stage(tmp_path: Path, store_server: StoreServer) -> AsyncIterator[tuple[Rig, Backend]]:
    policy = (Path(__file__).parents[2] / "policies" / "storeinspect.yaml").read_text()
    # A plan whose contacts all come from the balance, so that five credits are five contacts.
    policy = policy.replace("  growth:\n", "  shop: {}\n  growth:\n", 1)
    backend = Backend(slow=30.0)
    async with serving(backend) as url, rig(tmp_path, store_server, policy=policy, backend_url=url) as built:
        await built.account(plan="shop", credits=5)
        await built.grant()
        yield built, backend


Stage = tuple[Rig, Backend]


def text_of(result: types.CallToolResult) -> str:
    [content] = result.content
    assert isinstance(content, types.TextContent)
    return content.text


def code_of(result: types.CallToolResult) -> str:
    """What the sidecar refused by."""
    assert result.is_error
    assert result.meta is not None
    return str(result.meta[REFUSAL]["code"])


REVEAL = {"contact_ids": ["c1", "c2"], "confirm_spend_credits": True}


@both_eras
async def test_it_agrees_on_a_revision_and_learns_who_is_there(stage: Stage, mode: str):
    built, _ = stage
    async with connected(built, mode) as client:
        assert client.protocol_version == ("2025-11-25" if mode == "legacy" else "2026-07-28")
        if mode != "2026-07-28":  # this mode asks for nothing at the start
            assert client.server_info is not None
            assert client.server_info.name == "storeinspect-demo"
            assert client.server_capabilities.tools is not None
            assert client.server_capabilities.model_dump().get("tasks") is None


@both_eras
async def test_it_lists_the_declared_tools_of_its_plan(stage: Stage, mode: str):
    built, backend = stage
    async with connected(built, mode) as client:
        listed = await client.list_tools()
    names = {tool.name for tool in listed.tools}
    assert names == {
        "get_usage",  # answered by the sidecar, and not known to the backend
        "list_taxonomy",
        "get_shopify_store",
        "search_shopify_stores",
        "enrich_shopify_domains",
        "search_shopify_contacts",
        "reveal_contacts",
    }
    await built.run(changes.set_account("main", "ada", plan="free"))
    async with connected(built, mode) as client:
        assert {tool.name for tool in (await client.list_tools()).tools} == {
            "get_usage",
            "list_taxonomy",
            "get_shopify_store",
        }
    assert [seen.method for seen in backend.seen].count("tools/list") == 2


@both_eras
async def test_structured_content_comes_through_and_is_paid(stage: Stage, mode: str):
    built, backend = stage
    async with connected(built, mode) as client:
        result = await client.call_tool("reveal_contacts", REVEAL)
        assert not result.is_error
        assert result.structured_content is not None
        assert [contact["id"] for contact in result.structured_content["contacts"]] == ["c1", "c2"]
        assert (await built.books()).left() == 3
        await client.call_tool("reveal_contacts", REVEAL)
        assert (await built.books()).left() == 3
        usage = await client.call_tool("get_usage")
        assert usage.structured_content is not None
        assert usage.structured_content["plan"] == "shop"
        assert "contact" in text_of(usage)
    assert len(backend.calls("reveal_contacts")) == 2
    seen = backend.calls("reveal_contacts")[0].headers
    assert seen["x-mcp-account"] == "ada"
    assert "authorization" not in seen


@both_eras
async def test_a_tools_own_error_is_no_refusal_and_costs_nothing(stage: Stage, mode: str):
    built, _ = stage
    async with connected(built, mode) as client:
        result = await client.call_tool("get_shopify_store", {"domain": BROKEN_DOMAIN})
        assert result.is_error
        assert "being rebuilt" in text_of(result)
        assert REFUSAL not in (result.meta or {})
        failed = await client.call_tool("reveal_contacts", {"contact_ids": ["nobody"], "confirm_spend_credits": True})
        assert not failed.is_error
    books = await built.books()
    assert (books.left(), books.holds) == (5, 0)


@both_eras
async def test_refusals_are_results_that_a_model_can_read(stage: Stage, mode: str):
    built, backend = stage
    async with connected(built, mode) as client:
        unconfirmed = await client.call_tool("reveal_contacts", {"contact_ids": ["c1", "c2"]})
        assert code_of(unconfirmed) == "confirmation_required"
        assert "2" in text_of(unconfirmed)
        assert "5" in text_of(unconfirmed)
        dear = await client.call_tool(
            "reveal_contacts", {"contact_ids": [f"c{n}" for n in range(1, 7)], "confirm_spend_credits": True}
        )
        assert code_of(dear) == "insufficient_credits"
        wrong = await client.call_tool("search_shopify_stores", {"limit": 101})
        assert code_of(wrong) == "arguments_refused"
    assert backend.calls("reveal_contacts") == backend.calls("search_shopify_stores") == []


@both_eras
async def test_a_revoked_client_is_told_so(stage: Stage, mode: str):
    built, backend = stage
    # Its token is newer than the revocation (a refresh): no login would help, so a model is told.
    async with connected(built, mode, claims={"age": -5}) as client:
        assert not (await client.call_tool("list_taxonomy")).is_error
        await built.revoke()
        revoked = await client.call_tool("list_taxonomy")
        assert code_of(revoked) == "consent_revoked"
        assert "https://example.com/dashboard/settings/mcp" in text_of(revoked)
    # Approving again in a login would cure an older one: 401, which this client cannot do.
    async with connected(built, "2026-07-28", claims={"age": 60}) as client:
        with pytest.raises(MCPError, match="revoked this client"):
            await client.call_tool("list_taxonomy")
    assert built.calls[-1]["http_status"] == 401
    assert len(backend.calls("list_taxonomy")) == 1


@both_eras
async def test_what_does_not_exist_is_an_error_of_the_protocol(stage: Stage, mode: str):
    built, backend = stage
    async with connected(built, mode) as client:
        with pytest.raises(MCPError, match="no tool of this name") as unknown:
            await client.call_tool("drop_tables", {"all": True})
        assert unknown.value.error.code == types.INVALID_PARAMS
        with pytest.raises(MCPError) as refused:
            await client.read_resource("file:///handbook")
        older = client.protocol_version != "2026-07-28"
        assert refused.value.error.code == (-32002 if older else types.INVALID_PARAMS)
    assert backend.calls("drop_tables") == []
    assert "resources/read" not in [seen.method for seen in backend.seen]


@both_eras
async def test_a_missing_scope_is_a_challenge_that_a_client_without_login_shows_as_an_error(stage: Stage, mode: str):
    built, _ = stage
    async with connected(built, mode, claims={"scopes": ["stores:read"]}) as client:
        with pytest.raises(MCPError):
            await client.call_tool("reveal_contacts", REVEAL)
        assert not (await client.call_tool("list_taxonomy")).is_error  # and the connection goes on
    [refused] = [line for line in built.calls if line["code"] == "insufficient_scope"]
    assert refused["http_status"] == 403


@both_eras
async def test_declared_resources_are_listed_and_read_and_there_are_no_prompts(stage: Stage, mode: str):
    built, backend = stage
    async with connected(built, mode) as client:
        assert [resource.uri for resource in (await client.list_resources()).resources] == ["docs://handbook"]
        assert (await client.list_resource_templates()).resource_templates == []
        assert (await client.list_prompts()).prompts == []
        [content] = (await client.read_resource("docs://handbook")).contents
        assert isinstance(content, types.TextResourceContents)
        assert content.text
        for spelling in ("docs://handbook/../handbook", "docs://%68andbook%2f", "docs://handbook#x"):
            with pytest.raises(MCPError) as refused:
                await client.read_resource(spelling)
            assert refused.value.error.code == types.INVALID_PARAMS
    assert [seen.method for seen in backend.seen].count("resources/read") == 1
    assert (await built.books()).used["requests"] == 1


@legacy
@pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning")
async def test_ping_and_the_end_of_a_session(stage: Stage, mode: str):
    built, _ = stage
    async with connected(built, mode) as client:
        await client.send_ping()
        with pytest.raises(MCPError) as refused:
            await client.set_logging_level("info")  # a method that the policy does not have
        assert refused.value.error.code == types.METHOD_NOT_FOUND
        with built.redis() as store:
            assert len(list(store.scan_iter(account_keys("main", "ada").every_session))) == 1
    with built.redis() as store:
        assert list(store.scan_iter(account_keys("main", "ada").every_session)) == []
    assert {"initialize", "notifications/initialized", "GET", "DELETE"} <= {
        line["method"] for line in await built.recorded(6)
    }
    assert {line["http_status"] for line in built.calls if line["method"] in ("GET", "DELETE")} == {200}


@both_eras
async def test_two_calls_at_once(stage: Stage, mode: str):
    built, backend = stage
    async with connected(built, mode) as client:
        slow = asyncio.create_task(client.call_tool("get_shopify_store", {"domain": SLOW_DOMAIN}))
        await until(lambda: len(backend.calls("get_shopify_store")) == 1)
        quick = await asyncio.gather(*(client.call_tool("list_taxonomy") for _ in range(5)))
        assert not any(result.is_error for result in quick)
        assert not slow.done()
        slow.cancel()
        await asyncio.gather(slow, return_exceptions=True)


@both_eras
async def test_a_backend_that_answers_with_json(tmp_path: Path, store_server: StoreServer, mode: str):
    backend = Backend(json_response=True)
    async with serving(backend) as url, rig(tmp_path, store_server, backend_url=url) as built:
        await built.account()
        await built.grant()
        async with connected(built, mode) as client:
            assert len((await client.list_tools()).tools) == 7
            result = await client.call_tool("search_shopify_stores", {"limit": 3})
        assert result.structured_content is not None
        assert len(result.structured_content["rows"]) == 3
        assert (await built.books()).used == {"requests": 1, "search_rows": 3}


# --- a server that talks back ----------------------------------------------------------------------


class Answer(BaseModel):
    """What the person is asked for."""

    name: str


def _ask() -> Elicit[Answer]:
    return Elicit("What is your name?", Answer)


@dataclass(slots=True)
class Chatty(Backend):
    """A server with sessions that asks its client, reports, logs and notifies.

    Attributes:
        heard: the client has seen the progress; until then `steps` does not answer.
        begun: calls of `wait` that began.
        cancelled: calls of `wait` that were cancelled before they ended.
    """

    heard: asyncio.Event = field(default_factory=asyncio.Event)
    begun: int = 0
    cancelled: int = 0

    def server(self) -> MCPServer[Any]:
        server: MCPServer[Any] = MCPServer("chatty", log_level="ERROR", middleware=[self._record])
        chatter = self

        @server.tool()
        async def ask(ctx: Context) -> str:
            asked = await ctx.elicit("What is your name?", Answer)
            return f"{asked.action}: {asked.data.name if asked.action == 'accept' else ''}"

        @server.tool()
        async def greet(answer: Annotated[Answer, Resolve(_ask)]) -> str:
            return f"Hello, {answer.name}!"

        @server.tool()
        async def sample(ctx: Context) -> str:
            message = types.SamplingMessage(role="user", content=types.TextContent(type="text", text="Say something."))
            said = await ctx.session.create_message([message], max_tokens=10, related_request_id=ctx.request_id)
            assert isinstance(said.content, types.TextContent)
            return said.content.text

        @server.tool()
        async def steps(ctx: Context) -> str:
            await ctx.report_progress(1, 2, "half")
            await chatter.heard.wait()
            await ctx.report_progress(2, 2, "whole")
            return "done"

        @server.tool()
        async def tell(ctx: Context) -> str:
            await ctx.log("info", "something happened")
            return "told"

        @server.tool()
        async def change(ctx: Context) -> str:
            await ctx.session.send_tool_list_changed()
            return "changed"

        @server.tool()
        async def wait() -> str:
            chatter.begun += 1
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                chatter.cancelled += 1
                raise
            return "waited"

        return server


CHATTY_POLICY: dict[str, Any] = {
    "scopes": {},
    "consent": "first_use",
    "credits": {"contact": "One per call."},
    "tools": {
        name: {"scopes": [], "spends": {"contact": 1}}
        for name in ("ask", "greet", "sample", "steps", "tell", "change", "wait")
    },
}


@pytest.fixture
async def chat(tmp_path: Path, store_server: StoreServer) -> AsyncIterator[tuple[Rig, Chatty]]:
    backend = Chatty()
    async with serving(backend) as url, rig(tmp_path, store_server, policy=CHATTY_POLICY, backend_url=url) as built:
        await built.account(plan=None, credits=10)
        yield built, backend


Chat = tuple[Rig, Chatty]


async def resolved(built: Rig) -> Books:
    """The books, once no hold is open."""
    async with asyncio.timeout(10):
        while (books := await built.books()).holds:  # noqa: ASYNC110 - the store has no event to wait for
            await asyncio.sleep(0.01)
    return books


async def spent(built: Rig, credits: int) -> None:
    """Every call has been resolved, and they cost so much."""
    books = await resolved(built)
    assert books.left() == 10 - credits


@both_eras
async def test_progress_arrives_before_the_result(chat: Chat, mode: str):
    built, backend = chat
    seen: list[tuple[float, str | None]] = []

    async def progressed(progress: float, total: float | None, message: str | None) -> None:
        assert total == 2
        seen.append((progress, message))
        backend.heard.set()  # the server does not answer before: whoever buffers waits for ever

    async with connected(built, mode) as client:
        async with asyncio.timeout(20):
            result = await client.call_tool("steps", progress_callback=progressed)
        assert text_of(result) == "done"
        assert seen == [(1, "half"), (2, "whole")]
    await spent(built, 1)


@legacy
@pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning")
async def test_the_server_asks_and_the_client_answers_by_post(chat: Chat, mode: str):
    built, _ = chat

    async def elicited(context: Any, params: types.ElicitRequestParams) -> types.ElicitResult:
        assert params.message == "What is your name?"
        return types.ElicitResult(action="accept", content={"name": "Ada"})

    async def sampled(context: Any, params: types.CreateMessageRequestParams) -> types.CreateMessageResult:
        return types.CreateMessageResult(
            role="assistant", content=types.TextContent(type="text", text="Something."), model="none"
        )

    async with connected(built, mode, elicitation_callback=elicited, sampling_callback=sampled) as client:
        async with asyncio.timeout(20):
            assert text_of(await client.call_tool("ask")) == "accept: Ada"
            assert text_of(await client.call_tool("sample")) == "Something."
    await spent(built, 2)
    answers = [line for line in built.calls if line["method"] == "response"]
    assert [line["http_status"] for line in answers] == [202, 202]


@legacy
@pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning")
async def test_log_messages_and_the_servers_own_stream(chat: Chat, mode: str):
    built, _ = chat
    logged: asyncio.Queue[Any] = asyncio.Queue()
    changed = asyncio.Event()

    async def heard(params: types.LoggingMessageNotificationParams) -> None:
        await logged.put(params.data)

    async def handle(message: Any) -> None:
        if isinstance(message, types.ToolListChangedNotification):
            changed.set()

    async with connected(built, mode, logging_callback=heard, message_handler=handle) as client:
        async with asyncio.timeout(20):
            assert text_of(await client.call_tool("tell")) == "told"
            assert await logged.get() == "something happened"
            while not await built.metric("mcp_sidecar_open_streams"):  # noqa: ASYNC110 - it opens beside the calls
                await asyncio.sleep(0.01)
            await client.call_tool("change")
            await changed.wait()
    await spent(built, 2)
    assert await built.metric("mcp_sidecar_open_streams") == 0


@both_eras
async def test_a_cancelled_call_ends_at_the_backend_and_is_charged(chat: Chat, mode: str):
    built, backend = chat
    async with connected(built, mode) as client:
        call = asyncio.create_task(client.call_tool("wait"))
        await until(lambda: backend.begun == 1)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        await until(lambda: backend.cancelled == 1)
        assert (await client.list_tools()).tools != []  # the connection goes on
    await spent(built, 1)  # nobody saw a result: the reserve


@legacy
async def test_a_session_that_ended_elsewhere_is_told_as_such(chat: Chat, mode: str):
    built, _ = chat
    async with connected(built, mode) as client:
        assert (await client.list_tools()).tools != []
        with built.redis() as store:
            [session] = store.scan_iter(account_keys("main", "ada").every_session)
            store.delete(session)
        with pytest.raises(MCPError, match="no such session"):
            await client.list_tools()


@pytest.mark.parametrize("mode", ["2026-07-28", "auto"])
async def test_a_call_that_needs_input_is_free_until_it_has_it(chat: Chat, mode: str):
    built, backend = chat

    async def elicited(context: Any, params: types.ElicitRequestParams) -> types.ElicitResult:
        assert (await built.books()).left() == 10  # the first round was given back
        return types.ElicitResult(action="accept", content={"name": "Ada"})

    async with connected(built, mode, elicitation_callback=elicited) as client, asyncio.timeout(20):
        assert text_of(await client.call_tool("greet")) == "Hello, Ada!"
    assert len(backend.calls("greet")) == 2
    await spent(built, 1)
