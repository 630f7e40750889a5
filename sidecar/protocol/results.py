"""Backend messages: the response to a call, its outcome, and its result.

The backend is trusted, but not to be well-formed: an answer that cannot be read with certainty is `Unusable`, and
the ledger treats the outcome of the call as unknown.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final, NoReturn

import orjson

from sidecar.model import RequestId
from sidecar.outcome import Event
from sidecar.protocol.jsonrpc import MAX_SENT_LENGTH, is_request_id
from sidecar.protocol.strict.strictjson import MAX_DEPTH, too_deep
from sidecar.protocol.tasks.task_ids import starts_task
from sidecar.vocabulary import record

# Members of enums as constants: as attributes of their classes they take ten times as long.
_RESULT: Final = Event.RESULT

Result = dict[str, Any]


class Unusable(Exception):  # noqa: N818 - a judgement of the backend's answer, not a failure of this program
    """Unusable response of the backend; the message gives the reason and quotes nothing."""


@record
class Response:
    """A response to a request, with a result or an error.

    Attributes:
        id: the request's id; `1` and `"1"` are different ids.
        event: outcome of the call: a result, a tool's error, an error, a request for input, a task.
        result: the result; None for an error.
        message: the whole message.
    """

    id: RequestId
    event: Event
    result: Result | None
    message: Mapping[str, Any]

    def replaced(self, result: Result) -> Response:
        """Return the same response with another result."""
        return Response(self.id, self.event, result, {**self.message, "result": result})

    def renamed(self, id_: RequestId) -> Response:
        """Return the same response for a request with another id."""
        return Response(id_, self.event, self.result, {**self.message, "id": id_})

    def encode(self) -> bytes:
        """Return the message, serialized again."""
        return orjson.dumps(self.message)

    def with_result(self, result: Result) -> bytes:
        """Return the message with another result, serialized again."""
        return self.replaced(result).encode()


@dataclass(frozen=True, slots=True)
class Other:
    """Message of a stream that is no response: a notification, a request to the client, or an empty event that
    only sets an id (2025-11-25, priming).

    Attributes:
        message: the message; None for an empty event.
    """

    message: Mapping[str, Any] | None


_NOTHING: Final = Other(None)
_CONTAINERS: Final = frozenset({dict, list})
_DENSE: Final = 16  # bytes of text for each container; in denser texts, scanning the text is faster


def read_response(data: bytes, max_depth: int = MAX_DEPTH) -> Response:
    """Parse a JSON answer.

    Raises:
        Unusable: it is not exactly one response, or nests deeper than `max_depth`.
    """
    message = _load(data, max_depth)
    if type(message) is not dict or "method" in message:
        raise Unusable("the backend's answer is not one JSON-RPC response")
    return _response(message)


def is_error(data: bytes, id_: RequestId | None, max_depth: int = MAX_DEPTH) -> bool:
    """Return whether an answer is a JSON-RPC error to the request with this id."""
    try:
        response = read_response(data, max_depth)
    except Unusable:
        return False
    return response.result is None and response.id == id_


def read_event(data: str, max_depth: int = MAX_DEPTH) -> Response | Other | None:
    """Parse the data of one event; return None for a message that is neither usable nor empty."""
    if not data:
        return _NOTHING
    try:
        message = _load(data.encode("utf-8", "replace"), max_depth)
        if not isinstance(message, dict):
            return None
        if "method" in message:
            # With both members, a lenient client reads it as a response, which was not judged.
            return Other(message) if message.keys().isdisjoint(("result", "error")) else None
        return _response(message)
    except Unusable:
        return None


def _load(data: bytes, max_depth: int) -> Any:
    """Return the JSON value; None for invalid JSON.

    Raises:
        Unusable: it nests deeper than `max_depth`. No recursive function sees such a value.
    """
    try:
        value = orjson.loads(data)  # it reads at most 1024 levels
    except orjson.JSONDecodeError:
        if too_deep(data, max_depth):
            raise _too_deep(max_depth) from None
        return _load_halves(data)
    containers = data.count(b"[") + data.count(b"{")
    if containers > max_depth and _nests_deeper(data, value, containers, max_depth):
        raise _too_deep(max_depth)
    return value


def _load_halves(data: bytes) -> Any:
    """Parse a text that is cut between the halves of a surrogate pair, which is common in JavaScript.

    The call ran, so its answer is not rejected. The message is relayed unchanged; the judged value has a question
    mark in that place.
    """
    try:
        value = json.loads(data.decode(), parse_constant=_refuse_constant)
        if isinstance(value, dict) and not _writable(value.get("id")):
            return None  # no request has such an id, but one may contain the question mark
        return orjson.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None


def _nests_deeper(data: bytes, value: object, containers: int, max_depth: int) -> bool:
    """Return whether a value nests too deep; inspect the value or its text, whichever costs less."""
    if containers * _DENSE > len(data):
        return too_deep(data, max_depth)
    level = [value]
    for _ in range(max_depth):
        objects = [each.values() for each in level if type(each) is dict]
        lists = [each for each in level if type(each) is list]
        level = [each for each in chain.from_iterable(chain(lists, objects)) if type(each) in _CONTAINERS]
    return bool(level)


def _too_deep(max_depth: int) -> Unusable:
    return Unusable(f"the backend's answer is nested more than {max_depth} levels deep (limits.json_depth)")


def _writable(id_: object) -> bool:
    return not isinstance(id_, str) or id_.isascii() or id_ == id_.encode("utf-8", "replace").decode()


def _refuse_constant(_: str) -> NoReturn:
    raise ValueError("NaN and Infinity are not JSON")


def _response(message: dict[str, Any]) -> Response:
    id_ = message["id"] if "id" in message else None  # noqa: SIM401 - faster than `get`
    if not is_request_id(id_, MAX_SENT_LENGTH):
        raise Unusable("the backend's response has no usable id")
    result = message["result"] if "result" in message else None  # noqa: SIM401
    error = message["error"] if "error" in message else None  # noqa: SIM401
    if type(result) is dict and error is None:
        return Response(id_, outcome_of(result), result, message)
    if type(error) is dict and result is None:
        return Response(id_, Event.RPC_ERROR, None, message)
    raise Unusable("the backend's response has no result and no error, or both")


def outcome_of(result: Mapping[str, Any]) -> Event:
    """Return the outcome of a call with this result."""
    # Only 2026-07-28 has result types; older results have no member of this name.
    if "resultType" in result and result["resultType"] == "input_required":
        return Event.INPUT_REQUIRED
    if ("task" in result or ("resultType" in result and result["resultType"] == "task")) and starts_task(result):
        return Event.TASK_STARTED
    return Event.TOOL_ERROR if "isError" in result and result["isError"] is True else _RESULT
