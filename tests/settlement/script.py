"""Subjects of the plays: the tested rows, the called tools and the answers of backends."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest

from sidecar.ledger.settlement_table import BY_NAME
from sidecar.model import OnUnknown
from tests.support.backend import Turn, tool_result

Json = dict[str, Any]

DATA: Final = {"contacts": [{"id": "a"}], "lines": [1, 2], "rows": [1, 2, 3, 4]}
ARGUMENTS: Final = {"ids": ["a", "b", "c"], "lines": 5, "limit": 7}
NOTICE: Final = {"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "begun"}}
BRIEF: Final = "2s"
METHODS: Final = ("tasks/get", "tasks/result", "tasks/cancel")


def rows(*cases: Any) -> pytest.MarkDecorator:
    """Run a test for rows of the table: names, or tuples of a name and a way in which the call ends so.

    `test_every_row` finds here which rows are tested.
    """
    if isinstance(cases[0], str):
        return pytest.mark.parametrize("ending", [BY_NAME[name] for name in cases], ids=cases)
    made = [pytest.param(BY_NAME[name], way, id=f"{name}-{label}") for name, label, way in cases]
    return pytest.mark.parametrize(("ending", "way"), made)


def policy(listen: OnUnknown = OnUnknown.RELEASE) -> str:
    """A tool of the same price for each kind of tool that the table tells apart."""
    whole = {"type": "integer"}
    report: Json = {
        "scopes": [],
        "arguments": {"properties": {"ids": {"type": "array"}, "lines": whole, "limit": whole}},
        "uses": {"requests": 1, "rows": {"reserve": "arguments.limit", "settle": "length(data.rows)"}},
        "spends": {
            "contact": {"items": "arguments.ids", "settle": "data.contacts[].id", "once": True},
            "line": {"reserve": "arguments.lines", "settle": "length(data.lines)"},
        },
    }
    tools: Json = {"get_usage": {"scopes": [], "serve": "usage", "uses": {}}}
    for on_unknown in OnUnknown:
        tool = report | {"on_unknown": on_unknown.value}
        tools[f"report_{on_unknown.value}"] = tool
        tools[f"plain_{on_unknown.value}"] = tool | {"spends": {"line": report["spends"]["line"]}}
        tools[f"strict_{on_unknown.value}"] = tool | {"charge_errors": True}
        tools[f"brief_{on_unknown.value}"] = tool | {"timeout": BRIEF}
        tools[f"asked_{on_unknown.value}"] = tool | {"confirm": {"by": "person"}}
    listening = {"scopes": [], "uses": {"requests": 1}, "spends": {"line": 5}, "on_unknown": listen.value}
    return json.dumps(
        {
            "scopes": {},
            "consent": "first_use",
            "quotas": {"requests": {"month": 1000}, "rows": {"month": 1000}},
            "credits": {"contact": "A contact.", "line": "A line."},
            "tools": tools,
            "methods": {
                **{method: {"scopes": []} for method in METHODS},
                "subscriptions/listen": listening | {"timeout": "1500ms"},
            },
        }
    )


def result_of(turn: Turn, *, is_error: bool = False) -> Json:
    """The result of the call: less than was reserved for."""
    made = tool_result(DATA, is_error=is_error)
    return {"resultType": "complete", **made} if turn.request.stateless else made


async def answered(turn: Turn) -> None:
    """The result, as JSON."""
    await turn.result(result_of(turn))


async def streamed(turn: Turn) -> None:
    """The result, as the last event of a stream."""
    await turn.open_stream()
    await turn.event(NOTICE)
    await turn.event(turn.response({"result": result_of(turn)}))
    await turn.end_stream()
