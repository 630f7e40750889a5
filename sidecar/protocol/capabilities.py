"""Capabilities of `initialize` and `server/discover` results, reduced to the served methods and sections.

Clients rely on announced capabilities: the Inspector's command line calls `logging/setLevel` as soon as `logging`
is announced, and fails when the call is refused.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from typing import Any, Final

from sidecar.model import Revision
from sidecar.protocol.tasks import task_support

Result = dict[str, Any]

# Capabilities that need one method.
_METHODS: Final = {"logging": "logging/setLevel", "completions": "completion/complete"}
_LISTEN: Final = "subscriptions/listen"


@dataclass(frozen=True, slots=True)
class Served:
    """Methods and sections that a policy serves.

    Attributes:
        methods: the declared methods.
        sections: those of `tools`, `resources` and `prompts` with at least one declaration.
        streams: False when the backend has no GET streams (before 2026-07-28).
    """

    methods: Container[str]
    sections: frozenset[str]
    streams: bool = True

    def watches(self, revision: Revision) -> bool:
        """Return whether clients can subscribe to resources; since 2026-07-28 only through `subscriptions/listen`."""
        return "resources" in self.sections and (not revision.stateless or _LISTEN in self.methods)

    def notifies(self, revision: Revision) -> bool:
        """Return whether clients can have a stream on which the sidecar notifies them of changed lists."""
        return _LISTEN in self.methods if revision.stateless else self.streams


SECTIONS: Final = ("tools", "resources", "prompts")
"""Capabilities that need an entry in the policy's section of that name."""


def announced(result: Result, revision: Revision, served: Served) -> Result:
    """Return the result without capabilities that the policy does not serve; the same object if nothing changes.

    Args:
        result: the backend's; not modified.
        revision: the client's revision.
        served: the policy's methods and sections.
    """
    result = task_support.promised(result, revision, served.methods)
    offered = result.get("capabilities")
    if not isinstance(offered, dict):
        return result
    closed = {name for name in SECTIONS if name not in served.sections}
    closed |= {name for name, method in _METHODS.items() if method not in served.methods}
    kept = {name: value for name, value in offered.items() if name not in closed}
    resources = kept.get("resources")
    if isinstance(resources, dict) and "subscribe" in resources and not served.watches(revision):
        kept["resources"] = {name: value for name, value in resources.items() if name != "subscribe"}
    for name in SECTIONS:
        if isinstance(kept.get(name), dict):
            kept[name] = _notified(kept[name], served.notifies(revision))
    return result if kept == offered else {**result, "capabilities": kept}


def _notified(capability: dict[str, Any], notifies: bool) -> dict[str, Any]:
    """Return a list's capability with `listChanged` only where the sidecar sends such notifications."""
    rest = {name: value for name, value in capability.items() if name != "listChanged"}
    return {**rest, "listChanged": True} if notifies else rest
