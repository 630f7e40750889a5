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
def test_outcomes_of_responses(members: dict[str, Any], event: Event):
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
def test_other_messages_are_unusable(data: bytes):
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


def test_other_messages_of_a_stream():
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
def test_ambiguous_events_are_dropped(data: str):
    assert results.read_event(data) is None


def test_ids_are_distinguished_by_type():
    responses = [results.read_response(message(id=id_, result={})) for id_ in (1, "1")]
    assert isinstance(responses[0], Response)
    assert responses[0].id != responses[1].id


def test_an_id_with_half_a_surrogate_pair_matches_no_request():
    """A question mark replaces half a surrogate pair in judged text; that must not turn an id into another one."""
    with pytest.raises(Unusable):
        results.read_response(b'{"jsonrpc":"2.0","id":"\\ud83d","result":{}}')
    assert results.read_response(b'{"jsonrpc":"2.0","id":"?","result":{"text":"\\ud83d"}}').id == "?"


def nested(depth: int, opening: str = "[", closing: str = "]", inner: str = "1") -> bytes:
    """A response whose deepest value stands in that many containers."""
    inside = depth - 2  # the message and its result
    return f'{{"jsonrpc":"2.0","id":1,"result":{{"a":{opening * inside}{inner}{closing * inside}}}}}'.encode()


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
@pytest.mark.parametrize("inner", ["1", '"\\ud83d"', "12345678901234567890123"])
def test_an_answer_nests_as_deep_as_a_message_may(opening: str, closing: str, inner: str):
    for most in (4, 64, 128):
        accepted, refused = (nested(depth, opening, closing, inner) for depth in (most, most + 1))
        response = results.read_response(accepted, most)
        assert response.result is not None
        assert results.read_event(accepted.decode(), most) == response
        assert results.read_response(response.with_result(response.result), most) == response
        with pytest.raises(Unusable, match=rf"more than {most} levels"):
            results.read_response(refused, most)
        assert results.read_event(refused.decode(), most) is None


@pytest.mark.parametrize("inner", ["1", '"\\ud83d"', "NaN", ""])
@pytest.mark.parametrize("depth", [200, 1_030, 30_000, 300_000])
def test_deep_values_reach_no_recursive_function(depth: int, inner: str):
    """Interpreters bound recursion differently; 3.12 and later let C code go on for ten thousands of levels."""
    for opening, closing in (("[", "]"), ('{"a":', "}"), ('{"a":[', "]}")):
        data = nested(depth, opening, closing, inner)
        with pytest.raises(Unusable):
            results.read_response(data)
        assert results.read_event(data.decode()) is None


def test_wide_answers_and_brackets_in_texts_are_not_deep():
    result = {"text": '[{"\\' * 200, "wide": [[{}] for _ in range(500)]}
    assert results.read_response(message(result=result)).result == result


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (message(error={"code": 1, "message": "no"}), True),
        (message(error={"code": 1}, id="1"), False),
        (message(result={"isError": True}), False),
        (message(result={}, error={}), False),
        (b"no such thing", False),
        (b"", False),
        (b"[" * 2000, False),
        (b'{"jsonrpc": "2.0", "method": "x", "id": 1, "error": {}}', False),
    ],
    ids=lambda value: str(value)[:40],
)
def test_an_error_is_the_answer_to_its_own_request_only(data: bytes, found: bool):
    assert results.is_error(data, 1) is found
