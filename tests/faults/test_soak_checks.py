"""The checks of the soak find what they look for."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from tests.soak.load import fault_of
from tests.soak.measures import LONG, Measures
from tests.support.attempts import Attempt
from tests.support.rig import Reply


def reply(answer: dict[str, Any], status: int = 200) -> Reply:
    return Reply(
        status, {"Content-Type": "application/json"}, json.dumps({"jsonrpc": "2.0", "id": 1, **answer}).encode()
    )


def result(**data: Any) -> dict[str, Any]:
    return {"result": {"structuredContent": data}}


@pytest.mark.parametrize(
    ("answer", "items", "count", "fault"),
    [
        (result(contacts=[{"id": "a"}]), ("a",), 1, None),
        (result(contacts=[{"id": "b"}]), ("a",), 1, "the contacts of another call"),
        (result(rows=[1, 2]), (), 2, None),
        (result(rows=[1]), (), 2, "the rows of another call"),
        ({"error": {"code": -32000, "data": {"code": "store_unavailable"}}}, (), 2, None),
        ({"error": {"code": -32000, "data": {"code": "internal"}}}, (), 2, "a call was refused with internal"),
    ],
)
def test_answers_that_are_none_of_their_call(
    answer: dict[str, Any], items: tuple[str, ...], count: int, fault: str | None
):
    made = reply(answer)
    assert fault_of(made, Attempt(items, count, made)) == fault


@pytest.mark.parametrize(
    ("last", "seconds", "is_wrong"), [(109, LONG + 1, False), (111, LONG + 1, True), (200, LONG - 60, False)]
)
def test_memory_that_grows_in_a_long_run_is_a_fault(last: int, seconds: float, is_wrong: bool):
    rss = [50 << 10] * 25 + [100 << 10] * 25 + [105 << 10] * 25 + [last << 10] * 25
    measures = Measures(lambda: None, rss=rss, _began=time.monotonic() - seconds)
    assert bool(measures.wrong()) is is_wrong
    assert "50 → 100 → 105" in dict(measures.rows())["memory of the sidecar that was not killed, by quarters"]
