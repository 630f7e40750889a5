"""The official TypeScript clients at the store-intelligence server of the demo, under its policy."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from demo.backend import BROKEN_DOMAIN, Backend, serving
from sidecar.store.commands import changes
from tests.clients.arrived import Disguise, check_arrived
from tests.clients.driven import DRIVERS, ClientError, Driven, code_of, driven, text_of
from tests.support.recorder import Recorder
from tests.support.rig import REFUSAL, Rig, rig
from tests.support.store import StoreServer

pytestmark = pytest.mark.node
every_client = pytest.mark.parametrize("kind", DRIVERS)

REVEAL = {"contact_ids": ["c1", "c2"], "confirm_spend_credits": True}


@pytest.fixture
async def built(tmp_path: Path, store_server: StoreServer) -> AsyncIterator[Rig]:
    policy = (Path(__file__).parents[2] / "policies" / "storeinspect.yaml").read_text()
    # A plan whose contacts all come from the balance, so that five credits are five contacts.
    policy = policy.replace("  growth:\n", "  shop: {}\n  growth:\n", 1)
    async with (
        serving(Backend()) as url,
        Recorder(url) as arrived,
        rig(tmp_path, store_server, policy=policy, backend_url=arrived.url, shutdown_grace="100ms") as made,
    ):
        await made.account(plan="shop", credits=5)
        await made.grant()
        yield made
        check_arrived(await arrived.requests(), "spoofed", "eyJ")


@asynccontextmanager
async def coming(built: Rig, kind: str, **claims: Any) -> AsyncIterator[Driven]:
    """A client with a token and, on every request, forged headers; it has connected."""
    token = built.issuer.mint(**claims)
    async with driven(kind, built.url, token=token, headers=Disguise.make().headers) as client:
        await client.connect()
        yield client


@every_client
async def test_it_lists_and_calls_declared_tools_and_pays_once(built: Rig, kind: str):
    async with coming(built, kind) as client:
        assert await client.tools() == {
            "get_usage",  # answered by the sidecar, and not known to the backend
            "list_taxonomy",
            "get_shopify_store",
            "search_shopify_stores",
            "enrich_shopify_domains",
            "search_shopify_contacts",
            "reveal_contacts",
        }
        for _ in range(2):
            revealed = await client.call("reveal_contacts", REVEAL)
            assert [contact["id"] for contact in revealed["structuredContent"]["contacts"]] == ["c1", "c2"]
            assert (await built.books()).left() == 3
        usage = await client.call("get_usage")
        assert usage["structuredContent"]["plan"] == "shop"
        broken = await client.call("get_shopify_store", {"domain": BROKEN_DOMAIN})
        assert broken["isError"]
        assert REFUSAL not in broken.get("_meta", {})
        await built.run(changes.set_account("main", "ada", plan="free"))
    async with coming(built, kind) as client:
        assert await client.tools() == {"get_usage", "list_taxonomy", "get_shopify_store"}


@every_client
async def test_refusals_reach_the_model_as_text(built: Rig, kind: str):
    async with coming(built, kind) as client:
        unconfirmed = await client.call("reveal_contacts", {"contact_ids": ["c1", "c2"]})
        assert code_of(unconfirmed) == "confirmation_required"
        assert "2 of your 5" in text_of(unconfirmed)
        dear = {"contact_ids": [f"c{n}" for n in range(1, 7)], "confirm_spend_credits": True}
        assert code_of(await client.call("reveal_contacts", dear)) == "insufficient_credits"
        assert code_of(await client.call("search_shopify_stores", {"limit": 101})) == "arguments_refused"
        await built.run(changes.set_account("main", "ada", plan="free"))
        assert code_of(await client.call("reveal_contacts", REVEAL)) == "plan_required"
        await built.run(changes.set_account("main", "ada", active=False))
        assert code_of(await client.call("list_taxonomy")) == "account_disabled"
    assert (await built.books()).left() == 5


@every_client
async def test_errors_of_the_protocol_keep_their_numbers(built: Rig, kind: str):
    async with coming(built, kind) as client:
        with pytest.raises(ClientError, match="no tool of this name") as unknown:
            await client.call("drop_tables", {"all": True})
        assert unknown.value.code == -32602
        assert not (await client.call("list_taxonomy")).get("isError")  # and the connection goes on


@every_client
async def test_a_missing_scope_is_a_challenge_that_a_client_without_login_shows_as_an_error(built: Rig, kind: str):
    async with coming(built, kind, scopes=["stores:read"]) as client:
        with pytest.raises(ClientError) as refused:
            await client.call("reveal_contacts", REVEAL)
        assert refused.value.code in (403, "CLIENT_HTTP_FORBIDDEN") or refused.value.name == "InsufficientScopeError"
        assert not (await client.call("list_taxonomy")).get("isError")
    assert (await built.line(code="insufficient_scope"))["http_status"] == 403


@every_client
async def test_a_revocation_stops_the_next_call(built: Rig, kind: str):
    async with coming(built, kind, age=60) as client:
        assert not (await client.call("list_taxonomy")).get("isError")
        await built.revoke()
        with pytest.raises(ClientError):  # a login would cure it, which this client has none of
            await client.call("list_taxonomy")
    calls = await built.lines_with(2, tool="list_taxonomy")
    assert sorted((line["code"], line["http_status"]) for line in calls) == [("consent_revoked", 401), ("ok", 200)]
