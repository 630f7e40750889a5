"""The calls to try come from the policy's tests, and do what they are printed for."""

from __future__ import annotations

import json
import shlex

import pytest

from sidecar.config.documents.merging import parse
from sidecar.policy.language.compile import compile_policy
from sidecar.trial.sample_calls import LISTING, UNDECLARED, SampleCall, curl_line, header_lines, sample_calls

TESTS = """
scopes: {read: Read., write: Write.}
base_scopes: [read]
tools:
  get: {scopes: [read], arguments: {properties: {id: {type: string}}, additionalProperties: false}}
  list: {scopes: [read], arguments: {properties: {page: {type: integer}}, additionalProperties: CLOSED}}
  put: {scopes: [write]}
  drop: {scopes: [write], confirm: {argument: sure, inject: true}}
tests:
  - {name: put, caller: {scopes: [write]}, call: {tool: put}, expect: allow}
  - {name: get, caller: {scopes: [read]}, call: {tool: get, arguments: {id: x}}, expect: allow}
  - {name: list, caller: {scopes: [read]}, call: {tool: list}, expect: {allow: {}}}
  - {name: no scope, call: {tool: get}, expect: insufficient_scope}
  - {name: others, caller: {scopes: [read], consent: revoked}, call: {tool: list}, expect: consent_revoked}
"""
DROP = "  - {name: drop, caller: {scopes: [write]}, call: {tool: drop}, expect: confirmation_required}\n"


def calls(text):
    return sample_calls(compile_policy((parse("p.yaml", text),)))


def test_an_allowed_call_needs_a_base_scope_and_few_arguments():
    assert calls(TESTS.replace("CLOSED", "false"))[0] == SampleCall("allow", tool="list")


def test_a_missing_confirmation_is_the_first_choice_of_a_refusal():
    assert calls(TESTS.replace("CLOSED", "false") + DROP)[1] == SampleCall("confirmation_required", tool="drop")


def test_no_call_asks_a_person():
    text = TESTS.replace("CLOSED", "false").replace("confirm: {argument: sure, inject: true}", "confirm: {by: person}")
    accepted = DROP.replace("confirmation_required", "allow").replace(
        "tool: drop", "tool: drop, confirmation: accepted"
    )
    assert calls(text + DROP) == calls(text + accepted) == calls(text)


@pytest.mark.parametrize(
    ("text", "refused"),
    [
        (TESTS.replace("CLOSED", "false"), SampleCall("arguments_refused", tool="list", arguments={UNDECLARED: True})),
        (
            TESTS.replace("CLOSED", "true"),
            SampleCall("arguments_refused", tool="get", arguments={"id": "x", UNDECLARED: True}),
        ),
        ("tools: {get: {scopes: []}}", SampleCall("tool_unknown", tool=UNDECLARED)),
        ("empty: true", SampleCall("tool_unknown", tool=UNDECLARED)),
    ],
)
def test_else_an_argument_too_many_or_an_undeclared_tool_is_refused(text, refused):
    assert calls(text)[1] == refused


def test_a_policy_without_tests_has_no_allowed_call():
    assert calls("tools: {get: {scopes: []}}")[0] is None


def test_a_line_is_one_request_whatever_its_values_are():
    call = SampleCall("allow", tool="it's", arguments={"a b": "$(rm) `x` 'y' \"z\""})
    words = shlex.split(curl_line(call, "http://127.0.0.1:1/mcp", "/a b/headers", "2025-11-25"))
    assert words[:5] == ["curl", "-sS", "http://127.0.0.1:1/mcp", "-H", "@/a b/headers"]
    assert json.loads(words[-1])["params"] == {"name": "it's", "arguments": dict(call.arguments)}


def test_a_stateless_line_has_the_headers_and_members_of_its_revision():
    words = shlex.split(curl_line(SampleCall("allow", tool="é"), "http://127.0.0.1:1/mcp", "h", "2026-07-28"))
    assert words[5:9] == ["-H", "Mcp-Method: tools/call", "-H", "Mcp-Name: =?base64?w6k=?="]
    assert json.loads(words[-1])["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"] == "2026-07-28"
    assert "Mcp-Name" not in curl_line(LISTING, "http://127.0.0.1:1/mcp", "h", "2026-07-28")


def test_the_headers_name_a_session_where_there_is_one():
    assert header_lines("t", "2025-11-25", "s").endswith("MCP-Protocol-Version: 2025-11-25\nMcp-Session-Id: s\n")
    assert "Session" not in header_lines("t", "2026-07-28", None)
