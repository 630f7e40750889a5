"""Functions with quick type checks: the same results and errors as those of the library."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jmespath.exceptions import JMESPathError
from jmespath.functions import Functions

from sidecar.policy.expressions.functions import FastFunctions

FAST = FastFunctions()
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = st.recursive(SCALARS, lambda below: st.lists(below) | st.dictionaries(st.text(), below), max_leaves=5)
NAMES = sorted(name for name in Functions.FUNCTION_TABLE if name not in ("map", "sort_by", "min_by", "max_by"))


def outcome(call: Callable[[list[Any]], Any], arguments: list[Any]) -> tuple[object, object]:
    try:
        return repr(call(arguments)), None
    except (JMESPathError, TypeError, ValueError, AttributeError, OverflowError) as error:
        return None, (type(error), str(error))


def library(name: str) -> Callable[[list[Any]], Any]:
    return lambda arguments: Functions().call_function(name, arguments)


@given(st.sampled_from(NAMES), st.lists(VALUES, min_size=2, max_size=2))
def test_a_function_gives_what_the_library_gives(name: str, arguments: list[Any]):
    arguments = arguments[: len(Functions.FUNCTION_TABLE[name]["signature"])]
    assert outcome(FAST.caller(name), arguments) == outcome(library(name), arguments)


@pytest.mark.parametrize("value", [1, -(10**30), True, None, 1.5, "a", [1, {"b": "\u00e9"}], {"a": []}])
def test_texts_of_values_are_those_of_the_library(value: Any):
    assert FAST.caller("to_string")([value]) == Functions().call_function("to_string", [value])


def test_a_list_is_checked_at_every_call():
    assert FAST.caller("sum")([[1, 2]]) == 3
    with pytest.raises(JMESPathError):
        FAST.caller("sum")([["a"]])
