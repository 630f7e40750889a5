"""Names under `_meta` and in capabilities: those of the specification that the sidecar reads, and its own."""

from __future__ import annotations

from typing import Final

VERSION_KEY: Final = "io.modelcontextprotocol/protocolVersion"
CAPABILITIES_KEY: Final = "io.modelcontextprotocol/clientCapabilities"
RELATED_TASK_KEY: Final = "io.modelcontextprotocol/related-task"
"""Which task a message belongs to (2025-11-25, basic/utilities/tasks, Related Task Metadata)."""

TASKS_EXTENSION: Final = "io.modelcontextprotocol/tasks"
"""The tasks of 2026-07-28 (SEP-2663)."""

REFUSAL_KEY: Final = "mcp-policy-sidecar/refusal"
"""Where a tool result's `_meta` holds the machine detail of a refusal."""

RECEIPT_KEY: Final = "mcp-policy-sidecar/receipt"
"""Where a tool result's `_meta` says what the call cost."""
