"""Price expressions: JMESPath compiled once, with everything they read known before the first call.

JMESPath answers null for a misspelt name, so a typo in a price would silently make it free. What an
expression reads is therefore taken from its syntax tree when the policy is loaded, and whatever
cannot be named there (`arguments.*`, `@`) is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, cast

import jmespath
from jmespath.exceptions import JMESPathError
from jmespath.functions import Functions
from jmespath.visitor import TreeInterpreter

BEFORE: Final = ("arguments", "meta")
"""What an expression may read before the call is forwarded."""

AFTER: Final = ("arguments", "meta", "result", "data")
"""What it may read when the call is settled."""

ELEMENT: Final = 0
"""Stands in a path for "any element of the list"."""

Path = tuple[str | int, ...]
Scope = Mapping[str, Any]
_Node = Any  # the stubs know no more of a syntax tree than that it is one

# One interpreter for all: it keeps nothing between visits, and making one costs more than most visits.
_INTERPRETER: Final = TreeInterpreter()
_FUNCTIONS: Final[Mapping[str, Any]] = Functions.FUNCTION_TABLE

# What JMESPath raises on values it was not written for: its own errors and those of the built-in
# functions under it.
_FAILURES: Final = (JMESPathError, ValueError, TypeError, ArithmeticError, LookupError, AttributeError, RecursionError)


class ExpressionError(ValueError):
    """An expression that cannot be used; the message says why, for the policy's author."""


class ValueRefusedError(ValueError):
    """An expression gave no usable value; the message holds the expression and never the value."""


@dataclass(frozen=True, slots=True, eq=False)
class Expression:
    """One compiled expression.

    Attributes:
        text: as written in the policy.
        reads: every chain of fields it reads, from the root on.
    """

    text: str
    reads: frozenset[Path]
    _tree: _Node = field(repr=False)
    _fields: tuple[str, ...] | None = field(repr=False)

    def value(self, scope: Scope) -> Any:
        """Evaluate over the roots in `scope`.

        Raises:
            ValueRefusedError: the expression fails on these values.
        """
        if self._fields is not None:
            return _follow(self._fields, scope)
        try:
            return _INTERPRETER.visit(self._tree, scope)
        except _FAILURES:
            raise ValueRefusedError(f"`{self.text}` cannot be computed") from None


def compile_expression(text: str, roots: tuple[str, ...]) -> Expression:
    """Compile one expression that may read `roots`.

    Raises:
        ExpressionError: it does not parse, or reads or calls something that does not exist.
    """
    try:
        tree = jmespath.compile(text).parsed
    except (JMESPathError, RecursionError) as error:
        reason = str(error).partition("\n")[0].removeprefix("Invalid jmespath expression: ").rstrip(":")
        raise ExpressionError(f"not a JMESPath expression: {reason}") from None
    reader = _Reader(roots)
    reader.consume(reader.walk(tree, ()))
    return Expression(text, frozenset(reader.reads), tree, _plain_fields(tree))


def _follow(fields: tuple[str, ...], scope: Scope) -> Any:
    """`a.b.c`, the commonest expression, without the interpreter: same answer, a tenth of the time."""
    value: Any = scope
    for name in fields:
        if type(value) is not dict:
            return None
        value = value.get(name)
    return value


def _plain_fields(node: _Node) -> tuple[str, ...] | None:
    if node["type"] == "field":
        return (node["value"],)
    if node["type"] != "subexpression":
        return None
    parts = [_plain_fields(child) for child in node["children"]]
    if any(part is None for part in parts):
        return None
    return tuple(name for part in parts for name in part or ())


class _Reader:
    """Follows a syntax tree and notes which fields it reads.

    `walk` takes the path a node is applied to and returns the path its value stands at; None is a
    value made by the expression itself, whose fields are nobody's names.
    """

    def __init__(self, roots: tuple[str, ...]) -> None:
        self.roots = roots
        self.reads: set[Path] = set()

    def walk(self, node: _Node, at: Path | None) -> Path | None:
        handler = getattr(self, f"_{node['type']}", None)
        if handler is None:
            self._combine(node, at)
            return None
        return cast("Path | None", handler(node, at))

    def consume(self, path: Path | None) -> None:
        """Note that the value at a path is used as it is, not only passed through."""
        if path == ():
            raise ExpressionError(f"must read {_listed(self.roots)} by name, not all at once")
        if path == ("arguments",):
            raise ExpressionError("must name the argument it reads, as in arguments.limit; it reads all at once")
        if path is not None:
            self.reads.add(path)

    def _combine(self, node: _Node, at: Path | None) -> None:
        """Operators and selections: every part is read, the outcome is a new value."""
        for child in node["children"]:
            self.consume(self.walk(child, at))

    def _field(self, node: _Node, at: Path | None) -> Path | None:
        name = node["value"]
        if at is None:
            return None
        if at == () and name not in self.roots:
            more = "; arguments can be declared for tools only" if name == "arguments" else ""
            raise ExpressionError(f"reads {name!r}; only {_listed(self.roots)} can be read here{more}")
        return (*at, name)

    def _current(self, node: _Node, at: Path | None) -> Path | None:
        return at

    _identity = _current
    _slice = _current

    def _literal(self, node: _Node, at: Path | None) -> None:
        return None

    def _index(self, node: _Node, at: Path | None) -> Path | None:
        return self._element(at)

    def _chain(self, node: _Node, at: Path | None) -> Path | None:
        for child in node["children"]:
            at = self.walk(child, at)
        return at

    _subexpression = _chain
    _index_expression = _chain
    _pipe = _chain
    _flatten = _chain

    def _projection(self, node: _Node, at: Path | None) -> Path | None:
        left, right = node["children"]
        return self.walk(right, self._element(self.walk(left, at)))

    def _value_projection(self, node: _Node, at: Path | None) -> Path | None:
        left, right = node["children"]
        self.consume(self.walk(left, at))
        return self.walk(right, None)

    def _filter_projection(self, node: _Node, at: Path | None) -> Path | None:
        left, right, condition = node["children"]
        element = self._element(self.walk(left, at))
        self.consume(self.walk(condition, element))
        return self.walk(right, element)

    def _expref(self, node: _Node, at: Path | None) -> None:
        """`&field`, applied by a function to elements it was given; those are noted as read whole."""
        self.walk(node["children"][0], None)

    def _function_expression(self, node: _Node, at: Path | None) -> None:
        _check_call(node["value"], len(node["children"]))
        self._combine(node, at)

    def _element(self, at: Path | None) -> Path | None:
        self.consume(at)
        return None if at is None else (*at, ELEMENT)


def _check_call(name: str, count: int) -> None:
    """JMESPath finds an unknown function only when it calls it: for a price that is too late."""
    function = _FUNCTIONS.get(name)
    if function is None:
        raise ExpressionError(f"calls {name}(), which is no function; there are {', '.join(sorted(_FUNCTIONS))}")
    signature = function["signature"]
    variadic = bool(signature) and bool(signature[-1].get("variadic"))
    if count < len(signature) or (count > len(signature) and not variadic):
        least = "at least " if variadic else ""
        raise ExpressionError(f"calls {name}() with {count} arguments; it takes {least}{len(signature)}")


def _listed(names: tuple[str, ...]) -> str:
    return " and ".join(part for part in (", ".join(names[:-1]), names[-1]) if part)
