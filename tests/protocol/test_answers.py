from __future__ import annotations

import json
from typing import Any

import pytest

from sidecar.errors import ErrorCode, Refusal, Shape
from sidecar.model import Call, CallKind, Revision
from sidecar.protocol import answers
from sidecar.protocol.answers import LocalAnswer
from sidecar.protocol.jsonrpc import Message
from sidecar.protocol.meta import REFUSAL_KEY

MODERN = Call(CallKind.REQUEST, Revision.V2026_07_28, "tools/call", 7, {"name": "search"})
OLDER = Call(CallKind.REQUEST, Revision.V2025_11_25, "tools/call", "seven", {"name": "search"})
LISTING = Call(CallKind.REQUEST, Revision.V2026_07_28, "tools/list", 7)
NOTE = Call(CallKind.NOTIFICATION, Revision.V2025_11_25, "notifications/cancelled")
STREAM = Call(CallKind.STREAM, Revision.V2025_11_25)
POSTED = Call(CallKind.RESPONSE, Revision.V2025_11_25, id=3)


def body(answer: LocalAnswer) -> Any:
    return json.loads(answer.body)


def media(answer: LocalAnswer) -> str:
    return dict(answer.headers)["Content-Type"]


def test_a_business_refusal_of_a_tool_call_is_a_tool_result():
    refusal = Refusal(
        ErrorCode.INSUFFICIENT_CREDITS,
        "It costs 2.",
        data={"balance": 1},
        retry_after=60,
        log="secret",
        rule="p.yaml:7",
    )
    answer = answers.refusal_answer(refusal, MODERN)
    assert (answer.status, answer.headers) == (200, (("Content-Type", "application/json"),))
    assert body(answer) == {
        "jsonrpc": "2.0",
        "id": 7,
        "result": {
            "content": [{"type": "text", "text": "It costs 2."}],
            "isError": True,
            "_meta": {REFUSAL_KEY: {"code": "insufficient_credits", "balance": 1, "retry_after": 60}},
            "resultType": "complete",
        },
    }


def test_the_older_revisions_have_no_result_type():
    assert "resultType" not in body(answers.refusal_answer(Refusal(ErrorCode.CONSENT_MISSING), OLDER))["result"]
    assert "resultType" not in body(answers.tool_answer(OLDER, {}))["result"]


def test_for_other_methods_it_is_an_error_with_the_same_data():
    answer = answers.refusal_answer(Refusal(ErrorCode.PLAN_REQUIRED, data={"plan": "free"}), LISTING)
    assert answer.status == 200
    assert body(answer) == {
        "jsonrpc": "2.0",
        "id": 7,
        "error": {
            "code": 4021,
            "message": ErrorCode.PLAN_REQUIRED.row.sentence,
            "data": {"code": "plan_required", "plan": "free"},
        },
    }


@pytest.mark.parametrize("call", [NOTE, STREAM, POSTED], ids=lambda call: call.kind.value)
@pytest.mark.parametrize("code", [ErrorCode.CONSENT_MISSING, ErrorCode.METHOD_NOT_ALLOWED, ErrorCode.TOOL_UNKNOWN])
def test_without_an_id_they_become_a_403_problem(call: Call, code: ErrorCode):
    answer = answers.refusal_answer(Refusal(code), call)
    assert (answer.status, media(answer)) == (403, "application/problem+json")
    assert body(answer) == {
        "title": "Forbidden",
        "status": 403,
        "detail": code.row.sentence,
        "code": code.id,
    }


@pytest.mark.parametrize("code", [code for code in ErrorCode if code.row.status >= 400], ids=lambda code: code.id)
@pytest.mark.parametrize("call", [None, NOTE, STREAM, POSTED, MODERN, OLDER], ids=repr)
def test_refusals_with_their_own_status_keep_it(code: ErrorCode, call: Call | None):
    assert answers.refusal_answer(Refusal(code), call).status == code.row.status


@pytest.mark.parametrize("code", ErrorCode, ids=lambda code: code.id)
@pytest.mark.parametrize("call", [MODERN, OLDER, LISTING], ids=lambda call: f"{call.method} {call.revision}")
def test_a_request_is_always_answered_under_its_id(code: ErrorCode, call: Call):
    assert body(answers.refusal_answer(Refusal(code), call))["id"] == call.id


@pytest.mark.parametrize("code", [ErrorCode.MESSAGE_UNPARSABLE, ErrorCode.MESSAGE_MALFORMED])
def test_an_unreadable_message_is_answered_with_the_id_null(code: ErrorCode):
    answer = answers.refusal_answer(Refusal(code), None)
    assert (answer.status, media(answer), body(answer)["id"]) == (400, "application/json", None)
    assert body(answer)["error"]["code"] == code.row.rpc


def test_before_a_message_refusals_of_the_transport_are_problems():
    answer = answers.refusal_answer(Refusal(ErrorCode.ORIGIN_REFUSED), None)
    assert (answer.status, media(answer), body(answer)["code"]) == (403, "application/problem+json", "origin_refused")


def test_a_challenge_is_answered_with_the_header():
    answer = answers.refusal_answer(Refusal(ErrorCode.TOKEN_MISSING), None, 'Bearer scope="a"')
    assert (answer.status, dict(answer.headers)["WWW-Authenticate"]) == (401, 'Bearer scope="a"')
    answer = answers.refusal_answer(Refusal(ErrorCode.INSUFFICIENT_SCOPE), MODERN, "Bearer x")
    assert (answer.status, body(answer)["id"], body(answer)["error"]["code"]) == (403, 7, 4030)


def test_a_revoked_consent_that_a_login_cures_is_a_challenge():
    refusal = Refusal(ErrorCode.CONSENT_REVOKED, shape=Shape.CHALLENGE)
    answer = answers.refusal_answer(refusal, MODERN, "Bearer x")
    assert (answer.status, dict(answer.headers)["WWW-Authenticate"]) == (401, "Bearer x")


def test_a_repeated_scope_challenge_is_a_tool_result_without_a_challenge():
    refusal = Refusal(ErrorCode.INSUFFICIENT_SCOPE, shape=Shape.TOOL_RESULT)
    answer = answers.refusal_answer(refusal, MODERN, "Bearer x")
    assert (answer.status, "WWW-Authenticate" in dict(answer.headers)) == (200, False)
    assert body(answer)["result"]["isError"] is True


@pytest.mark.parametrize(
    "code", [ErrorCode.OVERLOADED, ErrorCode.STORE_UNAVAILABLE, ErrorCode.ISSUER_UNAVAILABLE], ids=lambda code: code.id
)
@pytest.mark.parametrize("call", [None, NOTE, MODERN], ids=["none", "note", "call"])
def test_a_503_has_retry_after(code: ErrorCode, call: Call | None):
    assert dict(answers.refusal_answer(Refusal(code), call).headers)["Retry-After"] == str(answers.RETRY_AFTER)
    assert dict(answers.refusal_answer(Refusal(code, retry_after=9), call).headers)["Retry-After"] == "9"


def test_an_unknown_method_is_404_in_2026_07_28_and_200_before():
    refusal = Refusal(ErrorCode.METHOD_NOT_ALLOWED)
    older = Call(CallKind.REQUEST, Revision.V2025_06_18, "x", 1)
    meta = {"_meta": {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}}
    assert answers.refusal_answer(refusal, LISTING).status == 404
    assert answers.refusal_answer(refusal, Message(CallKind.REQUEST, 1, "ping", meta)).status == 404
    assert answers.refusal_answer(refusal, older).status == 200
    assert answers.refusal_answer(refusal, Message(CallKind.REQUEST, 1, "server/discover")).status == 200
    for call in (LISTING, older):
        assert body(answers.refusal_answer(refusal, call))["error"]["code"] == -32601


def test_the_older_revisions_get_no_number_that_they_do_not_know():
    refusal = Refusal(ErrorCode.HEADER_MISMATCH)
    meta = {"_meta": {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}}
    numbers = {
        call: body(answers.refusal_answer(refusal, message))["error"]["code"]
        for call, message in {
            "modern": Message(CallKind.REQUEST, 1, "tools/call", meta),
            "older": Message(CallKind.REQUEST, 1, "tools/call"),
            "unread": None,
        }.items()
    }
    assert numbers == {"modern": -32020, "older": -32600, "unread": -32020}


def test_a_resource_that_is_not_there_has_the_number_of_its_revision():
    for code, modern, older in (
        (ErrorCode.RESOURCE_UNKNOWN, -32602, -32002),
        (ErrorCode.PROMPT_UNKNOWN, -32602, -32602),
        (ErrorCode.TOOL_UNKNOWN, -32602, -32602),
    ):
        for revision in Revision:
            call = Call(CallKind.REQUEST, revision, "resources/read", 1)
            answer = answers.refusal_answer(Refusal(code), call)
            expected = modern if revision.stateless else older
            assert (answer.status, body(answer)["error"]["code"]) == (200, expected)


def test_an_unsupported_version_names_those_supported():
    data = {"supported": ["2026-07-28"], "requested": "2027-01-01"}
    answer = answers.refusal_answer(Refusal(ErrorCode.VERSION_UNSUPPORTED, data=data), Message(CallKind.REQUEST, 1))
    assert answer.status == 400
    assert body(answer)["error"]["code"] == -32022
    assert body(answer)["error"]["data"] == {**data, "code": "version_unsupported"}


def test_a_stream_ends_with_an_error_message():
    message = json.loads(answers.error_message(Refusal(ErrorCode.RESPONSE_TOO_LARGE, log="secret"), OLDER))
    assert message == {
        "jsonrpc": "2.0",
        "id": "seven",
        "error": {
            "code": 5021,
            "message": ErrorCode.RESPONSE_TOO_LARGE.row.sentence,
            "data": {"code": "response_too_large"},
        },
    }


def test_a_tool_served_here_answers_structured_and_as_text():
    answer = answers.tool_answer(MODERN, {"plan": "free"})
    assert (answer.status, media(answer)) == (200, "application/json")
    assert body(answer) == {
        "jsonrpc": "2.0",
        "id": 7,
        "result": {
            "content": [{"type": "text", "text": '{"plan":"free"}'}],
            "structuredContent": {"plan": "free"},
            "isError": False,
            "resultType": "complete",
        },
    }


@pytest.mark.parametrize("code", ErrorCode, ids=lambda code: code.id)
@pytest.mark.parametrize("call", [None, MODERN, OLDER, NOTE], ids=["none", "modern", "older", "note"])
def test_nothing_of_the_log_or_the_policys_places_reaches_the_caller(code: ErrorCode, call: Call | None):
    answer = answers.refusal_answer(Refusal(code, log="s3cret", rule="policy.yaml:3"), call)
    assert b"s3cret" not in answer.body
    assert b"policy.yaml" not in answer.body
