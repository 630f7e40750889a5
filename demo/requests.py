"""Single requests, valid except for the changes of a scene; they need no client and no login."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx2

from demo.answers import Answer, read_answer
from demo.client import Wire, describe
from sidecar import __version__
from sidecar.model import Revision


@dataclass(frozen=True, slots=True)
class RequestSender:
    """Sender of requests to one sidecar.

    Attributes:
        url: the sidecar's `resource`.
        http: the HTTP client.
    """

    url: str
    http: httpx2.AsyncClient
    _ids: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    async def ask(
        self,
        method: str,
        params: Mapping[str, Any] | None = None,
        *,
        token: str | None,
        meta: bool = True,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        verb: str = "POST",
        path: str = "",
        revision: str = Revision.V2026_07_28,
    ) -> Wire:
        """Send one message as a client of `revision` does, except for the changes of a scene.

        Args:
            method: the MCP method.
            params: its parameters.
            token: the bearer token; None for none.
            meta: whether the message carries the `_meta` that 2026-07-28 requires.
            headers: added to the valid ones, or in their place.
            content: replaces the message's bytes.
            verb: the HTTP method.
            path: appended to the URL.
            revision: the MCP revision.
        """
        named = dict(params or {})
        if meta and revision >= Revision.V2026_07_28:
            named["_meta"] = _meta(revision)
        message = {"jsonrpc": "2.0", "id": next(self._ids), "method": method, "params": named}
        right = _headers(method, named.get("name", named.get("uri")), revision, token)
        body = json.dumps(message).encode() if content is None else content
        answer = await self.http.request(verb, f"{self.url}{path}", headers={**right, **(headers or {})}, content=body)
        read = read_answer(answer.status_code, answer.headers, answer.content)
        return Wire(describe(answer.request), read)

    async def call(self, tool: str, arguments: Mapping[str, Any] | None = None, **wrong: Any) -> Wire:
        """Call a tool; see `ask`."""
        return await self.ask("tools/call", {"name": tool, "arguments": dict(arguments or {})}, **wrong)

    async def without_host(self) -> Wire:
        """Send a request without a host: HTTP/1.0, because servers refuse such a request of 1.1 while parsing."""
        parts = urlsplit(self.url)
        head = f"POST {parts.path} HTTP/1.0\r\nContent-Length: 0\r\n\r\n"
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        try:
            writer.write(head.encode())
            start, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()
            pairs = (line.partition(":") for line in lines if line)
            headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
            body = await reader.readexactly(int(headers.get("content-length", "0")))
        finally:
            writer.close()
        return Wire(head.splitlines()[0], read_answer(int(start.split()[1]), headers, body))

    async def metadata(self, path: str) -> tuple[Wire, Any]:
        """Fetch a well-known document; return the exchange and the document."""
        parts = urlsplit(self.url)
        answer = await self.http.get(f"{parts.scheme}://{parts.netloc}{path}")
        return Wire(f"GET {path}", Answer(answer.status_code)), answer.json()


def _headers(method: str, name: str | None, revision: str, token: str | None) -> dict[str, str]:
    made = {
        "Accept": "application/json, text/event-stream",
        "Content-Type": "application/json",
        "MCP-Protocol-Version": str(revision),
        "Mcp-Method": method,
    }
    if name is not None:
        made["Mcp-Name"] = name
    if token is not None:
        made["Authorization"] = f"Bearer {token}"
    return made


def _meta(revision: str) -> dict[str, Any]:
    return {
        "io.modelcontextprotocol/protocolVersion": str(revision),
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": {"name": "story", "version": __version__},
    }
