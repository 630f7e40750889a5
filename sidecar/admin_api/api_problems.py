"""Problems that the admin API answers: one row a code, and the exception that carries a code."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from http import HTTPStatus
from typing import Any, Final

import orjson

from sidecar.errors import ErrorCode, Refusal
from sidecar.management.failures import FailureCode, ManagementError

PROBLEM_TYPE: Final = "application/problem+json"


class ApiCode(Enum):
    """Stable codes of problems, each with its HTTP status and its sentence."""

    REQUEST_MALFORMED = (400, "The HTTP request is malformed.")
    BODY_MALFORMED = (400, "The body is not the JSON document that this operation takes.")
    PARAMETER_INVALID = (400, "A parameter is unknown, missing or invalid.")
    TOKEN_MISSING = (401, "A token is required.")
    TOKEN_INVALID = (401, "This token is not accepted.")
    CERTIFICATE_UNKNOWN = (401, "No program has a name of this certificate.")
    PERMISSION_MISSING = (403, "The program has no permission for this.")
    HOST_REFUSED = (403, "This Host name is not served here; `admin_hosts` names those that are.")
    ORIGIN_REFUSED = (403, "Web pages may not use this API.")
    PATH_UNKNOWN = (404, "This path is not served here.")
    ACCOUNT_UNKNOWN = (404, "The store has no record of this account.")
    ISSUER_UNKNOWN = (404, "The config has no such issuer.")
    HTTP_METHOD_REFUSED = (405, "This path does not have this method.")
    BODY_TIMEOUT = (408, "The body did not arrive in time.")
    INSUFFICIENT_CREDITS = (409, "The account has too few credits.")
    EXCESSIVE_CREDITS = (409, "The balance would exceed the largest amount, 2^53 - 1.")
    RECORD_CORRUPT = (409, "A stored value does not match the layout; see docs/repair.md.")
    VERSION_CONFLICT = (412, "The record has another version than the one that If-Match names.")
    BODY_TOO_LARGE = (413, "The body is larger than this API accepts.")
    MEDIA_TYPE_UNSUPPORTED = (415, "The body must be uncompressed application/json.")
    NAME_UNKNOWN = (422, "The policy declares no such name.")
    IDEMPOTENCY_KEY_REUSED = (422, "This idempotency key was used for another change.")
    INTERNAL = (500, "This request has failed.")
    JOURNAL_BUSY = (503, "The journal changes faster than it can be read.")
    OVERLOADED = (503, "The API is busy.")
    STORE_UNAVAILABLE = (503, "The store is unavailable; a change may have been made or not.")

    def __init__(self, status: int, sentence: str) -> None:
        self.id = self.name.lower()
        """Code in the answer, the log and the documentation."""
        self.status = status
        """HTTP status."""
        self.sentence = sentence
        """Detail of a problem that has none of its own."""


RETRYABLE: Final = frozenset({ApiCode.JOURNAL_BUSY, ApiCode.OVERLOADED, ApiCode.STORE_UNAVAILABLE})
"""Codes whose answers have `Retry-After`."""

_OF_BODIES: Final = {
    ErrorCode.BODY_TOO_LARGE: ApiCode.BODY_TOO_LARGE,
    ErrorCode.BODY_TIMEOUT: ApiCode.BODY_TIMEOUT,
    ErrorCode.REQUEST_MALFORMED: ApiCode.REQUEST_MALFORMED,
    ErrorCode.OVERLOADED: ApiCode.OVERLOADED,
}


class ApiProblem(Exception):  # noqa: N818 - a problem is an answer, not an error of the program
    """Problem that ends a request.

    Args:
        code: its row.
        detail: a sentence for the caller, instead of the row's.
        members: further members of the document.
        headers: further headers of the answer.
        log: one more sentence, for the log only.
    """

    def __init__(
        self,
        code: ApiCode,
        detail: str | None = None,
        *,
        members: Mapping[str, Any] | None = None,
        headers: tuple[tuple[str, str], ...] = (),
        log: str | None = None,
    ) -> None:
        super().__init__(code.id)
        self.code = code
        self.detail = detail or code.sentence
        self.members = members or {}
        self.log = log
        self.headers = headers if code not in RETRYABLE else (*headers, ("Retry-After", "1"))

    def body(self, request_id: str) -> bytes:
        """Return the document; `type` is absent, which means `about:blank` (RFC 9457 section 4.2.1)."""
        code = self.code
        fixed = {"title": HTTPStatus(code.status).phrase, "status": code.status, "detail": self.detail, "code": code.id}
        return orjson.dumps({**self.members, **fixed, "request_id": request_id})


_OF_FAILURES: Final = {
    FailureCode.ACCOUNT_UNKNOWN: ApiCode.ACCOUNT_UNKNOWN,
    FailureCode.NAME_UNKNOWN: ApiCode.NAME_UNKNOWN,
    FailureCode.INVALID: ApiCode.PARAMETER_INVALID,
    FailureCode.TOO_LITTLE: ApiCode.INSUFFICIENT_CREDITS,
    FailureCode.TOO_MUCH: ApiCode.EXCESSIVE_CREDITS,
    FailureCode.VERSION_CONFLICT: ApiCode.VERSION_CONFLICT,
    FailureCode.KEY_REUSED: ApiCode.IDEMPOTENCY_KEY_REUSED,
    FailureCode.BUSY: ApiCode.JOURNAL_BUSY,
    FailureCode.STORE_UNAVAILABLE: ApiCode.STORE_UNAVAILABLE,
    FailureCode.STORE_REJECTED: ApiCode.STORE_UNAVAILABLE,
    FailureCode.STORE_CORRUPT: ApiCode.RECORD_CORRUPT,
}


def problem_of_failure(failure: ManagementError) -> ApiProblem:
    """Return the problem of an operation that has failed; the store's own words are for the log."""
    code = _OF_FAILURES[failure.code]
    if code is ApiCode.STORE_UNAVAILABLE:
        return ApiProblem(code, log=str(failure))
    return ApiProblem(code, str(failure))


def problem_of_body(refusal: Refusal) -> ApiProblem:
    """Return the problem of a body that could not be read."""
    return ApiProblem(_OF_BODIES.get(refusal.code, ApiCode.INTERNAL))
