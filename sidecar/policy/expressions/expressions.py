"""Price expressions: JMESPath compiled once, with every field that they read known before the first call.

JMESPath returns null for a misspelt name, so a typo would silently make a price zero. The fields of an
expression are therefore taken from its syntax tree when the policy is loaded, and reads without a
name (`arguments.*`, `@`) are refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, cast

import jmespath
from jmespath.exceptions import JMESPathError
from jmespath.functions import Functions

from sidecar.policy.expressions.compiling import Run, compile_tree, fields_of
from sidecar.policy.expressions.growth import GrowthError, check_growth
from sidecar.policy.expressions.step_budget import NO_STEPS, Steps, TooManyStepsError, takes_steps

BEFORE: Final = ("arguments", "meta")
"""Roots that an expression may read before the call is forwarded."""

AFTER: Final = ("arguments", "meta", "result", "data")
"""Roots that an expression may read when the call is settled."""

ELEMENT: Final = 0
"""Step of a path that means "any element of the list"."""

Path = tuple[str | int, ...]
Scope = Mapping[str, Any]
_Node = Any  # the stubs do not type syntax trees

DEFAULT_ITEMS: Final = 500
"""Default of `limits.items`."""

STEPS_BEFORE: Final = 32
"""Maximum steps per item of `limits.items` of all expressions of a call before it is forwarded: a caller chooses the
input, and a step takes about a twentieth of a microsecond."""

STEPS_AFTER: Final = 1600
"""Maximum steps per item of all expressions at the settlement: results are larger; an amount that is not computed
charges the reserve."""

PER_BYTE_BEFORE: Final = 2
"""Steps for each byte of the arguments, beyond those of a small input: reading them takes as long."""

PER_BYTE_AFTER: Final = 3
"""Steps for each byte of a result, which is read faster."""

_FUNCTIONS: Final[Mapping[str, Any]] = Functions.FUNCTION_TABLE

# JMESPath raises these on unexpected values: its own errors and those of the Python functions that it calls.
_FAILURES: Final = (JMESPathError, ValueError, TypeError, ArithmeticError, LookupError, AttributeError, RecursionError)


class ExpressionError(ValueError):
    """An expression cannot be used; the message gives the policy's author the reason."""


class ValueRefusedError(ValueError):
    """An expression gave no usable value; the message holds the expression and never the value."""


@dataclass(frozen=True, slots=True, eq=False)
class Expression:
    """Compiled expression.

    Attributes:
        text: as written in the policy.
        reads: every chain of fields that it reads, root first.
        steps: maximum steps of one evaluation.
        is_plain: True for `a.b.c`, which takes no steps.
        is_bounded: True when it has no loops, and so takes the same steps for every input.
    """

    text: str
    reads: frozenset[Path]
    steps: int
    is_plain: bool
    _run: Run = field(repr=False)
    _least: int = field(repr=False)
    is_bounded: bool = field(repr=False)

    def value(self, scope: Scope, steps: Steps | None = None) -> Any:
        """Evaluate the expression over the roots in `scope`.

        Args:
            scope: the values of the roots.
            steps: the steps that it shares with other expressions; None for steps of its own.

        Raises:
            ValueRefusedError: the expression fails on these values.
        """
        try:
            # An expression without loops takes its least steps and no more, so they are compared when it is compiled.
            if self.is_plain or (steps is None and self.is_bounded):
                return self._run(scope, NO_STEPS)
            steps = steps or Steps(self.steps)
            steps.take(self._least)
            return self._run(scope, steps)
        except TooManyStepsError:
            raise ValueRefusedError(f"`{self.text}` has too many elements to evaluate") from None
        except _FAILURES:
            raise ValueRefusedError(f"`{self.text}` cannot be computed") from None


def compile_expression(text: str, roots: tuple[str, ...], items: int = DEFAULT_ITEMS) -> Expression:
    """Compile one expression that may read `roots`.

    Args:
        text: as written in the policy.
        roots: the names that it may read.
        items: maximum length of its list (`limits.items`); the steps are a multiple of it.

    Raises:
        ExpressionError: it does not parse, reads an unknown root, calls an unknown function, or may
            make values much larger than its input.
    """
    try:
        tree = jmespath.compile(text).parsed
    except (JMESPathError, RecursionError) as error:
        reason = str(error).partition("\n")[0].removeprefix("Invalid jmespath expression: ").rstrip(":")
        raise ExpressionError(f"not a JMESPath expression: {reason}") from None
    reader = _Reader(roots)
    reader.consume(reader.walk(tree, ()))
    try:
        check_growth(tree)
    except GrowthError as error:
        raise ExpressionError(str(error)) from None
    steps = items * (STEPS_BEFORE if {"result", "data"}.isdisjoint(roots) else STEPS_AFTER)
    run, least = compile_tree(tree)
    is_bounded = not takes_steps(tree) and least <= steps
    return Expression(text, frozenset(reader.reads), steps, fields_of(tree) is not None, run, least, is_bounded)


class _Reader:
    """Walker of a syntax tree that records the fields it reads.

    `walk` takes the path that a node is applied to and returns the path of its value; None is a value
    that the expression itself makes; the fields of such a value are no names of the input.
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
        """Record that the value at a path is used and not only passed through."""
        if path == ():
            raise ExpressionError(f"must read {_listed(self.roots)} by name, not all at once")
        if path == ("arguments",):
            raise ExpressionError("must name the argument it reads, as in arguments.limit; it reads all at once")
        if path is not None:
            self.reads.add(path)

    def _combine(self, node: _Node, at: Path | None) -> None:
        """Walk operators and selections: every part is read, the result is a new value."""
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
        """Walk `&field`, which a function applies to elements that are already recorded as read whole."""
        self.walk(node["children"][0], None)

    def _function_expression(self, node: _Node, at: Path | None) -> None:
        _check_call(node["value"], len(node["children"]))
        self._combine(node, at)

    def _element(self, at: Path | None) -> Path | None:
        self.consume(at)
        return None if at is None else (*at, ELEMENT)


def _check_call(name: str, count: int) -> None:
    """Check a function when the policy is loaded: JMESPath finds an unknown one only at the call."""
    function = _FUNCTIONS.get(name)
    if function is None:
        raise ExpressionError(f"calls {name}(), which is no function; accepted are {', '.join(sorted(_FUNCTIONS))}")
    signature = function["signature"]
    variadic = bool(signature) and bool(signature[-1].get("variadic"))
    if count < len(signature) or (count > len(signature) and not variadic):
        least = "at least " if variadic else ""
        raise ExpressionError(f"calls {name}() with {count} arguments; it takes {least}{len(signature)}")


def _listed(names: tuple[str, ...]) -> str:
    return " and ".join(part for part in (", ".join(names[:-1]), names[-1]) if part)
