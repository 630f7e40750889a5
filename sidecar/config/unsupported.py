"""Reject values that config.yaml defines but this version does not enforce: `workers: 4`.

An operator whose `workers: 4` is accepted expects four serving processes. Each unsupported value is therefore removed
from the document, so that validation ignores it, and reported as one of the document's problems.
"""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Iterator
from typing import Any, Final

from sidecar.config.documents.merging import Document, Path, Problem

NOT_ENFORCED: Final = "not enforced by this version"


def reject_unsupported(document: Document) -> Document:
    """Return a config without unsupported values; each becomes one of its problems."""
    found: dict[Path, Problem] = {}
    workers = document.value.get("workers")
    if type(workers) is int and workers != 1:
        found["workers",] = document.problem(("workers",), NOT_ENFORCED, "1")
    return _without(document, found)


def enforced_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the JSON Schema of config.yaml without unsupported values, so that editors do not offer them."""
    result = copy.deepcopy(schema)
    _replace_accepted(result, result, "workers", {"const": 1})
    _drop_unused_definitions(result)
    return result


# --- documents ---------------------------------------------------------------------------------


def _without(document: Document, found: dict[Path, Problem]) -> Document:
    """Return the document without the values at these paths, and with their problems."""
    if not found:
        return document
    value = copy.deepcopy(document.value)
    for path in found:
        parent: Any = value
        for step in path[:-1]:
            parent = parent[step]
        del parent[path[-1]]
    return dataclasses.replace(document, value=value, problems=(*document.problems, *found.values()))


# --- schemas -----------------------------------------------------------------------------------


def _mappings(schema: dict[str, Any], node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the schemas with properties that a node allows; follow `$ref` and `anyOf`."""
    if "$ref" in node:
        yield from _mappings(schema, schema["$defs"][node["$ref"].rpartition("/")[2]])
    for each in node.get("anyOf", ()):
        yield from _mappings(schema, each)
    if "properties" in node:
        yield node


def _replace_accepted(schema: dict[str, Any], node: dict[str, Any], key: str, accepted: dict[str, Any]) -> None:
    """Replace the schema of a key's literal value, the first alternative; the second is `${...}`."""
    for mapping in _mappings(schema, node):
        mapping["properties"][key]["anyOf"][0] = accepted


def _drop_unused_definitions(schema: dict[str, Any]) -> None:
    definitions = schema["$defs"]
    while unused := [name for name in definitions if f'"#/$defs/{name}"' not in json.dumps(schema)]:
        for name in unused:
            del definitions[name]
