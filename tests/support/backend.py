"""A backend that does what a test tells it, byte by byte, and remembers what it was sent.

Left alone it is a small StoreInspect-like MCP server that speaks every revision the sidecar serves.
A test makes it misbehave by handing it a `Behaviour` for the next request or for one method or tool:

    async with Backend() as backend:
        backend.once(reset())                          # the next request: the connection breaks
        backend.on("reveal_contacts", tool_error())    # every call of this tool fails
        ...
        assert [run.tool for run in backend.executed] == ["search_shopify_stores"]

It reads requests with its own few lines instead of a server library, so that what it records is what
was on the wire (`Received.raw`), and so that it can answer what no library would send.
"""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import struct
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

Json = dict[str, Any]
Behaviour = Callable[["Turn"], Awaitable[None]]

STATELESS = "2026-07-28"
TOOLS: dict[str, Json] = {
    "get_usage": {},
    "list_taxonomy": {},
    "get_shopify_store": {"domain": {"type": "string"}},
    "search_shopify_stores": {"query": {"type": "string"}, "limit": {"type": "integer"}},
    "enrich_shopify_domains": {"domains": {"type": "array", "items": {"type": "string"}}},
    "search_shopify_contacts": {"query": {"type": "string"}, "limit": {"type": "integer"}},
    "reveal_contacts": {
        "contact_ids": {"type": "array", "items": {"type": "string"}},
        "confirm_spend_credits": {"type": "boolean"},
    },
}
"""The tools listed, with the properties of their arguments."""


@dataclass(frozen=True, slots=True)
class Received:
    """One request as it was on the wire; header names are lower-case, in the order sent."""

    raw: bytes
    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    connection: int

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name.lower()]

    def header(self, name: str) -> str | None:
        """The header's only value; None without one. A repeated header fails the test."""
        values = self.all(name)
        assert len(values) < 2, f"{name} was sent {len(values)} times"
        return values[0] if values else None

    @property
    def message(self) -> Json:
        """The JSON-RPC message in the body; empty without a body."""
        return json.loads(self.body) if self.body else {}

    @property
    def stateless(self) -> bool:
        return self.header("mcp-protocol-version") == STATELESS

    @property
    def own(self) -> bool:
        """True for requests of the sidecar itself, such as probes."""
        return (self.header("user-agent") or "").startswith("mcp-policy-sidecar/")


@dataclass(frozen=True, slots=True)
class Run:
    """One tool that really ran."""

    tool: str
    arguments: Json
    account: str | None


@dataclass(slots=True)
class Turn:
    """One request and the way to answer it. Nothing is added to what a behaviour writes."""

    backend: Backend
    request: Received
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    keep: bool = True  # whether the connection serves another request afterwards

    async def write(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def reply(
        self, status: int, body: bytes = b"", headers: Iterable[tuple[str, str]] = (), media: str | None = None
    ) -> None:
        """A whole answer with its length."""
        lines = [f"HTTP/1.1 {status} Scripted", f"Content-Length: {len(body)}"]
        lines += [f"Content-Type: {media}"] if media else []
        lines += [f"{name}: {value}" for name, value in headers]
        await self.write("\r\n".join([*lines, "", ""]).encode() + body)

    async def json(self, message: Json, status: int = 200, headers: Iterable[tuple[str, str]] = ()) -> None:
        await self.reply(status, json.dumps(message).encode(), headers, "application/json")

    async def result(self, result: Json, headers: Iterable[tuple[str, str]] = ()) -> None:
        """A JSON-RPC result for this request, complete in the revision that asks for it."""
        if self.request.stateless:
            result = {"resultType": "complete", **result}
        await self.json(self.response({"result": result}), headers=headers)

    def response(self, outcome: Json) -> Json:
        return {"jsonrpc": "2.0", "id": self.request.message.get("id"), **outcome}

    async def open_stream(self, headers: Iterable[tuple[str, str]] = ()) -> None:
        """The head of an event stream, chunked, as MCP servers send it."""
        lines = ["HTTP/1.1 200 OK", "Content-Type: text/event-stream", "Transfer-Encoding: chunked"]
        lines += [f"{name}: {value}" for name, value in headers]
        await self.write("\r\n".join([*lines, "", ""]).encode())

    async def chunk(self, data: bytes) -> None:
        await self.write(b"%x\r\n%s\r\n" % (len(data), data))

    async def event(self, message: Json | str, event_id: str | None = None) -> None:
        """One server-sent event: a message, or data as given."""
        data = message if isinstance(message, str) else json.dumps(message)
        lines = ([f"id: {event_id}"] if event_id is not None else []) + ["event: message", f"data: {data}"]
        await self.chunk(("\n".join(lines) + "\n\n").encode())

    async def end_stream(self) -> None:
        await self.write(b"0\r\n\r\n")

    def reset(self) -> None:
        """Break the connection with a RST, as a killed process with unread data does."""
        raw: socket.socket = self.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self) -> None:
        """Close the connection after what was written."""
        self.keep = False
        self.writer.close()

    async def hang_up(self) -> None:
        """Wait until the other side closes the connection, and remember that it did."""
        try:
            while await self.reader.read(65536):
                pass
        except ConnectionError:
            pass
        self.keep = False
        self.backend.hang_ups.append(self.request)


@dataclass(slots=True)
class Backend:
    """The scripted server. Use it as an async context manager; `url` is known inside.

    Attributes:
        sessions: whether `initialize` opens a session (revisions before 2026-07-28), GET opens a
            stream and DELETE ends the session.
        rows: rows that a search returns; None returns as many as its limit asked for.
        contacts: ids that a reveal delivers; None delivers every id asked for.
        received: every request of the sidecar's clients, in order.
        own: every request that the sidecar made in its own name; the next behaviours are not meant for it.
        executed: every tool that ran, in order: what must equal what was authorised and charged.
        hang_ups: requests whose client left before the answer ended (see `Turn.hang_up`).
        streams: open GET streams, for a test to push events.
        connections: how many connections were ever accepted.
        host: the address it listens on.
        faults: what went wrong inside a behaviour; leaving the context raises the first.
    """

    sessions: bool = False
    tls: ssl.SSLContext | None = None
    path: str = "/mcp"
    rows: int | None = None
    contacts: list[str] | None = None
    received: list[Received] = field(default_factory=list)
    own: list[Received] = field(default_factory=list)
    executed: list[Run] = field(default_factory=list)
    hang_ups: list[Received] = field(default_factory=list)
    streams: list[Turn] = field(default_factory=list)
    connections: int = 0
    faults: list[Exception] = field(default_factory=list)
    port: int = 0
    host: str = "127.0.0.1"
    _next: deque[Behaviour] = field(default_factory=deque)
    _rules: dict[str, Behaviour] = field(default_factory=dict)
    _server: asyncio.Server | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()
        if error is None and self.faults:
            raise self.faults[0]

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://{self.host}:{self.port}{self.path}"

    async def start(self) -> None:
        """Listen; a backend that was stopped comes back on its old port."""
        self._server = await asyncio.start_server(self._accept, self.host, self.port, ssl=self.tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening and break every connection."""
        if self._server is not None:
            self._server.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._server = None

    def once(self, *behaviours: Behaviour) -> None:
        """Behaviours for the next requests, one each, before any rule."""
        self._next.extend(behaviours)

    def on(self, name: str, behaviour: Behaviour) -> None:
        """A behaviour for every call of one tool or method (`GET` and `DELETE` count as methods)."""
        self._rules[name] = behaviour

    @property
    def last(self) -> Received:
        return self.received[-1]

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            await self._converse(reader, writer, self.connections)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client left, or the test ended
        except (AssertionError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as fault:
            self.faults.append(fault)
        finally:
            self._tasks.discard(task)
            if not writer.is_closing():
                writer.transport.abort()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        keep = True
        while keep:
            request = await read_request(reader, number)
            if request is None:
                return
            (self.own if request.own else self.received).append(request)
            turn = Turn(self, request, reader, writer)
            await self._behaviour(request)(turn)
            keep = turn.keep

    def _behaviour(self, request: Received) -> Behaviour:
        if self._next and not request.own:
            return self._next.popleft()
        if request.method != "POST":
            return self._rules.get(request.method, _serve)
        message = request.message
        tool = message["params"]["name"] if message.get("method") == "tools/call" else None
        return self._rules.get(tool or "") or self._rules.get(message.get("method", "")) or _serve


async def read_request(reader: asyncio.StreamReader, connection: int) -> Received | None:
    """One request; None when the connection ends between requests."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as end:
        if end.partial:
            raise AssertionError(f"the connection ended within a request head: {end.partial!r}") from None
        return None
    first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    method, target, version = first.split(" ")
    assert version == "HTTP/1.1", first
    headers = tuple((name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines))
    lengths = [int(value) for name, value in headers if name == "content-length"]
    assert len(lengths) <= 1, "the request has two lengths"
    assert "transfer-encoding" not in dict(headers), "requests are forwarded with their length"
    body = await reader.readexactly(lengths[0]) if lengths else b""
    return Received(head + body, method, target, headers, body, connection)


# --- the server it is when left alone ------------------------------------------------------------


async def _serve(turn: Turn) -> None:
    request = turn.request
    if request.target.partition("?")[0] != turn.backend.path:
        await turn.reply(404)
    elif request.method == "GET":
        await _stream(turn)
    elif request.method == "DELETE":
        await turn.reply(204 if turn.backend.sessions else 405)
    elif "id" not in request.message or "method" not in request.message:
        await turn.reply(202)
    else:
        await _answer(turn, request.message["method"], request.message.get("params") or {})


async def _stream(turn: Turn) -> None:
    if not turn.backend.sessions:
        return await turn.reply(405)
    await turn.open_stream()
    turn.backend.streams.append(turn)
    await turn.hang_up()
    turn.backend.streams.remove(turn)
    return None


async def _answer(turn: Turn, method: str, params: Json) -> None:
    server = {"name": "scripted", "version": "1"}
    capabilities = {"tools": {"listChanged": True}}
    if method == "initialize":
        session = [("Mcp-Session-Id", f"session-{uuid4().hex}")] if turn.backend.sessions else []
        version = params.get("protocolVersion", "2025-11-25")
        await turn.result({"protocolVersion": version, "capabilities": capabilities, "serverInfo": server}, session)
    elif method == "server/discover":
        await turn.result({"supportedVersions": [STATELESS], "capabilities": capabilities, "serverInfo": server})
    elif method == "ping":
        await turn.result({})
    elif method == "tools/list":
        listed = [
            {"name": name, "description": name, "inputSchema": {"type": "object", "properties": properties}}
            for name, properties in TOOLS.items()
        ]
        caching = {"ttlMs": 3_600_000, "cacheScope": "public"} if turn.request.stateless else {}
        await turn.result({"tools": listed, **caching})
    elif method == "tools/call" and params.get("name") in TOOLS:
        await turn.result(run(turn, params["name"], params.get("arguments") or {}))
    else:
        code, status = (-32602, 200) if method == "tools/call" else (-32601, 404 if turn.request.stateless else 200)
        await turn.json(turn.response({"error": {"code": code, "message": "unknown"}}), status)


def run(turn: Turn, tool: str, arguments: Json) -> Json:
    """Execute a tool: remember that it ran, and make its result."""
    backend = turn.backend
    backend.executed.append(Run(tool, arguments, turn.request.header("x-mcp-account")))
    if tool in ("search_shopify_stores", "search_shopify_contacts"):
        count = arguments.get("limit", 25) if backend.rows is None else backend.rows
        return tool_result({"rows": [{"id": f"row-{n}"} for n in range(count)]})
    if tool == "enrich_shopify_domains":
        return tool_result({"rows": [{"domain": domain} for domain in arguments.get("domains", [])]})
    if tool == "reveal_contacts":
        ids = arguments.get("contact_ids", []) if backend.contacts is None else backend.contacts
        return tool_result({"contacts": [{"id": each, "email": f"{each}@example.com"} for each in ids]})
    return tool_result({"tool": tool})


def tool_result(data: Mapping[str, Any], *, is_error: bool = False) -> Json:
    """A tool's result: structured content and the same as text."""
    structured = dict(data)
    return {
        "content": [{"type": "text", "text": json.dumps(structured)}],
        "structuredContent": structured,
        "isError": is_error,
    }


# --- behaviours ----------------------------------------------------------------------------------


def result(value: Json) -> Behaviour:
    """Answer this JSON-RPC result."""

    async def behave(turn: Turn) -> None:
        await turn.result(value)

    return behave


def tool_error(text: str = "it failed") -> Behaviour:
    """Answer a tool result with `isError`."""
    return result(tool_result({"error": text}, is_error=True))


def rpc_error(code: int = -32000, message: str = "it failed", status: int = 200) -> Behaviour:
    """Answer a JSON-RPC error."""

    async def behave(turn: Turn) -> None:
        await turn.json(turn.response({"error": {"code": code, "message": message}}), status)

    return behave


def input_required(state: str = "opaque") -> Behaviour:
    """Answer that the call needs input before it can complete (2026-07-28)."""
    return result({"resultType": "input_required", "requestState": state})


def http(
    status: int, body: bytes = b"", *headers: tuple[str, str], media: str | None = "application/json"
) -> Behaviour:
    """Answer this status, body and headers, whole."""

    async def behave(turn: Turn) -> None:
        await turn.reply(status, body, headers, media)

    return behave


def raw(*pieces: bytes, pause: float = 0.0, close: bool = True) -> Behaviour:
    """Write these bytes and nothing else, `pause` seconds apart; then close, or leave the connection open."""

    async def behave(turn: Turn) -> None:
        for piece in pieces:
            await turn.write(piece)
            await asyncio.sleep(pause)
        if close:
            turn.close()

    return behave


def sse(*messages: Json | str, ids: bool = False, response: bool = True, run_tool: bool = True) -> Behaviour:
    """Answer with an event stream: these messages, then the response (unless it is to end without one).

    With `ids` the events are numbered and a priming event comes first, as servers that can resume do.
    """

    async def behave(turn: Turn) -> None:
        params = turn.request.message.get("params") or {}
        await turn.open_stream()
        if ids:
            await turn.event("", "0")
        for number, message in enumerate(messages, 1):
            await turn.event(message, str(number) if ids else None)
        if response:
            outcome = run(turn, params["name"], params.get("arguments") or {}) if run_tool else {}
            if turn.request.stateless:
                outcome = {"resultType": "complete", **outcome}
            await turn.event(turn.response({"result": outcome}), str(len(messages) + 1) if ids else None)
        await turn.end_stream()

    return behave


def reset() -> Behaviour:
    """Break the connection instead of answering."""

    async def behave(turn: Turn) -> None:
        turn.reset()

    return behave


def hang_up() -> Behaviour:
    """Close the connection instead of answering."""

    async def behave(turn: Turn) -> None:
        turn.close()

    return behave


def truncated(body: bytes = b'{"jsonrpc":', promised: int = 1000) -> Behaviour:
    """Promise more bytes than are sent, then close."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % promised
    return raw(head + body)


def silent() -> Behaviour:
    """Never answer; remember when the other side gives up."""

    async def behave(turn: Turn) -> None:
        await turn.hang_up()

    return behave


def after(gate: asyncio.Event, then: Behaviour) -> Behaviour:
    """Wait for the test, then behave."""

    async def behave(turn: Turn) -> None:
        await gate.wait()
        await then(turn)

    return behave


def delayed(seconds: float, then: Behaviour) -> Behaviour:
    """Wait, then behave."""

    async def behave(turn: Turn) -> None:
        await asyncio.sleep(seconds)
        await then(turn)

    return behave


def default() -> Behaviour:
    """Behave as the server does when left alone."""
    return _serve
