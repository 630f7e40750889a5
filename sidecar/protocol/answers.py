"""HTTP answers that the sidecar makes itself: refusals in their shapes, and results of tools that it serves.

Clients act on the HTTP status: 401 starts a login, and the text of most other 4xx does not reach the model. The
error table gives each refusal its shape. This module applies it to the request: its id, its revision, and whether
it is a tool call.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from sidecar.errors import ErrorCode, Refusal, Shape
from sidecar.model import Call, CallKind, RequestId
from sidecar.protocol.jsonrpc import Message
from sidecar.protocol.meta import RECEIPT_KEY, REFUSAL_KEY
from sidecar.protocol.revisions import claimed_version
from sidecar.protocol.strict import strictjson

RETRY_AFTER: Final = 1
"""Seconds in the `Retry-After` of a 503 when its refusal gives none."""

_JSON: Final = "application/json"
_PROBLEM: Final = "application/problem+json"
_OLDER_NUMBERS: Final = {
    ErrorCode.HEADER_MISMATCH: -32600,  # older clients do not know the number of 2026-07-28
    ErrorCode.RESOURCE_UNKNOWN: -32002,  # 2025-11-25, server/resources: error handling
}
"""JSON-RPC numbers of the older revisions, where they differ from those of the error table (2026-07-28)."""


@dataclass(frozen=True, slots=True)
class LocalAnswer:
    """A complete HTTP answer; `headers` include its Content-Type."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


@dataclass(frozen=True, slots=True)
class InputRequest:
    """Question of the sidecar to a person, in place of a refusal (2026-07-28, basic/patterns/mrtr).

    Attributes:
        requests: the requests by key.
        state: `requestState` that the client's retry returns.
    """

    requests: Mapping[str, Any]
    state: str


def input_answer(refusal: Refusal, call: Call, asked: InputRequest) -> LocalAnswer:
    """Answer a call that a person has to confirm first with the question; its machine detail is that of the refusal."""
    result = {
        "resultType": "input_required",
        "inputRequests": asked.requests,
        "requestState": asked.state,
        "_meta": {REFUSAL_KEY: _detail(refusal)},
    }
    return _made(200, _JSON, {"jsonrpc": "2.0", "id": call.id, "result": result}, ())


def refusal_answer(refusal: Refusal, request: Call | Message | None, challenge: str | None = None) -> LocalAnswer:
    """Answer a refused request in the shape that its client expects.

    Args:
        refusal: the refusal.
        request: as much of it as was read: None before gate 3, or for an unreadable body; the message when its
            headers were refused; then the call.
        challenge: the value of `WWW-Authenticate`; required for refusals of that shape.
    """
    status = _status(refusal, request)
    extra = _extra_headers(refusal, challenge)
    id_ = None if request is None else _answerable(request)
    if id_ is not None and request is not None:
        if refusal.shape is Shape.TOOL_RESULT and request.method == "tools/call":
            return _made(status, _JSON, _tool_refusal(refusal, request), extra)
        return _made(status, _JSON, _error(refusal, id_, request), extra)
    if request is None and refusal.shape is Shape.RPC_ERROR:
        # JSON-RPC 2.0 section 5: the id is null when it could not be read.
        return _made(status, _JSON, _error(refusal, None, None), extra)
    # The client waits for no JSON-RPC response: only the status reaches it.
    status = status if status >= HTTPStatus.BAD_REQUEST else 403
    return _made(status, _PROBLEM, _problem(refusal, status), extra)


def error_message(refusal: Refusal, call: Call) -> bytes:
    """Return the JSON-RPC message that ends a call after its answer has become a stream."""
    return strictjson.dumps(_error(refusal, call.id, call))


def tool_answer(call: Call, structured: Mapping[str, Any], receipt: Mapping[str, Any] | None = None) -> LocalAnswer:
    """Return the result of a tool that the sidecar serves: structured content, the same as text, and the receipt."""
    result: dict[str, Any] = {
        "content": [{"type": "text", "text": strictjson.dumps(structured).decode()}],
        "structuredContent": structured,
        "isError": False,
    }
    if receipt is not None:
        result["_meta"] = {RECEIPT_KEY: receipt}
    return _made(200, _JSON, _result(call, result), ())


def _made(status: int, media_type: str, document: Mapping[str, Any], extra: tuple[tuple[str, str], ...]) -> LocalAnswer:
    return LocalAnswer(status, (("Content-Type", media_type), *extra), strictjson.dumps(document))


def _answerable(request: Call | Message) -> RequestId | None:
    """Return the id for the answer; None for a posted response, because its id was chosen by the server."""
    return request.id if request.kind is CallKind.REQUEST else None


def _stateless(request: Call | Message | None) -> bool:
    """Return whether a request speaks 2026-07-28; before its revision is settled, its own claim counts."""
    if isinstance(request, Call):
        return request.revision.stateless
    return request is not None and claimed_version(request.params) is not None


def _status(refusal: Refusal, request: Call | Message | None) -> int:
    # 2026-07-28, basic/transports/streamable-http: an unknown method is a 404.
    return 404 if _stateless(request) and refusal.code is ErrorCode.METHOD_NOT_ALLOWED else refusal.status


def _extra_headers(refusal: Refusal, challenge: str | None) -> tuple[tuple[str, str], ...]:
    made: list[tuple[str, str]] = []
    if refusal.shape is Shape.CHALLENGE and challenge is not None:
        made.append(("WWW-Authenticate", challenge))
    wait = refusal.retry_after
    if wait is None and refusal.status == HTTPStatus.SERVICE_UNAVAILABLE:
        wait = RETRY_AFTER
    if wait is not None and refusal.status >= HTTPStatus.BAD_REQUEST:
        made.append(("Retry-After", str(wait)))
    return tuple(made)


def _detail(refusal: Refusal) -> dict[str, Any]:
    detail = {**refusal.data, "code": refusal.code.id}
    if refusal.retry_after is not None:
        detail["retry_after"] = refusal.retry_after
    return detail


def _error(refusal: Refusal, id_: RequestId | None, request: Call | Message | None) -> dict[str, Any]:
    number = refusal.code.row.rpc
    if request is not None and not _stateless(request):
        number = _OLDER_NUMBERS.get(refusal.code, number)
    error = {"code": number, "message": refusal.detail, "data": _detail(refusal)}
    return {"jsonrpc": "2.0", "id": id_, "error": error}


def _tool_refusal(refusal: Refusal, request: Call | Message) -> dict[str, Any]:
    result: dict[str, Any] = {
        "content": [{"type": "text", "text": refusal.detail}],
        "isError": True,
        "_meta": {REFUSAL_KEY: _detail(refusal)},
    }
    return _result(request, result)


def _result(request: Call | Message, result: dict[str, Any]) -> dict[str, Any]:
    if _stateless(request):
        result["resultType"] = "complete"
    return {"jsonrpc": "2.0", "id": request.id, "result": result}


def _problem(refusal: Refusal, status: int) -> dict[str, Any]:
    """Return problem JSON (RFC 9457); without a `type` the title is that of the status."""
    return {**_detail(refusal), "title": HTTPStatus(status).phrase, "status": status, "detail": refusal.detail}
