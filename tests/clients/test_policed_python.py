"""The official Python client at the store-intelligence server of the demo, under its policy, in both eras."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import mcp_types as types
import pytest
from mcp import MCPError

from demo.backend import BROKEN_DOMAIN, SLOW_DOMAIN, Backend, serving
from sidecar.mcp_client.conversation import USER_AGENT
from sidecar.store.commands import changes
from sidecar.store.commands.keys import account_keys
from tests.clients.python_client import both_eras, code_of, connected, legacy, text_of
from tests.support.open_streams import relayed
from tests.support.rig import RECEIPT, REFUSAL, Rig, rig
from tests.support.store import StoreServer, until


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


REVEAL = {"contact_ids": ["c1", "c2"], "confirm_spend_credits": True}


@both_eras
async def test_it_agrees_on_a_revision_and_learns_the_server_s_name(stage: Stage, mode: str):
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
    lists = [seen for seen in backend.seen if seen.method == "tools/list"]
    assert len([seen for seen in lists if seen.headers.get("user-agent") != USER_AGENT]) == 2


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
async def test_it_sees_what_a_call_has_cost(stage: Stage, mode: str):
    built, _ = stage
    async with connected(built, mode) as client:
        for spent in (2, 0):
            result = await client.call_tool("reveal_contacts", REVEAL)
            assert result.meta is not None
            assert result.meta[RECEIPT]["credits"] == {"contact": {"spent": spent, "left": 3}}
        usage = await client.call_tool("get_usage")
        assert usage.meta is not None
        requests = usage.meta[RECEIPT]["quotas"]["requests"]
    assert (requests["spent"], requests["limit"], requests["window"]) == (1, 60, "minute")


@both_eras
async def test_a_tools_own_error_is_no_refusal_and_costs_nothing(stage: Stage, mode: str):
    built, _ = stage
    async with connected(built, mode) as client:
        result = await client.call_tool("get_shopify_store", {"domain": BROKEN_DOMAIN})
        assert result.is_error
        assert "being rebuilt" in text_of(result)
        assert REFUSAL not in (result.meta or {})
        failed = await client.call_tool("reveal_contacts", {"contact_ids": ["unknown"], "confirm_spend_credits": True})
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
async def test_a_revoked_client_gets_a_result_that_says_so(stage: Stage, mode: str):
    built, backend = stage
    began = time.time()
    # Its token is newer than the revocation (a refresh): no login would help, so the model gets a result.
    async with connected(built, mode) as client:
        assert not (await client.call_tool("list_taxonomy")).is_error
        await built.revoke()
        with built.redis() as store:
            store.hset(account_keys("main", "ada").consent("ada", "cli-1"), "at", f"{began - 10:.3f}")
        revoked = await client.call_tool("list_taxonomy")
        assert code_of(revoked) == "consent_revoked"
        assert "https://example.com/dashboard/settings/mcp" in text_of(revoked)
    # Approving again in a login would cure an older one: 401, which this client cannot do.
    async with connected(built, "2026-07-28", claims={"age": 3600, "lifetime": 7200}) as client:
        with pytest.raises(MCPError, match="revoked this client"):
            await client.call_tool("list_taxonomy")
    await built.lines_with(1, http_status=401)
    assert len(backend.calls("list_taxonomy")) == 1


@both_eras
async def test_an_unknown_tool_or_method_is_a_protocol_error(stage: Stage, mode: str):
    built, backend = stage
    async with connected(built, mode) as client:
        with pytest.raises(MCPError, match="no tool of this name") as unknown:
            await client.call_tool("drop_tables", {"all": True})
        assert unknown.value.error.code == types.INVALID_PARAMS
        with pytest.raises(MCPError, match="no resource of this URI") as refused:
            await client.read_resource("file:///etc/passwd")
        assert refused.value.error.code == (-32002 if client.protocol_version == "2025-11-25" else types.INVALID_PARAMS)
        with pytest.raises(MCPError, match="no prompt of this name") as refused:
            await client.get_prompt("confess")
        assert refused.value.error.code == types.INVALID_PARAMS
    assert backend.calls("drop_tables") == []
    assert {"resources/read", "prompts/get"}.isdisjoint(seen.method for seen in backend.seen)


@both_eras
async def test_a_missing_scope_is_a_challenge_that_a_client_without_login_shows_as_an_error(stage: Stage, mode: str):
    built, _ = stage
    async with connected(built, mode, claims={"scopes": ["stores:read"]}) as client:
        with pytest.raises(MCPError):
            await client.call_tool("reveal_contacts", REVEAL)
        assert not (await client.call_tool("list_taxonomy")).is_error  # and the connection goes on
    assert (await built.line(code="insufficient_scope"))["http_status"] == 403


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
        await relayed(built)  # a stream that comes after the end of its session would be refused
    with built.redis() as store:
        assert list(store.scan_iter(account_keys("main", "ada").every_session)) == []
    for method, status in {"initialize": 200, "notifications/initialized": 202, "GET": 200, "DELETE": 200}.items():
        await built.lines_with(1, method=method, http_status=status)


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
