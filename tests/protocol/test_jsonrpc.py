from __future__ import annotations

import json
from typing import Any

import pytest

from sidecar.errors import ErrorCode, Refusal
from sidecar.model import CallKind
from sidecar.protocol import jsonrpc
from sidecar.protocol.strict import strictjson

CALL = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "search"}}


def read(value: Any) -> jsonrpc.Message:
    return jsonrpc.read(value if isinstance(value, bytes) else json.dumps(value).encode())


def refused(value: Any) -> Refusal:
    with pytest.raises(Refusal) as caught:
        read(value)
    return caught.value


def test_a_request_is_forwarded_as_it_was_judged():
    message = read(b'{"params":{"name":"search","arguments":{"n":1.0}},"method":"tools/call","id":"a","jsonrpc":"2.0"}')
    assert (message.kind, message.id, message.method) == (CallKind.REQUEST, "a", "tools/call")
    assert message.params == {"name": "search", "arguments": {"n": 1.0}}
    assert strictjson.dumps(message.document) == (
        b'{"jsonrpc":"2.0","id":"a","method":"tools/call","params":{"name":"search","arguments":{"n":1.0}}}'
    )


def test_absent_params_stay_absent():
    message = read({"jsonrpc": "2.0", "id": 1, "method": "ping"})
    assert message.params == {}
    assert "params" not in message.document


def test_notifications_have_no_id():
    message = read({"jsonrpc": "2.0", "method": "notifications/initialized"})
    assert message.kind is CallKind.NOTIFICATION
    assert message.id is None
    assert "id" not in message.document


@pytest.mark.parametrize("outcome", [{"result": {}}, {"error": {"code": 1, "message": "no"}}])
def test_a_response_is_known_by_having_no_method(outcome: dict[str, Any]):
    message = read({"jsonrpc": "2.0", "id": "s1", **outcome})
    assert (message.kind, message.id, message.method, message.params) == (CallKind.RESPONSE, "s1", "", {})
    assert message.document == {"jsonrpc": "2.0", "id": "s1", **outcome}


@pytest.mark.parametrize("id_", [0, -5, 2**53 - 1, -(2**53) + 1, "", "x" * 128])
def test_ids_that_every_parser_reads_alike(id_: object):
    message = read({**CALL, "id": id_})
    assert message.id == id_
    assert type(message.id) is type(id_)


def test_an_id_sent_as_minus_zero_is_forwarded_as_the_zero_it_was_read_as():
    message = read(b'{"jsonrpc":"2.0","id":-0,"method":"ping"}')
    assert strictjson.dumps(message.document) == b'{"jsonrpc":"2.0","id":0,"method":"ping"}'


@pytest.mark.parametrize("id_", [None, True, 1.0, 1.5, 1e3, {}, [], 2**53, -(2**53), "x" * 129])
def test_other_ids_are_refused(id_: object):
    assert refused({**CALL, "id": id_}).code is ErrorCode.MESSAGE_MALFORMED
    assert refused({"jsonrpc": "2.0", "id": id_, "result": {}}).code is ErrorCode.MESSAGE_MALFORMED


@pytest.mark.parametrize(
    "value",
    [
        [CALL],
        [CALL, CALL],
        [],
        "tools/call",
        1,
        None,
        {**CALL, "jsonrpc": "1.0"},
        {**CALL, "jsonrpc": 2.0},
        {"id": 1, "method": "ping"},
        {**CALL, "method": ""},
        {**CALL, "method": None},
        {**CALL, "method": ["tools/call"]},
        {**CALL, "params": ["reveal", {}]},
        {**CALL, "params": None},
        {**CALL, "params": "x"},
        {**CALL, "result": {}},
        {**CALL, "error": {"code": 1}},
        {**CALL, "Extra": 1},
        {**CALL, "__proto__": {}},
        {"jsonrpc": "2.0", "id": 1, "method": "ping", "param\u017f": {}},
        {"jsonrpc": "2.0", "method": "tools/call", "params": {"name": "search"}},
        {"jsonrpc": "2.0", "id": 1, "method": "notifications/cancelled"},
        {"jsonrpc": "2.0", "id": 1},
        {"jsonrpc": "2.0", "id": 1, "result": {}, "error": {}},
        {"jsonrpc": "2.0", "id": 1, "result": None},
        {"jsonrpc": "2.0", "id": 1, "result": "x"},
        {"jsonrpc": "2.0", "result": {}},
        {"jsonrpc": "2.0", "id": 1, "result": {}, "params": {}},
    ],
    ids=str,
)
def test_bodies_without_exactly_one_message_are_refused(value: object):
    assert refused(value).code is ErrorCode.MESSAGE_MALFORMED


@pytest.mark.parametrize("body", [b"", b"{", b'{"jsonrpc":"2.0","jsonrpc":"2.0"}', b'{"a":NaN}'])
def test_bodies_without_strict_json_are_unparsable(body: bytes):
    assert refused(body).code is ErrorCode.MESSAGE_UNPARSABLE


def test_the_depth_limit_is_an_argument():
    body = json.dumps({**CALL, "params": {"name": "search", "arguments": {"a": [[[]]]}}}).encode()
    assert jsonrpc.read(body, max_depth=6)
    with pytest.raises(Refusal) as caught:
        jsonrpc.read(body, max_depth=5)
    assert caught.value.code is ErrorCode.MESSAGE_UNPARSABLE


@pytest.mark.parametrize("method", ["x" * 1025, "é" * 513, "x" + "\u0301\u0323" * 16])
def test_an_overlong_method_is_refused(method: str):
    refusal = refused({"jsonrpc": "2.0", "id": 1, "method": method})
    assert refusal.code is ErrorCode.MESSAGE_MALFORMED
    assert method not in refusal.detail


def test_a_method_of_the_most_bytes_is_read():
    assert read({"jsonrpc": "2.0", "id": 1, "method": "x" * 1024}).method == "x" * 1024
