"""A server that talks back, made with the official Python SDK; `chatter.mjs` is the same in TypeScript."""

from __future__ import annotations

import asyncio
import warnings
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Annotated, Any

import mcp_types as types
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.resolve import Elicit, Resolve
from mcp.server.streamable_http import EventCallback, EventId, EventMessage, EventStore, StreamId
from pydantic import BaseModel, Field
from starlette.applications import Starlette

from demo.backend import PATH, Backend

HANDBOOK = "docs://handbook"
NAMES = ("Ada", "Adele", "Grace")


class Answer(BaseModel):
    """Input that the user is asked for."""

    name: str


def _ask() -> Elicit[Answer]:
    return Elicit("What is your name?", Answer)


@dataclass(slots=True)
class Waits:
    """Outcomes of the calls of `wait` with one key."""

    begun: int = 0
    cancelled: int = 0


@dataclass(slots=True)
class Chatter(Backend):
    """A server that asks its client, reports, logs, notifies and can be cancelled.

    Attributes:
        stateless: the older revisions without sessions.
        resumable: streams of the older revisions have event ids, and clients may come back for the rest.
        gates: what `steps` and `wait` wait for, by key.
        waits: what became of calls of `wait`, by key.
        events: what is kept of streams, of all sessions.
    """

    stateless: bool = False
    resumable: bool = False
    gates: dict[str, asyncio.Event] = field(default_factory=lambda: defaultdict(asyncio.Event))
    waits: dict[str, Waits] = field(default_factory=lambda: defaultdict(Waits))
    events: Events = field(default_factory=lambda: Events())

    def app(self, host: str = "127.0.0.1") -> Starlette:
        return self.server().streamable_http_app(
            streamable_http_path=PATH,
            json_response=self.json_response,
            stateless_http=self.stateless,
            event_store=self.events if self.resumable else None,
            retry_interval=200 if self.resumable else None,
            host=host,
        )

    def server(self) -> MCPServer[Any]:
        server: MCPServer[Any] = MCPServer(
            "chatter", version="1.2.3", instructions="Talk.", log_level="CRITICAL", middleware=[self._record]
        )
        _add_plain_tools(server)
        _add_talking_tools(server)
        _add_slow_tools(server, self)
        _add_documents(server)
        return server


def _add_plain_tools(server: MCPServer[Any]) -> None:
    @server.tool()
    async def echo(value: Any = None) -> dict[str, Any]:
        """Say it again."""
        return {"value": value}

    @server.tool()
    async def route(region: Annotated[str, Field(json_schema_extra={"x-mcp-header": "Region"})]) -> str:
        """Say where it went."""
        return f"to {region}"

    @server.tool(annotations=types.ToolAnnotations(read_only_hint=True))
    async def fail() -> str:
        """Fail."""
        raise ToolError("it broke")


def _add_talking_tools(server: MCPServer[Any]) -> None:
    @server.tool()
    async def ask(answer: Annotated[Answer, Resolve(_ask)]) -> str:
        """Ask for a name."""
        return f"accept: {answer.name}"

    @server.tool()
    async def sample(ctx: Context) -> str:
        """Ask for a text."""
        message = types.SamplingMessage(role="user", content=types.TextContent(type="text", text="Say something."))
        with warnings.catch_warnings(action="ignore"):  # deprecated, and still spoken
            said = await ctx.session.create_message([message], max_tokens=10, related_request_id=ctx.request_id)
        assert isinstance(said.content, types.TextContent)
        return said.content.text

    @server.tool()
    async def tell(ctx: Context) -> str:
        """Log something."""
        await ctx.log("info", "something happened")
        return "notified"

    @server.tool()
    async def change(ctx: Context) -> str:
        """Say that the tools have changed."""
        await ctx.notify_tools_changed()
        await ctx.session.send_tool_list_changed()
        return "changed"

    @server.tool()
    async def touch(ctx: Context) -> str:
        """Say that the handbook has changed."""
        await ctx.notify_resource_updated(HANDBOOK)
        return "touched"


def _add_slow_tools(server: MCPServer[Any], chatter: Chatter) -> None:
    @server.tool()
    async def steps(key: str, ctx: Context) -> str:
        """Half of it, and the rest after `proceed`."""
        await ctx.report_progress(1, 2, "half")
        await chatter.gates[key].wait()
        await ctx.report_progress(2, 2, "whole")
        return "done"

    @server.tool()
    async def proceed(key: str) -> str:
        """Let the steps of this key proceed."""
        chatter.gates[key].set()
        return "proceeding"

    @server.tool()
    async def wait(key: str) -> str:
        """Wait to be cancelled, or for `proceed`."""
        seen = chatter.waits[key]
        seen.begun += 1
        try:
            await chatter.gates[key].wait()
        except asyncio.CancelledError:
            seen.cancelled += 1
            raise
        return "waited"

    @server.tool()
    async def seen(key: str) -> dict[str, int]:
        """Return the outcomes of the waits of this key."""
        return {"begun": chatter.waits[key].begun, "cancelled": chatter.waits[key].cancelled}

    @server.tool()
    async def drop(ctx: Context) -> str:
        """Close the stream before answering."""
        await ctx.close_sse_stream()
        return "still here"


def _add_documents(server: MCPServer[Any]) -> None:
    @server.resource(HANDBOOK, name="handbook", mime_type="text/plain")
    def handbook() -> str:
        return "Everything here is invented."

    @server.resource("docs://pages/{page}", name="page", mime_type="text/plain")
    def page(page: str) -> str:
        return f"page {page}"

    @server.prompt()
    def greeting(name: str) -> str:
        """Greet a person."""
        return f"Greet {name}."

    async def complete(ref: object, argument: types.CompletionArgument, context: object) -> types.Completion:
        return types.Completion(values=[name for name in NAMES if name.startswith(argument.value)], has_more=False)

    server.completion()(complete)


class Events(EventStore):
    """Events by stream, for clients that come back."""

    def __init__(self) -> None:
        self._events: list[tuple[StreamId, types.JSONRPCMessage | None]] = []

    @property
    def responses(self) -> int:
        """Number of responses that are kept."""
        return sum(isinstance(message, types.JSONRPCResponse) for _, message in self._events)

    async def store_event(self, stream_id: StreamId, message: types.JSONRPCMessage | None) -> EventId:
        self._events.append((stream_id, message))
        return str(len(self._events))

    async def replay_events_after(self, last_event_id: EventId, send_callback: EventCallback) -> StreamId | None:
        last = int(last_event_id)
        stream, _ = self._events[last - 1]
        for number, (owner, message) in enumerate(list(self._events), 1):
            if number > last and owner == stream and message is not None:
                await send_callback(EventMessage(message, str(number)))
        return stream
