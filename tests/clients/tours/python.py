"""The tour of `tour.mjs` with the official Python client: the same steps, and the same document."""

from __future__ import annotations

import asyncio
import json
import uuid
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import httpx2
import mcp_types as types
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client

from tests.support.rig import MODERN
from tests.support.store import until

Json = dict[str, Any]

HANDBOOK: Final = "docs://handbook"
VALUES: Final[list[Any]] = [
    'naïve ☕ 🦜 \u2028 \0 "quoted" \\ </script>',
    {"nested": [1, 2.5, -0.001, 1e21, 2**53 - 1, True, False, None, {}, []], "": "empty name", "ключ": "значение"},
    "x" * 300_000,
]


@dataclass(slots=True)
class Kit:
    """A connected client, and the notifications of its server."""

    client: Client
    logged: list[Any] = field(default_factory=list)
    notes: list[Any] = field(default_factory=list)

    async def call(self, name: str, arguments: Json | None = None, **options: Any) -> types.CallToolResult:
        return await self.client.call_tool(name, arguments or {}, **options)

    async def until_notified(self, tool: str, method: str) -> str:
        """Call a tool that notifies until the notification is here: its stream opens in parallel to the calls."""
        async with asyncio.timeout(60):
            while method not in (found := [getattr(note, "method", None) for note in self.notes]):
                await self.call(tool)
                await asyncio.sleep(0.02)
        return f"{method}, of {sorted(set(map(str, found)))}"


@asynccontextmanager
async def connected(url: str, headers: Mapping[str, str], mode: str) -> AsyncIterator[Kit]:
    """The client with these headers on every request; `mode` is `legacy`, `auto` or `2026-07-28`."""
    kit: Kit

    async def elicited(context: Any, params: types.ElicitRequestParams) -> types.ElicitResult:
        return types.ElicitResult(action="accept", content={"name": "Ada"})

    async def sampled(context: Any, params: types.CreateMessageRequestParams) -> types.CreateMessageResult:
        said = types.TextContent(type="text", text="Something.")
        return types.CreateMessageResult(role="assistant", content=said, model="none")

    async def logged(params: types.LoggingMessageNotificationParams) -> None:
        kit.logged.append(params.model_dump(exclude_none=True))

    async def notify(message: Any) -> None:
        kit.notes.append(message)

    options: Json = {
        "mode": mode,
        "elicitation_callback": elicited,
        "sampling_callback": sampled,
        "logging_callback": logged,
        "message_handler": notify,
    }
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(httpx2.AsyncClient(headers=dict(headers), timeout=30))
        client = Client(streamable_http_client(url, http_client=http), **options)
        kit = Kit(client)
        await stack.enter_async_context(client)
        yield kit


def _text(result: types.CallToolResult) -> Json:
    [content] = result.content
    assert isinstance(content, types.TextContent)
    return {"text": content.text[:100], "length": len(content.text), "isError": result.is_error}


def _dump(result: Any, *without: str) -> Json:
    """A result without the hints that tell a cache what to do with it."""
    found = dict(result.model_dump(by_alias=True, exclude_none=True, mode="json"))
    for name in ("_meta", "ttlMs", "cacheScope", *without):
        found.pop(name, None)
    return found


# --- the steps -----------------------------------------------------------------------------------


async def ping(kit: Kit) -> Json:
    return _dump(await kit.client.send_ping())


async def tools(kit: Kit) -> list[Json]:
    return [_dump(tool) for tool in (await kit.client.list_tools()).tools]


async def echo(kit: Kit) -> list[Json]:
    results = await asyncio.gather(*(kit.call("echo", {"value": value}) for value in VALUES))
    return [
        {"same": (result.structured_content or {}).get("value") == value, **_text(result)}
        for value, result in zip(VALUES, results, strict=True)
    ]


async def route(kit: Kit) -> Json:
    """Clients of 2026-07-28 say this argument in a header, too."""
    return _text(await kit.call("route", {"region": "östlich & x"}))


async def fail(kit: Kit) -> Json:
    return _text(await kit.call("fail"))


async def steps(kit: Kit) -> Json:
    """The server says the rest only once the client has seen the half: a proxy that buffers waits for ever."""
    key, seen = uuid.uuid4().hex, list[Any]()
    half = asyncio.Event()

    async def progressed(progress: float, total: float | None, message: str | None) -> None:
        seen.append([progress, total, message])
        half.set()

    call = asyncio.create_task(kit.call("steps", {"key": key}, progress_callback=progressed))
    async with asyncio.timeout(60):
        await half.wait()
        await kit.call("proceed", {"key": key})
        return {"seen": seen, **_text(await call)}


async def ask(kit: Kit) -> Json:
    return _text(await kit.call("ask"))


async def sample(kit: Kit) -> Json:
    return _text(await kit.call("sample"))


async def logging(kit: Kit) -> Json:
    await kit.client.set_logging_level("info")
    result = await kit.call("tell")
    await until(lambda: bool(kit.logged))
    return {"logged": kit.logged, **_text(result)}


async def change(kit: Kit) -> str:
    return await kit.until_notified("change", "notifications/tools/list_changed")


async def cancel(kit: Kit) -> Json:
    key = uuid.uuid4().hex

    async def counted(what: str) -> Json:
        async with asyncio.timeout(60):
            while True:
                counts = dict((await kit.call("seen", {"key": key})).structured_content or {})
                if counts[what]:
                    return counts
                await asyncio.sleep(0.01)

    call = asyncio.create_task(kit.call("wait", {"key": key}))
    await counted("begun")
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    return await counted("cancelled")


async def resources(kit: Kit) -> Json:
    client = kit.client
    return {
        "resources": _dump(await client.list_resources()),
        "templates": _dump(await client.list_resource_templates()),
        "handbook": _dump(await client.read_resource(HANDBOOK)),
        "page": _dump(await client.read_resource("docs://pages/one")),
        "missing": await _attempt(client.read_resource("docs://nothing")),
    }


async def prompts(kit: Kit) -> Json:
    listed = _dump(await kit.client.list_prompts())
    return {"listed": listed, "got": _dump(await kit.client.get_prompt("greeting", {"name": "Ada"}))}


async def completion(kit: Kit) -> Json:
    ref = types.PromptReference(type="ref/prompt", name="greeting")
    return _dump(await kit.client.complete(ref, {"name": "name", "value": "Ad"}))


async def updates(kit: Kit) -> str:
    if kit.client.protocol_version == MODERN:
        async with kit.client.listen(resource_subscriptions=[HANDBOOK]) as stream, asyncio.timeout(60):
            await kit.call("touch")
            return repr(await anext(stream))
    await kit.client.subscribe_resource(HANDBOOK)
    notified = await kit.until_notified("touch", "notifications/resources/updated")
    await kit.client.unsubscribe_resource(HANDBOOK)
    return notified


async def resume(kit: Kit) -> Json:
    """The server closes the stream of the call; the client comes back for the answer by itself."""
    async with asyncio.timeout(60):
        return _text(await kit.call("drop"))


STEPS: Final[Mapping[str, Callable[[Kit], Awaitable[Any]]]] = {
    step.__name__: step
    for step in (
        *(ping, tools, echo, route, fail, steps, ask, sample, logging),
        *(change, cancel, resources, prompts, completion, updates, resume),
    )
}


async def _attempt(step: Awaitable[Any]) -> Any:
    """Return the outcome; an error without its message, which may differ."""
    try:
        found = await step
    except MCPError as error:
        return {"failed": error.error.code}
    return _dump(found) if isinstance(found, types.Result) else found


async def tour(url: str, headers: Mapping[str, str], mode: str, chosen: list[str]) -> Json:
    """Connect, take these steps in order, and say what came of each."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # much of the older revisions is deprecated
        async with connected(url, headers, mode) as kit:
            client = kit.client
            found: Json = {"connected": {"era": client.protocol_version, "instructions": client.instructions}}
            if mode != "2026-07-28":  # this mode asks for nothing at the start
                found["connected"] |= {
                    "server": client.server_info and _dump(client.server_info),
                    "capabilities": _dump(client.server_capabilities),
                }
            for name in chosen:
                found[name] = await _attempt(STEPS[name](kit))
    return dict(json.loads(json.dumps(found)))
