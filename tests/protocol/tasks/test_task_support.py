"""Tasks in messages of both directions, when they are served and when they are not."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from sidecar.errors import ErrorCode, Refusal
from sidecar.model import Call, CallKind, Revision
from sidecar.protocol import headers, jsonrpc, revisions
from sidecar.protocol.strict import strictjson
from sidecar.protocol.tasks import task_support

VERSION = "io.modelcontextprotocol/protocolVersion"
CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"
TASKS = "io.modelcontextprotocol/tasks"
RELATED = "io.modelcontextprotocol/related-task"
ALL = frozenset(f"tasks/{verb}" for verb in ("get", "update", "cancel", "list", "result"))
ABOUT = ("tasks/get", "tasks/update", "tasks/cancel")
CORE, MODERN = "2025-11-25", "2026-07-28"

Json = dict[str, Any]


def call_of(method: str, params: Json, revision: str = CORE, declared: frozenset[str] = ALL) -> Call:
    message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    sent = {"MCP-Protocol-Version": revision}
    if method.startswith("notifications/"):
        del message["id"]
    if revision == MODERN:
        offered: Json = {"extensions": {TASKS: {}}} if method in ABOUT else {}
        params = {**params, "_meta": {VERSION: MODERN, CAPABILITIES: offered, **params.get("_meta", {})}}
        message["params"] = params
        sent["Mcp-Method"] = method
        named = params.get("name") or params.get("taskId")
        if isinstance(named, str):
            sent["Mcp-Name"] = named
    return read(message, sent, declared)


def read(message: Json, sent: dict[str, str], declared: frozenset[str] = ALL) -> Call:
    return revisions.call_of(jsonrpc.read(json.dumps(message).encode()), headers.read(sent.items()), declared)


def params_of(call: Call) -> Json:
    """Return the judged parameters, which must equal the forwarded ones."""
    assert call.document is not None
    assert call.document.get("params", {}) == call.params
    return dict(call.params)


# --- not served ----------------------------------------------------------------------------------


@pytest.mark.parametrize("declared", [frozenset(), ALL - {"tasks/get"}], ids=["none", "all but tasks/get"])
@pytest.mark.parametrize("revision", [CORE, MODERN])
def test_without_tasks_get_messages_contain_no_tasks(revision: str, declared: frozenset[str]):
    offered: Json = {"elicitation": {}, "tasks": {}, "extensions": {TASKS: {}, "com.example/x": {}}}
    params = {"name": "a", "task": {"ttl": 1}, "_meta": {RELATED: {"taskId": "t"}, CAPABILITIES: offered}}
    call = call_of("tools/call", params, revision, declared)
    kept = params_of(call)
    assert call.tasks == ()
    assert "task" not in kept
    assert RELATED not in kept["_meta"]
    assert kept["_meta"][CAPABILITIES] == {"elicitation": {}, "extensions": {"com.example/x": {}}}
    offered = {"tasks": {"requests": {}}, "roots": {}, "extensions": {TASKS: {}}}
    kept = params_of(call_of("initialize", {"protocolVersion": CORE, "capabilities": offered}, CORE, declared))
    assert kept["capabilities"] == {"roots": {}, "extensions": {}}
    kept = params_of(
        call_of(
            "subscriptions/listen", {"notifications": {"taskIds": ["t"], "toolsListChanged": True}}, MODERN, declared
        )
    )
    assert kept["notifications"] == {"toolsListChanged": True}
    response = {"jsonrpc": "2.0", "id": 1, "result": {"action": "accept", "_meta": {RELATED: {"taskId": "t"}, "x": 1}}}
    call = read(response, {"MCP-Protocol-Version": CORE}, declared)
    assert (call.document or {})["result"] == {"action": "accept", "_meta": {"x": 1}}
    assert call.tasks == ()


@pytest.mark.parametrize("revision", ["2025-03-26", "2025-06-18"])
def test_revisions_without_tasks_have_none_whatever_is_declared(revision: str):
    call = call_of("tools/call", {"name": "a", "task": {}, "_meta": {RELATED: {"taskId": "t"}}}, revision)
    assert params_of(call) == {"name": "a", "_meta": {}}
    assert call.tasks == ()
    params = {"protocolVersion": revision, "capabilities": {"tasks": {}}}
    assert params_of(call_of("initialize", params, revision))["capabilities"] == {}


def test_number_literals_survive_the_removal():
    body = (
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","arguments":{"n":1e2},"task":{"ttl":1}}}'
    )
    call = revisions.call_of(jsonrpc.read(body), headers.McpHeaders(version=CORE))
    assert call.params == {"name": "a", "arguments": {"n": 100.0}}
    assert call.document is not None
    assert json.loads(strictjson.dumps(call.document))["params"] == {"name": "a", "arguments": {"n": 100.0}}
    assert b"1e2" in strictjson.dumps(call.document)


# --- served --------------------------------------------------------------------------------------


def test_each_revision_keeps_its_own_kind_of_tasks_and_not_the_others():
    offered: Json = {"tasks": {}, "extensions": {TASKS: {}}}
    params = {"name": "a", "task": {"ttl": 1}, "_meta": {CAPABILITIES: offered}}
    kept = params_of(call_of("tools/call", params, CORE))
    assert kept["task"] == {"ttl": 1}
    assert kept["_meta"][CAPABILITIES] == {"extensions": {}}
    kept = params_of(call_of("tools/call", params, MODERN))
    assert "task" not in kept
    assert kept["_meta"][CAPABILITIES] == {"extensions": {TASKS: {}}}
    wanted = {"notifications": {"taskIds": ["t"]}}
    assert params_of(call_of("subscriptions/listen", wanted, MODERN))["notifications"] == {"taskIds": ["t"]}


@pytest.mark.parametrize("tasks_offered", [{}, {"list": {}, "requests": {"sampling": {"createMessage": {}}}}], ids=str)
def test_a_client_may_support_tasks_but_runs_none(tasks_offered: Json):
    offered: Json = {"tasks": tasks_offered, "extensions": {TASKS: {}}}
    call = call_of("initialize", {"protocolVersion": CORE, "capabilities": offered})
    assert params_of(call)["capabilities"] == {"tasks": {}, "extensions": {}}
    call = call_of("initialize", {"protocolVersion": CORE, "capabilities": {"tasks": 1}})
    assert params_of(call)["capabilities"] == {}


@pytest.mark.parametrize("method", ABOUT)
@pytest.mark.parametrize("offered", [{}, {"extensions": {}}, {"extensions": None}, {"tasks": {}}], ids=str)
def test_a_client_without_the_extension_is_refused_before_the_look_up(method: str, offered: Json):
    params: Json = {"taskId": "t", "inputResponses": {}, "_meta": {CAPABILITIES: offered}}
    with pytest.raises(Refusal) as caught:
        call_of(method, params, MODERN)
    assert caught.value.code is ErrorCode.CAPABILITY_MISSING
    assert caught.value.data == {"requiredCapabilities": {"extensions": {TASKS: {}}}}
    assert (caught.value.code.row.rpc, caught.value.status) == (-32021, 400)
    # Where tasks are not served the method is refused as any other that is not declared.
    assert call_of(method, params, MODERN, frozenset()).method == method
    assert call_of(method, {"taskId": "t", "inputResponses": {}}, MODERN).tasks == ("t",)


# --- named tasks ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "params", "revision", "named"),
    [
        ("tasks/get", {"taskId": "t"}, CORE, ("t",)),
        ("tasks/result", {"taskId": "t"}, CORE, ("t",)),
        ("tasks/cancel", {"taskId": "t"}, MODERN, ("t",)),
        ("tasks/update", {"taskId": "t", "inputResponses": {"taskId": {"action": "accept"}}}, MODERN, ("t",)),
        ("tasks/get", {"taskId": "t", "_meta": {RELATED: {"taskId": "u"}}}, CORE, ("t", "u")),
        ("tools/call", {"name": "a", "arguments": {"taskId": "t", "task": {"taskId": "t"}}}, CORE, ()),
        ("tools/call", {"name": "a", "task": {"ttl": 1}}, CORE, ()),
        ("tools/call", {"name": "a", "task": {"taskId": "t"}}, CORE, ("t",)),
        ("tools/call", {"name": "a", "_meta": {RELATED: {"taskId": "t"}}}, CORE, ("t",)),
        ("subscriptions/listen", {"notifications": {"taskIds": ["u", "t", "u"]}}, MODERN, ("t", "u")),
        ("notifications/tasks/status", {"taskId": "t", "status": "completed"}, CORE, ("t",)),
        ("notifications/progress", {"progressToken": 1, "_meta": {RELATED: {"taskId": "t"}}}, CORE, ("t",)),
        ("tasks/list", {"cursor": "t"}, CORE, ()),
    ],
)
def test_the_tasks_that_a_message_names(method: str, params: Json, revision: str, named: tuple[str, ...]):
    assert call_of(method, params, revision).tasks == named


@pytest.mark.parametrize(
    ("result", "named"),
    [
        ({"action": "accept", "content": {"taskId": "t"}}, ()),
        ({"action": "accept", "_meta": {RELATED: {"taskId": "t"}}}, ("t",)),
        ({"task": {"taskId": "t", "status": "working"}}, ("t",)),  # a client that runs tasks of its own
        ({"taskId": "t", "status": "working"}, ("t",)),
        ({"tasks": [{"taskId": "t"}, {"taskId": "u"}]}, ("t", "u")),
    ],
)
def test_the_tasks_that_a_posted_response_names(result: Json, named: tuple[str, ...]):
    call = read({"jsonrpc": "2.0", "id": 1, "result": result}, {"MCP-Protocol-Version": CORE})
    assert (call.kind, call.tasks) == (CallKind.RESPONSE, named)
    error = {"jsonrpc": "2.0", "id": 1, "error": {"code": 1, "message": "no"}}
    assert read(error, {"MCP-Protocol-Version": CORE}).tasks == ()


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("tasks/get", {"taskId": 1}),
        ("tasks/get", {"taskId": True}),
        ("tasks/get", {"taskId": ["t"]}),
        ("tasks/get", {"taskId": None}),
        ("tasks/get", {"taskId": ""}),
        ("tasks/get", {"taskId": "t" * 1025}),
        ("tasks/get", {}),
        ("tasks/get", {"taskId": "t", "_meta": {RELATED: "t"}}),
        ("tasks/get", {"taskId": "t", "_meta": {RELATED: {}}}),
        ("tasks/get", {"taskId": "t", "_meta": {RELATED: {"taskId": 7}}}),
        ("tasks/get", {"taskId": "t", "_meta": {RELATED: {"taskId": "t", "TaskId": "u"}}}),
        ("tasks/get", {"taskId": "t", "_meta": {RELATED.upper(): {"taskId": "u"}}}),
        ("tasks/get", {"taskId": "t", "_meta": {RELATED.replace("task", "tas\uff4b"): {"taskId": "u"}}}),
        ("tasks/get", {"taskId": "t", "\uff34askId": "u"}),
        ("tasks/get", {"taskid": "t"}),
        ("tools/call", {"name": "a", "Task": {}}),
        ("tools/call", {"name": "a", "task": {"TASKID": "u"}}),
        ("tools/call", {"name": "a", "task": []}),
        ("notifications/tasks/status", {"status": "completed"}),
    ],
    ids=str,
)
def test_ambiguous_task_ids_are_refused(method: str, params: Json):
    with pytest.raises(Refusal) as caught:
        call_of(method, params)
    assert caught.value.code in (ErrorCode.PARAMS_MALFORMED, ErrorCode.MESSAGE_UNPARSABLE)


@pytest.mark.parametrize(
    "wanted",
    [
        ["t"],
        {"taskIds": "t"},
        {"taskIds": {"t": 1}},
        {"taskIds": None},
        {"taskIds": ["t", 1]},
        {"taskIds": [["t"]]},
        {"taskIds": ["t", None]},
        {"taskIds": [f"t{number}" for number in range(501)]},
        {"taskIDs": ["t"]},
        {"\uff34askIds": ["t"]},
    ],
    ids=lambda wanted: str(wanted)[:40],
)
def test_ambiguous_filters_are_refused(wanted: object):
    with pytest.raises(Refusal) as caught:
        call_of("subscriptions/listen", {"notifications": wanted}, MODERN)
    assert caught.value.code is ErrorCode.PARAMS_MALFORMED


def test_ids_that_look_alike_are_different_tasks():
    alike = ["1", "\u2460", "\uff11", "1\u200b", " 1", "1 ", "I", "i", "\u0131"]
    assert len({call_of("tasks/get", {"taskId": each}).tasks for each in alike}) == len(alike)


# --- capabilities of servers ---------------------------------------------------------------------

SERVER: Json = {
    "protocolVersion": CORE,
    "capabilities": {
        "tasks": {"list": {}, "cancel": {}, "requests": {"tools": {"call": {}}}, "vendor": {}},
        "tools": {},
        "extensions": {TASKS: {}, "com.example/x": {}},
    },
    "serverInfo": {},
}
PLAIN: Json = {"tools": {}, "extensions": {"com.example/x": {}}}
CALL: Json = {"requests": {"tools": {"call": {}}}}


@pytest.mark.parametrize(
    ("revision", "declared", "left"),
    [
        (Revision.V2025_11_25, ALL, {**PLAIN, "tasks": {"list": {}, "cancel": {}, **CALL}}),
        (Revision.V2025_11_25, ALL - {"tasks/list"}, {**PLAIN, "tasks": {"cancel": {}, **CALL}}),
        (Revision.V2025_11_25, ALL - {"tasks/cancel"}, {**PLAIN, "tasks": {"list": {}, **CALL}}),
        (Revision.V2025_11_25, ALL - {"tasks/result"}, {**PLAIN, "tasks": {"list": {}, "cancel": {}}}),
        (Revision.V2025_11_25, ALL - {"tasks/get"}, PLAIN),
        (Revision.V2025_06_18, ALL, PLAIN),
        (Revision.V2026_07_28, ALL, {"tools": {}, "extensions": {TASKS: {}, "com.example/x": {}}}),
        (Revision.V2026_07_28, ALL - {"tasks/get"}, PLAIN),
        (Revision.V2026_07_28, frozenset(), PLAIN),
    ],
)
def test_a_server_promises_what_the_policy_declares(revision: Revision, declared: frozenset[str], left: Json):
    before = copy.deepcopy(SERVER)
    assert task_support.promised(SERVER, revision, declared) == {**SERVER, "capabilities": left}
    assert before == SERVER


def test_a_server_that_settles_on_a_revision_without_tasks_promises_none():
    result = {**SERVER, "protocolVersion": "2025-06-18"}
    assert task_support.promised(result, Revision.V2025_11_25, ALL)["capabilities"] == PLAIN


@pytest.mark.parametrize("result", [{}, {"capabilities": None}, {"capabilities": {"tools": {}, "TASKS": 1}}], ids=str)
def test_other_results_stay_as_they_are(result: Json):
    assert task_support.promised(result, Revision.V2025_11_25, frozenset()) is result
