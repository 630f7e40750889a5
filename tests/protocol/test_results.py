from __future__ import annotations

import json
from typing import Any

import pytest

from sidecar.outcome import Event
from sidecar.protocol import results
from sidecar.protocol.results import Other, Response, Unusable


def message(**members: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": 1, **members}).encode()


@pytest.mark.parametrize(
    ("members", "event"),
    [
        ({"result": {}}, Event.RESULT),
        ({"result": {"resultType": "complete", "isError": False}}, Event.RESULT),
        ({"result": {"isError": "true"}}, Event.RESULT),
        ({"result": {"isError": True}}, Event.TOOL_ERROR),
        ({"result": {"resultType": "input_required"}}, Event.INPUT_REQUIRED),
        ({"result": {"resultType": "input_required", "isError": True}}, Event.INPUT_REQUIRED),
        ({"error": {"code": 1, "message": "no"}}, Event.RPC_ERROR),
        ({"error": {"code": 1}, "result": None}, Event.RPC_ERROR),
    ],
    ids=str,
)
def test_what_a_response_means(members: dict[str, Any], event: Event):
    response = results.read_response(message(**members))
    assert (response.id, response.event, response.result) == (1, event, members.get("result"))
    assert results.read_event(message(**members).decode()) == response


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"[" + message(result={}) + b"]",
        b"null",
        b"{",
        b"\xff",
        b"\xef\xbb\xbf" + message(result={}),
        message(),
        message(result=None),
        message(result=[]),
        message(result={}, error={}),
        message(error="x"),
        message(result={}, method="tools/call"),
        message(result={}, id=None),
        message(result={}, id=True),
        message(result={}, id=1.0),
        message(result={"x": float("nan")}),
        b'{"jsonrpc":"2.0","result":{}}',
        b'{"a":' * 100_000,
    ],
    ids=lambda data: repr(data[:60]),
)
def test_what_is_no_response_is_unusable(data: bytes):
    with pytest.raises(Unusable):
        results.read_response(data)


def test_a_broken_text_does_not_lose_a_call_that_ran():
    data = b'{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"caf\xc3\xa9 \\ud83d"}]}}'
    response = results.read_response(data)
    assert response.result == {"content": [{"type": "text", "text": "café ?"}]}
    assert response.event is Event.RESULT
    assert results.read_event(data.decode()) == response


def test_the_result_can_be_exchanged():
    response = results.read_response(message(result={"tools": [1], "nextCursor": "c"}, extra=1))
    assert json.loads(response.with_result({"tools": []})) == {
        "jsonrpc": "2.0",
        "id": 1,
        "result": {"tools": []},
        "extra": 1,
    }


def test_what_else_a_stream_carries():
    note = {"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progress": 1}}
    ask = {"jsonrpc": "2.0", "id": 1, "method": "elicitation/create", "params": {}}
    assert results.read_event(json.dumps(note)) == Other(note)
    assert results.read_event(json.dumps(ask)) == Other(ask)
    assert results.read_event("") == Other(None)


@pytest.mark.parametrize(
    "data",
    [
        *("x", "[]", "1", "{}", '{"id":1,"result":[]}', '{"id":null,"error":{}}'),
        *('{"id":1,"method":"x","result":{"tools":[]}}', '{"id":1,"method":"x","error":{}}'),
    ],
)
def test_what_cannot_be_judged_is_nothing(data: str):
    assert results.read_event(data) is None


def test_ids_are_told_apart_by_type():
    responses = [results.read_response(message(id=id_, result={})) for id_ in (1, "1")]
    assert isinstance(responses[0], Response)
    assert responses[0].id != responses[1].id


def test_an_id_that_is_no_text_is_nobodys():
    """Where a judged text has half a surrogate pair it gets a question mark; an id must not become another one's."""
    with pytest.raises(Unusable):
        results.read_response(b'{"jsonrpc":"2.0","id":"\\ud83d","result":{}}')
    assert results.read_response(b'{"jsonrpc":"2.0","id":"?","result":{"text":"\\ud83d"}}').id == "?"


def test_a_result_may_be_deeper_than_it_is_written_at_once():
    data = b'{"jsonrpc":"2.0","id":1,"result":{"a":' + b"[" * 400 + b"]" * 400 + b"}}"
    response = results.read_response(data)
    assert response.with_result(response.result or {}) == data
