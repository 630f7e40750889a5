"""Material of all peers: one key and its tokens, policies, requests, and the backend's answers."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.support.issuer import Issuer, Signer

Json = dict[str, Any]

RESOURCE = "http://127.0.0.1:8080/mcp"
REVISION, LEGACY = "2026-07-28", "2025-11-25"
SCOPE, MISSING_SCOPE = "stores:read", "contacts:reveal"
TOOL = "search"
ACCEPT = "application/json, text/event-stream"
MEBIBYTE = 1 << 20


class Keyring(Issuer):
    """An issuer that is never served: every peer has its key in a file."""

    def __init__(self) -> None:
        super().__init__(Signer("RS256", "bench"), resource=RESOURCE)

    @property
    def pem(self) -> str:
        """The public key."""
        public = self.signer._key.public_key()
        return str(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode())

    @functools.cached_property
    def token(self) -> str:
        """The token that all calls have unless a workload says otherwise."""
        return self.mint(lifetime=24 * 3600, scopes=(SCOPE,))

    @functools.cached_property
    def bad_token(self) -> str:
        """The same claims, with a signature of another key."""
        return self.mint(lifetime=24 * 3600, scopes=(SCOPE,), signer=Signer("RS256", "bench", number=1))

    @functools.cached_property
    def poor_token(self) -> str:
        """A good token without the scope."""
        return self.mint(lifetime=24 * 3600, scopes=(MISSING_SCOPE,))


# --- requests ----------------------------------------------------------------------------------


def http(method: str, body: bytes, headers: Mapping[str, str]) -> bytes:
    """Return the bytes of a request."""
    lines = [f"{method} /mcp HTTP/1.1", "Host: 127.0.0.1"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if method == "POST":
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def message(method: str, params: Json, number: int) -> bytes:
    """Return a message of the newest revision."""
    prefix = "io.modelcontextprotocol"
    meta = {f"{prefix}/protocolVersion": REVISION, f"{prefix}/clientCapabilities": {}}
    return json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": {**params, "_meta": meta}}).encode()


def request(method: str, params: Json, token: str | None, number: int = 1) -> bytes:
    """Return a request of the newest revision, with the headers that go with its body."""
    headers = {"Accept": ACCEPT, "MCP-Protocol-Version": REVISION, "Mcp-Method": method}
    if "name" in params:
        headers["Mcp-Name"] = params["name"]
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    return http("POST", message(method, params, number), headers)


def call(token: str | None, tool: str = TOOL, arguments: Json | None = None, number: int = 1) -> bytes:
    """Return a `tools/call`."""
    given = {"query": "coffee", "limit": 2} if arguments is None else arguments
    return request("tools/call", {"name": tool, "arguments": given}, token, number)


# --- policies ----------------------------------------------------------------------------------

_SEARCH: Json = {
    "type": "object",
    "properties": {
        "query": {"type": "string"},
        "limit": {"type": "integer", "minimum": 1, "maximum": 100, "default": 25},
    },
    "additionalProperties": False,
}
_ARGUMENTS = {name: value for name, value in _SEARCH.items() if name != "type"}
_SCOPES: Json = {
    "scopes": {SCOPE: "Read stores.", MISSING_SCOPE: "Reveal contacts."},
    "base_scopes": [SCOPE],
}
SCOPED: Json = {**_SCOPES, "tools": {TOOL: {"scopes": [SCOPE]}}}
PRICED: Json = {
    **_SCOPES,
    "quotas": {"requests": {"day": 10**9}, "search_rows": {"month": 10**9}},
    "credits": {"contact": "One per search."},
    "plans": {"business": {}},
    "tools": {
        TOOL: {
            "scopes": [SCOPE],
            "arguments": _ARGUMENTS,
            "uses": {"requests": 1, "search_rows": {"reserve": "arguments.limit", "settle": "length(data.rows)"}},
            "spends": {"contact": 1},
            "rows": "length(data.rows)",
        }
    },
}


def many_tools(count: int, scopes: int = 1) -> Json:
    """Return a policy with this many tools and scopes: a tool needs one of the scopes, in turn."""
    names = [SCOPE, *(f"area{number}:read" for number in range(1, scopes))]
    tools = {f"tool_{number}": {"scopes": [names[number % scopes]]} for number in range(count - 1)}
    described = {name: f"Read {name}." for name in (*names, MISSING_SCOPE)}
    return {"scopes": described, "base_scopes": [SCOPE], "tools": {TOOL: {"scopes": [SCOPE]}, **tools}}


def by_items(most: int) -> Json:
    """Return a policy that asks a credit for each item of a list, once."""
    items = {"type": "array", "items": {"type": "string"}, "maxItems": most}
    tool = {
        "scopes": [SCOPE],
        "arguments": {"properties": {"ids": items}, "required": ["ids"], "additionalProperties": False},
        "spends": {"contact": {"items": "arguments.ids", "once": True}},
    }
    return {**_SCOPES, "credits": {"contact": "One per item."}, "plans": {"business": {}}, "tools": {TOOL: tool}}


# --- answers -----------------------------------------------------------------------------------

_ID = "@ID@"


def answer(result: Json) -> bytes:
    """Return the text of a response, with the place of its id."""
    text = json.dumps({"jsonrpc": "2.0", "id": _ID, "result": {**result, "resultType": "complete"}})
    return text.replace(f'"{_ID}"', _ID, 1).encode()


def rows(count: int) -> Json:
    """Return a tool's result with rows, and the same as text."""
    data = {"rows": [{"id": f"row-{number}"} for number in range(1, count + 1)]}
    return {"content": [{"type": "text", "text": json.dumps(data)}], "structuredContent": data}


def listed(count: int) -> bytes:
    """Return a `tools/list` with the tools of `many_tools`."""
    names = [TOOL, *(f"tool_{number}" for number in range(count - 1))]
    tools = [{"name": name, "description": f"The tool {name}.", "inputSchema": _SEARCH} for name in names]
    return answer({"tools": tools, "ttlMs": 60_000, "cacheScope": "private"})


def event(text: bytes) -> bytes:
    """Return an event of a stream."""
    return b"event: message\ndata: " + text + b"\n\n"


def notification(method: str, params: Json) -> bytes:
    """Return an event with a notification."""
    return event(json.dumps({"jsonrpc": "2.0", "method": method, "params": params}).encode())


_PROGRESS = b"".join(
    notification("notifications/progress", {"progressToken": "p", "progress": step, "total": 5}) for step in range(5)
)
_SUBSCRIBED = {"_meta": {"io.modelcontextprotocol/subscriptionId": _ID}, "notifications": {"toolsListChanged": True}}
_ACKNOWLEDGED = notification("notifications/subscriptions/acknowledged", _SUBSCRIBED)
_INFO = {"capabilities": {"tools": {"listChanged": True}}, "serverInfo": {"name": "bench", "version": "1"}}

ANSWERS: dict[str, bytes] = {
    "search.json": answer(rows(2)),
    "initialize.json": answer({"protocolVersion": LEGACY, **_INFO}),
    "server_discover.json": answer({"supportedVersions": [REVISION], **_INFO, "ttlMs": 60_000, "cacheScope": "public"}),
    "initialize.head": b"Mcp-Session-Id: bench-@N@\r\n",
    "tools_list.json": listed(10),
    "ping.json": answer({}),
}
STREAMED = {**ANSWERS, "search.sse": _PROGRESS + event(ANSWERS["search.json"])}
LARGE = {**ANSWERS, "search.json": answer({"content": [{"type": "text", "text": "x" * MEBIBYTE}]})}
HELD = {
    **ANSWERS,
    "subscriptions_listen.hold": _ACKNOWLEDGED.replace(f'"{_ID}"'.encode(), _ID.encode(), 1),
    "GET.hold": b": open\n\n",
}
del STREAMED["search.json"]
