"""JSON answers and events of the backend: read as any parser reads them, or called unusable."""

from __future__ import annotations

import json
from random import Random
from typing import Any

from sidecar.outcome import Event
from sidecar.protocol.results import Other, Response, Unusable, read_event, read_response
from tests.wire.reading import same


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
