"""A StoreInspect-like MCP server without authentication: the demo's backend.

All data is invented, fixed and below `.example`; the same arguments always give the same answer. Three domains and a
contact misbehave on purpose, to show and test failed calls. The backend counts and charges nothing: that is the
sidecar's task, and an operator starts from a backend without a policy.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Annotated, Any, Final

import uvicorn
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import ToolAnnotations
from pydantic import Field
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from demo.catalogue import (
    CATEGORIES,
    CONTACTS,
    COUNTRIES,
    STORES,
    Category,
    Preview,
    PreviewRows,
    Revealed,
    Store,
    StoreRows,
    Taxonomy,
)
from sidecar import __version__

PATH: Final = "/mcp"
BACKSTAGE: Final = "/demo"
"""Path at which the story reads counts and changes the backend's behaviour; not part of the protocol."""
SLOW_DOMAIN: Final = "slow.example"
"""Domain for which `get_shopify_store` takes `Backend.slow` seconds."""
SLOW_CONTACT: Final = "c80"
"""Contact for which `reveal_contacts` takes as long."""
BROKEN_DOMAIN: Final = "broken.example"
"""Domain for which `get_shopify_store` fails: a tool result with isError."""
HUGE_DOMAIN: Final = "huge.example"
"""Domain for which `get_shopify_store` answers `Backend.huge` bytes of description."""


# --- the server --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ReceivedMessage:
    """One received message; header names are lower-case."""

    method: str
    tool: str | None
    arguments: dict[str, Any]
    headers: dict[str, str]


@dataclass(slots=True)
class Backend:
    """Behaviour of the backend, and the messages that it has received.

    Attributes:
        slow: seconds that `SLOW_DOMAIN` and `SLOW_CONTACT` take.
        huge: bytes of description that `HUGE_DOMAIN` has.
        json_response: answer the older revisions with JSON instead of an event stream.
        locked: answer 401 to every message from now on, as a backend with a revoked API key does.
        requests: number of HTTP requests received, valid or not: shows that a refused call never arrived.
        seen: every valid message, oldest first. It grows without a limit, which suits a demo and tests only.
    """

    slow: float = 30.0
    huge: int = 1 << 20
    json_response: bool = False
    locked: bool = False
    requests: int = 0
    seen: list[ReceivedMessage] = field(default_factory=list)

    def calls(self, tool: str) -> list[ReceivedMessage]:
        """Return the received calls of one tool."""
        return [seen for seen in self.seen if seen.tool == tool]

    def server(self) -> MCPServer[Any]:
        """Return a new MCP server that records into the same `seen`."""
        server: MCPServer[Any] = MCPServer(
            "storeinspect-demo",
            title="Store and contact intelligence (demo)",
            version=__version__,
            log_level="WARNING",
            middleware=[self._record],
        )
        _add_store_tools(server, self)
        _add_contact_tools(server, self)
        server.resource("docs://handbook", mime_type="text/plain")(_handbook)
        return server

    def app(self, host: str = "127.0.0.1") -> Starlette:
        """Return the ASGI application, with the protocol at `PATH`; on loopback it refuses foreign Hosts."""
        app = self.server().streamable_http_app(streamable_http_path=PATH, json_response=self.json_response, host=host)
        app.add_middleware(_RequestGate, backend=self)
        app.add_route(BACKSTAGE, self._backstage, methods=["GET", "POST"])
        return app

    async def _backstage(self, request: Request) -> Response:
        """Change `slow`, `huge` and `locked` if requested, and return the counts."""
        if request.method == "POST":
            wanted = await request.json()
            self.slow = float(wanted.get("slow", self.slow))
            self.huge = int(wanted.get("huge", self.huge))
            self.locked = bool(wanted.get("locked", self.locked))
        called = Counter(seen.tool for seen in self.seen if seen.tool is not None)
        return JSONResponse({"requests": self.requests, "tool_calls": called.total(), "tools": dict(called)})

    async def _record(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        params = dict(ctx.params or {})
        called = ctx.method == "tools/call"
        self.seen.append(
            ReceivedMessage(
                method=ctx.method,
                tool=params.get("name") if called else None,
                arguments=dict(params.get("arguments") or {}) if called else {},
                headers=dict(ctx.request.headers) if ctx.request is not None else {},
            )
        )
        return await call_next(ctx)


_READS: Final = ToolAnnotations(read_only_hint=True)
_Limit = Annotated[int, Field(ge=1, le=100, description="Rows at most.")]


def _add_store_tools(server: MCPServer[Any], backend: Backend) -> None:
    @server.tool(annotations=_READS)
    def list_taxonomy() -> Taxonomy:
        """List the categories and countries that stores can be searched by."""
        return Taxonomy(categories=list(CATEGORIES), countries=list(COUNTRIES))

    @server.tool(annotations=_READS)
    async def get_shopify_store(domain: str) -> Store:
        """Show one store by its domain."""
        if domain == SLOW_DOMAIN:
            await asyncio.sleep(backend.slow)
            return STORES["coffee-1.example"]
        if domain == BROKEN_DOMAIN:
            raise ToolError("The store index is being rebuilt.")
        if domain == HUGE_DOMAIN:
            return STORES["coffee-1.example"].model_copy(update={"description": "x" * backend.huge})
        store = STORES.get(domain)
        if store is None:
            raise ToolError("There is no store of this domain.")
        return store

    @server.tool(annotations=_READS)
    def search_shopify_stores(
        query: str = "", category: Category | None = None, country: str | None = None, limit: _Limit = 25
    ) -> StoreRows:
        """Search stores by words in their name, by category and country."""
        found = [
            store
            for store in STORES.values()
            if category in (None, store.category) and country in (None, store.country) and _says(query, store.name)
        ]
        return StoreRows(rows=found[:limit], total=len(found))

    @server.tool(annotations=_READS)
    async def enrich_shopify_domains(domains: list[str], ctx: Context) -> StoreRows:
        """Show the known data of several domains; reports progress to callers that ask for it."""
        for done, _ in enumerate(domains, start=1):
            await ctx.report_progress(done, len(domains))
        found = [STORES[domain] for domain in dict.fromkeys(domains) if domain in STORES]
        return StoreRows(rows=found, total=len(found))


def _add_contact_tools(server: MCPServer[Any], backend: Backend) -> None:
    @server.tool(annotations=_READS)
    def search_shopify_contacts(query: str = "", domain: str | None = None, limit: _Limit = 25) -> PreviewRows:
        """Search contacts by words in their name, role or store; the previews have no channels."""
        found = [
            Preview(id=contact.id, domain=contact.domain, name=contact.name, role=contact.role)
            for contact in CONTACTS.values()
            if domain in (None, contact.domain)
            and _says(query, f"{contact.name} {contact.role} {STORES[contact.domain].name} {contact.domain}")
        ]
        return PreviewRows(rows=found[:limit], total=len(found))

    @server.tool(annotations=ToolAnnotations(read_only_hint=False, destructive_hint=False, idempotent_hint=True))
    async def reveal_contacts(
        contact_ids: list[str], confirm_spend_credits: bool = False, idempotency_key: str | None = None
    ) -> Revealed:
        """Show the channels of contacts. Costs one contact credit for each contact shown the first time."""
        # The sidecar checks the flag and prices a repeated call.
        del confirm_spend_credits, idempotency_key
        if SLOW_CONTACT in contact_ids:
            await asyncio.sleep(backend.slow)
        return Revealed(contacts=[CONTACTS[key] for key in dict.fromkeys(contact_ids) if key in CONTACTS])


def _says(query: str, text: str) -> bool:
    """Return whether a text has every word of a query, in any case."""
    return all(word in text.casefold() for word in query.casefold().split())


def _handbook() -> str:
    """Explain the data."""
    return "Everything here is invented."


class _RequestGate:
    """ASGI middleware: counts requests, and refuses them unread while the backend is locked."""

    def __init__(self, app: ASGIApp, backend: Backend) -> None:
        self._app = app
        self._backend = backend

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._app
        if scope["type"] == "http" and scope["path"] != BACKSTAGE:
            self._backend.requests += 1
            if self._backend.locked:
                app = PlainTextResponse("Unauthorized", status_code=401)
        await app(scope, receive, send)


# --- serving -----------------------------------------------------------------------------------


class _Server(uvicorn.Server):
    """Server that leaves signals to the surrounding program."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def serving(backend: Backend, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[str]:
    """Serve the backend in this event loop while the context is open; return its URL.

    Raises:
        OSError: the address cannot be bound.
        RuntimeError: the server ended during its start.
    """
    with socket.create_server((host, port)) as listener:
        # asyncio sets it only for its own sockets; without it every answer waits for an ACK.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        config = uvicorn.Config(
            backend.app(host), log_config=None, access_log=False, lifespan="on", timeout_graceful_shutdown=1
        )
        server = _Server(config)
        task = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            while not server.started:
                if task.done():
                    raise RuntimeError("the demo backend did not start")
                await asyncio.sleep(0.01)
            yield f"http://{host}:{listener.getsockname()[1]}{PATH}"
        finally:
            server.should_exit = True
            await task


async def _serve_forever(backend: Backend, host: str, port: int) -> None:
    async with serving(backend, host, port) as url:
        print(f"demo backend: {url}", flush=True)
        await asyncio.Event().wait()


def main(argv: list[str] | None = None) -> None:
    """Serve the backend until interrupted: `python -m demo.backend --port 8000`."""
    parser = argparse.ArgumentParser(prog="python -m demo.backend", description=main.__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--json", action="store_true", help="answer the older revisions with JSON, not event streams")
    parser.add_argument("--slow", type=float, default=30.0, help=f"seconds that {SLOW_DOMAIN} takes")
    options = parser.parse_args(argv)
    backend = Backend(slow=options.slow, json_response=options.json)
    with suppress(KeyboardInterrupt):
        asyncio.run(_serve_forever(backend, options.host, options.port))


if __name__ == "__main__":
    main()
