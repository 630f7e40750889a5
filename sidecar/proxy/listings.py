"""What clients may see of the backend: lists filtered to the policy, capabilities that are not served.

Filtering is courtesy, never protection: every call is judged again when it is made. Pure functions
over decoded results; nothing here reads a header or a clock.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sidecar.model import Call
from sidecar.policy.rules import Policy, Tool
from sidecar.protocol import tasks

Result = dict[str, Any]

MAX_TTL_MS: Final = 60_000
"""How long a client may keep a filtered list (2026-07-28 `ttlMs`): plans and consents change."""

# Which member of the result holds the entries. Nothing but tools can be declared by this version,
# so the other lists come back empty.
_MEMBERS: Final = {
    "tools/list": "tools",
    "resources/list": "resources",
    "resources/templates/list": "resourceTemplates",
    "prompts/list": "prompts",
}
_CAPABILITY_METHODS: Final = frozenset({"initialize", "server/discover"})


@dataclass(frozen=True, slots=True)
class Viewer:
    """Whom a list is for: the account's current plan, and the scopes that count for it (expanded)."""

    plan: str | None
    scopes: frozenset[str]


def editor(call: Call, policy: Policy, viewer: Viewer, collisions: set[str]) -> Callable[[Result], Result] | None:
    """The change that results of this call need before they are relayed; None when they need none.

    Args:
        call: the request being answered.
        policy: the policy in force.
        viewer: whom the list is for.
        collisions: receives tools whose backend schema already has the argument that the policy
            injects: the two meanings cannot be told apart, so such a tool is not served.
    """
    if call.method in _CAPABILITY_METHODS:
        return lambda result: tasks.promised(result, call.revision, policy.methods)
    if call.method == "tools/list":
        return lambda result: _filter_tools(result, call, policy, viewer, collisions)
    if call.method in _MEMBERS:
        return lambda result: _private({**result, _MEMBERS[call.method]: []}, call)
    return None


def _filter_tools(result: Result, call: Call, policy: Policy, viewer: Viewer, collisions: set[str]) -> Result:
    listed: list[Any] = []
    for definition in _entries(result.get("tools")):
        name = definition["name"]
        tool = policy.tools.get(name)
        if tool is None or tool.serve is not None or not policy.listed(name, viewer.scopes, viewer.plan):
            continue
        if _collides(tool, definition):
            collisions.add(name)
            continue
        collisions.discard(name)
        listed.append(_described(tool, definition, tasks.served(call.revision, policy.methods)))
    if not result.get("nextCursor"):
        listed += [
            _served(tool)
            for name, tool in policy.tools.items()
            if tool.serve is not None and policy.listed(name, viewer.scopes, viewer.plan)
        ]
    return _private({**result, "tools": listed}, call)


def _entries(value: object) -> list[dict[str, Any]]:
    """The entries that can be read; one without a name could not be called and is dropped."""
    if not isinstance(value, list):
        return []
    return [entry for entry in value if isinstance(entry, dict) and isinstance(entry.get("name"), str)]


def _collides(tool: Tool, definition: Mapping[str, Any]) -> bool:
    return tool.confirm is not None and tool.confirm.inject and tool.confirm.argument in _properties(definition)


def _properties(definition: Mapping[str, Any]) -> Mapping[str, Any]:
    schema = definition.get("inputSchema")
    properties = schema.get("properties") if isinstance(schema, dict) else None
    return properties if isinstance(properties, dict) else {}


def _described(tool: Tool, definition: dict[str, Any], tasks_served: bool) -> dict[str, Any]:
    """The backend's definition with the confirmation that the policy injects, and task support if it is served."""
    described = {key: value for key, value in definition.items() if key != "execution" or tasks_served}
    if tool.confirm is None or not tool.confirm.inject:
        return described
    schema = dict(described.get("inputSchema") or {"type": "object"})
    schema["properties"] = {
        **_properties(definition),
        tool.confirm.argument: {"type": "boolean", "description": tool.confirm.message},
    }
    return {**described, "inputSchema": schema}


def _served(tool: Tool) -> dict[str, Any]:
    return {
        "name": tool.name,
        "description": "Show the plan, status, quotas and credits of this account.",
        "inputSchema": {"type": "object", "properties": {}, "additionalProperties": False},
        "annotations": {"readOnlyHint": True},
    }


def _private(result: Result, call: Call) -> Result:
    """A filtered list is one caller's own: a shared cache must not hand it to another."""
    if not call.revision.stateless:
        return result
    ttl = result.get("ttlMs")
    capped = min(ttl, MAX_TTL_MS) if isinstance(ttl, int) and not isinstance(ttl, bool) and ttl >= 0 else 0
    return {**result, "cacheScope": "private", "ttlMs": capped}
