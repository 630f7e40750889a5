"""Steps of evaluations: the time that the expressions of one call may take together."""

from __future__ import annotations

from typing import Any, Final

_Node = Any  # the stubs do not type syntax trees

_LOOPS: Final = frozenset({"flatten", "projection", "value_projection", "filter_projection", "expref"})


class TooManyStepsError(ValueError):
    """An evaluation exceeds its steps."""


class Steps:
    """Steps left to the expressions of one call.

    Args:
        most: how many they may take together.
    """

    __slots__ = ("_left",)

    def __init__(self, most: int) -> None:
        self._left = most

    def take(self, count: int) -> None:
        """Take steps before they are done.

        Raises:
            TooManyStepsError: there are not as many left.
        """
        self._left -= count
        if self._left < 0:
            raise TooManyStepsError


NO_STEPS: Final = Steps(0)
"""Steps of an evaluation that takes none."""


def takes_steps(node: _Node) -> bool:
    """Return True when the function of a syntax tree may take steps: it has a loop, or encodes a container."""
    if node["type"] in _LOOPS or (node["type"] == "function_expression" and node["value"] == "to_string"):
        return True
    return node["type"] != "slice" and any(map(takes_steps, node["children"]))  # a slice's children are numbers
