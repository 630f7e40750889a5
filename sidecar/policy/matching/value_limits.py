"""Keywords of one schema that may take too long for each value, where a caller chooses how many there are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from sidecar.config.documents.merging import Document, Path, Problem

MOST_COMPARED: Final = 30
"""Values of an `enum` for each of many values: they are compared one by one, unless all are texts or all integers."""
MOST_FRACTIONS: Final = 500
"""Fractions of an `enum` for one value: comparing one exactly takes up to a microsecond."""
MOST_JUDGED: Final = 50
"""Schemas that judge each of many values, by `allOf`, `anyOf`, `oneOf` and the like."""
FEW: Final = 100
"""Elements of a list that does not count as many values."""

_MANY: Final = frozenset(
    {"items", "contains", "unevaluatedItems", "additionalProperties", "unevaluatedProperties", "propertyNames"}
)
_SINGLE: Final = _MANY | {"not", "if", "then", "else"}
_INDEXED: Final = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
_SAME: Final = ("not", "if", "then", "else")
_SAME_LISTED: Final = ("allOf", "anyOf", "oneOf")
_EXACT: Final = (frozenset({str}), frozenset({int}))

Targets = Callable[[str], list[Any]]


def dear_keywords(
    document: Document, top: Path, found: Iterable[tuple[Path, Any]], targets: Targets
) -> Iterator[Problem]:
    """Find enumerations and combinations that take too long for each of many values.

    Args:
        document: the policy.
        top: path of the schema of arguments.
        found: all schemas in it, with their paths.
        targets: returns the schemas that a `$ref` may mean.
    """
    schemas = dict(found)
    for path, schema in schemas.items():
        if not isinstance(schema, dict):
            continue
        many = _is_of_many(schemas, path, top)
        yield from _dear_values(document, path, schema, many=many)
        if many and path[-1] in _MANY and _judging(schema, targets, frozenset()) > MOST_JUDGED:
            wrong = f"more than {MOST_JUDGED} schemas judge each value here, and there may be many values"
            yield document.problem(path, wrong, f"fewer alternatives, or maxItems: {FEW} at most", at_key=True)


def _dear_values(document: Document, path: Path, schema: dict[str, Any], *, many: bool) -> Iterator[Problem]:
    for keyword in ("enum", "const"):
        if keyword not in schema:
            continue
        listed = schema[keyword] if keyword == "enum" else [schema[keyword]]
        values = listed if isinstance(listed, list) else []
        fractions = sum(map(_has_fraction, values))
        if fractions > (0 if many else MOST_FRACTIONS):
            wrong = "fractions take too long to compare with many values"
            accepted = f"at most {MOST_FRACTIONS} on a top-level property, or in a list with maxItems: {FEW} at most"
            yield document.problem((*path, keyword), wrong, accepted)
        elif many and len(values) > MOST_COMPARED and frozenset(map(type, values)) not in _EXACT:
            wrong = f"its {len(values)} values are compared one by one, and there may be many values to compare"
            accepted = f"only texts, only integers, at most {MOST_COMPARED} values, or maxItems: {FEW} at most"
            yield document.problem((*path, keyword), wrong, accepted)


def _has_fraction(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_has_fraction, value.values()))
    return any(map(_has_fraction, value)) if isinstance(value, list) else isinstance(value, float)


def _is_of_many(schemas: dict[Path, Any], path: Path, top: Path) -> bool:
    """Return True when a caller chooses how many values the schema at a path judges."""
    at = len(top)
    while at < len(path):
        keyword = path[at]
        if keyword == "items" and _is_short(schemas.get(path[:at])) and not _MANY.intersection(path[len(top) : at]):
            at += 1
        elif keyword in _MANY or keyword == "$defs":
            return True
        else:
            at += 1 if keyword in _SINGLE else 2
    return False


def _is_short(schema: Any) -> bool:
    most = schema.get("maxItems") if isinstance(schema, dict) else None
    return type(most) is int and most <= FEW


def _judging(schema: Any, targets: Targets, seen: frozenset[str]) -> int:
    """Return how many schemas judge one value of a schema, up to one more than are accepted."""
    if not isinstance(schema, dict):
        return 0
    parts = [(schema.get(keyword), seen) for keyword in _SAME]
    for keyword in _SAME_LISTED:
        listed = schema.get(keyword)
        parts += [(part, seen) for part in listed] if isinstance(listed, list) else []
    named = schema.get("dependentSchemas")
    parts += [(part, seen) for part in named.values()] if isinstance(named, dict) else []
    reference = schema.get("$ref")
    if isinstance(reference, str) and reference not in seen:
        parts += [(part, seen | {reference}) for part in targets(reference)]
    count = 1
    for part, known in parts:
        count += _judging(part, targets, known)
        if count > MOST_JUDGED:
            break
    return count
