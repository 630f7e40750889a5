"""MCP tasks: the kind of 2025-11-25 and the extension of 2026-07-28 (SEP-2663).

A task id is a bearer of rights: `task_ids` reads the ids that a message names, so that each is checked against its
owner. `task_support` decides which revisions have tasks and removes them from messages where they are not served.

Start with `task_ids`. Pure. Imports `errors`, `model` and the rest of the protocol. Policy and relay import it.
"""
