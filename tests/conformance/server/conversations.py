"""Tools that speak before they answer: progress, log messages, requests to the client, changes that are announced."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Annotated, Any, Final

from mcp.server.context import ServerRequestContext
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.prompts.base import Prompt
from mcp.shared.exceptions import MCPError
from mcp_types import (
    MISSING_REQUIRED_CLIENT_CAPABILITY,
    EmptyResult,
    SamplingMessage,
    SetLevelRequestParams,
    SubscribeRequestParams,
    TextContent,
    UnsubscribeRequestParams,
)
from pydantic import BaseModel, Field

from tests.conformance.server.contents import WATCHED

_STEP: Final = 0.02  # seconds between two messages, so that a proxy that buffers sees two


# --- reports -------------------------------------------------------------------------------------


async def with_logging(ctx: Context) -> str:
    """Logs three messages, then answers."""
    for said in ("began", "is half way", "has ended"):
        await ctx.log("info", f"The tool {said}.")
        await asyncio.sleep(_STEP)
    return "Three messages were logged."


async def with_progress(ctx: Context) -> str:
    """Reports its progress three times, then answers."""
    for progress in (0, 50, 100):
        await ctx.report_progress(progress, 100, f"{progress} of 100")
        await asyncio.sleep(_STEP)
    return "Progress was reported."


async def reconnection(ctx: Context) -> str:
    """Closes its stream before it answers: the client comes back for the rest."""
    await ctx.log("info", "The stream will be closed.")
    await ctx.close_sse_stream()
    await asyncio.sleep(0.3)  # three times what clients have to wait
    await ctx.log("info", "The client should be back.")
    return "The stream was resumed."


# --- requests to the client, in the revisions where a server sends them ---------------------------


class Person(BaseModel):
    """Name of a person."""

    username: str = Field(description="A name")
    email: str = Field(description="An address")


class Defaults(BaseModel):
    """Each primitive type with a default."""

    name: str = Field("John Doe", description="A string")
    age: int = Field(30, description="An integer")
    score: float = Field(95.5, description="A number")
    status: str = Field(
        "active", description="One of three", json_schema_extra={"enum": ["active", "inactive", "pending"]}
    )
    verified: bool = Field(True, description="A boolean")


_TITLED: Final[list[Any]] = [{"const": name, "title": name.capitalize()} for name in ("low", "medium", "high")]
_SIZES: Final = ["small", "medium", "large"]


class Choices(BaseModel):
    """Every way to say that there is a choice."""

    untitledSingle: str = Field(description="One", json_schema_extra={"enum": ["red", "green", "blue"]})
    titledSingle: str = Field(description="One, with titles", json_schema_extra={"oneOf": _TITLED})
    legacyEnum: Annotated[
        str, Field(description="One, with names", json_schema_extra={"enum": _SIZES, "enumNames": ["S", "M", "L"]})
    ]
    untitledMulti: list[str] = Field(
        description="Several", json_schema_extra={"items": {"type": "string", "enum": ["red", "green", "blue"]}}
    )
    titledMulti: list[str] = Field(description="Several, with titles", json_schema_extra={"items": {"anyOf": _TITLED}})


async def _asked(ctx: Context, message: str, schema: type[BaseModel]) -> str:
    answer = await ctx.elicit(message, schema)
    said = answer.data.model_dump_json() if answer.action == "accept" else "nothing"
    return f"{answer.action}: {said}"


async def sampling(prompt: str, ctx: Context) -> str:
    """Lets the client's model answer the prompt."""
    # Without the id the request would go to the server's own stream, which need not be open.
    said = await ctx.session.create_message(
        [SamplingMessage(role="user", content=TextContent(type="text", text=prompt))],
        max_tokens=100,
        related_request_id=ctx.request_id,
    )
    return said.content.text if isinstance(said.content, TextContent) else "The model said no text."


async def elicitation(message: str, ctx: Context) -> str:
    """Asks people who they are."""
    return await _asked(ctx, message, Person)


async def elicitation_defaults(ctx: Context) -> str:
    """Asks with a default for everything."""
    return await _asked(ctx, "Please check these.", Defaults)


async def elicitation_choices(ctx: Context) -> str:
    """Asks for choices of every kind."""
    return await _asked(ctx, "Please choose.", Choices)


async def missing_capability(ctx: Context) -> str:
    """Needs a client that has declared sampling."""
    declared = ctx.client_capabilities
    if declared is None or declared.sampling is None:
        raise MCPError(
            MISSING_REQUIRED_CLIENT_CAPABILITY,
            "This tool needs the client's sampling.",
            {"requiredCapabilities": {"sampling": {}}},
        )
    return "The client has declared sampling."


# --- changes -------------------------------------------------------------------------------------


async def change_tools(ctx: Context) -> str:
    """Changes the list of tools, and notifies all listeners."""
    ctx.mcp_server.add_tool(lambda: "gone", name="passing_tool", description="Is gone at once.")
    ctx.mcp_server.remove_tool("passing_tool")
    await ctx.notify_tools_changed()
    return "The list of tools has changed."


async def change_prompts(ctx: Context) -> str:
    """Changes the list of prompts, and notifies all listeners."""
    passing = Prompt.from_function(lambda: "gone", name="passing_prompt", description="Is gone at once.")
    ctx.mcp_server.add_prompt(passing)
    ctx.mcp_server.remove_prompt(passing.name)
    await ctx.notify_prompts_changed()
    return "The list of prompts has changed."


async def change_resource(ctx: Context) -> str:
    """Says that the watched resource has changed: to who listens, or to who has subscribed."""
    await ctx.notify_resource_updated(WATCHED)
    await ctx.session.send_resource_updated(WATCHED)
    return "The watched resource has changed."


TOOLS: Final[dict[str, Callable[..., Any]]] = {
    "test_tool_with_logging": with_logging,
    "test_logging_tool": with_logging,
    "test_tool_with_progress": with_progress,
    "test_reconnection": reconnection,
    "test_sampling": sampling,
    "test_elicitation": elicitation,
    "test_elicitation_sep1034_defaults": elicitation_defaults,
    "test_elicitation_sep1330_enums": elicitation_choices,
    "test_missing_capability": missing_capability,
    "test_trigger_tool_change": change_tools,
    "test_trigger_prompt_change": change_prompts,
    "change_watched_resource": change_resource,
}


def add_conversations(server: MCPServer[Any]) -> None:
    """Give the server everything in this file, and what the older revisions have in addition."""
    for name, tool in TOOLS.items():
        server.tool(name=name)(tool)
    subscribed: set[str] = set()

    async def set_level(ctx: ServerRequestContext[Any, Any], params: SetLevelRequestParams) -> EmptyResult:
        logging.getLogger(__name__).debug("level %s", params.level)
        return EmptyResult()

    async def subscribe(ctx: ServerRequestContext[Any, Any], params: SubscribeRequestParams) -> EmptyResult:
        subscribed.add(str(params.uri))
        return EmptyResult()

    async def unsubscribe(ctx: ServerRequestContext[Any, Any], params: UnsubscribeRequestParams) -> EmptyResult:
        subscribed.discard(str(params.uri))
        return EmptyResult()

    # The high-level server has no public place for the three methods that 2026-07-28 has removed.
    inner = server._lowlevel_server
    inner.add_request_handler("logging/setLevel", SetLevelRequestParams, set_level)
    inner.add_request_handler("resources/subscribe", SubscribeRequestParams, subscribe)
    inner.add_request_handler("resources/unsubscribe", UnsubscribeRequestParams, unsubscribe)
