"""Number of schemas that apply to one value, which is the cost of the validator's errors.

A schema applies itself and its combined schemas (`allOf`, `anyOf`, `$ref`, ...) to one value. A schema that
refers to itself twice doubles the number at every level: 20 levels are a million errors.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from sidecar.policy.names import ReadNames

Schema = Mapping[str, Any]

MOST: Final = 1000
"""Largest counted number; it means this number or more."""

_SAME_ONE: Final = ("not", "if", "then", "else")
_SAME_MANY: Final = ("allOf", "anyOf", "oneOf")
_MEMBERS: Final = ("additionalProperties", "unevaluatedProperties", "propertyNames")
_ELEMENTS: Final = ("items", "contains", "unevaluatedItems")


class Branches:
    """Number of schemas per value of one schema, by depth.

    Args:
        schema: the schema of the value at depth 0.
        references: the targets of its `$ref`s.
    """

    def __init__(self, schema: Schema, references: ReadNames) -> None:
        self._schema = schema
        self._references = references
        self._known: dict[tuple[int, int], int] = {}
        self._open: set[tuple[int, int]] = set()

    def most(self, depth: int) -> int:
        """Return the maximum number of schemas for one value at this depth or above it; at most `MOST`."""
        return max(self._count(self._schema, at) for at in range(depth + 1))

    def _count(self, schema: Schema, depth: int) -> int:
        """Return the number of schemas that this one applies to a value at this depth below it; at least 1."""
        key = (id(schema), depth)
        if key in self._open:
            return MOST  # the schema applies itself to the same value
        if key not in self._known:
            self._open.add(key)
            own = 1 if depth == 0 else self._below(schema, depth - 1)
            self._known[key] = min(MOST, own + sum(self._count(each, depth) for each in self._same(schema)))
            self._open.remove(key)
        return self._known[key]

    def _same(self, schema: Schema) -> Iterator[Schema]:
        found = [schema.get(keyword) for keyword in _SAME_ONE]
        for keyword in _SAME_MANY:
            found += _list(schema.get(keyword))
        found += _values(schema.get("dependentSchemas"))
        reference = schema.get("$ref")
        if isinstance(reference, str):
            found += self._references.targets(reference)
        return (each for each in found if isinstance(each, dict))

    def _below(self, schema: Schema, depth: int) -> int:
        members = sum(self._largest([schema.get(keyword)], depth) for keyword in _MEMBERS)
        members += self._largest(_values(schema.get("properties")), depth)
        members += self._largest(_values(schema.get("patternProperties")), depth)
        elements = sum(self._largest([schema.get(keyword)], depth) for keyword in _ELEMENTS)
        elements += self._largest(_list(schema.get("prefixItems")), depth)
        return max(members, elements)

    def _largest(self, schemas: Iterable[Any], depth: int) -> int:
        return max((self._count(each, depth) for each in schemas if isinstance(each, dict)), default=0)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _values(value: Any) -> list[Any]:
    return list(value.values()) if isinstance(value, dict) else []
