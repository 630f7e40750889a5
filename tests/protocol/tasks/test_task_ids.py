"""Tasks that the backend's messages name, and results that start a task."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from mcp_types import CreateTaskResult, GetTaskResult, ListTasksResult, Task, TaskStatusNotificationParams

from sidecar.outcome import Event
from sidecar.protocol import results
from sidecar.protocol.tasks import task_ids
from sidecar.protocol.tasks.task_ids import Unreadable

Json = dict[str, Any]
RELATED = "io.modelcontextprotocol/related-task"
AT = "2025-11-25T10:30:00Z"


def wire(model: Any) -> Json:
    return dict(model.model_dump(mode="json", by_alias=True, exclude_none=True))


TASK = Task(task_id="t", status="working", created_at=AT, last_updated_at=AT, ttl=60_000)
MODERN: Json = {"resultType": "task", "taskId": "t", "status": "working", "ttlMs": 60_000}


@pytest.mark.parametrize(
    "result",
    [
        wire(CreateTaskResult(task=TASK)),
        MODERN,
        {"resultType": "task", "task": {"taskId": "t", "status": "working", "ttlMs": 60_000}},
        {**wire(CreateTaskResult(task=TASK)), "content": [], "isError": True},
    ],
)
def test_a_result_that_starts_a_task(result: Json):
    response = results.read_response(results.Response(1, Event.RESULT, result, _message(result)).encode())
    assert response.event is Event.TASK_STARTED
    assert task_ids.named(result) == {"t"}
    assert task_ids.lifetime(result) == 60


def _message(result: Json) -> Json:
    return {"jsonrpc": "2.0", "id": 1, "result": result}


@pytest.mark.parametrize(
    ("result", "named"),
    [
        (wire(GetTaskResult(**TASK.model_dump())), {"t"}),
        (wire(TaskStatusNotificationParams(**TASK.model_dump())), {"t"}),
        (wire(ListTasksResult(tasks=[TASK, TASK.model_copy(update={"task_id": "u"})])), {"t", "u"}),
        ({"content": [], "_meta": {RELATED: {"taskId": "t"}}}, {"t"}),
        ({"resultType": "complete", "taskId": "t", "status": "completed", "result": {"content": []}}, {"t"}),
        ({"taskId": "t", "result": {"_meta": {RELATED: {"taskId": "u"}}}}, {"t", "u"}),
        ({"taskId": "t", "inputRequests": {"k": {"params": {"_meta": {RELATED: {"taskId": "u"}}}}}}, {"t", "u"}),
        ({"notifications": {"taskIds": ["t", "u"]}, "_meta": {}}, {"t", "u"}),
        ({"content": [{"type": "text", "text": "taskId"}], "structuredContent": {"taskId": "t"}}, set()),
        ({"content": [], "_meta": {"taskId": "t"}, "task": "t", "tasks": ["t", {"id": "t"}, 1]}, set()),
        ({"taskId": "t", "inputRequests": ["u"], "result": [{"taskId": "u"}]}, {"t"}),
        ({}, set()),
    ],
)
def test_task_ids_in_results_and_notifications(result: Json, named: set[str]):
    assert task_ids.named(result) == named
    response = results.read_response(results.Response(1, Event.RESULT, result, _message(result)).encode())
    assert response.event is Event.RESULT


@pytest.mark.parametrize(
    "result",
    [
        {"taskId": 1},
        {"taskId": None},
        {"taskId": ""},
        {"taskId": "t" * 1025},
        {"task": {"taskId": {}}},
        {"tasks": [{"taskId": 1}]},
        {"_meta": {RELATED: None}},
        {"_meta": {RELATED: {"id": "t"}}},
        {"notifications": {"taskIds": "t"}},
        {"result": {"taskId": 7}},
        {"tasks": [{"taskId": f"t{number}"} for number in range(501)]},
    ],
    ids=lambda result: str(result)[:60],
)
def test_invalid_ids_are_unreadable(result: Json):
    with pytest.raises(Unreadable):
        task_ids.named(result)


@pytest.mark.parametrize(
    ("result", "seconds"),
    [
        ({"taskId": "t"}, 0),
        ({"taskId": "t", "ttlMs": None}, math.inf),
        ({"task": {"taskId": "t", "ttl": None}}, math.inf),
        ({"task": {"taskId": "t", "ttl": 90_500}}, 90.5),
        ({"task": {"taskId": "t", "ttl": 0.5}}, 0.0005),
        ({"taskId": "t", "ttlMs": -5}, 0),
        ({"taskId": "t", "ttlMs": "60000"}, 0),
        ({"taskId": "t", "ttlMs": True}, 0),
    ],
)
def test_the_lifetime_of_a_task(result: Json, seconds: float):
    assert task_ids.lifetime(result) == seconds


def test_a_list_keeps_the_callers_own_tasks_in_their_order_and_the_cursor():
    listed = [
        {"taskId": "b", "status": "working", "vendor": 1},
        {"taskId": "theirs"},
        {"taskId": 7},
        {"status": "working"},
        "a",
        {"taskId": "a", "_meta": {RELATED: {"taskId": "theirs"}}},
        {"taskId": "a", "ttl": None},
    ]
    result = {"tasks": listed, "nextCursor": "c", "_meta": {"x": 1}}
    assert {name for _, names in task_ids.entries(result) for name in names} == {"a", "b", "theirs"}
    assert task_ids.owned(result, {"a", "b"}) == {**result, "tasks": [listed[0], listed[6]]}
    assert task_ids.owned({"nextCursor": "c"}, {"a"}) == {"tasks": [], "nextCursor": "c"}


# --- for any body --------------------------------------------------------------------------------

NAMES = st.sampled_from(
    [
        *("content", "structuredContent", "task", "Task", "tasks", "taskId", "taskIds", "notifications"),
        *("inputRequests", "result", "params", "_meta", RELATED, "k"),
    ]
)
LEAVES = st.none() | st.integers(0, 2) | st.sampled_from(["t", "u", ""])
VALUES = st.recursive(
    LEAVES, lambda inner: st.dictionaries(NAMES, inner, max_size=3) | st.lists(inner, max_size=3), max_leaves=10
)
BODIES = st.dictionaries(NAMES, VALUES, max_size=2) | st.dictionaries(NAMES, VALUES, max_size=5)


@given(BODIES, st.none() | BODIES)
@example({"result": {"taskId": "t"}}, None)
@example({"inputRequests": {"k": {"params": {"taskId": "t"}}}}, None)
@example({}, {RELATED: None})
def test_a_body_without_the_path_to_a_task_names_none(body: Json, meta: Json | None):
    held = body if meta is None else {**body, "_meta": meta}
    # An empty task's result names no task, and lets every place be read.
    assert names_in(held) == names_in({"result": {}, **held})


def names_in(body: Json) -> object:
    try:
        return task_ids.named(body)
    except Unreadable:
        return Unreadable
