"""HTTP headers that describe a message: read once, compared with the body, and rebuilt for the backend.

No decision is based on a header. Headers that mirror the body must agree with it (2026-07-28,
basic/transports/streamable-http, Server Validation), and the backend gets headers made from the body.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import product
from typing import Final

from sidecar.errors import ErrorCode, Refusal
from sidecar.model import Call, Revision
from sidecar.protocol.jsonrpc import Message
from sidecar.vocabulary import record

NAME_PARAMS: Final = {
    "tools/call": "name",
    "prompts/get": "name",
    "resources/read": "uri",
    "tasks/get": "taskId",
    "tasks/update": "taskId",
    "tasks/cancel": "taskId",
}
"""Parameter that `Mcp-Name` mirrors, by method (tasks: SEP-2663)."""

JSON: Final = "application/json"
EVENT_STREAM: Final = "text/event-stream"

LENGTH_DIGITS: Final = 9
"""Most digits of a length that is read without the parser: more than any body may have."""
# As almost all senders write it.
_LENGTHS: Final = (b"\r\nContent-Length: ", b"\r\ncontent-length: ")
_MARKED: Final = len(_LENGTHS[0])
_PREFIX: Final = "mcp-"
_LAST_EVENT_ID: Final = "last-event-id"
_PARAM_PREFIX: Final = "mcp-param-"
# The first characters of the names that matter here, in every case: most headers are skipped by them.
_STARTS: Final = frozenset(
    "".join(each)
    for start in (_PREFIX, _LAST_EVENT_ID[:4])
    for each in product(*zip(start, start.upper(), strict=True))
)
_ABSENT: Final[Mapping[str, str | None]] = dict.fromkeys(
    ("mcp-protocol-version", "mcp-method", "mcp-name", "mcp-session-id", _LAST_EVENT_ID)
)
_SENTINEL: Final = "=?base64?"
_VISIBLE: Final = re.compile(r"[\x21-\x7e]{1,1024}")
_PLAIN_VALUE: Final = re.compile(r"(?!(?i:=\?base64\?))[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")
_JSON_TYPE: Final = re.compile(r'application/json[ \t]*(?:;[ \t]*charset=(?:utf-8|"utf-8")[ \t]*)?', re.IGNORECASE)
_ZERO: Final = re.compile(r"q=0(?:\.0{0,3})?")


@record
class McpHeaders:
    """Headers that describe a request's message; values without surrounding blanks.

    Attributes:
        version: `MCP-Protocol-Version` as sent.
        method: `Mcp-Method`.
        name: `Mcp-Name`, decoded.
        session: `Mcp-Session-Id`, unchecked: only some revisions have sessions.
        params: all `Mcp-Param-*`, as sent.
        last_event_id: `Last-Event-ID`, unchecked.
    """

    version: str | None = None
    method: str | None = None
    name: str | None = None
    session: str | None = None
    params: tuple[tuple[str, str], ...] = ()
    last_event_id: str | None = None


# --- in ------------------------------------------------------------------------------------------


def read(pairs: Iterable[tuple[str, str]]) -> McpHeaders:
    """Read the raw header lines (a folded mapping would hide repeated ones).

    Raises:
        Refusal: `header_mismatch` for a repeated header, a character that is not printable ASCII, or a bad
            encoding: two readers could read them differently.
    """
    single = {**_ABSENT}
    params: list[tuple[str, str]] = []
    values = ""
    for name, value in pairs:
        if name[:4] not in _STARTS:
            continue
        key = name.lower()
        if key[:4] != _PREFIX and key != _LAST_EVENT_ID:
            continue
        if key in single and single[key] is not None:
            raise _ambiguous()
        values += value
        single[key] = trimmed = value.strip(" ") if " " in value else value
        if key not in _ABSENT and key.startswith(_PARAM_PREFIX):
            params.append((name, trimmed))
    if not (values.isascii() and values.isprintable()):
        raise _ambiguous()
    named = single["mcp-name"]
    return McpHeaders(
        single["mcp-protocol-version"],
        single["mcp-method"],
        named if named is None or named[:2] != _SENTINEL[:2] else _decoded(named),
        single["mcp-session-id"],
        tuple(params),
        single[_LAST_EVENT_ID],
    )


def check_mirrors(headers: McpHeaders, message: Message, *, required: bool) -> None:
    """Refuse headers that disagree with the body; if `required`, also missing ones.

    Raises:
        Refusal: `header_mismatch`.
    """
    mirrored = message.params.get(NAME_PARAMS.get(message.method, ""))
    for header, sent, meant in (("Mcp-Method", headers.method, message.method), ("Mcp-Name", headers.name, mirrored)):
        if sent is None:
            if required and meant is not None:
                raise _mismatch(f"The header {header} is missing.")
        elif sent != meant:
            raise _mismatch(f"The header {header} does not match the body.")


def check_session(session: str | None) -> str | None:
    """Return the session id if it is well-formed (visible ASCII; 2025-11-25, basic/transports, Session Management).

    Raises:
        Refusal: `session_unknown`: no server issues such an id.
    """
    if session is not None and not _VISIBLE.fullmatch(session):
        raise Refusal(ErrorCode.SESSION_UNKNOWN)
    return session


def check_content(types: Sequence[str], encodings: Sequence[str]) -> None:
    """Refuse a body that is not declared as one uncompressed UTF-8 JSON document.

    With another charset or coding, the backend could read different text from the same bytes.

    Args:
        types: all values of `Content-Type`.
        encodings: all values of `Content-Encoding`; any is refused, `identity` too.

    Raises:
        Refusal: `media_type_unsupported`.
    """
    if not encodings and types == [JSON]:
        return
    if encodings or len(types) != 1 or not _JSON_TYPE.fullmatch(types[0].strip(" \t")):
        raise Refusal(ErrorCode.MEDIA_TYPE_UNSUPPORTED)


def check_accept(values: Sequence[str], http_method: str) -> None:
    """Refuse a client that does not accept the possible answers: JSON and streams for POST, streams for GET.

    Args:
        values: all values of `Accept`; wildcards count (RFC 9110 section 12.5.1).
        http_method: DELETE is not checked, because its answer has no body.

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
    """Return the backend's headers that describe the message, made from the judged call."""
    if call.revision.stateless:
        return _stateless_headers(call)
    made: list[tuple[str, str]] = []
    # 2025-03-26 has no such header, and `initialize` negotiates the version.
    if call.revision is not Revision.V2025_03_26 and call.method != "initialize":
        made.append(("MCP-Protocol-Version", call.revision.value))
    if call.session is not None:
        made.append(("Mcp-Session-Id", call.session))
    if call.last_event_id is not None:
        made.append(("Last-Event-ID", call.last_event_id))
    return tuple(made)


def encode(value: str) -> str:
    """Return a value as a header can carry it: unchanged, or in base64 (2026-07-28, Value Encoding)."""
    if _PLAIN_VALUE.fullmatch(value):
        return value
    return f"{_SENTINEL}{base64.b64encode(value.encode()).decode()}?="


def _stateless_headers(call: Call) -> tuple[tuple[str, str], ...]:
    made = (("MCP-Protocol-Version", call.revision.value), ("Mcp-Method", encode(call.method)))
    name = call.params.get(NAME_PARAMS.get(call.method, ""))
    named = (("Mcp-Name", encode(name)),) if type(name) is str else ()
    return (*made, *named, *call.carried)


def _decoded(value: str) -> str:
    if not value.lower().startswith(_SENTINEL):
        return value
    payload = value[len(_SENTINEL) : -2]
    try:
        text = base64.b64decode(payload, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise _mismatch("The header Mcp-Name is badly encoded.") from None
    # Only the canonical spelling: decoders treat left-over bits of base64 differently.
    if value != f"{_SENTINEL}{base64.b64encode(text.encode()).decode()}?=":
        raise _mismatch("The header Mcp-Name is badly encoded.")
    return text


def _ambiguous() -> Refusal:
    return _mismatch("A header of this request is repeated or contains characters other than printable ASCII.")


def _mismatch(detail: str) -> Refusal:
    return Refusal(ErrorCode.HEADER_MISMATCH, detail)


def length_digits(data: bytes, end: int) -> tuple[int, int] | None:
    """Return where the digits of `Content-Length` begin and stop; None without them, and for an unusual spelling.

    Heads that differ in these digits only are read alike.

    Args:
        data: begins with the head of a request or an answer.
        end: bytes of the head, with its empty line.
    """
    for name in _LENGTHS:
        start = data.find(name, 0, end) + _MARKED
        if start >= _MARKED:
            stop = data.find(b"\r", start, start + LENGTH_DIGITS + 1)
            return (start, stop) if stop >= 0 and data[start:stop].isdigit() else None
    return None
