"""Reading answers: what the story takes for a refusal, and for which."""

import json

import pytest

from demo.answers import Answer, read_answer
from sidecar.errors import ErrorCode
from sidecar.protocol.meta import REFUSAL_KEY

CODE = {"code": "quota_exceeded", "left": 3}


def read(status, body, media_type="application/json", **headers):
    text = body if isinstance(body, str) else json.dumps(body)
    return read_answer(status, {"content-type": media_type, **headers}, text.encode())


@pytest.mark.parametrize(
    "body",
    [
        {"result": {"isError": True, "content": [{"type": "text", "text": "Used up."}], "_meta": {REFUSAL_KEY: CODE}}},
        {"error": {"code": 4290, "message": "Used up.", "data": CODE}},
        {"error": {"code": 4290, "message": "Used up.", "data": {REFUSAL_KEY: CODE}}},
        {"type": "about:blank", "title": "Used up.", **CODE},
    ],
)
def test_a_code_is_found_in_every_shape(body):
    answer = read(200 if "type" not in body else 403, body)
    assert (answer.code, answer.sentence, answer.facts["left"]) == ("quota_exceeded", "Used up.", 3)
    assert answer.shows(ErrorCode.QUOTA_EXCEEDED, answer.status)
    assert not answer.shows(ErrorCode.PLAN_REQUIRED, answer.status)
    assert str(answer) == f"{answer.status} quota_exceeded Used up."


def test_the_last_event_is_the_response():
    progress = json.dumps({"method": "notifications/progress"})
    done = json.dumps({"result": {"structuredContent": {"rows": [1]}}})
    answer = read(200, f"data: {progress}\n\n: alive\n\ndata: {done}\n\n", "text/event-stream")
    assert answer.data == {"rows": [1]}
    assert str(answer) == '200 {"rows": [1]}'
    assert answer.shows(None, 200)


@pytest.mark.parametrize(("status", "body"), [(502, "<html>"), (500, ""), (404, "[1]")])
def test_unreadable_answers_count_as_refusals(status, body):
    answer = read(status, body, "text/html")
    assert answer.refused
    assert not answer.shows(ErrorCode.BACKEND_UNAVAILABLE, 502)
    assert read(200, "", "text/event-stream").result is None


def test_an_answer_without_a_code_is_compared_by_its_number_or_challenge():
    assert Answer(404, rpc=-32601).shows(ErrorCode.METHOD_NOT_ALLOWED, 404)
    assert not Answer(404, rpc=-32602).shows(ErrorCode.METHOD_NOT_ALLOWED, 404)
    assert Answer(401, challenge="Bearer").shows(ErrorCode.TOKEN_MISSING, 401)
    assert not Answer(401).shows(ErrorCode.TOKEN_MISSING, 401)
    assert not Answer(200, rpc=-32601).shows(ErrorCode.METHOD_NOT_ALLOWED, 404)
    assert not Answer(500).shows(None, 500)
