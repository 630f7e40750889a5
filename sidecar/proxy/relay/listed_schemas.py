"""Input schemas that lists show, narrowed once for each definition that the backend lists."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson

from sidecar.policy.rules import Policy, Tool

MOST_BYTES: Final = 4 * 2**20
"""Bytes of schemas whose narrowed form is kept; those beyond are narrowed for every list."""


class ListedSchemas:
    """Narrowed input schemas of the declared tools, for one policy revision.

    Args:
        policy: the revision; with `listing: {narrow: false}` schemas are shown as the backend wrote them.
    """

    def __init__(self, policy: Policy) -> None:
        self._narrows = policy.listing.narrow
        self._known: dict[str, tuple[bytes, dict[str, Any]]] = {}
        self._bytes = 0

    def shown(self, tool: Tool, definition: Mapping[str, Any]) -> Any:
        """Return the input schema of a definition as clients see it, without an injected confirmation."""
        schema = definition.get("inputSchema")
        if not self._narrows or not isinstance(schema, dict):
            return schema
        confirm = tool.confirm
        confirmed = confirm is not None and not confirm.inject and not confirm.shadow
        if tool.arguments.narrowing is None and not confirmed:
            return schema
        try:
            text = orjson.dumps(schema)
        except TypeError:  # an integer of more than 64 bits
            return _shown(tool, schema)
        known = self._known.get(tool.name)
        if known is not None and known[0] == text:
            return known[1]
        found = _shown(tool, schema)
        self._bytes -= 0 if known is None else len(known[0])
        self._known.pop(tool.name, None)
        if self._bytes + len(text) <= MOST_BYTES:
            self._known[tool.name] = bytes(memoryview(text)), found  # a copy: the first has a kilobyte for itself
            self._bytes += len(text)
        return found


def _shown(tool: Tool, schema: dict[str, Any]) -> dict[str, Any]:
    narrowing = tool.arguments.narrowing
    found = schema if narrowing is None else narrowing.arguments(schema)
    confirm = tool.confirm
    properties = found.get("properties")
    if confirm is None or confirm.inject or confirm.shadow or not isinstance(properties, dict):
        return found
    own = properties.get(confirm.argument)
    if not isinstance(own, dict) or "description" in own:
        return found
    # It stays optional: the refusal of a call without it names the price, which a person should hear first.
    described = {**own, "description": confirm.message}
    return {**found, "properties": {**properties, confirm.argument: described}}
