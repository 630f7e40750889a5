"""Steps of evaluations: the time that the expressions of one call may take together.

A step takes about a twentieth of a microsecond. A small input has some steps for nothing; beyond these they depend on
its size, so that a short list of a caller or a backend cannot cost much more than it takes to send.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

import orjson

_Node = Any  # the stubs do not type syntax trees

_LOOPS: Final = frozenset({"flatten", "projection", "value_projection", "filter_projection", "expref"})


FREE: Final = 16_000
"""Steps that do not depend on the size of the input: less than a millisecond."""


class TooManyStepsError(ValueError):
    """An evaluation exceeds its steps."""


class Steps:
    """Steps left to the expressions of one call.

    Args:
        most: how many they may take together.
        more: returns how many they may take in addition; called once, when `most` are taken.
    """

    __slots__ = ("_left", "_more")

    def __init__(self, most: int, more: Callable[[], int] | None = None) -> None:
        self._left = most
        self._more = more

    def take(self, count: int) -> None:
        """Take steps before they are done.

        Raises:
            TooManyStepsError: there are not as many left; those that are left stay.
        """
        if count > self._left and self._more is not None:
            more, self._more = self._more, None
            self._left += more()
        if count > self._left:
            raise TooManyStepsError
        self._left -= count


def steps_over(value: object, most: int, per_byte: int) -> Steps:
    """Return the steps of a call's expressions over an input.

    Args:
        value: the input, a JSON value.
        most: how many they are at most.
        per_byte: steps for each byte of the input as compact JSON, beyond `FREE`.
    """
    if most <= FREE:
        return Steps(most)
    return Steps(FREE, lambda: min(most - FREE, per_byte * _size(value)))


def _size(value: object) -> int:
    """Return the bytes of a value as compact JSON; an upper bound where it has integers of more than 64 bits."""
    try:
        return len(orjson.dumps(value))
    except TypeError:
        return len(json.dumps(value))


NO_STEPS: Final = Steps(0)
"""Steps of an evaluation that takes none."""


def takes_steps(node: _Node) -> bool:
    """Return True when the function of a syntax tree may take steps: it has a loop, or encodes a container."""
    if node["type"] in _LOOPS or (node["type"] == "function_expression" and node["value"] == "to_string"):
        return True
    return node["type"] != "slice" and any(map(takes_steps, node["children"]))  # a slice's children are numbers
