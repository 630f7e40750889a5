"""The request that the backend gets, and what of its answer's head a client sees: both built anew.

Nothing of the client's head is passed on but what is named here, so no header can carry an identity,
a credential or a second meaning past the gates. Pure functions, but for the random ids of a trace.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable
from functools import lru_cache
from typing import Final
from urllib.parse import quote

from sidecar.model import Call, Caller, CallKind
from sidecar.protocol import headers as message_headers

Header = tuple[str, str]

_ACCEPT: Final = {
    CallKind.STREAM: "text/event-stream",
    CallKind.END_SESSION: "application/json",
}
_RELAYED: Final = frozenset({"content-type", "retry-after", "mcp-protocol-version", "allow"})
# RFC 3986: what may stand in a header value as it is; `%` and everything else is percent-encoded.
_PLAIN: Final = "!#$&'()*+,-./:;=?@_~"
# W3C Trace Context: version 00 alone is understood, all-zero ids are invalid.
_TRACEPARENT: Final = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})")


def trace(inbound: str | None) -> tuple[str, str]:
    """Continue the caller's trace or begin one (W3C Trace Context).

    Returns:
        The trace id and the `traceparent` for the backend, whose parent id is this hop's own.
    """
    match = _TRACEPARENT.fullmatch(inbound or "")
    trace_id, flags = (match[1], match[2]) if match else (secrets.token_hex(16), "00")
    return trace_id, f"00-{trace_id}-{secrets.token_hex(8)}-{flags}"


def backend_headers(
    call: Call, caller: Caller, scopes: Iterable[str], request_id: str, traceparent: str
) -> list[Header]:
    """All headers of the forwarded request but those of the connection (Host, Content-Length).

    Args:
        call: the message as judged; `Mcp-*` headers are generated from it.
        caller: the verified identity.
        scopes: the scopes that count for this call: token and consent record, expanded.
        request_id: the sidecar's id of this call.
        traceparent: from `trace`.
    """
    headers = [("Accept", _ACCEPT.get(call.kind, "application/json, text/event-stream"))]
    if call.document is not None:
        headers.append(("Content-Type", "application/json"))
    headers += message_headers.backend_headers(call)
    headers += [
        ("X-MCP-Issuer", _encoded(caller.issuer)),
        ("X-MCP-Account", _encoded(caller.account)),
        ("X-MCP-Client", _encoded(caller.client_id)),
        ("X-MCP-Scopes", " ".join(map(_encoded, sorted(scopes)))),
        ("X-Request-Id", request_id),
        ("traceparent", traceparent),
    ]
    return headers


@lru_cache(4096)
def _encoded(value: str) -> str:
    """Percent-encoded; the same few callers and scopes come back with every call."""
    return quote(value, safe=_PLAIN)


def relayed_headers(headers: Iterable[Header]) -> list[Header]:
    """The backend's response headers that a client may see; no cookies, no server's own identity."""
    return [(name, value) for name, value in headers if name.lower() in _RELAYED]


def header(headers: Iterable[Header], name: str) -> str | None:
    """The first value of a response header, by its lower-case name."""
    return next((value for key, value in headers if key.lower() == name), None)
