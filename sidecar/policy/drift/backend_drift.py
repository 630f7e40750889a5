"""Differences between the tools that a policy declares and those that its backend lists."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sidecar.policy.drift.pins import pin_of
from sidecar.policy.rules import Policy, Tool


@dataclass(frozen=True, slots=True)
class Drift:
    """Drift of one list.

    Attributes:
        missing: declared tools that the backend does not list, sorted.
        changed: declared tools of which a listed definition differs from their pin, sorted.
        undeclared: number of listed tools that the policy does not declare.
    """

    missing: tuple[str, ...]
    changed: tuple[str, ...]
    undeclared: int


def differs(tool: Tool, definition: Mapping[str, Any]) -> bool:
    """Return True when a definition is not the one that the tool's pin approves."""
    return tool.pin is not None and pin_of(definition) != tool.pin


def drift_of(policy: Policy, definitions: Iterable[Mapping[str, Any]]) -> Drift:
    """Compare a policy with a complete list of the backend's tools."""
    listed: set[str] = set()
    changed: set[str] = set()
    for definition in definitions:
        name = str(definition.get("name"))
        listed.add(name)
        tool = policy.tools.get(name)
        if tool is not None and differs(tool, definition):
            changed.add(name)
    served = {name for name, tool in policy.tools.items() if tool.serve is not None}
    missing = policy.tools.keys() - listed - served
    return Drift(tuple(sorted(missing)), tuple(sorted(changed)), len(listed - policy.tools.keys()))
