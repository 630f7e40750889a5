"""Syntax trees of JMESPath as functions: the library's interpreter takes four times as long for each node.

Every loop takes the steps of all its elements before it begins, so no node counts by itself. Values are JSON: their
types are compared exactly. Results are those of the library (`jmespath.visitor.TreeInterpreter`).
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

from sidecar.policy.expressions.functions import CALL, COSTLY, ENCODED, AppliedExpression, FastFunctions
from sidecar.policy.expressions.step_budget import Steps

_Node = Any  # the stubs do not type syntax trees


Run = Callable[[Any, Steps], Any]


class Part(NamedTuple):
    """Compiled node.

    Attributes:
        run: applies it to a value; a loop in it takes its own steps.
        steps: steps of one application, without those of loops.
    """

    run: Run
    steps: int


_FUNCTIONS: Final = FastFunctions()
_LOOP: Final = 4
"""Steps of a loop without its elements."""

_CONTAINERS: Final = frozenset({list, dict})
_SIZED: Final = frozenset({str, list, dict})
_SCALARS: Final = frozenset({int, float, str})
_ORDERS: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "lt": operator.lt,
    "lte": operator.le,
    "gt": operator.gt,
    "gte": operator.ge,
}


def compile_tree(node: _Node) -> Part:
    """Return the function of a syntax tree."""
    return _COMPILERS[node["type"]](node)


def fields_of(node: _Node) -> tuple[str, ...] | None:
    """Return the names of `a.b.c`, or of one field; None for any other expression."""
    if node["type"] == "field":
        return (node["value"],)
    if node["type"] != "subexpression":
        return None
    parts = [fields_of(child) for child in node["children"]]
    if any(part is None for part in parts):
        return None
    return tuple(name for part in parts for name in part or ())


def _is_false(value: Any) -> bool:
    return not value and type(value) is not int and type(value) is not float


def _equal(one: Any, two: Any) -> Any:
    # Python takes true for 1.
    return one is two if type(one) is bool or type(two) is bool else one == two


def _identity(node: _Node) -> Part:
    return Part(lambda value, steps: value, 1)


def _literal(node: _Node) -> Part:
    constant = node["value"]
    return Part(lambda value, steps: constant, 1)


def _field(node: _Node) -> Part:
    name = node["value"]
    return Part(lambda value, steps: value.get(name) if type(value) is dict else None, 1)


def _index(node: _Node) -> Part:
    at = node["value"]

    def run(value: Any, steps: Steps) -> Any:
        return value[at] if type(value) is list and -len(value) <= at < len(value) else None

    return Part(run, 1)


def _slice(node: _Node) -> Part:
    part = slice(*node["children"])
    return Part(lambda value, steps: value[part] if type(value) is list else None, 1)


def _chain(node: _Node) -> Part:
    parts = [compile_tree(child) for child in node["children"]]
    fields = fields_of(node)
    if fields is not None:
        return Part(_path(fields), 1 + sum(part.steps for part in parts))
    runs = [part.run for part in parts]

    def run(value: Any, steps: Steps) -> Any:
        for each in runs:
            value = each(value, steps)
        return value

    return Part(run, 1 + sum(part.steps for part in parts))


def _path(fields: tuple[str, ...]) -> Run:
    """Return the function of `a.b.c`, the most frequent expression, without a call for each field."""

    def run(value: Any, steps: Steps) -> Any:
        for name in fields:
            if type(value) is not dict or name not in value:
                return None
            value = value[name]
        return value

    return run


def _flatten(node: _Node) -> Part:
    base = compile_tree(node["children"][0])

    def run(value: Any, steps: Steps) -> Any:
        found = base.run(value, steps)
        if type(found) is not list:
            return None
        steps.take(len(found))
        merged: list[Any] = []
        for element in found:
            if type(element) is list:
                merged.extend(element)
            else:
                merged.append(element)
        return merged

    return Part(run, _LOOP + base.steps)


def _projection(node: _Node) -> Part:
    return _projected(node, list, iter)


def _value_projection(node: _Node) -> Part:
    return _projected(node, dict, dict.values)


def _projected(
    node: _Node, kind: type[list[Any]] | type[dict[str, Any]], elements: Callable[[Any], Iterable[Any]]
) -> Part:
    """Apply the right side to each element of the left one, which is null unless it is of this type."""
    left, right = map(compile_tree, node["children"])
    apply, each = right

    def run(value: Any, steps: Steps) -> Any:
        base = left.run(value, steps)
        if type(base) is not kind:
            return None
        steps.take(len(base) * each)
        return [found for element in elements(base) if (found := apply(element, steps)) is not None]

    return Part(run, _LOOP + left.steps)


def _filter_projection(node: _Node) -> Part:
    left, right, condition = map(compile_tree, node["children"])
    apply, judge, each = right.run, condition.run, right.steps + condition.steps

    def run(value: Any, steps: Steps) -> Any:
        base = left.run(value, steps)
        if type(base) is not list:
            return None
        steps.take(len(base) * each)
        kept = (element for element in base if not _is_false(judge(element, steps)))
        return [found for element in kept if (found := apply(element, steps)) is not None]

    return Part(run, _LOOP + left.steps)


def _comparator(node: _Node) -> Part:
    one, two = map(compile_tree, node["children"])
    left, right, total = one.run, two.run, 1 + one.steps + two.steps
    if node["value"] == "eq":
        return Part(lambda value, steps: _equal(left(value, steps), right(value, steps)), total)
    if node["value"] == "ne":
        return Part(lambda value, steps: not _equal(left(value, steps), right(value, steps)), total)
    compare = _ORDERS[node["value"]]

    def run(value: Any, steps: Steps) -> Any:
        first, second = left(value, steps), right(value, steps)
        return compare(first, second) if type(first) in _SCALARS and type(second) in _SCALARS else None

    return Part(run, total)


def _or(node: _Node) -> Part:
    one, two = map(compile_tree, node["children"])

    def run(value: Any, steps: Steps) -> Any:
        found = one.run(value, steps)
        return two.run(value, steps) if _is_false(found) else found

    return Part(run, 1 + one.steps + two.steps)


def _and(node: _Node) -> Part:
    one, two = map(compile_tree, node["children"])

    def run(value: Any, steps: Steps) -> Any:
        found = one.run(value, steps)
        return found if _is_false(found) else two.run(value, steps)

    return Part(run, 1 + one.steps + two.steps)


def _not(node: _Node) -> Part:
    part = compile_tree(node["children"][0])

    def run(value: Any, steps: Steps) -> Any:
        return _is_false(part.run(value, steps))

    return Part(run, 1 + part.steps)


def _pair(node: _Node) -> Part:
    return compile_tree(node["children"][0])


def _list(node: _Node) -> Part:
    parts = [compile_tree(child) for child in node["children"]]
    runs = [part.run for part in parts]

    def run(value: Any, steps: Steps) -> Any:
        return None if value is None else [each(value, steps) for each in runs]

    return Part(run, 1 + sum(part.steps for part in parts))


def _dict(node: _Node) -> Part:
    parts = [compile_tree(child) for child in node["children"]]
    runs = [(child["value"], part.run) for child, part in zip(node["children"], parts, strict=True)]

    def run(value: Any, steps: Steps) -> Any:
        return None if value is None else {name: each(value, steps) for name, each in runs}

    return Part(run, 1 + sum(part.steps for part in parts))


def _function(node: _Node) -> Part:
    name = node["value"]
    if name == "length":
        return _length(node)
    applied = [compile_tree(child["children"][0]) for child in node["children"] if child["type"] == "expref"]
    parts = [_expref(child) if child["type"] == "expref" else compile_tree(child) for child in node["children"]]
    runs = [part.run for part in parts]
    encodes = name == "to_string"
    each = sum(CALL + part.steps for part in applied)
    call = _FUNCTIONS.caller(name)

    def run(value: Any, steps: Steps) -> Any:
        given = [one(value, steps) for one in runs]
        if each:
            steps.take(each * sum(len(one) for one in given if type(one) is list))
        elif encodes and type(given[0]) in _CONTAINERS:
            steps.take(ENCODED)
        return call(given)

    return Part(run, COSTLY.get(name, CALL) + sum(part.steps for part in parts))


def _length(node: _Node) -> Part:
    """Return the function of `length(...)`, the most frequent call, without a list of arguments."""
    only = compile_tree(node["children"][0])
    refuse = _FUNCTIONS.caller("length")

    def run(value: Any, steps: Steps) -> Any:
        found = only.run(value, steps)
        return len(found) if type(found) in _SIZED else refuse([found])

    return Part(run, CALL + only.steps)


def _expref(node: _Node) -> Part:
    body = compile_tree(node["children"][0]).run
    return Part(lambda value, steps: AppliedExpression(lambda element: body(element, steps)), 1)


_COMPILERS: Final[Mapping[str, Callable[[_Node], Part]]] = {
    "identity": _identity,
    "current": _identity,
    "literal": _literal,
    "field": _field,
    "index": _index,
    "slice": _slice,
    "subexpression": _chain,
    "index_expression": _chain,
    "pipe": _chain,
    "flatten": _flatten,
    "projection": _projection,
    "value_projection": _value_projection,
    "filter_projection": _filter_projection,
    "comparator": _comparator,
    "or_expression": _or,
    "and_expression": _and,
    "not_expression": _not,
    "key_val_pair": _pair,
    "multi_select_list": _list,
    "multi_select_dict": _dict,
    "function_expression": _function,
    "expref": _expref,
}
