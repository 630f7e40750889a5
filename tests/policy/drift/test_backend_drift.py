"""Drift: tools that one side lacks, and tools that differ from their pins."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sidecar.config.documents.merging import DocumentError, parse
from sidecar.policy.drift.backend_drift import Drift, drift_of
from sidecar.policy.drift.pins import pin_of
from sidecar.policy.language.compile import compile_policy
from sidecar.policy.rules import Policy

DEFINITION = {"name": "search", "inputSchema": {"type": "object"}}
PINNED = {"scopes": [], "pin": pin_of(DEFINITION)}


def policy(tools: dict[str, Any], **more: Any) -> Policy:
    return compile_policy((parse("p.yaml", json.dumps({"tools": tools, **more})),))


@pytest.mark.parametrize(
    ("tools", "listed", "drift"),
    [
        ({"search": PINNED}, [DEFINITION], Drift((), (), 0)),
        ({"search": PINNED}, [{**DEFINITION, "description": "x"}], Drift((), ("search",), 0)),
        ({"search": PINNED}, [DEFINITION, {"name": "search"}], Drift((), ("search",), 0)),
        ({"search": {"scopes": []}}, [{"name": "search", "x": 1}], Drift((), (), 0)),
        ({"b": {"scopes": []}, "a": PINNED}, [], Drift(("a", "b"), (), 0)),
        ({"search": PINNED}, [DEFINITION, {"name": "x"}, {"name": "x"}, {"name": "\n"}], Drift((), (), 2)),
        ({"get_usage": {"scopes": [], "serve": "usage"}}, [], Drift((), (), 0)),
        ({"get_usage": {"scopes": [], "serve": "usage"}}, [{"name": "get_usage"}], Drift((), (), 0)),
    ],
)
def test_the_drift_of_a_list(tools: dict[str, Any], listed: list[Any], drift: Drift):
    assert drift_of(policy(tools), listed) == drift


@pytest.mark.parametrize("pin", ["sha256-", "sha256-" + "A" * 64, "sha256-" + "0" * 63, "sha1-" + "0" * 40, "", 7])
def test_a_pin_has_one_form(pin: Any):
    with pytest.raises(DocumentError):
        policy({"search": {"scopes": [], "pin": pin}})


@pytest.mark.parametrize(("value", "serves"), [("refuse", False), ("warn", True)])
def test_a_policy_says_what_a_mismatch_means(value: str, serves: bool):
    assert policy({"search": PINNED}, pin_mismatch=value).serve_changed is serves
    assert policy({"search": PINNED}).serve_changed is False


def test_a_tool_that_the_sidecar_answers_itself_has_no_pin():
    with pytest.raises(DocumentError, match="the sidecar answers this tool itself"):
        policy({"search": {**PINNED, "serve": "usage"}})
