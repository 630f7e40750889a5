from __future__ import annotations

import json
from typing import Any

import mcp_types
import pytest
from mcp.shared.inbound import InboundLadderRejection, classify_inbound_request
from mcp_types import methods

from sidecar.errors import ErrorCode, Refusal
from sidecar.model import Call, CallKind, Revision
from sidecar.protocol import headers, jsonrpc, revisions

VERSION = "io.modelcontextprotocol/protocolVersion"
CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"
META: dict[str, Any] = {VERSION: "2026-07-28", CAPABILITIES: {}}
MODERN = {"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/call", "Mcp-Name": "search"}


def request(method: str = "tools/call", /, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}


def call_of(message: dict[str, Any], sent: dict[str, str]) -> Call:
    return revisions.call_of(jsonrpc.read(json.dumps(message).encode()), headers.read(sent.items()))


def refused(message: dict[str, Any], sent: dict[str, str]) -> Refusal:
    with pytest.raises(Refusal) as caught:
        call_of(message, sent)
    return caught.value


# --- which revision ------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["2025-03-26", "2025-06-18", "2025-11-25"])
def test_the_older_revisions_are_named_by_the_header(version: str):
    sent = {"MCP-Protocol-Version": version, "Mcp-Session-Id": "s", "Mcp-Param-Region": "eu"}
    call = call_of(request(name="search"), sent)
    assert (call.revision, call.session, call.tool) == (Revision(version), "s", "search")
    assert call.carried == ()


def test_a_missing_header_stands_for_2025_03_26():
    assert call_of(request(name="search"), {}).revision is Revision.V2025_03_26


@pytest.mark.parametrize(
    ("offered", "spoken"),
    [("2025-06-18", "2025-06-18"), ("2026-07-28", "2025-11-25"), ("2024-11-05", "2025-11-25"), ("x", "2025-11-25")],
)
def test_initialize_speaks_the_older_revision_that_it_offers(offered: str, spoken: str):
    call = call_of(request("initialize", protocolVersion=offered, capabilities={}, clientInfo={}), {})
    assert call.document is not None
    assert call.document["params"] == {"protocolVersion": spoken, "capabilities": {}, "clientInfo": {}}
    assert call.revision is Revision(spoken)


def test_a_stateless_call_has_no_session_and_carries_its_param_headers():
    sent = {**MODERN, "Mcp-Session-Id": "ignored and even malformed", "Mcp-Param-Region": "eu"}
    call = call_of(request(name="search", _meta=META), sent)
    assert call.revision is Revision.V2026_07_28
    assert call.session is None
    assert call.carried == (("Mcp-Param-Region", "eu"),)


@pytest.mark.parametrize("version", ["2024-11-05", "2027-01-01", "", "latest"])
def test_other_versions_are_refused_with_those_supported(version: str):
    refusal = refused(request(name="search"), {"MCP-Protocol-Version": version})
    assert refusal.code is ErrorCode.VERSION_UNSUPPORTED
    assert refusal.data == {
        "supported": ["2026-07-28", "2025-11-25", "2025-06-18", "2025-03-26"],
        "requested": version,
    }
    mcp_types.UnsupportedProtocolVersionErrorData.model_validate(refusal.data)


def test_an_unsupported_stateless_version_lists_the_stateless_ones():
    refusal = refused(
        request(name="search", _meta={**META, VERSION: "2027-01-01"}), {"MCP-Protocol-Version": "2027-01-01"}
    )
    assert refusal.code is ErrorCode.VERSION_UNSUPPORTED
    assert refusal.data == {"supported": ["2026-07-28"], "requested": "2027-01-01"}


@pytest.mark.parametrize("sent", [{}, {"MCP-Protocol-Version": "2025-11-25"}, {"MCP-Protocol-Version": "2027-01-01"}])
def test_a_body_that_names_another_version_than_the_header_is_refused(sent: dict[str, str]):
    assert refused(request(name="search", _meta=META), sent).code is ErrorCode.HEADER_MISMATCH


def test_notifications_need_no_headers():
    def message(**params: Any) -> dict[str, Any]:
        return {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1, **params}}

    assert call_of(message(_meta=META), {}).revision is Revision.V2026_07_28
    assert call_of(message(), {}).revision is Revision.V2025_03_26
    assert call_of(message(), {"MCP-Protocol-Version": "2026-07-28"}).revision is Revision.V2026_07_28


def test_posted_responses_belong_to_the_older_revisions():
    message = {"jsonrpc": "2.0", "id": 4, "result": {"action": "accept"}}
    call = call_of(message, {"MCP-Protocol-Version": "2025-11-25", "Mcp-Session-Id": "s"})
    assert (call.kind, call.id, call.session, call.document) == (CallKind.RESPONSE, 4, "s", message)
    refusal = refused(message, {"MCP-Protocol-Version": "2026-07-28"})
    assert refusal.code is ErrorCode.MESSAGE_MALFORMED


def test_a_malformed_session_id_is_an_unknown_session():
    assert refused(request("ping"), {"Mcp-Session-Id": "a b"}).code is ErrorCode.SESSION_UNKNOWN


def test_get_and_delete():
    sent = headers.read({"Mcp-Session-Id": "s", "MCP-Protocol-Version": "2025-11-25"}.items())
    stream = revisions.bodiless_call("GET", sent)
    assert (stream.kind, stream.session, stream.document) == (CallKind.STREAM, "s", None)
    end = revisions.bodiless_call("DELETE", sent)
    assert (end.kind, end.session) == (CallKind.END_SESSION, "s")
    assert revisions.bodiless_call("GET", headers.McpHeaders()).revision is Revision.V2025_03_26


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_2026_07_28_has_neither_get_nor_delete(method: str):
    with pytest.raises(Refusal) as caught:
        revisions.bodiless_call(method, headers.McpHeaders(version="2026-07-28"))
    assert caught.value.code is ErrorCode.HTTP_METHOD_REFUSED


# --- rules of a revision -------------------------------------------------------------------------


@pytest.mark.parametrize("missing", ["Mcp-Method", "Mcp-Name"])
def test_2026_07_28_requires_the_mirrors(missing: str):
    sent = {name: value for name, value in MODERN.items() if name != missing}
    assert refused(request(name="search", _meta=META), sent).code is ErrorCode.HEADER_MISMATCH


@pytest.mark.parametrize("version", ["2025-11-25", "2026-07-28"])
def test_a_name_header_that_disagrees_is_refused_whatever_the_revision(version: str):
    message = request(name="reveal", _meta=META if version == "2026-07-28" else {})
    assert refused(message, {**MODERN, "MCP-Protocol-Version": version}).code is ErrorCode.HEADER_MISMATCH


@pytest.mark.parametrize(
    "meta",
    [None, {}, {VERSION: "2026-07-28"}, {VERSION: None, CAPABILITIES: {}}, {VERSION: "2026-07-28", CAPABILITIES: []}],
    ids=str,
)
def test_2026_07_28_requires_its_envelope(meta: dict[str, Any] | None):
    message = request(name="search") if meta is None else request(name="search", _meta=meta)
    assert refused(message, MODERN).code is ErrorCode.PARAMS_MALFORMED


@pytest.mark.parametrize(
    "message",
    [
        request(),
        request(name=None),
        request(name=1),
        request(name=["search"]),
        request(name="search", arguments=[]),
        request(name="search", arguments=None),
        request(name="search", _meta=[]),
        request(name="search", requestState=1),
        request(Name="search"),
        request(name="search", Arguments={}),
        {**request(), "params": {"name": "search", "argument\u017f": {}}},
        request(name="search", __proto__={}),
        request(name="search", constructor={}),
        request(name="search", _META={}),
        request(name="search", _meta={"__proto__": 1}),
        request(name="search", _meta={"a.example/b": [{"c": {"__proto__": {}}}]}),
        request(name="search", vendor={"x": {"constructor": {}}}),
        request(name="search", inputResponses={"a": {"result": {"__proto__": {}}}}),
        request("prompts/get", name="a", arguments={"__proto__": "x"}),
        request("vendor/anything", arguments={"a": {"constructor": 1}}),
        request(name="search", _meta={VERSION.upper(): "2026-07-28"}),
        request(name="search", _meta={CAPABILITIES.lower(): {}}),
        request("resources/read"),
        request("resources/read", uri=1),
        request("resources/read", URI="docs://a"),
        request("prompts/get", arguments={}),
        request("tasks/get", taskid="1"),
        request("tools/list", cursor=1),
        request("initialize", capabilities={}),
        request("initialize", protocolVersion="2025-11-25", capabilities={"Tasks": {}}),
        request("vendor/anything", _Meta={}),
    ],
    ids=lambda message: json.dumps([message["method"], message["params"]]),
)
def test_parameters_that_could_be_read_differently_are_refused(message: dict[str, Any]):
    assert refused(message, {"MCP-Protocol-Version": "2025-11-25"}).code is ErrorCode.PARAMS_MALFORMED


@pytest.mark.parametrize("method", ["initialize", "resources/subscribe", "resources/unsubscribe", "tasks/result"])
def test_a_method_of_another_revision_is_unknown_even_with_wrong_parameters(method: str):
    sent = {"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": method}
    assert call_of(request(method, _meta=META), sent).method == method  # gate 4 refuses it as unknown
    assert refused(request(method, _Meta=META), sent).code is ErrorCode.PARAMS_MALFORMED


def test_a_tools_arguments_are_left_to_the_policy():
    call = call_of(request(name="search", arguments={"constructor": "x", "a": {"__proto__": 1}}), {})
    assert call.params["arguments"] == {"constructor": "x", "a": {"__proto__": 1}}


def test_a_posted_response_has_no_poisoned_names():
    good: dict[str, Any] = {"jsonrpc": "2.0", "id": 1, "result": {"content": {"name": "constructor"}}}
    assert call_of(good, {}).document == good
    for poison in ("__proto__", "constructor"):
        bad = {**good, "result": {"content": [{poison: {}}]}}
        assert refused(bad, {}).code is ErrorCode.MESSAGE_MALFORMED


def test_further_parameters_pass():
    call = call_of(request(name="search", vendor={"x": 1}, Whatever=2), {})
    assert call.document == request(name="search", vendor={"x": 1}, Whatever=2)


@pytest.mark.parametrize("method", ["vendor/anything", "ping", "tasks/list"])
def test_which_methods_are_served_is_left_to_the_policy(method: str):
    assert call_of(request(method), {}).method == method


def test_the_table_of_methods_agrees_with_the_official_schema():
    official: dict[str, set[str]] = {}
    for method, version in methods.CLIENT_REQUESTS:
        official.setdefault(method, set()).add(version)
    ours = {name: {str(revision) for revision in has} for name, has in revisions.METHODS.items()}
    served = {str(revision) for revision in Revision}
    for method, versions in official.items():
        assert ours[method] == versions & served, method
    assert {name for name in ours.keys() - official.keys() if not name.startswith("notifications/")} == {
        f"tasks/{verb}" for verb in ("get", "update", "cancel", "list", "result")
    }


@pytest.mark.parametrize(
    ("meta", "sent"),
    [
        (META, MODERN),
        (META, {**MODERN, "Mcp-Name": "reveal"}),
        (META, {**MODERN, "Mcp-Name": "=?base64?c2VhcmNo?="}),
        (META, {**MODERN, "Mcp-Method": "tools/list"}),
        (META, {**MODERN, "MCP-Protocol-Version": "2025-11-25"}),
        ({**META, VERSION: "2027-01-01"}, {**MODERN, "MCP-Protocol-Version": "2027-01-01"}),
        ({**META, VERSION: "2027-01-01"}, MODERN),
        ({VERSION: "2026-07-28"}, MODERN),
        ({}, MODERN),
    ],
    ids=str,
)
def test_the_official_sdk_refuses_the_same_with_the_same_number(meta: dict[str, Any], sent: dict[str, str]):
    message = request(name="search", _meta=meta)
    verdict = classify_inbound_request(message, headers={name.lower(): value for name, value in sent.items()})
    if isinstance(verdict, InboundLadderRejection):
        assert refused(message, sent).code.row.rpc == verdict.code
    else:
        assert call_of(message, sent).revision is Revision.V2026_07_28
