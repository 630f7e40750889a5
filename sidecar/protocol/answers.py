"""What a client gets when the sidecar itself answers: refusals in their shapes, and results made here.

Which HTTP status clients see decides what they do: 401 opens a login, most other 4xx hide their text
from the model. So each refusal has a shape in the error table, and here the shape meets the request
that it answers: its id, its revision, and whether it was a tool call at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from sidecar.errors import ErrorCode, Refusal, Shape
from sidecar.model import Call, CallKind, RequestId
from sidecar.protocol import strictjson
from sidecar.protocol.jsonrpc import Message
from sidecar.protocol.meta import RECEIPT_KEY, REFUSAL_KEY
from sidecar.protocol.revisions import claimed_version

RETRY_AFTER: Final = 1
"""Seconds in the `Retry-After` of a 503 whose refusal names none."""

_JSON: Final = "application/json"
_PROBLEM: Final = "application/problem+json"
_OLDER_NUMBERS: Final = {
    ErrorCode.HEADER_MISMATCH: -32600,  # the number of 2026-07-28 means nothing to older clients
    ErrorCode.RESOURCE_UNKNOWN: -32002,  # 2025-11-25, server/resources: error handling
}
"""JSON-RPC numbers that the older revisions have for what the error table numbers as 2026-07-28 does."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole HTTP answer; `headers` hold its Content-Type."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


def refusal_answer(refusal: Refusal, request: Call | Message | None, challenge: str | None = None) -> Answer:
    """Answer a refused request in the shape that its client acts on.

    Args:
        refusal: why it was refused.
        request: as much as was read of it: None before gate 3, or when the body could not be read;
            the message when its headers were refused; then the call.
        challenge: the value of `WWW-Authenticate`, which a refusal of that shape needs.
    """
    status = _status(refusal, request)
    extra = _extra_headers(refusal, challenge)
    id_ = None if request is None else _answerable(request)
    if id_ is not None and request is not None:
        if refusal.shape is Shape.TOOL_RESULT and request.method == "tools/call":
            return _made(status, _JSON, _tool_refusal(refusal, request), extra)
        return _made(status, _JSON, _error(refusal, id_, request), extra)
    if request is None and refusal.shape is Shape.RPC_ERROR:
        # JSON-RPC 2.0 section 5: null, when the id could not be read.
        return _made(status, _JSON, _error(refusal, None, None), extra)
    # Nobody waits for a result that this could be: only the status speaks.
    status = status if status >= HTTPStatus.BAD_REQUEST else 403
    return _made(status, _PROBLEM, _problem(refusal, status), extra)


def error_message(refusal: Refusal, call: Call) -> bytes:
    """The JSON-RPC message that ends a call whose answer has begun as a stream."""
    return strictjson.dumps(_error(refusal, call.id, call))


def tool_answer(call: Call, structured: Mapping[str, Any], receipt: Mapping[str, Any] | None = None) -> Answer:
    """The result of a tool that the sidecar serves itself: structured, and the same as text; and what it cost."""
    result: dict[str, Any] = {
        "content": [{"type": "text", "text": strictjson.dumps(structured).decode()}],
        "structuredContent": structured,
        "isError": False,
    }
    if receipt is not None:
        result["_meta"] = {RECEIPT_KEY: receipt}
    return _made(200, _JSON, _result(call, result), ())


def _made(status: int, media_type: str, document: Mapping[str, Any], extra: tuple[tuple[str, str], ...]) -> Answer:
    return Answer(status, (("Content-Type", media_type), *extra), strictjson.dumps(document))


def _answerable(request: Call | Message) -> RequestId | None:
    """The id an answer can carry: a posted response has one too, but it is not the client's."""
    return request.id if request.kind is CallKind.REQUEST else None


def _stateless(request: Call | Message | None) -> bool:
    """Whether a request speaks 2026-07-28; one that was refused before that was settled says so itself."""
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
    """RFC 9457; without a `type` the title is the status's own."""
    return {**_detail(refusal), "title": HTTPStatus(status).phrase, "status": status, "detail": refusal.detail}
