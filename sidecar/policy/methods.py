"""Tables of methods: those without declaration, those declared by the entry that they name, those of a revision."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Final

from sidecar.model import Call, CallKind, Depth
from sidecar.protocol.revisions import METHODS
from sidecar.protocol.strict.strictjson import fold
from sidecar.protocol.tasks import task_support

TOKEN_ONLY: Final[Mapping[CallKind, frozenset[str]]] = {
    CallKind.REQUEST: frozenset({"initialize", "server/discover", "ping"}),
    CallKind.NOTIFICATION: frozenset({"notifications/initialized"}),
    CallKind.END_SESSION: frozenset({""}),
}
"""Methods that need a valid token only."""

UNDECLARED: Final[Mapping[CallKind, Mapping[str, Depth]]] = {
    # Lists are filtered by the account's plan, so the plan is read.
    CallKind.REQUEST: dict.fromkeys(
        ("tools/list", "resources/list", "resources/templates/list", "prompts/list"), Depth.PRICE
    ),
    CallKind.NOTIFICATION: dict.fromkeys(
        ("notifications/cancelled", "notifications/progress", "notifications/roots/list_changed"), Depth.CONSENT
    ),
    CallKind.RESPONSE: {"": Depth.CONSENT},
    CallKind.STREAM: {"": Depth.PLAN},  # it may replay lists
}
"""Methods that need consent and an enabled account but no declaration, with the last gate to evaluate."""

ELSEWHERE: Final[Mapping[str, str]] = {
    "tools/call": "tools",
    "resources/read": "resources",
    "resources/subscribe": "resources",
    "resources/unsubscribe": "resources",
    "prompts/get": "prompts",
}
"""Methods that are declared by the entry that they name, with the section of that entry."""

_ALWAYS: Final = frozenset(
    name for table in (TOKEN_ONLY, UNDECLARED) for names in table.values() for name in names if name
)
_FOLDED: Final = {fold(name): name for name in METHODS}


def misdeclared(method: str, methods: Container[str]) -> tuple[str, str] | None:
    """Return the fault of an entry in the section `methods` and the accepted form; None for a correct one.

    Args:
        method: its name.
        methods: all declared methods.
    """
    section = ELSEWHERE.get(method)
    if section is not None:
        return "declared by the named entry", f"entries of {section}"
    if method in _ALWAYS:
        return "needs no declaration and has no price", "other methods"
    if task_support.about(method) and task_support.DECLARES not in methods:
        # Tasks are bound to callers only where the policy serves tasks: any caller could read any task.
        return "tasks are not served", f"this together with {task_support.DECLARES}"
    meant = _FOLDED.get(fold(method), method)
    return None if meant == method else ("differs from a method of the protocol in upper and lower case only", meant)


def has(call: Call) -> bool:
    """Return True when the call's revision has its method; methods outside of the specification are in all revisions.

    Notifications without declaration pass in any revision: they return nothing.
    """
    revisions = METHODS.get(call.method)
    return revisions is None or call.revision in revisions
