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


class DriftSearch:
    """Comparison of a policy with a list of the backend's tools, one definition after the other.

    Args:
        policy: the policy.
    """

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._listed: set[str] = set()
        self._changed: set[str] = set()

    def add(self, definition: Mapping[str, Any]) -> bool:
        """Compare one definition; return True when the policy's pin of this name does not approve it."""
        name = str(definition.get("name"))
        self._listed.add(name)
        tool = self._policy.tools.get(name)
        if tool is not None and differs(tool, definition):
            self._changed.add(name)
        return name in self._changed

    def found(self) -> Drift:
        """Return the drift of the definitions that were added."""
        policy = self._policy
        served = {name for name, tool in policy.tools.items() if tool.serve is not None}
        missing = policy.tools.keys() - self._listed - served
        return Drift(tuple(sorted(missing)), tuple(sorted(self._changed)), len(self._listed - policy.tools.keys()))


def drift_of(policy: Policy, definitions: Iterable[Mapping[str, Any]]) -> Drift:
    """Compare a policy with a complete list of the backend's tools."""
    search = DriftSearch(policy)
    for definition in definitions:
        search.add(definition)
    return search.found()
