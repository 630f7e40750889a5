"""Names under `_meta` and in capabilities that the sidecar reads; the specification's own."""

from __future__ import annotations

from typing import Final

VERSION_KEY: Final = "io.modelcontextprotocol/protocolVersion"
CAPABILITIES_KEY: Final = "io.modelcontextprotocol/clientCapabilities"
RELATED_TASK_KEY: Final = "io.modelcontextprotocol/related-task"
"""Which task a message belongs to (2025-11-25, basic/utilities/tasks, Related Task Metadata)."""

TASKS_EXTENSION: Final = "io.modelcontextprotocol/tasks"
"""The tasks of 2026-07-28 (SEP-2663)."""
