"""Headers and messages that may reach a backend: those of the documentation, none that a client invented."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sidecar.protocol.headers import NAME_PARAMS, encode
from tests.support.backend import Received
from tests.support.rig import LEGACY, MODERN

Json = dict[str, Any]

_PROTOCOL_PAGE: Final = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text()


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
    """Headers with which a client claims to be another one, on every request; each value has the mark in it."""

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
    """Content of these requests without their number, order and random names."""
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
