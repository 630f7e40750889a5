"""The official Python client and a server that sends requests and notifications: the cost of each outcome."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import mcp_types as types
import pytest
from mcp import MCPError

from demo.backend import serving
from sidecar.store.commands.keys import account_keys
from tests.clients.python_client import both_eras, connected, legacy, text_of
from tests.clients.servers.chatter import Chatter
from tests.clients.support import TOOLS
from tests.support.open_streams import relayed
from tests.support.rig import Books, Rig, rig
from tests.support.store import StoreServer, until

PRICED: dict[str, Any] = {
    "scopes": {},
    "consent": "first_use",
    "credits": {"contact": "One per call."},
    "tools": {name: {"scopes": [], "spends": {"contact": 1}} for name in TOOLS},
}


@pytest.fixture
async def chat(tmp_path: Path, store_server: StoreServer) -> AsyncIterator[tuple[Rig, Chatter]]:
    backend = Chatter()
    async with serving(backend) as url, rig(tmp_path, store_server, policy=PRICED, backend_url=url) as built:
        await built.account(plan=None, credits=10)
        yield built, backend


Chat = tuple[Rig, Chatter]


async def resolved(built: Rig) -> Books:
    """The books, once no hold is open."""
    async with asyncio.timeout(60):
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
        backend.gates["k"].set()  # the server does not answer before: a proxy that buffers waits for ever

    async with connected(built, mode) as client:
        async with asyncio.timeout(60):
            result = await client.call_tool("steps", {"key": "k"}, progress_callback=progressed)
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
        async with asyncio.timeout(60):
            assert text_of(await client.call_tool("ask")) == "accept: Ada"
            assert text_of(await client.call_tool("sample")) == "Something."
    await spent(built, 2)
    answers = await built.lines_with(2, method="response")
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
        async with asyncio.timeout(60):
            assert text_of(await client.call_tool("tell")) == "notified"
            assert await logged.get() == "something happened"
            await relayed(built)
            assert await built.metric("mcp_sidecar_open_streams") == 1
            await client.call_tool("change")
            await changed.wait()
    await spent(built, 2)
    await relayed(built, 0)
    assert await built.metric("mcp_sidecar_open_streams") == 0


@both_eras
async def test_a_cancelled_call_ends_at_the_backend_and_is_charged(chat: Chat, mode: str):
    built, backend = chat
    async with connected(built, mode) as client:
        call = asyncio.create_task(client.call_tool("wait", {"key": "k"}))
        await until(lambda: backend.waits["k"].begun == 1)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        await until(lambda: backend.waits["k"].cancelled == 1)
        assert (await client.list_tools()).tools != []  # the connection goes on
    await spent(built, 1)  # no client saw a result: the reserve


@legacy
async def test_a_session_that_ended_elsewhere_is_reported_as_such(chat: Chat, mode: str):
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

    async with connected(built, mode, elicitation_callback=elicited) as client, asyncio.timeout(60):
        assert text_of(await client.call_tool("ask")) == "accept: Ada"
    assert len(backend.calls("ask")) == 2
    await spent(built, 1)
