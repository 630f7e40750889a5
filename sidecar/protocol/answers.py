"""HTTP answers that the sidecar makes itself: refusals in their shapes, and results of tools that it serves.

Clients act on the HTTP status: 401 starts a login, and the text of most other 4xx does not reach the model. The
error table gives each refusal its shape. This module applies it to the request: its id, its revision, and whether
it is a tool call.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, NamedTuple

from sidecar.errors import ErrorCode, Refusal, Shape
from sidecar.model import Call, CallKind, RequestId
from sidecar.protocol.jsonrpc import Message
from sidecar.protocol.meta import RECEIPT_KEY, REFUSAL_KEY
from sidecar.protocol.revisions import claimed_version
from sidecar.protocol.strict import strictjson
from sidecar.vocabulary import record

RETRY_AFTER: Final = 1
"""Seconds in the `Retry-After` of a 503 when its refusal gives none."""

_JSON: Final = "application/json"
_PROBLEM: Final = "application/problem+json"
_OLDER_NUMBERS: Final = {
    ErrorCode.HEADER_MISMATCH: -32600,  # older clients do not know the number of 2026-07-28
    ErrorCode.RESOURCE_UNKNOWN: -32002,  # 2025-11-25, server/resources: error handling
}
"""JSON-RPC numbers of the older revisions, where they differ from those of the error table (2026-07-28)."""


# Members of enums as constants: as attributes of their classes they take ten times as long.
_REQUEST: Final = CallKind.REQUEST


@record
class LocalAnswer:
    """A complete HTTP answer; `headers` include its Content-Type."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


class RequestForm(NamedTuple):
    """Properties of a request that decide the form of its refusal.

    Attributes:
        read: False before gate 3, and for an unreadable body.
        answerable: True when its client waits for a JSON-RPC response: not to a posted response, because its id was
            chosen by the server.
        calls_tool: True for a `tools/call`.
        stateless: True when it speaks 2026-07-28; before its revision is settled, its own claim counts.
    """

    read: bool
    answerable: bool
    calls_tool: bool
    stateless: bool

    @classmethod
    def of(cls, request: Call | Message | None) -> RequestForm:
        """Return the form of a request, by as much of it as was read."""
        if request is None:
            return _UNREAD
        if isinstance(request, Call):
            stateless = request.revision.stateless
        else:
            stateless = claimed_version(request.params) is not None
        return cls(True, request.kind is _REQUEST and request.id is not None, request.method == "tools/call", stateless)


_UNREAD: Final = RequestForm(False, False, False, False)


@record
class RefusalFrame:
    """Answer to refused requests of one form, which differ in their ids only.

    Attributes:
        status: HTTP status.
        headers: as in `LocalAnswer`.
        body: the whole body; of a JSON-RPC response, what follows its id.
        response: True for a JSON-RPC response.
    """

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    response: bool

    def answer(self, id_: RequestId | None) -> LocalAnswer:
        """Return the answer to the request with this id."""
        body = self.body
        if self.response:
            body = b'{"jsonrpc":"2.0","id":%b,%b' % (strictjson.dumps(id_), body)
        return LocalAnswer(self.status, self.headers, body)


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
    return _result(call, result)


def refusal_answer(refusal: Refusal, request: Call | Message | None, challenge: str | None = None) -> LocalAnswer:
    """Answer a refused request in the shape that its client expects.

    Args:
        refusal: the refusal.
        request: as much of it as was read: None before gate 3, or for an unreadable body; the message when its
            headers were refused; then the call.
        challenge: the value of `WWW-Authenticate`; required for refusals of that shape.
    """
    id_ = None if request is None else request.id
    return refusal_frame(refusal, RequestForm.of(request), challenge).answer(id_)


def refusal_frame(refusal: Refusal, form: RequestForm, challenge: str | None) -> RefusalFrame:
    """Return the answer to refused requests of one form, as `refusal_answer` does."""
    status, extra = _status(refusal, form), _extra_headers(refusal, challenge)
    if form.answerable or (not form.read and refusal.shape is Shape.RPC_ERROR):
        # JSON-RPC 2.0 section 5: the id is null when it could not be read.
        if form.answerable and form.calls_tool and refusal.shape is Shape.TOOL_RESULT:
            member = {"result": _tool_refusal(refusal, form)}
        else:
            member = {"error": _error(refusal, form)}
        return RefusalFrame(status, (("Content-Type", _JSON), *extra), strictjson.dumps(member)[1:], True)
    # The client waits for no JSON-RPC response: only the status reaches it.
    status = status if status >= HTTPStatus.BAD_REQUEST else 403
    headers = (("Content-Type", _PROBLEM), *extra)
    return RefusalFrame(status, headers, strictjson.dumps(_problem(refusal, status)), False)


def error_message(refusal: Refusal, call: Call) -> bytes:
    """Return the JSON-RPC message that ends a call after its answer has become a stream."""
    return strictjson.dumps(_response(call.id, {"error": _error(refusal, RequestForm.of(call))}))


def tool_answer(call: Call, structured: Mapping[str, Any], receipt: Mapping[str, Any] | None = None) -> LocalAnswer:
    """Return the result of a tool that the sidecar serves: structured content, the same as text, and the receipt."""
    result: dict[str, Any] = {
        "content": [{"type": "text", "text": strictjson.dumps(structured).decode()}],
        "structuredContent": structured,
        "isError": False,
    }
    if receipt is not None:
        result["_meta"] = {RECEIPT_KEY: receipt}
    if call.revision.stateless:
        result["resultType"] = "complete"
    return _result(call, result)


def _result(call: Call, result: Mapping[str, Any]) -> LocalAnswer:
    return LocalAnswer(200, (("Content-Type", _JSON),), strictjson.dumps(_response(call.id, {"result": result})))


def _response(id_: RequestId | None, member: Mapping[str, Any]) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id_, **member}


def _status(refusal: Refusal, form: RequestForm) -> int:
    # 2026-07-28, basic/transports/streamable-http: an unknown method is a 404.
    return 404 if form.stateless and refusal.code is ErrorCode.METHOD_NOT_ALLOWED else refusal.status


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


def _error(refusal: Refusal, form: RequestForm) -> dict[str, Any]:
    number = refusal.code.row.rpc
    if form.read and not form.stateless:
        number = _OLDER_NUMBERS.get(refusal.code, number)
    return {"code": number, "message": refusal.detail, "data": _detail(refusal)}


def _tool_refusal(refusal: Refusal, form: RequestForm) -> dict[str, Any]:
    result: dict[str, Any] = {
        "content": [{"type": "text", "text": refusal.detail}],
        "isError": True,
        "_meta": {REFUSAL_KEY: _detail(refusal)},
    }
    if form.stateless:
        result["resultType"] = "complete"
    return result


def _problem(refusal: Refusal, status: int) -> dict[str, Any]:
    """Return problem JSON (RFC 9457); without a `type` the title is that of the status."""
    return {**_detail(refusal), "title": HTTPStatus(status).phrase, "status": status, "detail": refusal.detail}
