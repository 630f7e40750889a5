"""Paths of names that values of a JSON Schema can have.

A name is absent when the schemas of its level describe properties, describe none of this name and say nothing about
others: JSON Schema allows it, and no server sends it. A schema that describes no properties has every path.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import unquote

_BRANCHES: Final = ("anyOf", "oneOf")
_COMBINES: Final = frozenset({"$ref", "allOf", "anyOf", "oneOf"})
_SPEAKS: Final = frozenset({"properties", "patternProperties", "additionalProperties", "unevaluatedProperties"})
_MAX_SCHEMAS: Final = 500  # schemas of one level; more than that are not followed
_ANY: Final[Mapping[str, Any]] = {}

Schemas = list[Mapping[str, Any]]


def missing_step(schema: object, path: Sequence[str | int]) -> int | None:
    """Return the index of the first step of a path that no value of a schema has; None when some value has it.

    Args:
        schema: a JSON Schema of the backend, in any dialect.
        path: names, and 0 for any element of a list.
    """
    level = _applied([schema], schema)
    for index, step in enumerate(path):
        below = list(_children(level, step, schema))
        if not below:
            return index
        level = _applied(below, schema)
    return None


def names_of_schema(schema: object) -> frozenset[str]:
    """Return the names of properties that a schema describes at its first level."""
    return frozenset(name for part in _applied([schema], schema) for name in _mapping(part, "properties"))


def _children(level: Schemas, step: str | int, root: object) -> Iterator[object]:
    """Yield the schemas of a step below the schemas of one value."""
    if isinstance(step, int):
        yield from _elements(level, root)
        return
    typed = [part for part in level if _may_be(part, "object") and (part.keys() & _SPEAKS or not _parts(part, root))]
    for part in typed:
        properties = _mapping(part, "properties")
        others = part.get("additionalProperties", part.get("unevaluatedProperties"))
        if step in properties:
            yield properties[step]
        elif _mapping(part, "patternProperties") or (others is not None and others is not False):
            yield others if isinstance(others, dict) else _ANY
    silent = bool(typed) and not any(part.keys() & _SPEAKS for part in typed)
    if silent or _has_open_branch(level) or (len(level) == 1 and not typed and _may_be(level[0], "object")):
        yield _ANY


def _elements(level: Schemas, root: object) -> Iterator[object]:
    for part in level:
        if not _may_be(part, "array") or (_parts(part, root) and not part.keys() & {"items", "prefixItems"}):
            continue
        items = part.get("items")
        listed = part.get("prefixItems", items if isinstance(items, list) else [])
        yield from listed if isinstance(listed, list) else ()
        if isinstance(items, dict):
            yield items
        elif items is not False and not listed:
            yield _ANY


def _applied(schemas: Sequence[object], root: object) -> Schemas:
    """Return all schemas that may apply to the same value: those given, their parts and what they refer to."""
    found: Schemas = []
    waiting = list(schemas)
    seen: set[int] = set()
    while waiting and len(found) < _MAX_SCHEMAS:
        schema = waiting.pop()
        if schema is True:
            schema = _ANY
        if not isinstance(schema, Mapping) or id(schema) in seen:
            continue
        seen.add(id(schema))
        parts = _parts(schema, root)
        waiting += parts
        found.append(schema)
    return found


def _parts(schema: Mapping[str, Any], root: object) -> list[object]:
    """Return the schemas that a schema applies to its own value."""
    parts = [each for key in ("allOf", *_BRANCHES) if isinstance(schema.get(key), list) for each in schema[key]]
    parts += [schema[key] for key in ("then", "else") if key in schema]
    if isinstance(schema.get("$ref"), str):
        parts.append(_target(schema["$ref"], root))
    return parts


def _has_open_branch(level: Schemas) -> bool:
    """Return True when one alternative of a value accepts any names."""
    branches = [each for part in level for key in _BRANCHES if isinstance(part.get(key), list) for each in part[key]]
    return any(
        each is True or (isinstance(each, dict) and _may_be(each, "object") and not each.keys() & (_SPEAKS | _COMBINES))
        for each in branches
    )


def _may_be(schema: Mapping[str, Any], kind: str) -> bool:
    types = schema.get("type", kind)
    return kind in types if isinstance(types, list) else types == kind


def _mapping(schema: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = schema.get(key)
    return value if isinstance(value, dict) else {}


def _target(reference: str, root: object) -> object:
    """Return the schema that a local reference points at; one that accepts anything where it points at none."""
    if not reference.startswith("#"):
        return _ANY
    target = root
    for step in re.split("/", unquote(reference))[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        if not isinstance(target, dict) or name not in target:
            return _ANY
        target = target[name]
    return target
