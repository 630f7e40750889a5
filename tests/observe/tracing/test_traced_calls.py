"""Spans of real calls, as a collector receives them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.proxy.support import contacts
from tests.support import backend as scripted
from tests.support.collector import CLIENT, SERVER, Collector, Taken
from tests.support.rig import LEGACY, MODERN, Json, Reply, Rig
from tests.support.store import StoreServer

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
UNSAMPLED = PARENT[:-2] + "00"


async def spans_of(collector: Collector, reply: Reply) -> list[Taken]:
    return await collector.of_request(reply.headers["X-Request-Id"])


def forwarded(rig: Rig) -> list[str]:
    """Trace id and span id that the backend was given."""
    return (rig.backend.last.header("traceparent") or "").split("-")[1:3]


async def test_an_allowed_call_has_three_spans(traced: Any, collector: Collector):
    rig = await traced()
    reply = await rig.call("list_taxonomy")
    assert reply.status == 200
    request, store, backend = await spans_of(collector, reply)

    assert [request.name, store.name, backend.name] == [
        "tools/call list_taxonomy", "FCALL admit", "tools/call list_taxonomy",
    ]  # fmt: skip
    assert [request.kind, store.kind, backend.kind] == [SERVER, CLIENT, CLIENT]
    assert [store.parent, backend.parent, request.parent] == [request.id, request.id, ""]
    assert len({request.id, store.id, backend.id}) == 3
    assert not any(each.failed for each in (request, store, backend))
    # The log, the backend and the collector name the same trace.
    line = await rig.line(request_id=reply.headers["X-Request-Id"])
    assert {request.trace, store.trace, backend.trace, line["trace_id"]} == {line["request_id"]}
    assert forwarded(rig) == [backend.trace, backend.id]
    times = [(each.message.start_time_unix_nano, each.message.end_time_unix_nano) for each in (request, store, backend)]
    (began, ended), *parts = times
    assert all(began <= start <= end <= ended for start, end in parts)
    assert parts[0][1] <= parts[1][0], "the store is asked before the backend"


async def test_attributes_follow_the_conventions(traced: Any, collector: Collector):
    rig = await traced(tracing={"service": "shop-gate"})
    reply = await rig.call("list_taxonomy")
    request, store, backend = await spans_of(collector, reply)
    operation = {
        "mcp.method.name": "tools/call",
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "list_taxonomy",
        "mcp.protocol.version": MODERN,
        "network.transport": "tcp",
        "network.protocol.name": "http",
    }
    line = await rig.line(request_id=reply.headers["X-Request-Id"])
    assert request.attributes == {
        **operation,
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "mcp_sidecar.request_id": line["request_id"],
        "mcp_sidecar.status": "ok",
        "mcp_sidecar.code": line["code"],
        "mcp_sidecar.rule": line["rule"],
        "mcp_sidecar.plan": "growth",
        "mcp_sidecar.revision": line["revision"],
    }
    assert store.attributes == {
        "db.system.name": "redis", "db.operation.name": "FCALL", "db.stored_procedure.name": "admit",
    }  # fmt: skip
    port = int(rig.backend.url.rpartition(":")[2].partition("/")[0])
    assert backend.attributes == {**operation, "server.address": "127.0.0.1", "server.port": port}
    assert request.resource["service.name"] == "shop-gate"
    assert request.resource["service.version"]


@pytest.mark.parametrize(
    ("tool", "arguments", "code", "gate", "names"),
    [
        ("reveal_contacts", {"contact_ids": ["a"]}, "confirmation_required", "policy", ["FCALL admit"]),
        ("reveal_contacts", contacts(*"abcdefghijkl"), "insufficient_credits", "budget", ["FCALL admit"]),
        ("unheard_of", {}, "tool_unknown", "policy", ["FCALL admit"]),
    ],
)
async def test_a_refused_call_has_no_span_of_the_backend(
    traced: Any, collector: Collector, tool: str, arguments: Json, code: str, gate: str, names: list[str]
):
    rig = await traced()
    reply = await rig.call(tool, arguments)
    assert reply.status == 200
    request, *parts = await spans_of(collector, reply)
    assert [each.name for each in parts] == names
    assert request.failed
    assert not any(each.failed for each in parts), "the store has answered"
    found = request.attributes
    assert (found["error.type"], found["mcp_sidecar.code"], found["mcp_sidecar.gate"]) == (code, code, gate)
    assert found.get("gen_ai.tool.name") == (None if code == "tool_unknown" else tool)
    assert (await rig.line(request_id=reply.headers["X-Request-Id"]))["trace_id"] == request.trace


async def test_a_request_without_a_token_is_named_by_its_method(traced: Any, collector: Collector):
    rig = await traced()
    reply = await rig.call("list_taxonomy", token=None)
    (request,) = await spans_of(collector, reply)
    assert (request.name, request.failed) == ("POST", True)
    assert request.attributes["error.type"] == "token_missing"
    assert request.attributes["http.response.status_code"] == 401


@pytest.mark.parametrize(
    ("behaviour", "code", "status"),
    [
        (scripted.tool_error(), "tool_error", 200),
        (scripted.rpc_error(), "rpc_error", 200),
        (scripted.http(500), "backend_unavailable", 502),
        (scripted.reset(), "backend_unavailable", 502),
    ],
)
async def test_an_error_of_the_backend_fails_its_span(
    traced: Any, collector: Collector, behaviour: scripted.Behaviour, code: str, status: int
):
    rig = await traced()
    rig.backend.on("list_taxonomy", behaviour)
    reply = await rig.call("list_taxonomy")
    assert reply.status == status
    request, store, backend = await spans_of(collector, reply)
    assert [request.failed, store.failed, backend.failed] == [True, False, True]
    assert request.attributes["error.type"] == backend.attributes["error.type"] == code
    assert request.attributes["http.response.status_code"] == status


async def test_a_streamed_call_has_the_spans_of_a_call(traced: Any, collector: Collector):
    rig = await traced()
    progress = {"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": 1}}
    rig.backend.on("list_taxonomy", scripted.sse(progress))
    reply = await rig.call("list_taxonomy")
    assert reply.headers["Content-Type"].startswith("text/event-stream")
    request, store, backend = await spans_of(collector, reply)
    assert backend.parent == store.parent == request.id
    assert not request.failed
    assert forwarded(rig) == [backend.trace, backend.id]


async def test_a_stream_of_a_session_has_its_span_when_it_ends(traced: Any, collector: Collector):
    rig = await traced(scripted=scripted.Backend(sessions=True))
    session = await rig.session()
    async with rig.stream(session=session) as stream:
        request_id = stream.answer.headers["X-Request-Id"]
    request, *_ = await collector.of_request(request_id)
    assert (request.name, request.kind) == ("GET", SERVER)
    assert "mcp.method.name" not in request.attributes
    assert session not in json.dumps(request.attributes)


async def test_an_unreachable_store_fails_its_span(traced: Any, collector: Collector, own_server: StoreServer):
    rig = await traced(server=own_server)
    own_server.kill()
    reply = await rig.call("list_taxonomy")
    assert reply.code == "store_unavailable"
    request, store = await spans_of(collector, reply)
    assert (request.failed, store.failed, store.name) == (True, True, "FCALL admit")
    assert store.attributes["error.type"] == "store_unavailable"


# --- traces of callers ---------------------------------------------------------------------------


async def test_a_callers_trace_goes_on(traced: Any, collector: Collector):
    rig = await traced(tracing={"sample": 0})
    reply = await rig.call("list_taxonomy", headers={"traceparent": PARENT})
    request, _, backend = await spans_of(collector, reply)
    assert (request.trace, request.parent) == tuple(PARENT.split("-")[1:3])
    assert request.message.flags & 0x300 == 0x300, "its parent is known to be remote"
    assert backend.message.flags & 0x300 == 0x100, "its parent is known to be of this process"
    assert forwarded(rig) == [request.trace, backend.id]
    assert (rig.backend.last.header("traceparent") or "").endswith("-01")
    assert (await rig.line(request_id=reply.headers["X-Request-Id"]))["trace_id"] == request.trace


async def test_a_caller_that_does_not_sample_is_not_traced(traced: Any, collector: Collector):
    rig = await traced()
    skipped = await rig.call("list_taxonomy", headers={"traceparent": UNSAMPLED})
    trace = UNSAMPLED.split("-")[1]
    assert (rig.backend.last.header("traceparent") or "").split("-")[1::2] == [trace, "00"]
    assert (await rig.line(request_id=skipped.headers["X-Request-Id"]))["trace_id"] == trace
    await spans_of(collector, await rig.call("list_taxonomy"))
    assert trace not in {each.trace for each in collector.spans}


async def test_a_client_without_a_valid_token_cannot_ask_for_a_trace(traced: Any, collector: Collector):
    rig = await traced(tracing={"sample": 0})
    for token in (None, "eyJ.no.token"):
        assert (await rig.call("list_taxonomy", token=token, headers={"traceparent": PARENT})).status == 401
    await spans_of(collector, await rig.call("list_taxonomy", headers={"traceparent": PARENT}))
    assert {each.attributes.get("http.response.status_code") for each in collector.spans} == {200, None}


@pytest.mark.parametrize("meta", [PARENT, "CANARY", 7, None])
async def test_the_span_that_a_message_names_is_linked(traced: Any, collector: Collector, meta: object):
    rig = await traced()
    params = {"name": "list_taxonomy", "arguments": {}, "_meta": {"traceparent": meta}}
    request, *others = await spans_of(collector, await rig.post("tools/call", params))
    links = [(link.trace_id.hex(), link.span_id.hex()) for link in request.message.links]
    assert links == ([tuple(PARENT.split("-")[1:3])] if meta == PARENT else [])
    assert not any(each.message.links for each in others)
    assert request.parent == ""


async def test_the_parent_is_not_linked_as_well(traced: Any, collector: Collector):
    rig = await traced()
    params = {"name": "list_taxonomy", "arguments": {}, "_meta": {"traceparent": PARENT}}
    request, *_ = await spans_of(collector, await rig.post("tools/call", params, headers={"traceparent": PARENT}))
    assert (request.parent, list(request.message.links)) == (PARENT.split("-")[2], [])


async def test_the_older_revisions_are_traced(traced: Any, collector: Collector):
    rig = await traced()
    reply = await rig.call("list_taxonomy", revision=LEGACY)
    request, *_ = await spans_of(collector, reply)
    assert request.attributes["mcp.protocol.version"] == LEGACY


async def test_without_tracing_nothing_is_exported(launch: Any, collector: Collector):
    rig = await launch()
    await rig.call("list_taxonomy", headers={"traceparent": PARENT})
    assert "mcp_sidecar_spans_total{" not in await rig.metrics()
    assert collector.requests == []
