"""Tools and a prompt that ask for input and are called again with it (2026-07-28, basic/patterns/mrtr)."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

from mcp.server.mcpserver import Context, MCPServer
from mcp_types import (
    CreateMessageRequest,
    CreateMessageRequestParams,
    CreateMessageResult,
    ElicitRequest,
    ElicitRequestFormParams,
    ElicitResult,
    InputRequest,
    InputRequiredResult,
    ListRootsRequest,
    ListRootsResult,
    SamplingMessage,
    TextContent,
)

Round = str | InputRequiredResult
"""Reply of a tool in one round: its answer, or the input that it needs first."""


def form(message: str, field: str, type_: str = "string") -> ElicitRequest:
    """Ask the person for one field."""
    schema = {"type": "object", "properties": {field: {"type": type_}}, "required": [field]}
    return ElicitRequest(params=ElicitRequestFormParams(message=message, requested_schema=schema))


def prompt(text: str) -> CreateMessageRequest:
    """Ask the client's model."""
    message = SamplingMessage(role="user", content=TextContent(type="text", text=text))
    return CreateMessageRequest(params=CreateMessageRequestParams(messages=[message], max_tokens=100))


def _need(state: str | None = None, **requests: InputRequest) -> InputRequiredResult:
    return InputRequiredResult(input_requests=requests, request_state=state)


def filled(ctx: Context, key: str, field: str) -> str | None:
    """The field of an accepted form; None when this round did not bring it."""
    answer = (ctx.input_responses or {}).get(key)
    value = answer.content.get(field) if isinstance(answer, ElicitResult) and answer.content else None
    return None if value is None else str(value)


async def ask_name(ctx: Context) -> Round:
    """Asks for a name and greets."""
    name = filled(ctx, "user_name", "name")
    return _need(user_name=form("What is your name?", "name")) if name is None else f"Hello, {name}!"


async def ask_model(ctx: Context) -> Round:
    """Asks the client's model for a capital."""
    answer = (ctx.input_responses or {}).get("capital_question")
    if isinstance(answer, CreateMessageResult) and isinstance(answer.content, TextContent):
        return f"The model says: {answer.content.text}"
    return _need(capital_question=prompt("What is the capital of France?"))


async def ask_roots(ctx: Context) -> Round:
    """Asks for the client's roots and counts them."""
    answer = (ctx.input_responses or {}).get("client_roots")
    if isinstance(answer, ListRootsResult):
        return f"{len(answer.roots)} roots: {', '.join(str(root.uri) for root in answer.roots)}"
    return _need(client_roots=ListRootsRequest())


async def ask_with_state(ctx: Context) -> Round:
    """Asks for a confirmation and wants its own state back with it."""
    if filled(ctx, "confirm", "ok") is not None and ctx.request_state == "asked":
        return "state-ok"
    return _need("asked", confirm=form("Go on?", "ok", "boolean"))


async def ask_everything(ctx: Context) -> Round:
    """Asks the person, the model and the client at once."""
    asked: dict[str, InputRequest] = {
        "user_name": form("What is your name?", "name"),
        "greeting": prompt("Generate a greeting"),
        "client_roots": ListRootsRequest(),
    }
    if asked.keys() <= (ctx.input_responses or {}).keys():
        return "All of it has arrived."
    return _need("everything", **asked)


async def ask_in_turn(ctx: Context) -> Round:
    """Asks for a name, then for a colour, and remembers the name in its state."""
    state: dict[str, Any] = json.loads(ctx.request_state or "{}")
    name = state.get("name") or filled(ctx, "step1", "name")
    color = filled(ctx, "step2", "color")
    if name is None:
        return _need(json.dumps({}), step1=form("Step 1: What is your name?", "name"))
    if color is None:
        return _need(json.dumps({"name": name}), step2=form("Step 2: What is your favorite color?", "color"))
    return f"{name} likes {color}."


async def ask_what_is_declared(ctx: Context) -> InputRequiredResult:
    """Asks only in the ways that the client has declared."""
    declared = ctx.client_capabilities
    asked: dict[str, InputRequest] = {}
    if declared is not None and declared.sampling is not None:
        asked["greeting"] = prompt("Generate a greeting")
    if declared is not None and declared.elicitation is not None:
        asked["user_name"] = form("What is your name?", "name")
    return _need("declared", **asked)


async def ask_on_a_stream(ctx: Context) -> Round:
    """Reports progress, then asks: the request is part of the result, not of the stream."""
    await ctx.report_progress(1, 2, "asking")
    return await ask_name(ctx)


async def prompt_with_context(ctx: Context) -> Round:
    """A prompt that asks what it is about."""
    about = filled(ctx, "user_context", "context")
    if about is None:
        return _need(user_context=form("What context should the prompt use?", "context"))
    return f"Answer in this context: {about}"


TOOLS: Final[dict[str, Callable[..., Any]]] = {
    "test_input_required_result_elicitation": ask_name,
    "test_input_required_result_sampling": ask_model,
    "test_input_required_result_list_roots": ask_roots,
    "test_input_required_result_request_state": ask_with_state,
    "test_input_required_result_tampered_state": ask_with_state,
    "test_input_required_result_multiple_inputs": ask_everything,
    "test_input_required_result_multi_round": ask_in_turn,
    "test_input_required_result_capabilities": ask_what_is_declared,
    "test_streaming_elicitation": ask_on_a_stream,
}


def add_rounds(server: MCPServer[Any]) -> None:
    """Give the server everything in this file."""
    for name, tool in TOOLS.items():
        server.tool(name=name)(tool)
    server.prompt(name="test_input_required_result_prompt")(prompt_with_context)
