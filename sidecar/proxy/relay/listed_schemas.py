"""Input schemas that lists show, narrowed and encoded once for each definition that the backend lists."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson

from sidecar.policy.narrowing.schema_narrowing import with_properties
from sidecar.policy.rules import Policy, Tool

MOST_BYTES: Final = 16 * 2**20
"""Bytes of schemas, the backend's and the shown ones, that are kept; those beyond are narrowed for every list."""


class ListedSchemas:
    """Input schemas of the declared tools, for one policy revision.

    Args:
        policy: the revision; with `listing: {narrow: false}` schemas are shown as the backend wrote them.
        most: bytes to keep.
    """

    def __init__(self, policy: Policy, most: int = MOST_BYTES) -> None:
        self._narrows = policy.listing.narrow
        self._most = most
        self._known: dict[str, tuple[bytes, orjson.Fragment, int]] = {}
        self._bytes = 0

    def shown(self, tool: Tool, definition: Mapping[str, Any]) -> Any:
        """Return the input schema of a definition as clients see it; the backend's own where nothing changes."""
        schema = definition.get("inputSchema")
        narrowing = tool.arguments.narrowing if self._narrows else None
        if narrowing is None or not isinstance(schema, dict):
            return with_confirmation(tool, schema)
        added = _added(tool)
        if added is None and narrowing.is_ready(schema):
            return narrowing.arguments(schema)
        text = orjson.dumps(schema)
        known = self._known.get(tool.name)
        if known is not None and known[0] == text:
            return known[1]
        # Copies: the encoder's own bytes have a kilobyte each.
        found = bytes(memoryview(orjson.dumps(narrowing.arguments(schema, added))))
        shown = orjson.Fragment(found)
        self._keep(tool.name, bytes(memoryview(text)), shown, len(found))
        return shown

    def _keep(self, name: str, text: bytes, shown: orjson.Fragment, length: int) -> None:
        known = self._known.pop(name, None)
        self._bytes -= 0 if known is None else known[2]
        size = len(text) + length
        if self._bytes + size <= self._most:
            self._known[name] = text, shown, size
            self._bytes += size


def with_confirmation(tool: Tool, schema: Any) -> Any:
    """Return a schema with the confirmation that the policy injects, if there is one."""
    added = _added(tool)
    return with_properties(schema, added) if added else schema


def _added(tool: Tool) -> Mapping[str, Any] | None:
    confirm = tool.injected
    if confirm is None or confirm.argument is None:
        return None
    return {confirm.argument: {"type": "boolean", "description": confirm.message}}
