"""References of requests, and ambiguous ones."""

from __future__ import annotations

import json
from typing import Any

import mcp_types
import pytest

from sidecar.errors import ErrorCode, Refusal
from sidecar.model import Revision
from sidecar.protocol import headers, jsonrpc, revisions
from sidecar.protocol.meta import CAPABILITIES_KEY, VERSION_KEY
from sidecar.protocol.references import MAX_SUBSCRIPTIONS, References, references

ARGUMENT = {"name": "q", "value": "a"}
PROMPT = {"type": "ref/prompt", "name": "greet"}
RESOURCE = {"type": "ref/resource", "uri": "docs://{path}"}


def parsed(method: str, params: dict[str, Any]) -> None:
    """Take a message through gate 3, in a revision that has its method."""
    revision = Revision.V2025_11_25
    if method == "subscriptions/listen":
        revision, stateless = Revision.V2026_07_28, {VERSION_KEY: "2026-07-28", CAPABILITIES_KEY: {}}
        params = {"_meta": stateless, **params}
    message = jsonrpc.read(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode())
    revisions.call_of(message, headers.McpHeaders(version=revision.value, method=method))


@pytest.mark.parametrize(
    ("method", "params", "named"),
    [
        ("resources/read", {"uri": "docs://a"}, References(uris=("docs://a",))),
        ("resources/subscribe", {"uri": "docs://a"}, References(uris=("docs://a",))),
        ("resources/unsubscribe", {"uri": "docs://a"}, References(uris=("docs://a",))),
        ("prompts/get", {"name": "greet", "arguments": {"a": "b"}}, References(prompts=("greet",))),
        ("completion/complete", {"ref": PROMPT, "argument": ARGUMENT}, References(prompts=("greet",))),
        ("completion/complete", {"ref": RESOURCE, "argument": ARGUMENT}, References(templates=("docs://{path}",))),
        (
            "completion/complete",
            {"ref": {**PROMPT, "title": "x"}, "argument": ARGUMENT},
            References(prompts=("greet",)),
        ),
        ("subscriptions/listen", {"notifications": {}}, References()),
        ("subscriptions/listen", {"notifications": {"toolsListChanged": True}}, References()),
        (
            "subscriptions/listen",
            {"notifications": {"resourceSubscriptions": ["docs://a", "docs://b"]}},
            References(uris=("docs://a", "docs://b")),
        ),
        ("logging/setLevel", {"level": "debug"}, References()),
        ("tools/call", {"name": "t"}, References()),
        ("vendor/x", {"uri": "docs://a"}, References()),
    ],
)
def test_references_of_a_request(method: str, params: dict[str, Any], named: References):
    assert references(method, params) == named
    parsed(method, params)


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("completion/complete", {}),
        ("completion/complete", {"ref": None}),
        ("completion/complete", {"ref": "ref/prompt"}),
        ("completion/complete", {"ref": {}}),
        ("completion/complete", {"ref": {"type": "ref/prompt"}}),
        ("completion/complete", {"ref": {"type": "ref/prompt", "name": 1}}),
        ("completion/complete", {"ref": {"type": "ref/resource", "name": "x"}}),
        ("completion/complete", {"ref": {"type": "ref/tool", "name": "x"}}),
        ("completion/complete", {"ref": {"type": ["ref/prompt"], "name": "x"}}),
        ("completion/complete", {"ref": {"name": "x"}}),
        ("completion/complete", {"ref": {**PROMPT, "uri": "docs://secret"}}),
        ("completion/complete", {"ref": {**RESOURCE, "name": "secret"}}),
        ("completion/complete", {"ref": {**PROMPT, "Name": "secret"}}),
        ("completion/complete", {"ref": {**PROMPT, "URI": "docs://secret"}}),
        ("completion/complete", {"ref": {**PROMPT, "__proto__": {}}}),
        ("completion/complete", {"ref": PROMPT, "Ref": RESOURCE}),
        ("completion/complete", {"ref": PROMPT, "argument": []}),
        ("completion/complete", {"ref": PROMPT, "context": "x"}),
        ("completion/complete", {"ref": PROMPT, "Context": {}}),
        ("subscriptions/listen", {}),
        ("subscriptions/listen", {"notifications": []}),
        ("subscriptions/listen", {"Notifications": {}}),
        ("subscriptions/listen", {"notifications": {"resourceSubscriptions": "docs://a"}}),
        ("subscriptions/listen", {"notifications": {"resourceSubscriptions": None}}),
        ("subscriptions/listen", {"notifications": {"resourceSubscriptions": [1]}}),
        ("subscriptions/listen", {"notifications": {"resourceSubscriptions": {"0": "docs://a"}}}),
        ("subscriptions/listen", {"notifications": {"ResourceSubscriptions": ["docs://a"]}}),
        ("subscriptions/listen", {"notifications": {"resourceSub\u017fcriptions": ["docs://a"]}}),
        ("subscriptions/listen", {"notifications": {"resourceSubscriptions": [], "resourcesubscriptions": ["x"]}}),
        ("subscriptions/listen", {"notifications": {"everything": True}}),
        ("subscriptions/listen", {"notifications": {"resourceSubscriptions": ["a"] * (MAX_SUBSCRIPTIONS + 1)}}),
        ("subscriptions/listen", {"notifications": {"resourceSubscriptions": ["a" * 8192] * 9}}),
        ("logging/setLevel", {}),
        ("logging/setLevel", {"level": 1}),
        ("logging/setLevel", {"level": "info", "Level": "debug"}),
        ("resources/read", {"uri": ["docs://a"]}),
        ("prompts/get", {"name": None}),
    ],
    ids=lambda value: value if isinstance(value, str) else json.dumps(value)[:70],
)
def test_ambiguous_references_are_refused_before_any_rule_is_applied(method: str, params: dict[str, Any]):
    with pytest.raises(Refusal) as caught:
        parsed(method, params)
    # Names that differ in case alone are no strict JSON to begin with.
    assert caught.value.code in (ErrorCode.PARAMS_MALFORMED, ErrorCode.MESSAGE_UNPARSABLE)


def test_the_filter_is_that_of_the_official_schema():
    aliases = {field.alias or name for name, field in mcp_types.SubscriptionFilter.model_fields.items()}
    parsed("subscriptions/listen", {"notifications": dict.fromkeys(aliases - {"resourceSubscriptions"}, True)})
    assert "resourceSubscriptions" in aliases


def test_every_subscription_that_is_allowed_is_read():
    uris = [f"docs://{number}" for number in range(MAX_SUBSCRIPTIONS)]
    assert references("subscriptions/listen", {"notifications": {"resourceSubscriptions": uris}}).uris == tuple(uris)
