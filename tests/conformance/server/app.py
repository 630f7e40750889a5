"""An MCP server that has everything: what the official conformance suite asks for, made with the official SDK.

It has no authentication and charges nothing; it is what a sidecar stands in front of.
"""

from __future__ import annotations

from typing import Any, Final

from mcp.server.mcpserver import MCPServer, RequestStateSecurity
from starlette.applications import Starlette

from tests.conformance.server.contents import add_contents, schema_tool
from tests.conformance.server.conversations import add_conversations
from tests.conformance.server.jobs import Tasks
from tests.conformance.server.replay import Replay
from tests.conformance.server.rounds import add_rounds

PATH: Final = "/mcp"
RETRY: Final = 100
"""Milliseconds after which a client whose stream was closed comes back."""


def make_server() -> MCPServer[Any]:
    """The server."""
    server: MCPServer[Any] = MCPServer(
        "everything",
        title="Everything that the protocol has",
        version="1.0.0",
        instructions="Call what you like; it is all made up.",
        log_level="ERROR",
        tools=[schema_tool()],
        extensions=[Tasks()],
        request_state_security=RequestStateSecurity(keys=[b"one key for all who serve this, as a fleet has"]),
    )
    add_contents(server)
    add_conversations(server)
    add_rounds(server)
    return server


def make_app() -> Starlette:
    """The ASGI application: both eras at `PATH`, with streams that can be resumed; foreign Hosts are refused."""
    return make_server().streamable_http_app(
        streamable_http_path=PATH, event_store=Replay(), retry_interval=RETRY, host="127.0.0.1"
    )
