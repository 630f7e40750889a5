"""Checks that are skipped for messages without certain words decide the same as when they run."""

from __future__ import annotations

import json
from dataclasses import replace

from hypothesis import example, given
from hypothesis import strategies as st

from sidecar.errors import ErrorCode, Refusal
from sidecar.model import Call, CallKind
from sidecar.protocol import jsonrpc, revisions
from sidecar.protocol.headers import NAME_PARAMS, McpHeaders
from sidecar.protocol.jsonrpc import Message
from sidecar.protocol.meta import CAPABILITIES_KEY, CLIENT_KEY, RELATED_TASK_KEY, TASKS_EXTENSION, VERSION_KEY

NAMES = (
    *("name", "Name", "arguments", "uri", "_meta", "_META", "task", "Task", "taskId", "taskid", "taskIds", "tasks"),
    *("notifications", "Notifications", "resourceSubscriptions", "extensions", "x", "capabilities", "__proto__"),
    *("constructor", "Constructor", "ta\u017fk", "t\u0061sk", RELATED_TASK_KEY, TASKS_EXTENSION, CAPABILITIES_KEY),
)
VALUES = st.sampled_from(("search", "task", "file:///a", '"constructor":', 0, None, True, [], [{"__proto__": 1}]))
NESTED = st.recursive(VALUES, lambda inner: st.dictionaries(st.sampled_from(NAMES), inner, max_size=3), max_leaves=8)
METHODS = (*revisions.METHODS, "x/y", "tasks/x")
SESSION, STATELESS = "2025-11-25", "2026-07-28"
IN_META = (CLIENT_KEY, "progressToken", "traceparent", "_META", VERSION_KEY.upper(), CAPABILITIES_KEY.title(), "x")
CAPABILITIES = ("elicitation", "sampling", "Elicitation", "roots", "x")


@st.composite
def messages(draw: st.DrawFn) -> tuple[bytes, str]:
    """One message and the revision that it speaks."""
    version = draw(st.sampled_from((SESSION, STATELESS)))
    params = draw(st.dictionaries(st.sampled_from(NAMES), NESTED, max_size=4))
    method = draw(st.sampled_from(METHODS))
    if method in NAME_PARAMS:
        params.setdefault(NAME_PARAMS[method], "search")
    if version == STATELESS:
        meta = draw(st.dictionaries(st.sampled_from(NAMES), NESTED, max_size=2))
        params["_meta"] = {CAPABILITIES_KEY: {}, **meta, VERSION_KEY: version}
    message: dict[str, object] = {"jsonrpc": "2.0", "method": method, "params": params}
    if not method.startswith("notifications/"):
        message["id"] = 1
    return json.dumps(message, ensure_ascii=draw(st.booleans())).encode(), version


def outcome(message: Message, version: str, declared: tuple[str, ...]) -> Call | ErrorCode:
    """The call, or the code of its refusal."""
    name = message.params.get(NAME_PARAMS.get(message.method, ""))
    sent = McpHeaders(version, message.method, name if isinstance(name, str) else None, "s")
    try:
        return revisions.call_of(message, sent, declared)
    except Refusal as refusal:
        return refusal.code


def body(method: str, **params: object) -> tuple[bytes, str]:
    message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    return json.dumps(message).encode(), SESSION


@given(messages(), st.sampled_from(((), ("tasks/get",))))
@example(body("tools/call", name="search", Notifications={}), ())
@example(body("tools/call", name="search", _meta={"_META": 1}), ())
@example(body("tools/call", name="search", _META={}), ("tasks/get",))
@example(body("tools/call", name="search", TASK={}), ("tasks/get",))
@example(body("tools/call", name="search", arguments={"constructor": 1}, x={"constructor": 1}), ())
@example(body("tools/call", name="search", _meta={RELATED_TASK_KEY: {"taskId": "t"}}), ("tasks/get",))
@example(body("prompts/get", name="search", arguments={"__proto__": 1}), ())
def test_a_check_is_skipped_only_where_it_changes_nothing(sent: tuple[bytes, str], declared: tuple[str, ...]):
    raw, version = sent
    try:
        message = jsonrpc.read(raw)
    except Refusal:
        return
    checked = replace(message, may_poison=True, may_name_tasks=True)
    assert outcome(message, version, declared) == outcome(checked, version, declared)


def test_the_checks_of_an_ordinary_message_are_skipped():
    message = jsonrpc.read(body("tools/call", name="search", arguments={"query": "a"})[0])
    assert not message.may_poison
    assert not message.may_name_tasks


@given(
    st.dictionaries(
        st.sampled_from(("name", "arguments", "Name", "x")), st.sampled_from(("search", {}, {"q": 1}, None))
    ),
    st.dictionaries(st.sampled_from(IN_META), st.sampled_from(("a", 1, {}))),
    st.one_of(st.none(), st.dictionaries(st.sampled_from(CAPABILITIES), st.just({}))),
    st.sampled_from((STATELESS, SESSION, 1, None)),
    st.sampled_from((STATELESS, SESSION)),
)
@example({"name": "search", "arguments": {"q": 1}}, {CLIENT_KEY: {}}, {}, STATELESS, STATELESS)
@example({"name": "search", "arguments": {}}, {"_META": 1}, {"Elicitation": {}}, STATELESS, STATELESS)
@example({"name": "search", "arguments": None}, {}, {}, STATELESS, STATELESS)
def test_a_usual_call_of_a_tool_is_accepted_as_all_checks_accept_it(
    given: dict[str, object], meta: dict[str, object], capabilities: object, claimed: object, version: str
):
    params = {**given, "_meta": {**meta, VERSION_KEY: claimed, CAPABILITIES_KEY: capabilities}}
    message = Message(CallKind.REQUEST, 1, "tools/call", params, {"params": params}, False, False)
    assert outcome(message, version, ()) == outcome(replace(message, may_poison=True), version, ())


@given(st.sampled_from(("search", "task", "__proto__", "notifications", "constructor")), st.integers(-(2**54), 2**54))
def test_a_usual_call_is_read_as_one_with_another_kind_of_id(name: str, id_: int):
    message = {"jsonrpc": "2.0", "method": "tools/call", "params": {"name": name}}
    by_text = jsonrpc.read(json.dumps({**message, "id": str(id_)}).encode())
    expected = replace(by_text, id=id_, document={**by_text.document, "id": id_})
    try:
        found = jsonrpc.read(json.dumps({**message, "id": id_}).encode())
    except Refusal:
        assert not jsonrpc.is_request_id(id_)
    else:
        assert (found, list(found.document)) == (expected, list(expected.document))
