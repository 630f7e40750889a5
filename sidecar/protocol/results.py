"""What the backend's messages say: is this the response, how did the call end, what did it return.

The backend is trusted to be what it is, not to be well-formed: whatever cannot be read for certain
is `Unusable`, and the ledger treats the call's outcome as unknown.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, NoReturn

import orjson

from sidecar.model import RequestId
from sidecar.outcome import Event
from sidecar.protocol.jsonrpc import is_request_id
from sidecar.protocol.task_ids import starts_task

Result = dict[str, Any]


class Unusable(Exception):  # noqa: N818 - a judgement of the backend's answer, not a failure of this program
    """The backend's answer is no response; the message says why and quotes nothing."""


@dataclass(frozen=True, slots=True)
class Response:
    """A response to a request, with a result or an error.

    Attributes:
        id: the request's id; `1` and `"1"` are different ids.
        event: what it means for the call: a result, a tool's error, an error, a wish for input, a task.
        result: the result; None when it is an error.
        message: the whole message.
    """

    id: RequestId
    event: Event
    result: Result | None
    message: Mapping[str, Any]

    def replaced(self, result: Result) -> Response:
        """The same response with another result."""
        return replace(self, result=result, message={**self.message, "result": result})

    def encode(self) -> bytes:
        """The message, written anew."""
        try:
            return orjson.dumps(self.message)
        except orjson.JSONEncodeError:  # it reads four times as deep as it writes
            return json.dumps(self.message, ensure_ascii=False, separators=(",", ":")).encode()

    def with_result(self, result: Result) -> bytes:
        """The message, written anew with another result."""
        return self.replaced(result).encode()


@dataclass(frozen=True, slots=True)
class Other:
    """What streams carry beside responses: notifications, requests to the client, and empty
    events that only set an id (2025-11-25, priming).

    Attributes:
        message: the message; None for an empty event.
    """

    message: Mapping[str, Any] | None


_NOTHING: Final = Other(None)


def read_response(data: bytes) -> Response:
    """Read a JSON answer.

    Raises:
        Unusable: it is not exactly one response.
    """
    message = _load(data)
    if not isinstance(message, dict) or "method" in message:
        raise Unusable("the backend's answer is not one JSON-RPC response")
    return _response(message)


def read_event(data: str) -> Response | Other | None:
    """Read the data of one event; None for what is neither a message nor empty."""
    if not data:
        return _NOTHING
    message = _load(data)
    if not isinstance(message, dict):
        return None
    if "method" in message:
        # With both, a lenient client reads it as a response, which nobody has judged.
        return Other(message) if message.keys().isdisjoint(("result", "error")) else None
    try:
        return _response(message)
    except Unusable:
        return None


def _load(data: bytes | str) -> Any:
    """The JSON value; None for what is no JSON."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        pass
    # Texts cut between the halves of a surrogate pair are common in JavaScript, and no reason to
    # lose a call that ran. Relayed as they are; what is judged has a question mark there.
    try:
        value = json.loads(data if isinstance(data, str) else data.decode(), parse_constant=_refuse_constant)
        if isinstance(value, dict) and not _writable(value.get("id")):
            return None  # no request has such an id, but one may have the question mark
        return orjson.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None


def _writable(id_: object) -> bool:
    return not isinstance(id_, str) or id_.isascii() or id_ == id_.encode("utf-8", "replace").decode()


def _refuse_constant(_: str) -> NoReturn:
    raise ValueError("NaN and Infinity are not JSON")


def _response(message: dict[str, Any]) -> Response:
    id_ = message.get("id")
    if not is_request_id(id_):
        raise Unusable("the backend's response has no usable id")
    result, error = message.get("result"), message.get("error")
    if isinstance(result, dict) and error is None:
        return Response(id_, _outcome(result), result, message)
    if isinstance(error, dict) and result is None:
        return Response(id_, Event.RPC_ERROR, None, message)
    raise Unusable("the backend's response has no result and no error, or both")


def _outcome(result: Mapping[str, Any]) -> Event:
    # Only 2026-07-28 has result types; no older result has a member of this name.
    if result.get("resultType") == "input_required":
        return Event.INPUT_REQUIRED
    if starts_task(result):
        return Event.TASK_STARTED
    return Event.TOOL_ERROR if result.get("isError") is True else Event.RESULT
