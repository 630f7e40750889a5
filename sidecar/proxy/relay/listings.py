"""Results as clients may see them: lists filtered by the policy, and nothing that a shared cache may keep.

Filtering does not protect: every call is judged again when it is made. Pure functions
over decoded results; nothing here reads a header or a clock.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Final, NamedTuple, Protocol

from sidecar.model import Call, Revision
from sidecar.policy.lookup import listed_resource
from sidecar.policy.rules import Kind, Policy, Tool
from sidecar.policy.serving.own_tools import OWN_TOOLS, OwnTool
from sidecar.protocol.capabilities import announced
from sidecar.protocol.tasks.task_ids import starts_task
from sidecar.proxy.relay.listed_schemas import with_confirmation

Result = dict[str, Any]

MAX_TTL_MS: Final = 60_000
"""Longest time that a client may keep a filtered list (2026-07-28 `ttlMs`): plans and consents change."""

_LISTS: Final = {
    "tools/list": "tools",
    "resources/list": "resources",
    "resources/templates/list": "resourceTemplates",
    "prompts/list": "prompts",
}
"""Member of a list's result that holds its entries, by method."""

_CAPABILITY_METHODS: Final = frozenset({"initialize", "server/discover"})
# Results with hints for caches (2026-07-28, server/utilities/caching).
_CACHEABLE: Final = frozenset({*_LISTS, "server/discover", "resources/read"})
_HINTS: Final = frozenset({"cacheScope", "ttlMs"})
_ABOUT_TASKS: Final = frozenset({"tasks/get", "tasks/update", "tasks/cancel"})


class ToolKnowledge(Protocol):
    """Knowledge of the backend's definitions, held for one policy revision."""

    def shows(self, tool: Tool, definition: Mapping[str, Any]) -> bool:
        """Record a definition that a list shows; return False when it must be hidden from clients."""

    def schema(self, tool: Tool, definition: Mapping[str, Any]) -> Any:
        """Return the input schema of a definition as clients see it."""


class Viewer(NamedTuple):
    """Caller that a list is for.

    Attributes:
        plan: the account's current plan.
        scopes: the scopes that count for it, expanded.
        tasks: True when tasks are served in the revision that is spoken.
    """

    plan: str | None
    scopes: frozenset[str]
    tasks: bool = False


def editor(
    call: Call, policy: Policy, viewer: Viewer, knowledge: ToolKnowledge, *, streams: bool = True
) -> Callable[[Result], Result] | None:
    """Return the change that results of this call need before they are relayed; None when they need none.

    The change returns the result itself where there is nothing to change.

    Args:
        call: the request being answered.
        policy: the policy in force.
        viewer: the caller that the list is for.
        knowledge: records the definitions in lists, and says which tools are not served.
        streams: False when the backend is known to have no GET streams.
    """
    stateless = call.revision.stateless
    if call.method not in _LISTS and call.method not in _CAPABILITY_METHODS:
        return partial(_kept_private, call=call) if stateless else None

    def edit(result: Result) -> Result:
        if call.method in _CAPABILITY_METHODS:
            result = announced(result, call.revision, replace(policy.served, streams=streams))
        member = _LISTS.get(call.method)
        if member is not None:
            result = _filtered(result, member, policy, viewer, knowledge)
        return _kept_private(result, call) if stateless else result

    return edit


def edit_by_shape(result: Result, policy: Policy, viewer: Viewer, knowledge: ToolKnowledge) -> Result:
    """Change a result without a known request: one that a GET stream of the older revisions replays.

    A result that looks like a list is filtered as one, and one that announces capabilities is changed as the answer
    to `initialize` is. Returns the result itself where there is nothing to change.
    """
    result = announced(result, Revision.V2025_11_25, policy.served)
    for member in _LISTS.values():
        if isinstance(result.get(member), list):
            result = _filtered(result, member, policy, viewer, knowledge)
    return result


# --- lists ---------------------------------------------------------------------------------------


def _filtered(result: Result, member: str, policy: Policy, viewer: Viewer, knowledge: ToolKnowledge) -> Result:
    if member == "tools":
        return {**result, member: _tools(result, policy, viewer, knowledge)}
    key, shown = _SHOWN[member]
    listed = [entry for entry in _entries(result.get(member), key) if shown(policy, viewer, entry[key])]
    return {**result, member: listed}


def _entries(value: object, key: str) -> list[dict[str, Any]]:
    """Return the entries that can be read; an entry without a name could not be called and is dropped."""
    if not isinstance(value, list):
        return []
    return [entry for entry in value if isinstance(entry, dict) and isinstance(entry.get(key), str)]


def _resource_shown(policy: Policy, viewer: Viewer, uri: str) -> bool:
    resource = listed_resource(policy, uri)
    return resource is not None and policy.included(Kind.RESOURCE, resource.name, viewer.plan)


def _template_shown(policy: Policy, viewer: Viewer, template: str) -> bool:
    """Return True when the plan includes a resource that the template can expand to."""
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


def _tools(result: Result, policy: Policy, viewer: Viewer, knowledge: ToolKnowledge) -> list[Any]:
    listed: list[Any] = []
    narrowed: set[str] = set()
    for definition in _entries(result.get("tools"), "name"):
        name = definition["name"]
        tool = policy.tools.get(name)
        if tool is None or tool.serve is not None:
            continue
        if knowledge.shows(tool, definition) and policy.listed(name, viewer.scopes, viewer.plan):
            # A name that is listed again is not narrowed again: the list would cost more than its bytes.
            if name in narrowed:
                schema = with_confirmation(tool, definition.get("inputSchema"))
            else:
                schema = knowledge.schema(tool, definition)
            narrowed.add(name)
            listed.append(_described(definition, schema, viewer))
    if not result.get("nextCursor"):
        listed += [
            _served(tool, tool.serve)
            for name, tool in policy.tools.items()
            if tool.serve is not None and policy.listed(name, viewer.scopes, viewer.plan)
        ]
    return listed


def collides(tool: Tool, definition: Mapping[str, Any]) -> bool:
    """Return True when the backend's own schema has the argument that the policy injects."""
    return tool.injected is not None and tool.injected.argument in _properties(definition)


def _properties(definition: Mapping[str, Any]) -> Mapping[str, Any]:
    schema = definition.get("inputSchema")
    properties = schema.get("properties") if isinstance(schema, dict) else None
    return properties if isinstance(properties, dict) else {}


def _described(definition: dict[str, Any], schema: Any, viewer: Viewer) -> dict[str, Any]:
    """Return the backend's definition with its listed schema, and with task support if it is served."""
    changed = schema is not definition.get("inputSchema")
    if not changed and (viewer.tasks or "execution" not in definition):
        return definition
    described = {**definition}
    if not viewer.tasks:
        described.pop("execution", None)
    if changed:
        described["inputSchema"] = schema
    return described


def _served(tool: Tool, serve: OwnTool) -> dict[str, Any]:
    """Return the definition of a tool that the sidecar answers itself."""
    own = OWN_TOOLS[serve]
    return {
        "name": tool.name,
        "description": own.description,
        "inputSchema": with_confirmation(tool, own.schema),
        "annotations": own.annotations,
    }


# --- caches --------------------------------------------------------------------------------------


def is_uncached(result: Result) -> bool:
    """Return True when a result of a method that is never cached has no hints for caches: nothing is to be changed."""
    return _HINTS.isdisjoint(result)


def _kept_private(result: Result, call: Call) -> Result:
    """Mark a result as private: a shared cache must not serve it to another caller.

    No cache may keep the answer to a retry that brings input (2026-07-28, server/utilities/caching).
    """
    cacheable = call.method in _CACHEABLE
    if not cacheable and _HINTS.isdisjoint(result):
        return result
    if call.method in _ABOUT_TASKS or starts_task(result):  # `ttlMs` is the life of the task itself
        return result if result.get("cacheScope", "private") == "private" else {**result, "cacheScope": "private"}
    hinted = cacheable and result.get("resultType") != "input_required"
    if not hinted and _HINTS.isdisjoint(result):
        return result
    retried = "inputResponses" in call.params or "requestState" in call.params
    hints = {"cacheScope": "private", "ttlMs": 0 if retried else _capped(result.get("ttlMs"))}
    kept = {name: result.get(name) for name in hints}
    return result if kept == hints and type(kept["ttlMs"]) is int else {**result, **hints}


def _capped(ttl: object) -> int:
    return min(ttl, MAX_TTL_MS) if isinstance(ttl, int) and not isinstance(ttl, bool) and ttl >= 0 else 0
