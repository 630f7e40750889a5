"""Headers of the request to the backend, and headers of its answer that a client sees: both are newly built.

Of the client's head only the headers named here are forwarded, so no header can carry an identity,
a credential or a second meaning past the gates. Pure functions, but for the random ids of a trace.
"""

from __future__ import annotations

from collections.abc import Iterable
from email.utils import parsedate_to_datetime
from functools import lru_cache
from math import ceil
from typing import Final
from urllib.parse import quote

from sidecar.model import Call, Caller, CallKind, Revision
from sidecar.observe.tracing.traceparent import read_traceparent
from sidecar.protocol import headers as message_headers
from sidecar.proxy.backend.answer import Fields
from sidecar.system.random_ids import random_id

# Members of enums as constants: as attributes of their classes they take ten times as long.
_REQUEST: Final = CallKind.REQUEST

Header = tuple[str, str]

_POSTED: Final = (("Accept", "application/json, text/event-stream"), ("Content-Type", "application/json"))
_ACCEPTED: Final = {
    CallKind.STREAM: (("Accept", "text/event-stream"),),
    CallKind.END_SESSION: (("Accept", "application/json"),),
}
_RELAYED: Final = ("Allow", "Content-Type", "MCP-Protocol-Version", "Retry-After")
_KEYS: Final = [(name, name.lower().encode()) for name in _RELAYED]
_SELDOM: Final = frozenset(key for name, key in _KEYS if name != "Content-Type")
_WAIT_LENGTH: Final = 64  # characters of a `Retry-After`: more than any date has
_WAIT_MOST: Final = 30 * 86_400  # seconds
# RFC 3986: characters that stay as they are in a header value; `%` and all others are percent-encoded.
_PLAIN: Final = "!#$&'()*+,-./:;=?@_~"


def trace(inbound: str | None, request_id: str) -> tuple[str, str]:
    """Continue the caller's trace or begin one (W3C Trace Context), where this process does not trace the request.

    Args:
        inbound: the caller's `traceparent`; None without one.
        request_id: 32 hexadecimal digits at random, which begin a trace: it is found by the id in the log, too.

    Returns:
        The trace id, and the `traceparent` for the backend with a parent id of this hop.
    """
    parent = None if inbound is None else read_traceparent(inbound)
    trace_id, flags = (parent.trace_id, parent.flags) if parent else (request_id, "00")
    return trace_id, f"00-{trace_id}-{random_id()[:16]}-{flags}"


def request_lines(call: Call, caller: Caller, scopes: frozenset[str], request_id: str, traceparent: str) -> bytes:
    """Build the header lines to the backend, but for those of the connection (Host, Content-Length).

    Args:
        call: the message as judged; `Mcp-*` headers are generated from it.
        caller: the verified identity.
        scopes: the scopes that count for this call: token and consent record, expanded.
        request_id: the sidecar's id of this call: hexadecimal digits.
        traceparent: from `trace`.

    Raises:
        ValueError: see `header_lines`.
    """
    if call.tool is not None and call.revision.stateless and not call.carried:
        lines = _usual_lines(
            caller.issuer, caller.account, caller.client_id, scopes, call.revision, call.method, call.tool
        )
    else:
        kind = _REQUEST if call.document is not None else call.kind
        lines = _caller_lines(kind, caller.issuer, caller.account, caller.client_id, scopes)
        lines += header_lines(message_headers.backend_headers(call))
    return b"%bX-Request-Id: %b\r\ntraceparent: %b\r\n" % (lines, request_id.encode(), traceparent.encode())


@lru_cache(4096)  # callers and the tools that they call: only calls of declared ones are forwarded
def _usual_lines(
    issuer: str, account: str, client: str, scopes: frozenset[str], revision: Revision, method: str, tool: str
) -> bytes:
    call = Call(_REQUEST, revision, method, params={"name": tool})
    lines = _caller_lines(_REQUEST, issuer, account, client, scopes)
    return lines + header_lines(message_headers.backend_headers(call))


@lru_cache(1024)  # the same few callers recur with every call
def _caller_lines(kind: CallKind, issuer: str, account: str, client: str, scopes: frozenset[str]) -> bytes:
    identity = (
        ("X-MCP-Issuer", _encoded(issuer)),
        ("X-MCP-Account", _encoded(account)),
        ("X-MCP-Client", _encoded(client)),
        ("X-MCP-Scopes", " ".join(map(_encoded, sorted(scopes)))),
    )
    return header_lines((*_ACCEPTED.get(kind, _POSTED), *identity))


def header_lines(headers: Iterable[tuple[str, str]]) -> bytes:
    """Build header lines. A value that could end its line would let a caller write its own headers."""
    lines = [f"{name}: {value}\r\n" for name, value in headers]
    text, count = "".join(lines), len(lines)
    try:
        if text.count("\n") != count or text.count("\r") != count or "\0" in text:
            raise ValueError
        return text.encode("ascii")
    except ValueError:
        raise ValueError("a header for the backend holds a line break, NUL or non-ASCII text") from None


def _encoded(value: str) -> str:
    return quote(value, safe=_PLAIN)


def relayed_headers(fields: Fields) -> tuple[Header, ...]:
    """Return the backend's response headers that a client may see: no cookies, no identity of the server."""
    if _SELDOM.isdisjoint(fields):  # as in almost all answers
        return _content_type(fields.get(b"content-type"))
    return tuple([(name, fields[key].decode("latin-1")) for name, key in _KEYS if key in fields])


@lru_cache(16)  # a backend has one or two
def _content_type(value: bytes | None) -> tuple[Header, ...]:
    return () if value is None else (("Content-Type", value.decode("latin-1")),)


def retry_after(value: str | None, now: float) -> int | None:
    """Return the seconds of a `Retry-After` value; None when it is neither seconds nor a date (RFC 9110, 10.2.3).

    Args:
        value: the header's, as the backend sent it.
        now: seconds since the epoch, which a date is counted from.
    """
    if value is None or not 0 < len(value) <= _WAIT_LENGTH:
        return None
    if value.isascii() and value.isdigit():
        return min(int(value), _WAIT_MOST)
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    if date.tzinfo is None:  # `-0000`, which HTTP dates do not have
        return None
    return min(max(0, ceil(date.timestamp() - now)), _WAIT_MOST)
