"""What clients may see of the backend: lists filtered to the policy, and nothing that a shared cache may keep.

Filtering is courtesy, never protection: every call is judged again when it is made. Pure functions
over decoded results; nothing here reads a header or a clock.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sidecar.errors import Refusal
from sidecar.model import Call, Revision
from sidecar.policy.lookup import resource_of
from sidecar.policy.rules import Kind, Policy, Tool
from sidecar.protocol import tasks
from sidecar.protocol.task_ids import starts_task

Result = dict[str, Any]

MAX_TTL_MS: Final = 60_000
"""How long a client may keep a filtered list (2026-07-28 `ttlMs`): plans and consents change."""

_LISTS: Final = {
    "tools/list": "tools",
    "resources/list": "resources",
    "resources/templates/list": "resourceTemplates",
    "prompts/list": "prompts",
}
"""Which member of a list's result holds its entries."""

_CAPABILITY_METHODS: Final = frozenset({"initialize", "server/discover"})
# Results that say how long they may be kept (2026-07-28, server/utilities/caching).
_CACHEABLE: Final = frozenset({*_LISTS, "server/discover", "resources/read"})
_HINTS: Final = frozenset({"cacheScope", "ttlMs"})
_ABOUT_TASKS: Final = frozenset({"tasks/get", "tasks/update", "tasks/cancel"})


@dataclass(frozen=True, slots=True)
class Viewer:
    """Whom a list is for.

    Attributes:
        plan: the account's current plan.
        scopes: those that count for it, expanded.
        tasks: whether tasks are served, in the revision that is spoken.
    """

    plan: str | None
    scopes: frozenset[str]
    tasks: bool = False


def editor(call: Call, policy: Policy, viewer: Viewer, collisions: set[str]) -> Callable[[Result], Result] | None:
    """The change that results of this call need before they are relayed; None when they need none.

    It gives the result itself where there is nothing to change.

    Args:
        call: the request being answered.
        policy: the policy in force.
        viewer: whom the list is for.
        collisions: receives tools whose backend schema already has the argument that the policy
            injects: the two meanings cannot be told apart, so such a tool is not served.
    """
    if not call.revision.stateless and call.method not in _LISTS and call.method not in _CAPABILITY_METHODS:
        return None

    def edit(result: Result) -> Result:
        if call.method in _CAPABILITY_METHODS:
            result = tasks.promised(result, call.revision, policy.methods)
        member = _LISTS.get(call.method)
        if member is not None:
            result = _filtered(result, member, policy, viewer, collisions)
        return _kept_private(result, call) if call.revision.stateless else result

    return edit


def by_shape(result: Result, policy: Policy, viewer: Viewer, collisions: set[str]) -> Result:
    """The same for a result whose request is not known: one that a GET stream of the older revisions replays.

    Whatever looks like a list is filtered as one, and whatever promises capabilities is changed as the answer
    to `initialize` is. Gives the result itself where there is nothing to change.
    """
    result = tasks.promised(result, Revision.V2025_11_25, policy.methods)
    for member in _LISTS.values():
        if isinstance(result.get(member), list):
            result = _filtered(result, member, policy, viewer, collisions)
    return result


# --- lists ---------------------------------------------------------------------------------------


def _filtered(result: Result, member: str, policy: Policy, viewer: Viewer, collisions: set[str]) -> Result:
    if member == "tools":
        return {**result, member: _tools(result, policy, viewer, collisions)}
    key, shown = _SHOWN[member]
    listed = [entry for entry in _entries(result.get(member), key) if shown(policy, viewer, entry[key])]
    return {**result, member: listed}


def _entries(value: object, key: str) -> list[dict[str, Any]]:
    """The entries that can be read; one that is not named could not be asked for and is dropped."""
    if not isinstance(value, list):
        return []
    return [entry for entry in value if isinstance(entry, dict) and isinstance(entry.get(key), str)]


def _resource_shown(policy: Policy, viewer: Viewer, uri: str) -> bool:
    try:
        resource = resource_of(policy, uri)
    except Refusal:
        return False
    return policy.included(Kind.RESOURCE, resource.name, viewer.plan)


def _template_shown(policy: Policy, viewer: Viewer, template: str) -> bool:
    """Whether something that a template may become can be had."""
    met = policy.patterns.met(template)
    return any(policy.included(Kind.RESOURCE, pattern, viewer.plan) for pattern in met)


def _prompt_shown(policy: Policy, viewer: Viewer, name: str) -> bool:
    return name in policy.prompts and policy.included(Kind.PROMPT, name, viewer.plan)


_SHOWN: Final[Mapping[str, tuple[str, Callable[[Policy, Viewer, str], bool]]]] = {
    "resources": ("uri", _resource_shown),
    "resourceTemplates": ("uriTemplate", _template_shown),
    "prompts": ("name", _prompt_shown),
}


# --- tools ---------------------------------------------------------------------------------------


def _tools(result: Result, policy: Policy, viewer: Viewer, collisions: set[str]) -> list[Any]:
    listed: list[Any] = []
    for definition in _entries(result.get("tools"), "name"):
        name = definition["name"]
        tool = policy.tools.get(name)
        if tool is None or tool.serve is not None or not policy.listed(name, viewer.scopes, viewer.plan):
            continue
        if _collides(tool, definition):
            collisions.add(name)
            continue
        collisions.discard(name)
        listed.append(_described(tool, definition, viewer))
    if not result.get("nextCursor"):
        listed += [
            _served(tool)
            for name, tool in policy.tools.items()
            if tool.serve is not None and policy.listed(name, viewer.scopes, viewer.plan)
        ]
    return listed


def _collides(tool: Tool, definition: Mapping[str, Any]) -> bool:
    return tool.confirm is not None and tool.confirm.inject and tool.confirm.argument in _properties(definition)


def _properties(definition: Mapping[str, Any]) -> Mapping[str, Any]:
    schema = definition.get("inputSchema")
    properties = schema.get("properties") if isinstance(schema, dict) else None
    return properties if isinstance(properties, dict) else {}


def _described(tool: Tool, definition: dict[str, Any], viewer: Viewer) -> dict[str, Any]:
    """The backend's definition with the confirmation that the policy injects, and task support if it is served."""
    described = {key: value for key, value in definition.items() if key != "execution" or viewer.tasks}
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


# --- caches --------------------------------------------------------------------------------------


def _kept_private(result: Result, call: Call) -> Result:
    """What was policed for one caller is that caller's own: a shared cache must not hand it to another.

    The answer to a retry that brings input is nobody's to keep (2026-07-28, server/utilities/caching).
    """
    if call.method in _ABOUT_TASKS or starts_task(result):  # whose `ttlMs` is how long the task itself is kept
        return result if result.get("cacheScope", "private") == "private" else {**result, "cacheScope": "private"}
    hinted = call.method in _CACHEABLE and result.get("resultType") != "input_required"
    if not hinted and _HINTS.isdisjoint(result):
        return result
    retried = "inputResponses" in call.params or "requestState" in call.params
    hints = {"cacheScope": "private", "ttlMs": 0 if retried else _capped(result.get("ttlMs"))}
    kept = {name: result.get(name) for name in hints}
    return result if kept == hints and type(kept["ttlMs"]) is int else {**result, **hints}


def _capped(ttl: object) -> int:
    return min(ttl, MAX_TTL_MS) if isinstance(ttl, int) and not isinstance(ttl, bool) and ttl >= 0 else 0
