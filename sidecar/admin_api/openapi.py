"""OpenAPI 3.1 document of the API, made from its routes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from http import HTTPStatus
from typing import Any, Final

from sidecar.admin_api.api_inputs import Parameter
from sidecar.admin_api.api_problems import PROBLEM_TYPE, RETRYABLE, ApiCode
from sidecar.admin_api.api_schemas import SCHEMAS
from sidecar.admin_api.route_table import JSON, Route
from sidecar.protocol.sse.sse import MEDIA_TYPE

VERSION: Final = "1.0.0"
"""Version of the API; its major number is in every path."""

_ALWAYS: Final = (
    *(ApiCode.REQUEST_MALFORMED, ApiCode.PARAMETER_INVALID),
    *(ApiCode.TOKEN_MISSING, ApiCode.TOKEN_INVALID, ApiCode.CERTIFICATE_UNKNOWN),
    *(ApiCode.PERMISSION_MISSING, ApiCode.HOST_REFUSED, ApiCode.ORIGIN_REFUSED, ApiCode.ISSUER_UNKNOWN),
    *(ApiCode.INTERNAL, ApiCode.OVERLOADED, ApiCode.STORE_UNAVAILABLE),
)
_WITH_BODY: Final = (
    *(ApiCode.BODY_MALFORMED, ApiCode.BODY_TIMEOUT, ApiCode.BODY_TOO_LARGE, ApiCode.MEDIA_TYPE_UNSUPPORTED),
)


def openapi_document(routes: Iterable[Route]) -> dict[str, Any]:
    """Return the document."""
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "mcp-policy-sidecar admin API",
            "version": VERSION,
            "description": "Accounts, consents, credits and journals, for the operator's own programs. "
            "`x-permission` is the permission that an operation needs.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"token": []}, {"certificate": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "certificate": {"type": "mutualTLS"},
            },
            "schemas": SCHEMAS,
            "responses": {"Problem": _problem_response()},
        },
    }


def _operation(route: Route) -> dict[str, Any]:
    made: dict[str, Any] = {
        "operationId": route.operation,
        "summary": route.summary,
        "x-permission": route.permission,
        "parameters": [_parameter(each) for each in route.parameters],
        "responses": _responses(route),
    }
    if route.body is not None:
        made["requestBody"] = {"required": True, "content": {JSON: {"schema": _ref(route.body)}}}
    return made


def _parameter(parameter: Parameter) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "in": parameter.place,
        "required": parameter.required,
        "description": parameter.text,
        "schema": parameter.schema,
    }


def _responses(route: Route) -> dict[str, Any]:
    content = {JSON if route.events is None else MEDIA_TYPE: {"schema": _ref(route.answer)}}
    answer: dict[str, Any] = {"description": route.summary, "content": content}
    if route.versioned:
        answer["headers"] = {"ETag": {"description": "Version of the record.", "schema": {"type": "string"}}}
    found = {"200": answer}
    if route.creates:
        found["201"] = {**answer, "description": "A record was created."}
    codes: Sequence[ApiCode] = (*_ALWAYS, *(_WITH_BODY if route.body is not None else ()), *route.problems)
    for status in sorted({code.status for code in codes}):
        found[str(status)] = _failure(status, [code for code in codes if code.status == status])
    return found


def _failure(status: int, codes: Sequence[ApiCode]) -> dict[str, Any]:
    lines = [f"`{code.id}`: {code.sentence}" for code in sorted(codes, key=lambda each: each.id)]
    failure = {**_problem_response(), "description": "  \n".join([HTTPStatus(status).phrase, *lines])}
    if any(code in RETRYABLE for code in codes):
        failure["headers"] = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}}
    return failure


def _problem_response() -> dict[str, Any]:
    return {"description": "A problem.", "content": {PROBLEM_TYPE: {"schema": _ref("Problem")}}}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}
