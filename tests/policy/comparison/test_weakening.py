"""Protections that a changed policy takes away from what stays."""

from __future__ import annotations

from typing import Any

import pytest

from sidecar.policy.comparison.weakening import weakenings
from tests.policy.comparison.support import compiled

CONFIRMED = {"confirm": {"argument": "sure", "inject": True}}
PERSON = {"by": "person"}
PRICED = {"spends": {"contact": 1}}
TEST = {"name": "reading", "call": {"tool": "read"}, "expect": "consent_missing", "caller": {"consent": "missing"}}


def tool(**entry: Any) -> dict[str, Any]:
    return {"tools": {"read": {"scopes": [], **entry}}}


CASES: dict[str, tuple[dict[str, Any], dict[str, Any], list[str]]] = {
    "nothing": (tool(**CONFIRMED, **PRICED), tool(**CONFIRMED, **PRICED), []),
    "a confirmation": (tool(**CONFIRMED), tool(), ["tool read loses its confirmation"]),
    "another argument": (tool(**CONFIRMED), tool(confirm={"argument": "ok", "inject": True}), []),
    "a person": (
        tool(confirm=PERSON),
        tool(**CONFIRMED),
        ["tool read is confirmed by an argument, and no longer by a person"],
    ),
    "a person for every client": (
        tool(confirm=PERSON),
        tool(confirm={**PERSON, "or": "argument", "argument": "ok", "inject": True}),
        ["tool read is confirmed by an argument for clients that cannot ask a person"],
    ),
    "the account page": (
        tool(confirm={"by": "page"}),
        tool(confirm=PERSON),
        ["tool read is confirmed in the client, and no longer on the account page"],
    ),
    "an argument in favour of a person": (tool(**CONFIRMED), tool(confirm=PERSON), []),
    "a person in shadow mode": (
        tool(confirm=PERSON),
        tool(confirm={**PERSON, "mode": "shadow"}),
        ["tool read loses its confirmation"],
    ),
    "a price": (tool(**PRICED), tool(), ["tool read loses its price in credit contact"]),
    "a price of zero": (tool(**PRICED), tool(spends={"contact": 0}), ["tool read loses its price in credit contact"]),
    "a smaller price": (tool(spends={"contact": 2}), tool(**PRICED), []),
    "a default price": (
        {"defaults": {"uses": {"requests": 1}}},
        {},
        ["tool read loses its price in quota requests"],
    ),
    "the last test": ({"tests": [TEST]}, {}, ["tool read loses its last test"]),
    "one of two tests": ({"tests": [TEST, {**TEST, "name": "again"}]}, {"tests": [TEST]}, []),
    "protections given": (tool(), {**tool(**CONFIRMED, **PRICED), "tests": [TEST]}, []),
}


@pytest.mark.parametrize(("before", "after", "lost"), CASES.values(), ids=CASES)
def test_what_a_tool_that_stays_has_lost(before: dict[str, Any], after: dict[str, Any], lost: list[str]):
    found = list(weakenings(compiled(**before), compiled(**after)))
    assert [sentence.partition(" (")[0] for sentence in found] == lost
    assert all("policy.yaml:1" in sentence for sentence in found)


def test_a_tool_that_goes_takes_its_protections_along():
    gone = {"tools": {"read": {"scopes": []}, "more": {"scopes": [], **CONFIRMED, **PRICED}}}
    assert list(weakenings(compiled(**gone), compiled(**tool()))) == []
