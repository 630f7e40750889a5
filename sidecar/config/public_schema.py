"""JSON Schemas with the names of the documents only, and not those of this program's classes."""

from __future__ import annotations

import re
from typing import Any, Final

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_DEFINITIONS: Final = "#/$defs/"
_SUFFIX: Final = re.compile(r"(Document|Settings)$")
_WORDS: Final = re.compile(r"(?<=[a-z])(?=[A-Z])")


def public_schema(schema: dict[str, Any], title: str) -> dict[str, Any]:
    """Return a model's schema for people: definitions named like keys, and no titles made from names.

    Args:
        schema: the schema, as pydantic generates it.
        title: its title.
    """
    public = {key: _public(value) for key, value in schema.items() if key not in ("$schema", "title", "$defs")}
    definitions = {_name(name): _public(each) for name, each in sorted(schema.get("$defs", {}).items())}
    return {"$schema": _DIALECT, "title": title, **public, "$defs": definitions}


def _public(node: Any) -> Any:
    if isinstance(node, list):
        return [_public(each) for each in node]
    if not isinstance(node, dict):
        return node
    return {key: _value(key, value) for key, value in node.items() if key != "title" or not isinstance(value, str)}


def _value(key: str, value: Any) -> Any:
    if key == "$ref":
        return _DEFINITIONS + _name(value.removeprefix(_DEFINITIONS))
    if key == "properties":  # names of keys, one of which may be `title`
        return {name: _public(each) for name, each in value.items()}
    return value if key in ("default", "const", "enum") else _public(value)


def _name(class_name: str) -> str:
    """Return the name of a definition: `TestCallerDocument` is `test_caller`."""
    return _WORDS.sub("_", _SUFFIX.sub("", class_name)).lower()
