"""CORS for browser clients: preflights are answered before authentication, as they carry no token.

The protocol has no text on this; the allowed and exposed headers are those that browser clients of
MCP send and need to read. Credentials are never allowed: tokens come in a header that a page sets
itself, and cookies are ignored.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

Headers = tuple[tuple[str, str], ...]

VARY: Final = ("Vary", "Origin")
"""Header of every answer that depends on the origin."""

_EXPOSED: Final = "Mcp-Session-Id, MCP-Protocol-Version, WWW-Authenticate, Retry-After, X-Request-Id"
_ALLOWED: Final = (
    "Authorization, Content-Type, Accept, Last-Event-ID, Mcp-Session-Id, "
    "MCP-Protocol-Version, Mcp-Method, Mcp-Name, traceparent, tracestate, baggage"
)
# Tool schemas name them, so they cannot be listed here; RFC 9110 section 5.6.2.
_PARAM: Final = re.compile(r"mcp-param-[A-Za-z0-9!#$%&'*+.^_`|~-]+", re.IGNORECASE)
_MAX_AGE: Final = ("Access-Control-Max-Age", "600")

PUBLIC: Final[Headers] = (
    ("Access-Control-Allow-Origin", "*"),
    ("Access-Control-Allow-Headers", "*, Authorization"),
    _MAX_AGE,
)
"""Headers of public documents (protected resource metadata). Clients send the headers of their calls with
discovery, too; the wildcard does not cover `Authorization` (Fetch, CORS-preflight fetch)."""


def response_headers(origin: str) -> Headers:
    """Return the headers that let the page at an allowed origin read any answer."""
    return (
        ("Access-Control-Allow-Origin", origin),
        ("Access-Control-Expose-Headers", _EXPOSED),
    )


def preflight_headers(asked: Mapping[str, str], methods: str) -> Headers:
    """Return the headers for a preflight from an allowed origin, in addition to `response_headers`.

    Args:
        asked: the preflight's headers. `Mcp-Param-*` among those it asks for are allowed by name, and so
            is a page of a public network that calls a private one: its origin is one of the operator's.
        methods: those that are served.
    """
    requested = asked.get("Access-Control-Request-Headers", "").split(",")
    params = [name for name in map(str.strip, requested) if _PARAM.fullmatch(name)]
    private = asked.get("Access-Control-Request-Private-Network") == "true"
    return (
        ("Access-Control-Allow-Methods", methods),
        ("Access-Control-Allow-Headers", ", ".join([_ALLOWED, *params])),
        _MAX_AGE,
        *((("Access-Control-Allow-Private-Network", "true"),) if private else ()),
    )
