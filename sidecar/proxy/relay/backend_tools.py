"""Knowledge of the backend's tool definitions, held for one policy revision.

A policy may inject a confirmation argument into a tool. Where the backend's own schema has an argument of
that name, the two meanings cannot be distinguished, so the tool is refused. A policy may also pin a tool to the
definition that a person approved; a tool that differs is refused. Until a list has shown such a tool, it is refused as
well: neither fault can be excluded.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from typing import Any, Final

from sidecar.errors import ErrorCode, Refusal
from sidecar.policy.drift.backend_drift import Drift, DriftSearch, differs
from sidecar.policy.rules import Policy, Tool
from sidecar.proxy.relay.listed_schemas import ListedSchemas
from sidecar.proxy.relay.listings import collides

CLEAN_LISTS: Final = 5
"""Lists without the fault, made by the sidecar itself, after which backends that disagreed are taken to agree."""

_RETRY_AFTER: Final = 5
_SLICE: Final = 50
"""Definitions that are learnt without letting calls go on."""


class ToolFault(Enum):
    """Fault of a definition that a list shows; the value is the refusal's code and its sentence for the log."""

    COLLIDES = (ErrorCode.TOOL_UNKNOWN, "the backend's schema has the argument that the policy injects")
    CHANGED = (ErrorCode.TOOL_CHANGED, "the backend's definition differs from the policy's pin")


class BackendTools:
    """Faults of the backend's definitions, for the policy that injects arguments or pins tools.

    The newest list that shows a tool decides. Where lists disagree (load-balanced backends of two versions),
    after a fault comes back, the tool stays refused until several lists in a row are without it.

    Args:
        policy: the revision this knowledge belongs to.

    Attributes:
        listed: True once a complete list was read.
        drift: differences of the newest complete list; None before the first.
    """

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._watched = {name: tool for name, tool in policy.tools.items() if _injects(tool) or self._must_match(tool)}
        self._faults: dict[str, ToolFault | None] = {}  # of tools that a list has shown
        self._cured: set[str] = set()  # tools that once lost their fault
        self._awaited: dict[str, tuple[ToolFault, int]] = {}  # clean lists that tools with a relapse still need
        self._schemas = ListedSchemas(policy)
        self.listed = False
        self.drift: Drift | None = None

    @property
    def needed(self) -> bool:
        """True when tools are refused until a list has shown them."""
        return bool(self._watched)

    @property
    def collisions(self) -> tuple[str, ...]:
        """Tools that are not served because of a collision, sorted."""
        return tuple(sorted(name for name in self._watched if self._fault_of(name) is ToolFault.COLLIDES))

    @property
    def unseen(self) -> tuple[str, ...]:
        """Tools that are refused because no list has shown them yet, sorted."""
        return tuple(sorted(self._watched.keys() - self._faults.keys()))

    def shows(self, tool: Tool, definition: Mapping[str, Any]) -> bool:
        """Record a definition that a list shows; return False when it must be hidden from clients."""
        if tool.name not in self._watched:
            return True
        fault = self._judge(tool, definition, self._must_match(tool) and differs(tool, definition))
        self._record(tool.name, fault)
        return fault is None

    def schema(self, tool: Tool, definition: Mapping[str, Any]) -> Any:
        """Return the input schema of a definition as clients see it, encoded where it is narrowed."""
        return self._schemas.shown(tool, definition)

    def learn(self, definitions: Iterable[Mapping[str, Any]]) -> None:
        """Record a complete list of the backend's tools."""
        for _ in self.learning(definitions):
            pass

    def learning(self, definitions: Iterable[Mapping[str, Any]]) -> Iterator[None]:
        """Record a complete list of the backend's tools, and prepare their schemas for clients' lists.

        It yields after every few definitions, so that calls can go on meanwhile. All faults are recorded at the end.
        """
        search = DriftSearch(self._policy)
        shown: dict[str, ToolFault | None] = {}
        for number, definition in enumerate(definitions, 1):
            name = str(definition.get("name"))
            changed = search.add(definition)
            watched, declared = self._watched.get(name), self._policy.tools.get(name)
            if declared is not None and declared.serve is None:
                self._schemas.shown(declared, definition)
            if watched is not None:  # of a name that is listed twice, every definition must be right
                shown[name] = shown.get(name) or self._judge(watched, definition, changed)
            if number % _SLICE == 0:
                yield
        self.drift = search.found()
        for name, fault in shown.items():
            self._record(name, fault)
            if fault is None:
                self._count_clean(name)
        self.listed = True

    def refusal(self, tool: str | None) -> Refusal | None:
        """Return the refusal of a tool that cannot be served now; None for a tool that can."""
        if tool is None or tool not in self._watched:
            return None
        if tool not in self._faults:
            if self.listed:
                log = "the policy injects an argument or pins the tool, and the backend does not list it"
                return Refusal(ErrorCode.TOOL_UNKNOWN, log=log)
            log = "the policy injects an argument or pins the tool, and the backend's tools have not been listed yet"
            return Refusal(ErrorCode.BACKEND_UNAVAILABLE, log=log, retry_after=_RETRY_AFTER)
        fault = self._fault_of(tool)
        if fault is None:
            return None
        code, log = fault.value
        return Refusal(code, log=log, rule=self._watched[tool].rule if fault is ToolFault.CHANGED else None)

    def _must_match(self, tool: Tool) -> bool:
        return tool.pin is not None and not self._policy.serve_changed

    def _judge(self, tool: Tool, definition: Mapping[str, Any], changed: bool) -> ToolFault | None:
        if collides(tool, definition):
            return ToolFault.COLLIDES
        return ToolFault.CHANGED if changed and self._must_match(tool) else None

    def _fault_of(self, tool: str) -> ToolFault | None:
        fault = self._faults.get(tool)
        return self._awaited[tool][0] if fault is None and tool in self._awaited else fault

    def _record(self, tool: str, fault: ToolFault | None) -> None:
        if tool not in self._watched:
            return
        if fault is None:
            if self._faults.get(tool) is not None:
                self._cured.add(tool)
        elif tool in self._cured:
            self._awaited[tool] = (fault, CLEAN_LISTS)
        self._faults[tool] = fault

    def _count_clean(self, tool: str) -> None:
        if tool not in self._awaited:
            return
        fault, left = self._awaited.pop(tool)
        if left > 1:
            self._awaited[tool] = (fault, left - 1)


def _injects(tool: Tool) -> bool:
    return tool.injected is not None and tool.serve is None
