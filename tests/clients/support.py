"""What the clients' tests share: servers to put behind the sidecar, a policy that allows all of them, and what may
arrive there."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sidecar.demo.backend import serving
from sidecar.protocol.headers import NAME_PARAMS, encode
from tests.clients.servers.chatter import Chatter
from tests.support.backend import Received
from tests.support.node import run_script, started
from tests.support.rig import LEGACY, MODERN

Json = dict[str, Any]

HERE: Final = Path(__file__).parent
TOOLS: Final = (
    "echo",
    "route",
    "fail",
    "steps",
    "proceed",
    "ask",
    "sample",
    "tell",
    "change",
    "touch",
    "wait",
    "seen",
    "drop",
)
ALLOW_ALL: Final[Json] = {
    "scopes": {},
    "consent": "first_use",
    "tools": {tool: {"scopes": []} for tool in TOOLS},
    "resources": {"docs://*": {"scopes": []}},
    "prompts": {"greeting": {"scopes": []}},
    "methods": {
        method: {"scopes": []} for method in ("completion/complete", "logging/setLevel", "subscriptions/listen")
    },
}


# --- servers -------------------------------------------------------------------------------------


@asynccontextmanager
async def node_server(script: str, *words: str) -> AsyncIterator[str]:
    """A server of `servers/` in a process of its own; gives its URL."""
    async with started(HERE / "servers" / script, *words) as process:
        assert process.stdout is not None
        url = (await process.stdout.readline()).decode().strip()
        assert url.startswith("http://"), await process.stderr.read() if process.stderr else url
        yield url


@dataclass(frozen=True, slots=True)
class ServerKind:
    """A server made with an official SDK.

    Attributes:
        name: for the tests' names.
        eras: what it speaks: `legacy`, `2026-07-28`.
        sessions: whether its older revisions have sessions, GET streams and a way back to the client.
        resumable: whether a client that lost a stream can come back for the rest.
        streaming: whether it says something before the result.
    """

    name: str
    eras: frozenset[str]
    sessions: bool = False
    resumable: bool = False
    streaming: bool = True
    script: str | None = None
    words: tuple[str, ...] = ()

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[str]:
        """Run it; gives its URL."""
        if self.script is not None:
            async with node_server(self.script, *self.words) as url:
                yield url
        else:
            chatter = Chatter(
                stateless="stateless" in self.words,
                resumable="resumable" in self.words,
                json_response="json" in self.words,
            )
            async with serving(chatter) as url:
                yield url


BOTH: Final = frozenset({"legacy", MODERN})
LEGACY_ONLY: Final = frozenset({"legacy"})
SERVERS: Final = (
    ServerKind("python", BOTH, sessions=True, resumable=True, words=("resumable",)),
    ServerKind("python-stateless", BOTH, words=("stateless",)),
    ServerKind("python-json", BOTH, sessions=True, streaming=False, words=("json",)),
    ServerKind("typescript-v1", LEGACY_ONLY, sessions=True, resumable=True, script="v1.mjs"),
    ServerKind("typescript-v1-json", LEGACY_ONLY, sessions=True, streaming=False, script="v1.mjs", words=("json",)),
    ServerKind("typescript-v2", BOTH, script="v2.mjs"),
    ServerKind("typescript-v2-strict", frozenset({MODERN}), script="v2.mjs", words=("strict", "sse")),
)


# --- what clients do -----------------------------------------------------------------------------


def steps_for(server: ServerKind, era: str) -> list[str]:
    """The steps of a tour that this server can take in this era."""
    chosen = ["tools", "echo", "route", "fail", "resources", "prompts", "completion"]
    if server.streaming:
        chosen += ["steps"]
    if era == MODERN:
        # Cancelling is leaving, which a server that sees only whole answers does not notice.
        return [*chosen, "ask", "updates", *(["cancel"] if server.streaming else [])]
    if server.sessions:
        chosen += ["ping", "change", "cancel"]
    if server.sessions and server.streaming:
        chosen += ["ask", "sample"]
    if server.sessions and server.script is not None:
        # Which the Python SDK's high-level server does not have.
        chosen += ["updates", *(["logging"] if server.streaming else [])]
    if server.resumable:
        chosen += ["resume"]
    return [*chosen, "end"] if server.sessions else chosen


async def node_tour(
    script: str, targets: list[tuple[str, Mapping[str, str]]], mode: str, steps: list[str]
) -> list[Json]:
    """The tour with a TypeScript client, at one target after the other; what was found at each."""
    wanted = {"targets": [{"url": url, "headers": headers} for url, headers in targets], "mode": mode, "steps": steps}
    ended = await run_script(HERE / "tours" / script, json.dumps(wanted, default=dict))
    found: list[Json] = ended.json
    assert len(found) == len(targets)
    return found


# --- what may arrive -----------------------------------------------------------------------------

_PROTOCOL_PAGE: Final = (HERE.parents[1] / "docs" / "protocol.md").read_text()


def _documented() -> frozenset[str]:
    """The headers that the documentation says a backend receives, in lower case."""
    section = _PROTOCOL_PAGE.partition("## What the backend receives")[2].partition("\n## ")[0]
    cells = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    return frozenset(re.findall(r"`([a-z0-9-]+\*?)[:`]", "".join(cells).lower()))


_OURS: Final = _documented()
_STATELESS_ONLY: Final = frozenset({"mcp-method", "mcp-name", "mcp-param-*"})
_REGION: Final = "mcp-param-region"
"""The one argument that a tool here wants in a header."""


@dataclass(frozen=True, slots=True)
class Disguise:
    """Headers with which a client claims to be somebody else, on every request; each value has the mark in it."""

    mark: str
    headers: Mapping[str, str]

    @classmethod
    def make(cls) -> Disguise:
        """A new one."""
        mark = f"spoofed{secrets.token_hex(8)}"
        names = (
            *("X-MCP-Account", "X-MCP-Issuer", "X-MCP-Client", "X-MCP-Scopes", "X_MCP_Account", "X-MCP-Admin"),
            *("X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-User", "X-Forwarded-Email"),
            *("X-Forwarded-Access-Token", "X-Real-IP", "True-Client-IP", "X-Original-URL", "X-Rewrite-URL"),
            *("X-Auth-Request-User", "X-Auth-User", "X-Auth-Token", "X-Api-Key", "Api-Key", "Remote-User"),
            *("X-Request-Id", "X-Correlation-Id", "X-HTTP-Method-Override", "X-User", "X-Amzn-Oidc-Data"),
            *("Cf-Access-Jwt-Assertion", "X-Goog-Iap-Jwt-Assertion", "X-Ms-Client-Principal", "Mcp-Account"),
            *("Baggage", "Via", "Referer", "User-Agent", "Proxy-Authorization", "Tracestate"),
        )
        made = {name: f"{mark}-{number}" for number, name in enumerate(names)}
        made["Cookie"] = f"session={mark}; account={mark}"
        made["Forwarded"] = f'for="{mark}";host={mark};proto=https'
        return cls(mark, made)


def check_arrived(requests: list[Received], *never: str, client: str = "cli-1", revision: str = LEGACY) -> None:
    """Assert of all that reached a backend: only what the sidecar makes itself, once, agreeing with the body.

    Args:
        requests: every request that the backend received.
        never: what must be in none of them: the token, the mark of forged headers. Of a token its segments
            too: a header that quoted the claims would be a token without its signature.
        client: who was let in.
        revision: what was agreed on by those who do not speak 2026-07-28.
    """
    assert requests
    secret = {part.encode() for text in never for part in (text, *text.split("."))}
    for request in requests:
        names = [name for name, _ in request.headers]
        assert len(names) == len(set(names)), names
        allowed = _OURS if request.stateless else _OURS - _STATELESS_ONLY
        unknown = {"mcp-param-*" if name == _REGION else name for name in names} - allowed
        assert not unknown, unknown
        assert not [part for part in secret if part in request.raw]
        assert request.header("x-mcp-account") == "ada"
        assert request.header("x-mcp-client") == client
        _check_mirrors(request, revision)
    assert len({request.header("x-request-id") for request in requests}) == len(requests)


def _check_mirrors(request: Received, revision: str) -> None:
    message = request.message
    params = message.get("params", {})
    claimed = params.get("_meta", {}).get("io.modelcontextprotocol/protocolVersion")
    if request.stateless:
        assert request.header("mcp-method") == message["method"]
        assert request.header("mcp-name") == params.get(NAME_PARAMS.get(message["method"], ""))
        assert claimed == MODERN or message["method"].startswith("notifications/")
        region = params.get("arguments", {}).get("region")
        assert request.header(_REGION) == (region and encode(region))
    else:
        assert claimed is None
        first = message.get("method") == "initialize"
        # Until a version is agreed on there is none to name, and no session; and the oldest revision names none.
        agreed = None if first or revision == "2025-03-26" else revision
        assert request.header("mcp-protocol-version") == agreed
        assert not (first and request.header("mcp-session-id"))


def spoken(requests: list[Received]) -> list[Json]:
    """What was said in these requests, but for how often and in which order, and names chosen by chance."""
    found: dict[str, Json] = {}
    for request in requests:
        said = {name: value for name, value in request.message.items() if name != "id"} or {"verb": request.method}
        if request.stateless and said.get("method") == "notifications/cancelled":
            continue  # leaving has cancelled: what comes after it names nothing that is going on
        params = dict(said.get("params") or {})
        params.pop("requestId", None)
        params.pop("requestState", None)
        meta = {key: value for key, value in params.pop("_meta", {}).items() if key != "progressToken"}
        arguments = {key: value for key, value in params.pop("arguments", {}).items() if key != "key"}
        said["params"] = {**params, "_meta": meta, "arguments": arguments}
        found[json.dumps(said, sort_keys=True)] = said
    return [found[key] for key in sorted(found)]
