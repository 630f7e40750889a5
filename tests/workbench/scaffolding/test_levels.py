"""Guesses of a tool's level: hints first, names where there are none, and the more dangerous of two that disagree."""

from __future__ import annotations

from typing import Any

import pytest

from sidecar.workbench.scaffolding.levels import guess


@pytest.mark.parametrize(
    ("name", "hints", "level", "doubted"),
    [
        ("list_orders", {"readOnlyHint": True}, "read", False),
        ("frobnicate", {"readOnlyHint": True}, "read", False),
        ("delete_all", {"readOnlyHint": True}, "destroy", True),
        ("get_delete_log", {"readOnlyHint": True}, "read", False),
        ("frobnicate", {"destructiveHint": True}, "destroy", False),
        ("get_orders", {"destructiveHint": True}, "destroy", False),
        ("update_order", {"destructiveHint": False}, "write", False),
        ("cancel_order", {"destructiveHint": False}, "destroy", True),
        ("get_orders", {"readOnlyHint": False}, "write", True),
        ("get_orders", None, "read", True),
        ("searchOrders", {}, "read", True),
        ("deleteOrder", {}, "destroy", True),
        ("orders/purge", {}, "destroy", True),
        ("frobnicate", {}, "write", True),
        ("on", "hints", "write", True),
        ("frobnicate", {"readOnlyHint": "true"}, "write", True),
        ("123", {}, "write", True),
    ],
)
def test_the_level_of_a_tool(name: str, hints: Any, level: str, doubted: bool):
    found = guess(name, hints)
    assert (found.level.value, found.doubt is not None) == (level, doubted)


@pytest.mark.parametrize(("hint", "external"), [(True, True), (False, False), ("yes", False), (None, False)])
def test_only_an_explicit_hint_makes_a_tool_external(hint: Any, external: bool):
    assert guess("search", {"openWorldHint": hint}).external is external
