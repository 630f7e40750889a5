"""Lines that say what changed between two versions of a policy."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sidecar.policy.comparison.declared_changes import MAX_BYTES, bounded, policy_changes
from tests.policy.comparison.support import compiled

CASES: dict[str, tuple[dict[str, Any], dict[str, Any], list[str]]] = {
    "the same": ({}, {}, []),
    "a new tool": ({}, {"tools": {"more": {"scopes": []}}}, ["+tool more"]),
    "a removed tool": ({"tools": {"more": {"scopes": []}}}, {}, ["-tool more"]),
    "a quota": (
        {"quotas": {"requests": {"day": 5}}},
        {"quotas": {"requests": {"day": 10}}},
        ["quota requests day 5→10"],
    ),
    "a new window": (
        {"quotas": {"requests": {"day": 5}}},
        {"quotas": {"requests": {"day": 5, "month": 50}}},
        ["quota requests month added: 50"],
    ),
    "a scope": ({}, {"scopes": {"write": "Write."}}, ["+scope write"]),
    "a tool's scopes": (
        {"tools": {"read": {"scopes": ["read"]}}},
        {"tools": {"read": {"scopes": ["admin"]}}},
        ["tool read scopes -read +admin"],
    ),
    "a confirmation": (
        {"tools": {"read": {"scopes": [], "confirm": {"argument": "sure", "inject": True}}}},
        {"tools": {"read": {"scopes": []}}},
        ["tool read confirm removed"],
    ),
    "a plan's tools": (
        {"plans": {"free": {"tools": ["read"]}}},
        {"plans": {"free": {}, "paid": {}}},
        ["plan free tools removed", "+plan paid"],
    ),
    "a price": (
        {"tools": {"read": {"scopes": [], "spends": {"contact": 1}}}},
        {"tools": {"read": {"scopes": [], "spends": {"contact": "length(arguments.ids)"}}}},
        ["tool read spends contact 1→length(arguments.ids)"],
    ),
    "a default": ({"consent": "required"}, {"consent": "first_use"}, ["consent required→first_use"]),
    "true is not 1": (
        {"tools": {"read": {"scopes": [], "charge_errors": False}}},
        {"tools": {"read": {"scopes": [], "charge_errors": True}}},
        ["tool read charge_errors false→true"],
    ),
    "a test": (
        {"tests": [{"name": "old", "call": {"tool": "read"}, "expect": "consent_missing"}]},
        {"tests": [{"name": "new", "call": {"tool": "read"}, "expect": "consent_missing"}]},
        ["-test old", "+test new"],
    ),
}


@pytest.mark.parametrize(("before", "after", "lines"), CASES.values(), ids=CASES)
def test_a_change_is_one_line(before: dict[str, Any], after: dict[str, Any], lines: list[str]):
    assert list(policy_changes(compiled(**before), compiled(**after))) == lines


def test_a_list_of_changes_fits_a_log_line():
    many = bounded(f"+tool {'→' * 100}{number}" for number in range(1000))
    assert len(json.dumps(many)) < MAX_BYTES + 100
    assert many[-1] == f"and {1000 - len(many) + 1} more"
    assert bounded(["+tool a"]) == ("+tool a",)
    assert len(bounded(["x" * 10_000])[0]) < 200
