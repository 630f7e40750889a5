"""The HTTP headers that say something about a message: read once, compared with the body, made anew.

Nothing is ever decided on a header. Those that mirror the body must agree with it (2026-07-28,
basic/transports/streamable-http, Server Validation), and the backend gets ones made from the body.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from sidecar.errors import ErrorCode, Refusal
from sidecar.model import Call, Revision
from sidecar.protocol.jsonrpc import Message

NAME_PARAMS: Final = {
    "tools/call": "name",
    "prompts/get": "name",
    "resources/read": "uri",
    "tasks/get": "taskId",
    "tasks/update": "taskId",
    "tasks/cancel": "taskId",
}
"""Which parameter `Mcp-Name` mirrors (the tasks' by SEP-2663)."""

JSON: Final = "application/json"
EVENT_STREAM: Final = "text/event-stream"

_PREFIX: Final = "mcp-"
_LAST_EVENT_ID: Final = "last-event-id"
_PARAM_PREFIX: Final = "mcp-param-"
_SENTINEL: Final = "=?base64?"
_VISIBLE: Final = re.compile(r"[\x21-\x7e]{1,1024}")
_PLAIN_VALUE: Final = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")
_JSON_TYPE: Final = re.compile(r'application/json[ \t]*(?:;[ \t]*charset=(?:utf-8|"utf-8")[ \t]*)?', re.IGNORECASE)
_ZERO: Final = re.compile(r"q=0(?:\.0{0,3})?")


@dataclass(frozen=True, slots=True)
class McpHeaders:
    """What a request's headers say of its message; values without surrounding blanks.

    Attributes:
        version: `MCP-Protocol-Version` as sent.
        method: `Mcp-Method`.
        name: `Mcp-Name`, decoded.
        session: `Mcp-Session-Id`, not yet checked: only some revisions have sessions.
        params: all `Mcp-Param-*`, as sent.
        last_event_id: `Last-Event-ID`, not yet checked either.
    """

    version: str | None = None
    method: str | None = None
    name: str | None = None
    session: str | None = None
    params: tuple[tuple[str, str], ...] = ()
    last_event_id: str | None = None


# --- in ------------------------------------------------------------------------------------------


def read(pairs: Iterable[tuple[str, str]]) -> McpHeaders:
    """Read the raw header lines (a folded mapping would hide repetitions).

    Raises:
        Refusal: `header_mismatch` when one of them is repeated, holds anything but printable ASCII,
            or is badly encoded: two readers could take it for two things.
    """
    single: dict[str, str] = {}
    params: list[tuple[str, str]] = []
    for name, value in pairs:
        key = name.lower()
        if not key.startswith(_PREFIX) and key != _LAST_EVENT_ID:
            continue
        if key in single or not (value.isascii() and value.isprintable()):
            raise _mismatch("A header of this request is repeated or holds characters that no header may hold.")
        single[key] = value.strip(" \t")
        if key.startswith(_PARAM_PREFIX):
            params.append((name, single[key]))
    return McpHeaders(
        version=single.get("mcp-protocol-version"),
        method=single.get("mcp-method"),
        name=_decoded(single.get("mcp-name")),
        session=single.get("mcp-session-id"),
        params=tuple(params),
        last_event_id=single.get(_LAST_EVENT_ID),
    )


def check_mirrors(headers: McpHeaders, message: Message, *, required: bool) -> None:
    """Refuse headers that disagree with the body; with `required`, absent ones too.

    Raises:
        Refusal: `header_mismatch`.
    """
    mirrored = message.params.get(NAME_PARAMS.get(message.method, ""))
    for header, sent, meant in (("Mcp-Method", headers.method, message.method), ("Mcp-Name", headers.name, mirrored)):
        if sent is None:
            if required and meant is not None:
                raise _mismatch(f"The header {header} is missing.")
        elif sent != meant:
            raise _mismatch(f"The header {header} does not agree with the body.")


def check_session(session: str | None) -> str | None:
    """The session id, if it can be one (visible ASCII, 2025-11-25 basic/transports, Session Management).

    Raises:
        Refusal: `session_unknown`: no server gave out an id like this.
    """
    if session is not None and not _VISIBLE.fullmatch(session):
        raise Refusal(ErrorCode.SESSION_UNKNOWN)
    return session


def check_content(types: Sequence[str], encodings: Sequence[str]) -> None:
    """Refuse a body that is not declared to be one uncompressed UTF-8 JSON document.

    Another charset or coding would let a backend read other text in the same bytes.

    Args:
        types: all values of `Content-Type`.
        encodings: all values of `Content-Encoding`; any is refused, `identity` too.

    Raises:
        Refusal: `media_type_unsupported`.
    """
    if encodings or len(types) != 1 or not _JSON_TYPE.fullmatch(types[0].strip(" \t")):
        raise Refusal(ErrorCode.MEDIA_TYPE_UNSUPPORTED)


def check_accept(values: Sequence[str], http_method: str) -> None:
    """Refuse a client that cannot read what it may get: JSON and streams for POST, streams for GET.

    Args:
        values: all values of `Accept`; wildcards count (RFC 9110 section 12.5.1).
        http_method: DELETE has no answer to read and is not checked.

    Raises:
        Refusal: `not_acceptable`.
    """
    if http_method == "DELETE":
        return
    accepted = _media_ranges(*values)
    if not accepted & {EVENT_STREAM, "text/*", "*/*"}:
        raise Refusal(
            ErrorCode.NOT_ACCEPTABLE, "Accept must include text/event-stream." if http_method == "GET" else None
        )
    if http_method != "GET" and not accepted & {JSON, "application/*", "*/*"}:
        raise Refusal(ErrorCode.NOT_ACCEPTABLE)


@lru_cache(maxsize=64)  # a client sends the same line with every call
def _media_ranges(*values: str) -> frozenset[str]:
    return frozenset(_media_range(part) for value in values for part in value.split(","))


def _media_range(part: str) -> str:
    media, *parameters = (piece.strip(" \t").lower() for piece in part.split(";"))
    return "" if any(_ZERO.fullmatch(parameter) for parameter in parameters) else media


# --- out -----------------------------------------------------------------------------------------


def backend_headers(call: Call) -> tuple[tuple[str, str], ...]:
    """The headers about the message that the backend gets, made from the call that was judged."""
    if call.revision.stateless:
        return _stateless_headers(call)
    made: list[tuple[str, str]] = []
    # 2025-03-26 has no such header, and `initialize` is what negotiates the version.
    if call.revision is not Revision.V2025_03_26 and call.method != "initialize":
        made.append(("MCP-Protocol-Version", call.revision.value))
    if call.session is not None:
        made.append(("Mcp-Session-Id", call.session))
    if call.last_event_id is not None:
        made.append(("Last-Event-ID", call.last_event_id))
    return tuple(made)


def encode(value: str) -> str:
    """A value as a header may carry it: unchanged, or in base64 (2026-07-28, Value Encoding)."""
    if _PLAIN_VALUE.fullmatch(value) and not value.lower().startswith(_SENTINEL):
        return value
    return f"{_SENTINEL}{base64.b64encode(value.encode()).decode()}?="


def _stateless_headers(call: Call) -> tuple[tuple[str, str], ...]:
    made = [("MCP-Protocol-Version", call.revision.value), ("Mcp-Method", encode(call.method))]
    name = call.params.get(NAME_PARAMS.get(call.method, ""))
    if isinstance(name, str):
        made.append(("Mcp-Name", encode(name)))
    return (*made, *call.carried)


def _decoded(value: str | None) -> str | None:
    if value is None or not value.lower().startswith(_SENTINEL):
        return value
    payload = value[len(_SENTINEL) : -2]
    try:
        text = base64.b64decode(payload, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise _mismatch("The header Mcp-Name is badly encoded.") from None
    # Only the one canonical spelling: base64 leaves bits over that readers treat differently.
    if value != f"{_SENTINEL}{base64.b64encode(text.encode()).decode()}?=":
        raise _mismatch("The header Mcp-Name is badly encoded.")
    return text


def _mismatch(detail: str) -> Refusal:
    return Refusal(ErrorCode.HEADER_MISMATCH, detail)
