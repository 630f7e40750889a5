"""Requests of one session that reach different workers: the kernel distributes connections, not sessions."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.support.backend import Backend, after, default
from tests.support.processes import accounts, paid_policy, wait_for
from tests.support.rig import Json
from tests.support.store import StoreServer
from tests.workers.support import Crewed, crewed

LEGACY = "2025-06-18"
CALLS = 8
pytestmark = [pytest.mark.process, pytest.mark.timeout(300)]


class Client:
    """Client of one session; each of its requests has a connection of its own."""

    def __init__(self, made: Crewed) -> None:
        self._made = made
        self._headers = {
            "Accept": "application/json, text/event-stream",
            "Authorization": f"Bearer {made.built.issuer.mint(subject='ada')}",
            "MCP-Protocol-Version": LEGACY,
        }

    async def request(self, verb: str, message: Json | None = None) -> tuple[int, Any, Any]:
        """Send one request; its status, headers and body."""
        async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http:
            asked = http.request(verb, self._made.process.url, json=message, headers=self._headers)
            async with asked as answer:
                return answer.status, answer.headers, await answer.read()

    async def initialize(self, **capabilities: Json) -> None:
        params = {"protocolVersion": LEGACY, "capabilities": capabilities, "clientInfo": {"name": "c", "version": "1"}}
        status, headers, body = await self.request(
            "POST", {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}
        )
        assert status == 200, body
        self._headers["Mcp-Session-Id"] = headers["Mcp-Session-Id"]

    async def call(self, id_: int, *items: str) -> tuple[int, Any, Any]:
        params = {"name": "reveal_contacts", "arguments": {"contact_ids": list(items)}}
        return await self.request("POST", {"jsonrpc": "2.0", "id": id_, "method": "tools/call", "params": params})

    async def confirmed(self, id_: int, *items: str) -> Json:
        """Call, and accept over another connection what the person is asked; the last message."""
        params = {"name": "reveal_contacts", "arguments": {"contact_ids": list(items)}}
        message = {"jsonrpc": "2.0", "id": id_, "method": "tools/call", "params": params}
        last: Json = {}
        async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http:
            asked = http.post(self._made.process.url, json=message, headers=self._headers)
            async with asyncio.timeout(120), asked as answer:
                async for line in answer.content:
                    if line.startswith(b"data:"):
                        last = json.loads(line[5:])
                        if "method" in last:
                            accepted = {"jsonrpc": "2.0", "id": last["id"], "result": {"action": "accept"}}
                            assert (await self.request("POST", accepted))[0] == 202
        return last

    async def cancel(self, id_: int) -> int:
        message = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id_}}
        return (await self.request("POST", message))[0]


def notified(backend: Backend) -> int:
    return sum(each.message.get("method") == "notifications/cancelled" for each in backend.received)


async def test_a_session_is_known_to_every_worker_until_it_ends(tmp_path: Path, own_server: StoreServer):
    with accounts(own_server.path, 1000):
        async with crewed(tmp_path, own_server.url, backend=Backend(sessions=True)) as made:
            client = Client(made)
            await client.initialize()
            assert {(await client.call(number, "a"))[0] for number in range(1, 13)} == {200}
            assert (await client.request("DELETE"))[0] in (200, 204)
            assert {(await client.call(number, "a"))[0] for number in range(13, 21)} == {404}


async def test_a_call_is_cancelled_over_any_connection(tmp_path: Path, own_server: StoreServer):
    gate, backend = asyncio.Event(), Backend(sessions=True)
    with accounts(own_server.path, 1000) as ada:
        async with crewed(tmp_path, own_server.url, backend=backend) as made:
            client = Client(made)
            await client.initialize()
            before = len(backend.received)
            backend.once(*(after(gate, default()) for _ in range(CALLS)))
            calls = [asyncio.create_task(client.call(number, f"i{number}")) for number in range(CALLS)]
            await wait_for(lambda: len(backend.received) == before + CALLS)
            assert {await client.cancel(number) for number in range(CALLS)} == {202}
            assert notified(backend) == CALLS
            assert await client.cancel(99) == 202
            assert notified(backend) == CALLS, "a cancellation of nothing is not forwarded"
            gate.set()
            await asyncio.gather(*calls)
            await wait_for(lambda: ada.look().held == 0)


async def test_a_session_s_calls_end_with_it_in_every_worker(tmp_path: Path, own_server: StoreServer):
    gate, backend = asyncio.Event(), Backend(sessions=True)
    with accounts(own_server.path, 1000) as ada:
        async with crewed(tmp_path, own_server.url, backend=backend) as made:
            client = Client(made)
            await client.initialize()
            before = len(backend.received)
            backend.once(*(after(gate, default()) for _ in range(CALLS)))
            calls = [asyncio.create_task(client.call(number, f"i{number}")) for number in range(CALLS)]
            await wait_for(lambda: len(backend.received) == before + CALLS)
            assert (await client.request("DELETE"))[0] in (200, 204)
            await asyncio.gather(*calls)  # the backend never answers them
            await wait_for(lambda: ada.look().held == 0, within=60)
            look = ada.look()
            gate.set()
        assert (look.spent, look.balanced) == (CALLS, True), "calls that their client has ended cost what was reserved"


async def test_an_answer_of_a_person_reaches_the_worker_whose_call_waits(tmp_path: Path, own_server: StoreServer):
    policy = paid_policy().replace("    timeout: 60s\n", "    timeout: 60s\n    confirm: {by: person}\n", 1)
    with accounts(own_server.path, 1000) as ada:
        async with crewed(tmp_path, own_server.url, backend=Backend(sessions=True), policy=policy) as made:
            client = Client(made)
            await client.initialize(elicitation={})
            answers = await asyncio.gather(*(client.confirmed(number, f"i{number}") for number in range(CALLS)))
            assert [each["id"] for each in answers] == list(range(CALLS))
            assert all("structuredContent" in each["result"] for each in answers), answers
            await wait_for(lambda: ada.look().held == 0)
            look = ada.look()
        assert (look.spent, look.balanced) == (CALLS, True)
