"""What the documents may already name and this version does not do: an error, never ignored.

An operator who writes `workers: 4` and is not told otherwise believes that four processes serve. What is
not enforced is therefore taken out of a document, whatever its value, and left behind as a problem.
"""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Iterator
from typing import Any, Final

from sidecar.config.documents import Document, Path, Problem

NOT_ENFORCED: Final = "not enforced by this version"

# Sections of a policy whose keys are names: a plan or a tool may well be called `mode`.
_NAMES: Final = ("scopes", "quotas", "credits", "plans", "tools", "resources", "prompts", "methods")


def withheld(document: Document) -> Document:
    """A config without values that are not enforced; each has become one of its problems."""
    found: dict[Path, Problem] = {}
    value = document.value
    workers = value.get("workers")
    if type(workers) is int and workers != 1:
        found["workers",] = document.problem(("workers",), NOT_ENFORCED, "1")
    return _without(document, found)


def withheld_policy(document: Document) -> Document:
    """A policy file without `mode: shadow`, wherever it stands; each has become one of its problems."""
    paths = _shadows(document.value, ())
    return _without(document, {path: document.problem(path, NOT_ENFORCED, at_key=True) for path in paths})


def enforced_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """The JSON Schema of config.yaml without what `withheld` refuses: an editor must not offer it."""
    result = copy.deepcopy(schema)
    _narrow(result, result, "workers", {"const": 1})
    _drop_unused(result)
    return result


# --- documents ---------------------------------------------------------------------------------


def _shadows(value: Any, path: Path) -> Iterator[Path]:
    """Every `mode: shadow`, but not what a tool's schema or a test says of an argument of that name."""
    if path[:1] == ("tests",) or (path[:1] == ("tools",) and path[2:3] == ("arguments",) and len(path) > 3):
        return
    if isinstance(value, dict):
        if value.get("mode") == "shadow" and path not in tuple((name,) for name in _NAMES):
            yield (*path, "mode")
        for key, below in value.items():
            yield from _shadows(below, (*path, key))


def _without(document: Document, found: dict[Path, Problem]) -> Document:
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
    """Every mapping that a node may be, through references and alternatives."""
    if "$ref" in node:
        yield from _mappings(schema, schema["$defs"][node["$ref"].rpartition("/")[2]])
    for each in node.get("anyOf", ()):
        yield from _mappings(schema, each)
    if "properties" in node:
        yield node


def _narrow(schema: dict[str, Any], node: dict[str, Any], key: str, accepted: dict[str, Any]) -> None:
    """Replace what a value may be; the other alternative is that it is substituted."""
    for mapping in _mappings(schema, node):
        mapping["properties"][key]["anyOf"][0] = accepted


def _drop_unused(schema: dict[str, Any]) -> None:
    definitions = schema["$defs"]
    while unused := [name for name in definitions if f'"#/$defs/{name}"' not in json.dumps(schema)]:
        for name in unused:
            del definitions[name]
