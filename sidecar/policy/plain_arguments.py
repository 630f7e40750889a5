"""Acceptance of plain arguments in one pass: most calls send a few texts and numbers, declared one by one.

It only accepts. Whatever it does not accept, the complete rules of `arguments` judge and explain.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Mapping
from dataclasses import dataclass
from types import NoneType
from typing import Any, Final

from sidecar.model import MAX_AMOUNT

Arguments = Mapping[str, Any]
Schema = Mapping[str, Any]
Accepted = Mapping[type, Container[Any] | None]
"""Accepted values by their type; of a range for texts, their lengths; None accepts every value."""

UNSAFE: Final = frozenset({"__proto__", "constructor"})
"""Names that an unsafe merge in a JavaScript backend executes instead of storing them."""

_COMMENTS: Final = frozenset(
    {"title", "description", "default", "deprecated", "readOnly", "writeOnly", "examples", "$comment"}
)
_OF_OBJECTS: Final = _COMMENTS | {"type", "properties", "required", "additionalProperties", "$schema", "$defs"}
_LIMITS: Final = frozenset({"enum", "minimum", "maximum", "minLength", "maxLength"})
_OF_VALUES: Final = _COMMENTS | _LIMITS | {"type"}
_TYPES: Final[Mapping[str, frozenset[type]]] = {
    "string": frozenset({str}),
    "integer": frozenset({int}),
    "number": frozenset({int, float}),
    "boolean": frozenset({bool}),
    "null": frozenset({NoneType}),
}
_SCALARS: Final[frozenset[type]] = frozenset({str, int, float, bool, NoneType})
_NOTHING: Final[Accepted] = {}


@dataclass(frozen=True, slots=True, eq=False)
class PlainRules:
    """Rules for plain arguments of one tool.

    Attributes:
        properties: accepted values of the names that a schema declares, or that are never accepted.
        others: accepted values of every other name.
        defaults: values for absent names.
        required: names that must be present with the defaults.
    """

    properties: Mapping[str, Accepted]
    others: Accepted
    defaults: tuple[tuple[str, Any], ...]
    required: tuple[str, ...]

    def accepted(self, given: Arguments) -> Arguments | None:
        """Return the arguments with defaults added, `given` itself without any; None to ask the complete rules."""
        properties, others = self.properties, self.others
        for name, value in given.items():
            accepted = properties[name] if name in properties else others  # noqa: SIM401 - faster than `get`
            kind = type(value)
            if kind not in accepted:
                return None
            values = accepted[kind]
            if values is not None and (len(value) if kind is str and type(values) is range else value) not in values:
                return None
        completed = given
        for name, default in self.defaults:
            if name not in given:
                completed = {**completed, name: default}
        for name in self.required:
            if name not in completed:
                return None
        return completed


def plain_rules(schema: Schema | None, defaults: Mapping[str, Any], read: Collection[str]) -> PlainRules | None:
    """Return the rules for plain arguments; None if the complete rules must judge every call.

    Args:
        schema: of the arguments; None without one.
        defaults: values for absent names, which the schema accepts.
        read: names that the policy reads: without a schema, any other name may be confusable with one of them.
    """
    if schema is None:
        return None if read else PlainRules(dict.fromkeys(UNSAFE, _NOTHING), dict.fromkeys(_SCALARS), (), ())
    if not _OF_OBJECTS.issuperset(schema):
        return None
    accepted = {name: _accepted(part) for name, part in schema.get("properties", {}).items()}
    return PlainRules(accepted, _NOTHING, tuple(defaults.items()), tuple(schema.get("required", ())))


def _accepted(schema: Any) -> Accepted:
    """Return the values that a property's schema accepts, as far as it is plain."""
    if schema is True:
        schema = {}
    if schema is False or not _OF_VALUES.issuperset(schema):
        return _NOTHING
    named = schema.get("type", _TYPES)
    kinds = {kind for name in ((named,) if isinstance(named, str) else named) for kind in _TYPES.get(name, ())}
    limits = schema.keys() & _LIMITS
    if "enum" in limits:
        texts = frozenset(each for each in schema["enum"] if isinstance(each, str))
        return {str: texts} if str in kinds and limits == {"enum"} else _NOTHING
    accepted: dict[type, Container[Any] | None] = dict.fromkeys(kinds)
    if int in kinds:  # integers beyond these are refused: parsers disagree on them
        accepted[int] = _range(schema, "minimum", "maximum", -MAX_AMOUNT, MAX_AMOUNT)
    if float in kinds and not limits.isdisjoint({"minimum", "maximum"}):
        del accepted[float]
    if str in kinds and not limits.isdisjoint({"minLength", "maxLength"}):
        accepted[str] = _range(schema, "minLength", "maxLength", 0, MAX_AMOUNT)
    return accepted


def _range(schema: Schema, least: str, most: str, lowest: int, highest: int) -> range:
    """Return the integers between two limits; none if a limit is no integer."""
    low, high = schema.get(least, lowest), schema.get(most, highest)
    return range(max(low, lowest), min(high, highest) + 1) if type(low) is int and type(high) is int else range(0)
