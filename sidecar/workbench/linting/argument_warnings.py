"""Warnings about argument schemas that no call can satisfy. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from sidecar.config.documents.merging import Document, Path
from sidecar.policy.rules import Tool
from sidecar.workbench.lint import Notice

_BOUNDS: Final = (
    ("minimum", "maximum"),
    ("minLength", "maxLength"),
    ("minItems", "maxItems"),
    ("minProperties", "maxProperties"),
)
_MAX_DEPTH: Final = 16


def argument_warnings(tool: Tool, document: Document) -> Iterator[Notice]:
    """Yield warnings about the schema of one tool."""
    path: Path = ("tools", tool.name, "arguments")
    tools = document.value.get("tools")
    entry = tools.get(tool.name) if isinstance(tools, dict) else None
    schema = entry.get("arguments") if isinstance(entry, dict) else None
    if isinstance(schema, dict):
        yield from _undeclared(tool, schema, document, path)
        yield from _empty_ranges(tool, schema, document, path)


def _undeclared(tool: Tool, schema: Mapping[str, Any], document: Document, path: Path) -> Iterator[Notice]:
    """Warn of a required argument that a closed schema does not declare: every call is refused."""
    required = schema.get("required")
    if schema.get("additionalProperties") is not False or not isinstance(required, list):
        return
    if "patternProperties" in schema:
        return
    for index, name in enumerate(required):
        if name not in tool.arguments.declared:
            says = f"{tool.name} requires the argument {name!r}, which it neither declares nor allows"
            yield Notice(document.rule((*path, "required", index)), f"{says}, so every call is refused")


def _empty_ranges(tool: Tool, schema: Any, document: Document, path: Path, depth: int = 0) -> Iterator[Notice]:
    """Warn of bounds that exclude every value."""
    if not isinstance(schema, dict) or depth > _MAX_DEPTH:
        return
    for low, high in _BOUNDS:
        least, most = schema.get(low), schema.get(high)
        if isinstance(least, int | float) and isinstance(most, int | float) and least > most:
            says = f"{low} {least} is above {high} {most}, so {tool.name} refuses every value"
            yield Notice(document.rule((*path, low)), says)
    for name, below in (schema.get("properties") or {}).items():
        yield from _empty_ranges(tool, below, document, (*path, "properties", name), depth + 1)
    yield from _empty_ranges(tool, schema.get("items"), document, (*path, "items"), depth + 1)
