"""Faults: a store that is away, programs that disconnect, slow bodies, and records that no longer can be read."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sidecar.store.commands.keys import account_keys
from tests.admin_api.support import Api, account_path, section, token_of
from tests.support.rig import rig
from tests.support.store import FaultProxy, StoreServer, until


@pytest.fixture
async def proxy(store_server: StoreServer) -> AsyncIterator[FaultProxy]:
    async with FaultProxy(store_server.path) as made:
        yield made


@pytest.fixture
async def api(tmp_path: Path, store_server: StoreServer, proxy: FaultProxy) -> AsyncIterator[Api]:
    async with rig(tmp_path, store_server, store_url=proxy.url, admin_api=section()) as running:
        yield Api.of(running)


async def test_without_the_store_every_operation_says_so_and_works_again_after(api: Api, proxy: FaultProxy):
    await api.account("away", plan="growth")
    await proxy.refuse()
    asked = (
        ("GET", "/v1/accounts", None),
        ("GET", account_path("away"), None),
        ("GET", "/v1/consents", None),
        ("GET", account_path("away", "journal"), None),
        ("GET", account_path("away", "journal", "events"), None),
        ("PATCH", account_path("away"), {"plan": "free"}),
        ("POST", "/v1/consents", {"account": "away", "client_id": "c", "status": "revoked"}),
        ("PUT", account_path("away", "revocation"), None),
        ("PUT", "/v1/clients/c/revocation", None),
        ("DELETE", account_path("away"), None),
    )
    for answer in await asyncio.gather(*(api.ask(method, path, body) for method, path, body in asked)):
        assert (answer.status, answer.code) == (503, "store_unavailable")
        assert str(proxy.path) not in answer.body.decode()
    assert (await api.ask("GET", "/openapi.json")).status == 200
    line = await api.logged("store_unavailable")
    assert line["level"] == "error"
    await proxy.listen()
    assert (await api.found(account_path("away"))).json["plan"] == "growth"


async def test_a_key_makes_an_answer_that_was_lost_safe_to_ask_for_again(api: Api, proxy: FaultProxy):
    await api.account("lossy")
    for number in range(5):
        proxy.cut_on_reply = True
        said = await api.credits("lossy", "grant", 5, f"k{number}")
        while said.status == 503:
            said = await api.credits("lossy", "grant", 5, f"k{number}")
        assert (said.status, said.json["balance"]) == (200, 5 * (number + 1))
    assert (await api.ask("GET", account_path("lossy", "verification"))).json["ok"] is True


async def test_a_change_of_a_program_that_disconnects_is_made_and_logged(api: Api, proxy: FaultProxy):
    await api.account("left")
    stalled = proxy.stall()
    address = api.rig.sidecar.addresses["admin_api"]
    _, writer = await asyncio.open_connection(address.host, address.port)
    body = json.dumps({"pool": "contact", "change": "grant", "amount": 5})
    before = proxy.stalled
    head = (
        f"POST {account_path('left', 'credits')} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {token_of('all')}\r\nIdempotency-Key: k\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    writer.write(f"{head}{body}".encode())
    await until(lambda: proxy.stalled > before)
    writer.transport.abort()
    stalled.set()
    line = await api.logged("admin_api_change", account="left", operation="changeCredits")
    assert (line["amount"], line["balance"], line["program"]) == (5, 5, "all")
    assert (await api.found(account_path("left"))).json["balances"] == {"contact": 5}


async def test_corrupt_records_are_named_and_lists_go_on(api: Api):
    await api.account("broken")
    await api.account("whole")
    keys = account_keys("main", "broken")
    with api.rig.redis() as client:
        client.delete(keys.account)
        client.set(keys.account, "text")
    said = await api.ask("GET", account_path("broken"))
    assert (said.status, said.code) == (409, "record_corrupt")
    listed = (await api.ask("GET", "/v1/accounts", limit=500)).json["accounts"]
    assert {"digest": keys.digest, "status": "damaged"}.items() <= next(
        each for each in listed if each["digest"] == keys.digest
    ).items()
    assert "whole" in {each["account"] for each in listed}


async def test_a_verification_finds_an_edited_balance(api: Api):
    await api.account("edited")
    await api.credits("edited", "grant", 5, "k")
    with api.rig.redis() as client:
        client.hset(account_keys("main", "edited").ledger, "balance:contact", "6")
    said = await api.ask("GET", account_path("edited", "verification"))
    assert said.json["ok"] is False
    assert [(each["expected"], each["found"]) for each in said.json["differences"]] == [("5", "6")]


async def test_connections_are_few(api: Api):
    """More than the listener accepts wait for a place, and are served when one is free."""
    address = api.rig.sidecar.addresses["admin_api"]
    most = api.rig.sidecar.listeners.most["admin_api"]
    idle = [await asyncio.open_connection(address.host, address.port) for _ in range(most + 5)]
    waiting = asyncio.create_task(api.ask("GET", "/openapi.json"))
    await api.logged("accepts_paused", listener="admin_api")
    for _, writer in idle:
        writer.transport.abort()
    assert (await waiting).status == 200
