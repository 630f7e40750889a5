"""Table of the tools that the sidecar answers itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sidecar.vocabulary import TextEnum

CLIENT_ID: Final = "client_id"
"""Argument of `revoke_connection`."""

_MAX_CLIENT_ID: Final = 2048


class OwnTool(TextEnum):
    """Values of `serve`."""

    USAGE = "usage"
    CONNECTIONS = "connections"
    REVOKE_CONNECTION = "revoke_connection"


@dataclass(frozen=True, slots=True)
class OwnToolDefinition:
    """Definition of a tool that the sidecar answers.

    Attributes:
        description: description in lists, for models.
        schema: schema of the arguments.
        changes: True for a tool that changes something: its policy may ask for a confirmation.
    """

    description: str
    schema: Mapping[str, Any]
    changes: bool = False

    @property
    def annotations(self) -> dict[str, bool]:
        """Hints for clients."""
        if not self.changes:
            return {"readOnlyHint": True, "openWorldHint": False}
        return {"readOnlyHint": False, "destructiveHint": True, "idempotentHint": True, "openWorldHint": False}


_NO_ARGUMENTS: Final = {"type": "object", "properties": {}, "additionalProperties": False}

OWN_TOOLS: Final[Mapping[OwnTool, OwnToolDefinition]] = {
    OwnTool.USAGE: OwnToolDefinition("Show the plan, status, quotas and credits of this account.", _NO_ARGUMENTS),
    OwnTool.CONNECTIONS: OwnToolDefinition(
        "List the clients that this user has connected to this server: since when, with which scopes, when each was "
        "last used, and the credits that it has spent.",
        _NO_ARGUMENTS,
    ),
    OwnTool.REVOKE_CONNECTION: OwnToolDefinition(
        "End the access of one of the clients that this user has connected to this server, at once. Only the user can "
        "let it in again.",
        {
            "type": "object",
            "properties": {
                CLIENT_ID: {
                    "type": "string",
                    "description": "client_id of the client, exactly as the list of connected clients has it.",
                    "minLength": 1,
                    "maxLength": _MAX_CLIENT_ID,
                }
            },
            "required": [CLIENT_ID],
            "additionalProperties": False,
        },
        changes=True,
    ),
}
"""Each tool by its `serve`."""
