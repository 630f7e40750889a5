"""Which methods need no declaration, which are declared as something else, and which a revision has."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Final

from sidecar.model import Call, CallKind, Depth
from sidecar.protocol import tasks
from sidecar.protocol.revisions import METHODS
from sidecar.protocol.strictjson import fold

TOKEN_ONLY: Final[Mapping[CallKind, frozenset[str]]] = {
    CallKind.REQUEST: frozenset({"initialize", "server/discover", "ping"}),
    CallKind.NOTIFICATION: frozenset({"notifications/initialized"}),
    CallKind.END_SESSION: frozenset({""}),
}
"""What needs a valid token and nothing else."""

UNDECLARED: Final[Mapping[CallKind, Mapping[str, Depth]]] = {
    # Lists are filtered by the account's plan, so the look goes as far as that.
    CallKind.REQUEST: dict.fromkeys(
        ("tools/list", "resources/list", "resources/templates/list", "prompts/list"), Depth.PRICE
    ),
    CallKind.NOTIFICATION: dict.fromkeys(
        ("notifications/cancelled", "notifications/progress", "notifications/roots/list_changed"), Depth.CONSENT
    ),
    CallKind.RESPONSE: {"": Depth.CONSENT},
    CallKind.STREAM: {"": Depth.PLAN},  # it may replay lists
}
"""What needs no declaration, but consent and an enabled account; and how far gates 5-7 look."""

ELSEWHERE: Final[Mapping[str, str]] = {
    "tools/call": "tools",
    "resources/read": "resources",
    "resources/subscribe": "resources",
    "resources/unsubscribe": "resources",
    "prompts/get": "prompts",
}
"""Methods that are declared by what they name, and the section for that."""

_ALWAYS: Final = frozenset(
    name for table in (TOKEN_ONLY, UNDECLARED) for names in table.values() for name in names if name
)
_FOLDED: Final = {fold(name): name for name in METHODS}


def misdeclared(method: str, methods: Container[str]) -> tuple[str, str] | None:
    """What is wrong with a method in the section `methods`, and what is accepted; None for nothing.

    Args:
        method: its name.
        methods: all that are declared.
    """
    section = ELSEWHERE.get(method)
    if section is not None:
        return "declared by what it names", f"entries of {section}"
    if method in _ALWAYS:
        return "needs no declaration and has no price", "other methods"
    if tasks.about(method) and tasks.DECLARES not in methods:
        # Whose a task is, is kept track of only where tasks are served: anybody could ask for anybody's.
        return "tasks are not served", f"this beside {tasks.DECLARES}"
    meant = _FOLDED.get(fold(method), method)
    return None if meant == method else ("no method of the protocol, but one in another case", meant)


def has(call: Call) -> bool:
    """Whether the revision in use has a call's method; methods that the specification does not know have all.

    Notifications that need no declaration are let through in any revision: there is nothing to be had.
    """
    revisions = METHODS.get(call.method)
    return revisions is None or call.revision in revisions
