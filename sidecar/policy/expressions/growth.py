"""Bounded growth of JMESPath: callers and backends choose the size of its input.

JMESPath has no variables: an expression after `[]` sees one element only, so work grows linearly with the input.
Two constructs are not linear: `join` with a separator as long as the list, and stages that repeat their input.
Both are refused when the policy is loaded. `Steps` end evaluations of the rest that would take too long.
"""

from __future__ import annotations

from typing import Any, Final

_Node = Any  # the stubs do not type syntax trees

MOST_GROWTH: Final = 32
"""Maximum size of an intermediate value, as a multiple of the input's size."""

# JSON writes a control character in six characters.
_ESCAPED: Final = 6
_ADDING: Final = frozenset({"multi_select_list", "multi_select_dict", "comparator"})
_CHOOSING: Final = frozenset({"or_expression", "and_expression", "not_expression"})


class GrowthError(ValueError):
    """An expression may make values much larger than its input; the message names the construct."""


def check_growth(tree: _Node) -> None:
    """Refuse an expression that may make values much larger than its input.

    Raises:
        GrowthError: its values may.
    """
    if _growth(tree) > MOST_GROWTH:
        raise GrowthError(f"may repeat its input more than {MOST_GROWTH} times")


def _growth(node: _Node) -> int:
    """Return the maximum size of a node's values, as a multiple of its input's size."""
    kind, children = node["type"], node["children"]
    if kind in ("slice", "literal"):  # a slice's children are numbers
        return 1
    if kind == "function_expression":
        return _function_growth(node["value"], children)
    parts = [_growth(child) for child in children]
    if kind in _ADDING:
        return sum(parts)
    if kind in _CHOOSING:
        return max(parts)
    if kind == "filter_projection":
        left, right, condition = parts
        return left * max(right, condition)
    product = 1
    for part in parts:
        product *= part
    return product


def _function_growth(name: str, children: list[_Node]) -> int:
    parts = [_growth(child) for child in children if child["type"] != "expref"]
    growth = max(1, sum(parts))
    for child in children:
        if child["type"] == "expref":
            growth *= _growth(child)
    if name == "join":
        separator = children[0]
        if separator["type"] != "literal":
            raise GrowthError("joins with a separator that is not written in the expression")
        growth *= 1 + len(str(separator["value"]))
    return growth * _ESCAPED if name == "to_string" else growth
