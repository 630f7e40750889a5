"""Read one JSON-RPC message from bytes (JSON-RPC 2.0 section 4), independent of the MCP revision.

The presence of `method` alone decides the kind of a message, never `id`, `result` or a header. Only members that
JSON-RPC defines are accepted, so that no backend reads the message as another kind.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any, Final, TypeGuard

from sidecar.errors import ErrorCode, Refusal
from sidecar.model import MAX_AMOUNT, CallKind, RequestId
from sidecar.protocol.strict import folding, strictjson
from sidecar.protocol.strict.members import POISONED
from sidecar.vocabulary import record

# Members of enums as constants: as attributes of their classes they take ten times as long.
_REQUEST: Final = CallKind.REQUEST
_NOTIFICATION: Final = CallKind.NOTIFICATION

MAX_ID_LENGTH: Final = 128
"""The longest request id, in characters: holds store it, and every answer repeats it."""

MAX_SENT_LENGTH: Final = MAX_ID_LENGTH + 64
"""The longest request id towards the backend: the client's id with the tag of its session."""

NOTIFICATIONS: Final = "notifications/"
"""Prefix of every MCP notification and of no request."""

# Parts of every name on the path to a task id, except for `_meta`.
_ABOUT_TASKS: Final = (b"task", b"notifications")
_PROTOTYPE, _CONSTRUCTOR = POISONED
_TASK, _NOTIFIED = _ABOUT_TASKS
_REQUEST_MEMBERS: Final = frozenset({"jsonrpc", "id", "method", "params"})
_RESPONSE_MEMBERS: Final = frozenset({"jsonrpc", "id", "result", "error"})
_UNDEFINED: Final = "The message has members that JSON-RPC does not define."


@record
class Message:
    """One message before its revision is known.

    Attributes:
        kind: request, notification or response.
        id: the request id; None for notifications.
        method: empty for responses.
        params: plain values; empty when absent.
        document: the whole message for forwarding; see `model.Call`.
        may_poison: False if no name in it can be one of `members.POISONED`.
        may_name_tasks: False if no name in it can be, or be confused with, one that is about tasks.
    """

    kind: CallKind
    id: RequestId | None = None
    method: str = ""
    params: Mapping[str, Any] = field(default_factory=dict)
    document: Mapping[str, Any] = field(default_factory=dict)
    may_poison: bool = True
    may_name_tasks: bool = True


def read(body: bytes, max_depth: int = strictjson.MAX_DEPTH) -> Message:
    """Parse a POST body strictly.

    Raises:
        Refusal: `message_unparsable` when the body is not strict JSON, `message_malformed` when it is not one
            request, notification or response. Batches are refused in every revision.
    """
    try:
        parsed = strictjson.parse(body, max_depth)
    except strictjson.NotStrict as error:
        raise Refusal(ErrorCode.MESSAGE_UNPARSABLE, str(error)) from None
    plain = parsed.plain
    if type(plain) is not dict:
        raise _malformed("The body must be one JSON object; batches are not accepted.")
    if plain.get("jsonrpc") != "2.0":
        raise _malformed('The member "jsonrpc" must be "2.0".')
    if "method" not in plain:
        return _answered(plain, parsed.exact)
    return _usual(plain, parsed) or _called(plain, parsed)


def is_request_id(value: object, longest: int = MAX_ID_LENGTH) -> TypeGuard[RequestId]:
    """Return whether a value is a request id that every parser reads alike: a short string, or an exact integer."""
    if type(value) is str:
        return len(value) <= longest
    return type(value) is int and -MAX_AMOUNT <= value <= MAX_AMOUNT


def canonical(id_: RequestId) -> RequestId:
    """Return the number that a lenient reader sees in a text, else the id itself.

    Backends read ids loosely: the official Python SDK reads "7" and " +7 " as 7. Ids that a backend may confuse
    count as one id, for requests in flight and for the notifications that cancel them.
    """
    if isinstance(id_, int):
        return id_
    try:
        return int(id_)
    except ValueError:
        return id_


def _usual(plain: dict[str, Any], parsed: strictjson.Parsed) -> Message | None:
    """Return the call of a tool as most clients send it, as `_called` does; None for any other message."""
    if len(plain) != len(_REQUEST_MEMBERS) or plain["method"] != "tools/call":
        return None
    try:
        id_, params, folded = plain["id"], plain["params"], parsed.folded
    except KeyError:
        return None
    if type(id_) is not int or not -MAX_AMOUNT <= id_ <= MAX_AMOUNT or type(params) is not dict:
        return None
    document = {"jsonrpc": "2.0", "id": id_, "method": "tools/call", "params": parsed.exact["params"]}
    may_poison = may_name_tasks = True
    if folded is not None:  # as `Parsed.may_name`, which costs as much as what it does
        may_poison = folded.find(_PROTOTYPE) >= 0 or folded.find(_CONSTRUCTOR) >= 0
        may_name_tasks = folded.find(_TASK) >= 0 or folded.find(_NOTIFIED) >= 0
    return Message(_REQUEST, id_, "tools/call", params, document, may_poison, may_name_tasks)


def _called(plain: dict[str, Any], parsed: strictjson.Parsed) -> Message:
    if not plain.keys() <= _REQUEST_MEMBERS:
        raise _malformed(_UNDEFINED)
    method, params = plain["method"], plain.get("params", {})
    if type(method) is not str or not method:
        raise _malformed('The member "method" must be a non-empty string.')
    # Compared as a name is folded, so it has the bounds of names; methods of the protocol are far shorter.
    wrong = folding.fault(method)
    if wrong is not None:
        raise _malformed(f"The method {wrong}.")
    if type(params) is not dict:
        raise _malformed('The member "params" must be an object.')
    kind = _REQUEST if "id" in plain else _NOTIFICATION
    # Some servers execute a request without an id, others drop it; it could not be charged for.
    if (kind is _NOTIFICATION) is not method.startswith(NOTIFICATIONS):
        raise _malformed("A request needs an id; a notification has no id and a method named notifications/….")
    id_ = None
    # Built from the judged values: an id sent as -0 was read as 0, and is forwarded as 0.
    document: dict[str, Any] = {"jsonrpc": "2.0"}
    if kind is _REQUEST:
        id_ = document["id"] = _id(plain)
    document["method"] = method
    if "params" in plain:
        document["params"] = parsed.exact["params"]
    return Message(kind, id_, method, params, document, parsed.may_name(POISONED), parsed.may_name(_ABOUT_TASKS))


def _answered(plain: dict[str, Any], exact: dict[str, Any]) -> Message:
    if not plain.keys() <= _RESPONSE_MEMBERS:
        raise _malformed(_UNDEFINED)
    member = "result" if "result" in plain else "error"
    if not isinstance(plain.get(member), dict) or {"result", "error"} <= plain.keys():
        raise _malformed('A response must have exactly one of the objects "result" and "error".')
    id_ = _id(plain)
    document = {"jsonrpc": "2.0", "id": id_, member: exact[member]}
    return Message(CallKind.RESPONSE, id_, document=document)


def _id(plain: Mapping[str, Any]) -> RequestId:
    value = plain.get("id")
    if not is_request_id(value):
        raise _malformed(
            f"The id must be a string of at most {MAX_ID_LENGTH} characters or an integer within ±(2^53 - 1)."
        )
    return value


def _malformed(detail: str) -> Refusal:
    return Refusal(ErrorCode.MESSAGE_MALFORMED, detail)
