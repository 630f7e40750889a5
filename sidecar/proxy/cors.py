"""CORS for browser clients: preflights are answered before authentication, as they carry no token.

The protocol has no text on this; the allowed and exposed headers are those that browser clients of
MCP send and need to read.
"""

from __future__ import annotations

from typing import Final

Headers = tuple[tuple[str, str], ...]

_EXPOSED: Final = "Mcp-Session-Id, MCP-Protocol-Version, WWW-Authenticate, Retry-After, X-Request-Id"
_ALLOWED: Final = (
    "Authorization, Content-Type, Accept, Last-Event-ID, Mcp-Session-Id, "
    "MCP-Protocol-Version, Mcp-Method, Mcp-Name, traceparent, tracestate"
)

PUBLIC: Final[Headers] = (
    ("Access-Control-Allow-Origin", "*"),
    ("Access-Control-Allow-Headers", "MCP-Protocol-Version"),
)
"""For documents that anybody may read, the protected resource metadata: clients send that header with discovery."""


def response_headers(origin: str | None) -> Headers:
    """Headers that let the page at an allowed origin read an answer; none without an Origin."""
    if origin is None:
        return ()
    return (
        ("Access-Control-Allow-Origin", origin),
        ("Access-Control-Expose-Headers", _EXPOSED),
        ("Vary", "Origin"),
    )


def preflight_headers(origin: str, methods: str, requested: str | None) -> Headers:
    """The answer to a preflight from an allowed origin.

    `Mcp-Param-*` names are made from tool schemas and so cannot be listed beforehand: those the
    browser asks for are allowed by name.
    """
    extra = [
        name
        for name in (part.strip() for part in (requested or "").split(","))
        if name.lower().startswith("mcp-param-") and name.replace("-", "").isalnum() and name.isascii()
    ]
    return (
        ("Access-Control-Allow-Origin", origin),
        ("Access-Control-Allow-Methods", methods),
        ("Access-Control-Allow-Headers", ", ".join([_ALLOWED, *extra])),
        ("Access-Control-Max-Age", "600"),
        ("Vary", "Origin"),
    )
