"""Tasks: which revision has them, and what is said of them when they are served, or not.

Two kinds are known: those of 2025-11-25 (basic/utilities/tasks), which a client asks for with
`params.task`, and the extension of 2026-07-28 (SEP-2663), where the server decides. They are not
wire-compatible and never mixed. Tasks that servers run on clients (2025-11-25, sampling and
elicitation) are not served: clients would make up their ids, which could be anybody's.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from typing import Any, Final

from sidecar.errors import ErrorCode, Refusal
from sidecar.model import CallKind, Revision
from sidecar.protocol.jsonrpc import Message
from sidecar.protocol.meta import CAPABILITIES_KEY, RELATED_TASK_KEY, TASKS_EXTENSION

Json = Mapping[str, Any]

DECLARES: Final = "tasks/get"
"""The method whose declaration serves tasks: without it none could be followed."""

_RESERVED: Final = ("tasks/", "notifications/tasks")
_ABOUT: Final = frozenset({DECLARES, "tasks/update", "tasks/cancel"})

# The method that a member of the `tasks` capability of 2025-11-25 promises: whoever may ask for a task
# has to be able to get its result.
_PROMISES: Final = {"list": "tasks/list", "cancel": "tasks/cancel", "requests": "tasks/result"}


def served(revision: Revision, methods: Container[str]) -> bool:
    """Whether tasks are served to who speaks a revision.

    Args:
        revision: the client's.
        methods: the methods that the policy declares.
    """
    return DECLARES in methods and revision in (Revision.V2025_11_25, Revision.V2026_07_28)


def about(method: str) -> bool:
    """Whether a method is about tasks: the names are reserved for that (SEP-2663, Reservations)."""
    return method.startswith(_RESERVED)


# --- what clients say ----------------------------------------------------------------------------


def check_declared(message: Message, revision: Revision) -> None:
    """Refuse to speak of tasks with who does not say, in this very request, that it knows what they are.

    It comes before any look at the task (SEP-2663, Required Capabilities).

    Raises:
        Refusal: `capability_missing`.
    """
    if not revision.stateless or message.method not in _ABOUT:
        return
    offered = message.params.get("_meta", {}).get(CAPABILITIES_KEY, {}).get("extensions")
    if not isinstance(offered, dict) or TASKS_EXTENSION not in offered:
        required: Json = {"extensions": {TASKS_EXTENSION: {}}}
        raise Refusal(ErrorCode.CAPABILITY_MISSING, data={"requiredCapabilities": required})


def plain(message: Message, revision: Revision, *, served: bool) -> tuple[Json, Json]:
    """Parameters and document of a message, freed of all it says of tasks that are not served.

    A server that promised no tasks has to treat such a request as a plain one (2025-11-25, tasks),
    so taking the wish out changes nothing for its sender.

    Args:
        message: as it came.
        revision: which kind of tasks it may speak of.
        served: whether any are served in it.
    """
    if message.kind is CallKind.RESPONSE:
        return message.params, message.document if served else _each(message.document, "result", _unrelated)
    params = _plain_request(message.method, message.params, revision, served)
    if params is message.params:
        return params, message.document
    exact = _plain_request(message.method, message.document["params"], revision, served)
    return params, {**message.document, "params": exact}


def _plain_request(method: str, params: Json, revision: Revision, served: bool) -> Json:
    extension = served and revision.stateless
    core = served and not revision.stateless
    if method == "initialize":
        # That a client knows of tasks may be said; what it would run itself is not asked of it.
        return _each(params, "capabilities", lambda offered: _capabilities(offered, _nothing if core else None))
    if method == "tools/call" and not core:
        params = _without(params, "task")
    if method == "subscriptions/listen" and not extension:
        params = _each(params, "notifications", lambda wanted: _without(wanted, "taskIds"))
    if not served:
        params = _unrelated(params)
    return _each(
        params,
        "_meta",
        lambda meta: _each(meta, CAPABILITIES_KEY, lambda offered: _capabilities(offered, None, extension)),
    )


def _unrelated(body: Json) -> Json:
    return _each(body, "_meta", lambda meta: _without(meta, RELATED_TASK_KEY))


def _nothing(_: Json) -> Json:
    return {}


# --- what servers promise ------------------------------------------------------------------------


def promised(result: dict[str, Any], revision: Revision, methods: Container[str]) -> dict[str, Any]:
    """An `initialize` or `server/discover` result that promises no other tasks than are served.

    Args:
        result: the backend's; it is not changed.
        revision: the one it was asked in.
        methods: the methods that the policy declares.
    """
    serving = served(revision, methods)
    core = serving and not revision.stateless and result.get("protocolVersion") == Revision.V2025_11_25.value

    def declared(tasks: Json) -> Json:
        return {member: value for member, value in tasks.items() if _PROMISES.get(member, "") in methods}

    kept = _each(
        result,
        "capabilities",
        lambda offered: _capabilities(offered, declared if core else None, serving and revision.stateless),
    )
    return result if kept is result else dict(kept)


def _capabilities(offered: Json, core: Callable[[Json], Json] | None, extension: bool = False) -> Json:
    """Capabilities with the `tasks` that are left of them (None: none), and with or without the extension."""
    tasks = offered.get("tasks")
    kept = {**offered, "tasks": core(tasks)} if core and isinstance(tasks, dict) else _without(offered, "tasks")
    return kept if extension else _each(kept, "extensions", lambda named: _without(named, TASKS_EXTENSION))


# --- objects in objects --------------------------------------------------------------------------


def _each(holder: Json, member: str, edit: Callable[[Json], Json]) -> Json:
    """`holder` with one object in it changed; `holder` itself when nothing is to be changed."""
    inner = holder.get(member)
    if not isinstance(inner, dict):
        return holder
    edited = edit(inner)
    return holder if edited is inner else {**holder, member: edited}


def _without(members: Json, name: str) -> Json:
    return members if name not in members else {key: value for key, value in members.items() if key != name}
