"""The demo's backend, called as the sidecar and as an unmodified client would."""

import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from demo.backend import BROKEN_DOMAIN, HUGE_DOMAIN, SLOW_DOMAIN, Backend, serving
from demo.catalogue import CONTACTS, STORES

MODES = ["legacy", "auto", "2026-07-28"]
TOOLS = {
    "list_taxonomy",
    "get_shopify_store",
    "search_shopify_stores",
    "enrich_shopify_domains",
    "search_shopify_contacts",
    "reveal_contacts",
}


@pytest.fixture
def backend():
    return Backend(slow=0.05, huge=100_000)


@pytest.fixture
async def url(backend) -> AsyncIterator[str]:
    async with serving(backend) as address:
        yield address


@pytest.mark.parametrize("mode", MODES)
async def test_every_revision_lists_the_tools_and_searches(url, mode):
    async with Client(url, mode=mode) as client:
        assert {tool.name for tool in (await client.list_tools()).tools} == TOOLS
        result = await client.call_tool("search_shopify_stores", {"category": "coffee", "limit": 3})
    assert not result.is_error
    assert result.structured_content["total"] == 8
    assert [row["category"] for row in result.structured_content["rows"]] == ["coffee"] * 3


async def test_auto_speaks_the_newest_revision(url):
    async with Client(url) as client:
        assert client.protocol_version == "2026-07-28"


async def test_the_older_revisions_can_be_answered_with_json():
    async with serving(Backend(json_response=True)) as url, Client(url, mode="legacy") as client:
        assert (await client.call_tool("list_taxonomy", {})).structured_content["countries"] == ["DE", "FR", "US"]


async def test_searching_is_limited_and_filtered(url):
    async with Client(url) as client:
        everything = await client.call_tool("search_shopify_stores", {})
        german = await client.call_tool("search_shopify_stores", {"country": "DE", "limit": 100})
        named = await client.call_tool("search_shopify_stores", {"query": "shop COFFEE 2"})
        too_many = await client.call_tool("search_shopify_stores", {"limit": 101})
    assert (len(everything.structured_content["rows"]), everything.structured_content["total"]) == (25, len(STORES))
    assert {row["country"] for row in german.structured_content["rows"]} == {"DE"}
    assert [row["domain"] for row in named.structured_content["rows"]] == ["coffee-2.example"]
    assert too_many.is_error


async def test_previews_have_no_channels_and_reveals_do(url):
    async with Client(url) as client:
        found = await client.call_tool("search_shopify_contacts", {"domain": "coffee-1.example"})
        founders = await client.call_tool("search_shopify_contacts", {"query": "founder coffee-1"})
        previews = found.structured_content["rows"]
        ids = [row["id"] for row in previews]
        revealed = await client.call_tool("reveal_contacts", {"contact_ids": ids, "confirm_spend_credits": True})
    assert [row["id"] for row in founders.structured_content["rows"]] == ids[:1]
    assert all("email" not in row and "phone" not in row for row in previews)
    assert [contact["id"] for contact in revealed.structured_content["contacts"]] == ids
    assert all("@coffee-1.example" in contact["email"] for contact in revealed.structured_content["contacts"])


async def test_unknown_and_repeated_contacts_are_not_shown_twice(url):
    async with Client(url) as client:
        result = await client.call_tool("reveal_contacts", {"contact_ids": ["c1", "unknown", "c1"]})
    assert [contact["id"] for contact in result.structured_content["contacts"]] == ["c1"]


async def test_enriching_reports_progress_and_leaves_out_the_unknown(url):
    heard = []

    async def progress(done, total, message):
        heard.append((done, total))

    async with Client(url) as client:
        result = await client.call_tool(
            "enrich_shopify_domains",
            {"domains": ["toys-1.example", "unknown.example", "toys-1.example"]},
            progress_callback=progress,
        )
    assert [row["domain"] for row in result.structured_content["rows"]] == ["toys-1.example"]
    assert heard == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize("domain", [BROKEN_DOMAIN, "unknown.example"])
async def test_failures_are_tool_errors(url, domain):
    async with Client(url) as client:
        assert (await client.call_tool("get_shopify_store", {"domain": domain})).is_error


async def test_a_slow_and_a_huge_answer(url):
    async with Client(url) as client:
        started = time.monotonic()
        assert not (await client.call_tool("get_shopify_store", {"domain": SLOW_DOMAIN})).is_error
        assert time.monotonic() - started >= 0.05
        huge = await client.call_tool("get_shopify_store", {"domain": HUGE_DOMAIN})
    assert len(huge.structured_content["description"]) == 100_000


async def test_received_messages_are_recorded_with_their_headers(backend, url):
    async with (
        httpx2.AsyncClient(headers={"X-MCP-Account": "acme"}) as http,
        Client(streamable_http_client(url, http_client=http)) as client,
    ):
        await client.call_tool("reveal_contacts", {"contact_ids": ["c1"]})
    [seen] = backend.calls("reveal_contacts")
    assert seen.arguments == {"contact_ids": ["c1"]}
    assert seen.headers["x-mcp-account"] == "acme"
    assert backend.calls("list_taxonomy") == []
    assert backend.seen[0].method == "server/discover"
    assert backend.seen[0].tool is None


async def test_backstage_returns_counts_and_changes_the_behaviour(backend, url):
    behind = url.removesuffix("/mcp") + "/demo"
    async with httpx2.AsyncClient() as http, Client(url) as client:
        await client.call_tool("list_taxonomy", {})
        counts = (await http.get(behind)).json()
        assert (counts["tool_calls"], counts["tools"]) == (1, {"list_taxonomy": 1})
        assert counts["requests"] == backend.requests > 1  # and this question is none of them
        await http.post(behind, json={"locked": True, "slow": 0})
    assert (backend.locked, backend.slow, backend.huge) == (True, 0, 100_000)


async def test_a_locked_backend_answers_401_and_records_nothing(backend, url):
    backend.locked = True
    async with httpx2.AsyncClient() as http:
        assert (await http.post(url, json={})).status_code == 401
    assert backend.seen == []
    assert backend.requests == 1


async def test_a_foreign_host_is_misdirected(url):
    async with httpx2.AsyncClient() as http:
        answer = await http.post(url, json={}, headers={"Host": "mcp.example.com"})
    assert answer.status_code == 421


async def test_the_address_is_free_again_afterwards():
    async with serving(Backend()) as url:
        port = int(url.rsplit(":", 1)[1].removesuffix("/mcp"))
    async with serving(Backend(), port=port) as again:
        assert again == url


def test_the_data_is_the_same_for_every_client():
    assert len(STORES) == 40
    assert list(CONTACTS)[:2] == ["c1", "c2"]
    assert len(CONTACTS) == 80
    assert all(domain.endswith(".example") for domain in STORES)


def test_the_command_prints_its_url():
    command = [sys.executable, "-m", "demo.backend", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            url = process.stdout.readline().removeprefix("demo backend: ").strip()
            body = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
            answer = httpx2.post(url, json=body, headers={"Accept": "application/json, text/event-stream"})
            assert json.loads(answer.text)["jsonrpc"] == "2.0"
        finally:
            process.terminate()
