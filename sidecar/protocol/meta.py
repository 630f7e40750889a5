"""Names in `_meta` and in capabilities: those of the specification that the sidecar reads, and its own."""

from __future__ import annotations

from typing import Final

VERSION_KEY: Final = "io.modelcontextprotocol/protocolVersion"
CAPABILITIES_KEY: Final = "io.modelcontextprotocol/clientCapabilities"
CLIENT_KEY: Final = "io.modelcontextprotocol/clientInfo"
RELATED_TASK_KEY: Final = "io.modelcontextprotocol/related-task"
"""Task that a message belongs to (2025-11-25, basic/utilities/tasks, Related Task Metadata)."""

TASKS_EXTENSION: Final = "io.modelcontextprotocol/tasks"
"""Tasks extension of 2026-07-28 (SEP-2663)."""

REFUSAL_KEY: Final = "mcp-policy-sidecar/refusal"
"""Key in a tool result's `_meta` for the machine-readable detail of a refusal."""

RECEIPT_KEY: Final = "mcp-policy-sidecar/receipt"
"""Key in a tool result's `_meta` for the receipt of the call."""
SUBSCRIPTION_KEY: Final = "io.modelcontextprotocol/subscriptionId"
