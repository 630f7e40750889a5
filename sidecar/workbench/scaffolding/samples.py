"""Sample arguments that a schema accepts, for starter tests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

_MAX_DEPTH: Final = 8
_MAX_LENGTH: Final = 100
_FORMATS: Final = {
    "uri": "https://example.com/",
    "url": "https://example.com/",
    "email": "person@example.com",
    "date": "2026-01-31",
    "date-time": "2026-01-31T12:00:00Z",
    "time": "12:00:00Z",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "ipv4": "192.0.2.1",
    "hostname": "example.com",
}


class NoSampleError(ValueError):
    """No sample can be made for a schema."""


def sample(schema: Any, root: Mapping[str, Any], depth: int = 0) -> Any:
    """Return a small value for a schema; the gate decides if it is accepted.

    Args:
        schema: the schema of the value.
        root: the schema that references of the form `#/...` start at.
        depth: levels above it.

    Raises:
        NoSampleError: the schema asks for something that cannot be guessed.
    """
    if schema is True or schema == {}:
        return "text"
    if not isinstance(schema, dict) or depth > _MAX_DEPTH or "pattern" in schema or "not" in schema:
        raise NoSampleError
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    if isinstance(reference := schema.get("$ref"), str):
        return sample(_target(reference, root), root, depth + 1)
    for keyword in ("anyOf", "oneOf", "allOf"):
        if isinstance(schema.get(keyword), list) and schema[keyword] and "type" not in schema:
            return sample(schema[keyword][0], root, depth + 1)
    kind = schema.get("type", "object" if "properties" in schema else "string")
    return _of_type(kind[0] if isinstance(kind, list) and kind else kind, schema, root, depth)


def _of_type(kind: Any, schema: Mapping[str, Any], root: Mapping[str, Any], depth: int) -> Any:
    if kind == "object":
        properties = schema.get("properties", {})
        return {name: sample(properties.get(name, True), root, depth + 1) for name in schema.get("required", ())}
    if kind == "array":
        count = schema.get("minItems", 0)
        if count > _MAX_DEPTH:
            raise NoSampleError
        return [sample(schema.get("items", True), root, depth + 1)] * count
    if kind in ("integer", "number"):
        least = schema.get("minimum", schema.get("exclusiveMinimum", 0) + ("exclusiveMinimum" in schema))
        return max(least, 1) if schema.get("maximum", 1) >= 1 else min(schema["maximum"], 0)
    if kind == "string":
        return _string(schema)
    return {"boolean": True, "null": None}.get(kind)


def _string(schema: Mapping[str, Any]) -> str:
    least, most = schema.get("minLength", 0), schema.get("maxLength", _MAX_LENGTH)
    if least > _MAX_LENGTH:
        raise NoSampleError
    return str(_FORMATS.get(schema.get("format", ""), "text".ljust(least, "x")[:most]))


def _target(reference: str, root: Mapping[str, Any]) -> Any:
    if not reference.startswith("#"):
        raise NoSampleError
    target: Any = root
    for step in reference.split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        if not isinstance(target, dict) or name not in target:
            raise NoSampleError
        target = target[name]
    return target
