"""From bytes to one well-formed JSON-RPC message (JSON-RPC 2.0 section 4), whatever the MCP revision.

What kind a message is follows from the presence of `method` alone, never from `id`, `result` or a
header, and only the members that JSON-RPC names may stand in it: then no backend can take it for
something else.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from typing import Any, Final, TypeGuard

from sidecar.errors import ErrorCode, Refusal
from sidecar.model import MAX_AMOUNT, CallKind, RequestId
from sidecar.protocol import strictjson

MAX_ID_LENGTH: Final = 128
"""The longest request id, in characters: it is kept in holds and echoed in every answer."""

NOTIFICATIONS: Final = "notifications/"
"""Every MCP notification, and no request, is named so."""

_REQUEST: Final = frozenset({"jsonrpc", "id", "method", "params"})
_RESPONSE: Final = frozenset({"jsonrpc", "id", "result", "error"})


@dataclass(frozen=True, slots=True)
class Message:
    """One message before the headers have said which revision it belongs to.

    Attributes:
        kind: request, notification or response.
        id: the request id; None for notifications.
        method: empty for responses.
        params: plain values; empty when absent.
        document: the whole message for forwarding; see `model.Call`.
    """

    kind: CallKind
    id: RequestId | None = None
    method: str = ""
    params: Mapping[str, Any] = field(default_factory=dict)
    document: Mapping[str, Any] = field(default_factory=dict)


def read(body: bytes, max_depth: int = strictjson.MAX_DEPTH) -> Message:
    """Read a POST body strictly.

    Raises:
        Refusal: `message_unparsable` when the body is not strict JSON, `message_malformed` when it
            is not one request, notification or response. Batches are refused in every revision.
    """
    try:
        parsed = strictjson.parse(body, max_depth)
    except strictjson.NotStrict as error:
        raise Refusal(ErrorCode.MESSAGE_UNPARSABLE, str(error)) from None
    plain = parsed.plain
    if not isinstance(plain, dict):
        raise _malformed("The body must be one JSON object; batches are not accepted.")
    if plain.get("jsonrpc") != "2.0":
        raise _malformed('The member "jsonrpc" must be "2.0".')
    return _called(plain, parsed.exact) if "method" in plain else _answered(plain, parsed.exact)


def is_request_id(value: object) -> TypeGuard[RequestId]:
    """Whether a value is a request id that every parser reads alike: a short string, or an exact integer."""
    if isinstance(value, str):
        return len(value) <= MAX_ID_LENGTH
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= MAX_AMOUNT


def canonical(id_: RequestId) -> RequestId:
    """The number that a lenient reader sees in a text, else the id itself.

    Backends read ids loosely: the official Python SDK takes "7" and " +7 " for 7. What one of them may
    mix up is one id here, for requests in flight and for the notifications that cancel them.
    """
    if isinstance(id_, int):
        return id_
    try:
        return int(id_)
    except ValueError:
        return id_


def _called(plain: dict[str, Any], exact: dict[str, Any]) -> Message:
    _check_members(plain, _REQUEST)
    method, params = plain["method"], plain.get("params", {})
    if not isinstance(method, str) or not method:
        raise _malformed('The member "method" must be a non-empty string.')
    if not isinstance(params, dict):
        raise _malformed('The member "params" must be an object.')
    kind = CallKind.REQUEST if "id" in plain else CallKind.NOTIFICATION
    # A request without an id is executed by some servers, dropped by others and paid for by neither.
    if (kind is CallKind.NOTIFICATION) is not method.startswith(NOTIFICATIONS):
        raise _malformed("Requests have an id; notifications have none and are named notifications/….")
    # Built from what was judged: an id sent as -0 was read as 0, and is forwarded so.
    document: dict[str, Any] = {"jsonrpc": "2.0"}
    if kind is CallKind.REQUEST:
        document["id"] = _id(plain)
    document["method"] = method
    if "params" in plain:
        document["params"] = exact["params"]
    return Message(kind, document.get("id"), method, params, document)


def _answered(plain: dict[str, Any], exact: dict[str, Any]) -> Message:
    _check_members(plain, _RESPONSE)
    member = "result" if "result" in plain else "error"
    if not isinstance(plain.get(member), dict) or {"result", "error"} <= plain.keys():
        raise _malformed('A response has exactly one of the objects "result" and "error".')
    id_ = _id(plain)
    document = {"jsonrpc": "2.0", "id": id_, member: exact[member]}
    return Message(CallKind.RESPONSE, id_, document=document)


def _id(plain: Mapping[str, Any]) -> RequestId:
    value = plain.get("id")
    if not is_request_id(value):
        raise _malformed(f"An id is a string of at most {MAX_ID_LENGTH} characters or an integer within ±(2^53 - 1).")
    return value


def _check_members(plain: Mapping[str, Any], allowed: Set[str]) -> None:
    if not plain.keys() <= allowed:
        raise _malformed("The message has members that JSON-RPC does not name.")


def _malformed(detail: str) -> Refusal:
    return Refusal(ErrorCode.MESSAGE_MALFORMED, detail)
