"""JMESPath functions that check the types of arguments quickly: elements of a caller's list must be cheap.

The library compares the names of types with the signature at every call, and makes an encoder for every `to_string`.
Calls are many where a caller chooses the list.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from jmespath.functions import Functions, signature


class AppliedExpression:
    """Value of `&expression`, which functions apply to elements.

    Args:
        run: applies it to one element.
    """

    __slots__ = ("expression",)

    def __init__(self, run: Callable[[Any], Any]) -> None:
        self.expression = run

    @staticmethod
    def visit(run: Callable[[Any], Any], value: Any) -> Any:
        """Apply the expression as the library's functions do."""
        return run(value)


_ENCODER: Final = json.JSONEncoder(separators=(",", ":"), default=str, check_circular=False)
_TYPES: Final[Mapping[str, frozenset[type]]] = {
    "boolean": frozenset({bool}),
    "array": frozenset({list}),
    "object": frozenset({dict}),
    "null": frozenset({type(None)}),
    "string": frozenset({str}),
    "number": frozenset({int, float}),
    "expref": frozenset({AppliedExpression}),
}

# The library looks for this name.
AppliedExpression.__name__ = "_Expression"

CALL: Final = 7
"""Steps of a function's call: it takes as long as so many fields."""

COSTLY: Final[Mapping[str, int]] = {
    **dict.fromkeys(("merge", "not_null", "join", "sum", "avg", "map"), 20),
    **dict.fromkeys(("to_number", "sort", "max", "min", "sort_by", "min_by", "max_by"), 28),
}
"""Steps of the functions that take longer."""

ENCODED: Final = 12
"""More steps for a list or an object that becomes a string."""


class FastFunctions(Functions):
    """The standard functions with the same results and errors."""

    def caller(self, name: str) -> Callable[[list[Any]], Any]:
        """Return the function that calls a known function with a list of arguments.

        It raises `JMESPathError` if their number or types do not match.
        """
        spec = self.FUNCTION_TABLE[name]
        function = spec["function"]
        checks = [_check(each["types"]) for each in spec["signature"]]
        if len(checks) > 2 or any(each.get("variadic") for each in spec["signature"]):
            return lambda given: self.call_function(name, given)
        if len(checks) == 1:
            (only,) = checks

            def call_with_one(given: list[Any]) -> Any:
                (value,) = given
                return function(self, value) if only(value) else self.call_function(name, given)

            return call_with_one
        first, second = checks

        def call_with_two(given: list[Any]) -> Any:
            one, two = given
            return function(self, one, two) if first(one) and second(two) else self.call_function(name, given)

        return call_with_two

    @signature({"types": []})
    def _func_to_string(self, arg: Any) -> str:
        if type(arg) is int:
            return str(arg)
        return arg if isinstance(arg, str) else _ENCODER.encode(arg)


def _check(types: list[str]) -> Callable[[Any], bool]:
    """Return the check of one argument by the types of a signature."""
    if not types:
        return lambda value: True
    whole = frozenset[type]().union(*(_TYPES[each] for each in types if "-" not in each))
    elements = [_TYPES[each.partition("-")[2]] for each in types if "-" in each]
    if not elements:
        return lambda value: type(value) in whole
    if len(elements) == 1:
        (only,) = elements
        return lambda value: type(value) is list and only.issuperset(map(type, value))
    return lambda value: type(value) is list and any(each.issuperset(map(type, value)) for each in elements)
