"""Names that a policy reads, level by level: a caller may not send confusable names.

A schema applies many schemas to one value, and may apply one to many values or, through `$ref`, to
values below itself. A level is therefore the set of schemas that apply to one value: there are
finitely many, and the levels of a schema that refers to itself form a cycle.

Where several schemas may apply, all of them count: the elements of a list are one level.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import unquote

from sidecar.policy.expressions.expressions import ELEMENT
from sidecar.protocol.strict.strictjson import fold

Schema = Mapping[str, Any]
Place = tuple[str, ...]

LITERAL: Final = re.compile(r"\^([\w-]+)\$")
"""Patterns of `patternProperties` that are one name: the confusable names of other patterns cannot be listed."""

_SAME_ONE: Final = ("not", "if", "then", "else")
_SAME_MANY: Final = ("allOf", "anyOf", "oneOf")
_OTHERS: Final = ("additionalProperties", "unevaluatedProperties")
_ELEMENTS: Final = ("items", "contains", "unevaluatedItems")


@dataclass(slots=True)
class Names:
    """Names that the policy reads at one level. Levels are shared and may form cycles.

    Attributes:
        children: names read at this level, with the level below each.
        folded: the same names after `fold`.
        others: the level below every other name.
        element: the level of each element, where this level is a list.
    """

    children: dict[str, Names] = field(default_factory=dict)
    folded: set[str] = field(default_factory=set)
    others: Names | None = None
    element: Names | None = None

    def copy(self) -> Names:
        """Return a copy of this level; the levels below remain shared."""
        return Names(dict(self.children), set(self.folded), self.others, self.element)

    def child(self, step: str | int) -> Names:
        """Mark a name, or the elements of a list, as read; return an unshared copy of the level below."""
        if step == ELEMENT:
            self.element = (self.element or Names()).copy()
            return self.element
        name = str(step)
        self.folded.add(fold(name))
        below = (self.children.get(name) or self.others or Names()).copy()
        self.children[name] = below
        return below

    def add(self, path: Iterable[str | int]) -> None:
        """Mark a chain of fields as read."""
        level = self
        for step in path:
            level = level.child(step)


class ReadNames:
    """Targets of `$ref`: the schemas in one schema, by pointer and anchor."""

    def __init__(self, schemas: Iterable[tuple[Place, Any]]) -> None:
        self._targets: dict[Place | str, list[Any]] = {}
        for place, schema in schemas:
            self._targets.setdefault(place, []).append(schema)
            if isinstance(schema, dict) and isinstance(anchor := schema.get("$anchor"), str):
                self._targets.setdefault(anchor, []).append(schema)

    def targets(self, reference: str) -> list[Any]:
        """Return the schemas (or booleans) that a `$ref` may mean; none if it points to anything else."""
        start, _, fragment = reference.partition("#")
        fragment = unquote(fragment)
        if start or not reference:
            return []
        if fragment and not fragment.startswith("/"):
            return self._targets.get(fragment, [])
        steps = (step.replace("~1", "/").replace("~0", "~") for step in fragment.split("/")[1:])
        return self._targets.get(tuple(steps), [])


def names_of(schema: Schema, references: ReadNames) -> Names:
    """Collect every property name that a schema reads; its first level is not shared."""
    return _Levels(references).all(schema).copy()


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """Names and parts that one schema reads of its value.

    Attributes:
        own: the properties it declares, with their schemas.
        mentioned: other names that it reads.
        others: the schemas of properties that it does not declare.
        elements: the schemas of elements.
        applied: the schemas that it applies to the same value.
    """

    own: Mapping[str, list[Schema]]
    mentioned: list[str]
    others: list[Schema]
    elements: list[Schema]
    applied: list[Schema]


class _Levels:
    def __init__(self, references: ReadNames) -> None:
        self._references = references
        self._parts: dict[int, _Part] = {}
        self._levels: dict[frozenset[int], Names] = {}
        self._unread: list[tuple[Names, list[_Part]]] = []

    def all(self, schema: Schema) -> Names:
        """Build all levels of a schema; return the first."""
        first = self._level([schema])
        while self._unread:
            self._fill(*self._unread.pop())
        return first

    def _level(self, schemas: Iterable[Schema]) -> Names:
        """Return the level of a value that all these schemas apply to; it is filled later, as it may contain itself."""
        parts = self._applied(schemas)
        key = frozenset(parts)
        level = self._levels.get(key)
        if level is None:
            level = self._levels[key] = Names()
            self._unread.append((level, list(parts.values())))
        return level

    def _fill(self, level: Names, parts: list[_Part]) -> None:
        for name in dict.fromkeys(name for part in parts for name in (*part.own, *part.mentioned)):
            level.folded.add(fold(name))
            level.children[name] = self._level(schema for part in parts for schema in part.own.get(name, part.others))
        others = [schema for part in parts for schema in part.others]
        level.others = self._level(others) if others else None
        elements = [schema for part in parts for schema in part.elements]
        level.element = self._level(elements) if elements else None

    def _applied(self, schemas: Iterable[Schema]) -> dict[int, _Part]:
        """Collect these schemas and all that they apply to the same value."""
        applied: dict[int, _Part] = {}
        waiting = list(schemas)
        while waiting:
            schema = waiting.pop()
            if id(schema) not in applied:
                part = applied[id(schema)] = self._part(schema)
                waiting += part.applied
        return applied

    def _part(self, schema: Schema) -> _Part:
        # Cached, so that the schemas made of constants keep their identity.
        part = self._parts.get(id(schema))
        if part is None:
            part = self._parts[id(schema)] = self._read(schema)
        return part

    def _read(self, schema: Schema) -> _Part:
        own: dict[str, list[Schema]] = {}
        for name, below in _members(schema, "properties"):
            own.setdefault(name, []).extend(_schemas([below]))
        for pattern, below in _members(schema, "patternProperties"):
            if literal := LITERAL.fullmatch(pattern):
                own.setdefault(literal[1], []).extend(_schemas([below]))
        return _Part(
            own,
            [*_mentioned(schema), *self._allowed_names(schema)],
            _schemas(schema.get(keyword) for keyword in _OTHERS),
            _schemas(
                [*(schema.get(keyword) for keyword in _ELEMENTS), *_listed(schema, "prefixItems"), *_compared(schema)]
            ),
            [*self._same_value(schema), *_constants(schema)],
        )

    def _same_value(self, schema: Schema) -> list[Schema]:
        found = [schema.get(keyword) for keyword in _SAME_ONE]
        for keyword in _SAME_MANY:
            found += _listed(schema, keyword)
        found += [below for _, below in _members(schema, "dependentSchemas")]
        reference = schema.get("$ref")
        if isinstance(reference, str):
            found += self._references.targets(reference)
        return _schemas(found)

    def _allowed_names(self, schema: Schema) -> list[str]:
        """Return the names that `propertyNames` lists, allowed or refused."""
        waiting = _schemas([schema.get("propertyNames")])
        seen: dict[int, Schema] = {}
        while waiting:
            names = waiting.pop()
            if id(names) not in seen:
                seen[id(names)] = names
                waiting += self._same_value(names)
        return _texts([value for names in seen.values() for value in (names.get("const"), *_listed(names, "enum"))])


def _mentioned(schema: Schema) -> Iterator[str]:
    yield from _texts(_listed(schema, "required"))
    for name, needed in _members(schema, "dependentRequired"):
        yield name
        yield from _texts(needed if isinstance(needed, list) else [])
    for name, _ in _members(schema, "dependentSchemas"):
        yield name


def _constants(schema: Schema) -> Iterator[Schema]:
    """Yield schemas that read the values compared with constants."""
    for value in (schema.get("const"), *_listed(schema, "enum")):
        if isinstance(value, dict):
            yield {"properties": {name: {"const": member} for name, member in value.items()}}
        elif isinstance(value, list):
            yield {"prefixItems": [{"const": element} for element in value]}


# Reads a value with everything in it.
_ANYTHING: Final[dict[str, Any]] = {}
_ANYTHING.update(additionalProperties=_ANYTHING, items=_ANYTHING)


def _compared(schema: Schema) -> list[Schema]:
    """Return schemas that read all values of elements that are compared with each other.

    The validator takes quadratic time to compare integers of more than 53 bits; such integers are refused
    where a schema reads them.
    """
    return [_ANYTHING] if schema.get("uniqueItems") is True else []


# Names are collected before the schema is validated: values of a wrong type are skipped.


def _members(schema: Schema, keyword: str) -> list[tuple[str, Any]]:
    value = schema.get(keyword)
    return list(value.items()) if isinstance(value, dict) else []


def _listed(schema: Schema, keyword: str) -> list[Any]:
    value = schema.get(keyword)
    return value if isinstance(value, list) else []


def _schemas(values: Iterable[Any]) -> list[Schema]:
    return [value for value in values if isinstance(value, dict)]


def _texts(values: Iterable[Any]) -> list[str]:
    return [value for value in values if isinstance(value, str)]
