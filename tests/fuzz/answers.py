"""JSON answers and events of the backend: read like other parsers read them, or unusable."""

from __future__ import annotations

import json
from random import Random
from typing import Any, Final

from sidecar.outcome import Event
from sidecar.protocol.meta import RECEIPT_KEY, REFUSAL_KEY
from sidecar.protocol.results import Other, Response, Unusable, read_event, read_response
from sidecar.protocol.stamping import stamped
from tests.wire import documents
from tests.wire.reading import same

SNIPPETS: Final = (
    *documents.SNIPPETS,
    *(b'"result":{', b'"result":{},', b'"_meta":{},', b'"_meta":null,', b'"_meta" : {"a":1.0},', b'"_META":{},'),
    *(b'"\\u005fmeta":{},', b'\\"_meta":{', b'"mcp-policy-sidecar/receipt":{},', b'"mcp-policy-sidecar\\/refusal":1,'),
)

_RECEIPT: Final = {"request_id": "r-1"}


def check(data: bytes, _: Random) -> None:
    """Hold what was read as an answer, and as an event, against Python's own parser."""
    try:
        response: Response | None = read_response(data)
    except Unusable:
        response = None
    if response is not None:
        _holds(response, data)
    event = read_event(data.decode("utf-8", "replace"))
    if isinstance(event, Response):
        _holds(event, data.decode("utf-8", "replace").encode())
    elif isinstance(event, Other) and event.message is not None:
        assert "method" in event.message


def _holds(response: Response, data: bytes) -> None:
    try:
        document: Any = json.loads(data)
    except RecursionError:
        return  # there is nothing to compare with
    assert isinstance(document, dict)
    assert "method" not in document
    assert document["id"] == response.id
    assert type(document["id"]) is type(response.id)
    result = document.get("result")
    if response.event is Event.RPC_ERROR:
        assert isinstance(document["error"], dict)
        assert result is None
        return
    assert isinstance(result, dict)
    assert document.get("error") is None
    assert response.result is not None
    asks = result.get("resultType") == "input_required"
    failed = result.get("isError") is True
    expected = Event.INPUT_REQUIRED if asks else Event.TOOL_ERROR if failed else Event.RESULT
    assert response.event is expected
    again = read_response(response.with_result(response.result))
    assert (again.id, again.event, same(again.result)) == (response.id, response.event, same(response.result))
    _stamps(response, data.decode())


def _stamps(response: Response, text: str) -> None:
    """The result is the same with a receipt, and says nothing in our name without one."""
    given, free = (
        read_response(stamped(text, response.result, receipt).encode()).result for receipt in (_RECEIPT, None)
    )
    assert response.result is not None
    assert given is not None
    assert free is not None
    meta, others = _parts(response.result)
    kept = {key: value for key, value in meta.items() if key not in (RECEIPT_KEY, REFUSAL_KEY)}
    stamped_meta, stamped_others = _parts(given)
    assert stamped_meta.pop(RECEIPT_KEY) == _RECEIPT
    assert (same(stamped_meta), same(stamped_others)) == (same(kept), same(others))
    free_meta, free_others = _parts(free)
    assert (same(free_meta), same(free_others)) == (same(kept), same(others))


def _parts(result: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The members of `_meta`, and the others but for tasks, whose own `_meta` may lose what is forged."""
    meta = result.get("_meta")
    others = {key: value for key, value in result.items() if key not in ("_meta", "_META", "result")}
    return dict(meta) if isinstance(meta, dict) else {}, others
