"""Task support by revision, and messages without tasks where they are not served.

There are two kinds: tasks of 2025-11-25 (basic/utilities/tasks), which a client requests with `params.task`, and the
extension of 2026-07-28 (SEP-2663), where the server decides. They are not wire-compatible and never mixed. Tasks that
servers run on clients (2025-11-25, sampling and elicitation) are not served: clients choose their ids, and could
choose the id of another caller's task.
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
"""Method that must be declared for tasks to be served: without it a client could not poll a task."""

_RESERVED: Final = ("tasks/", "notifications/tasks")
_ABOUT: Final = frozenset({DECLARES, "tasks/update", "tasks/cancel"})

# Method that each member of the `tasks` capability of 2025-11-25 requires: a client that may start a task must be
# able to get its result.
_PROMISES: Final = {"list": "tasks/list", "cancel": "tasks/cancel", "requests": "tasks/result"}


def served(revision: Revision, methods: Container[str]) -> bool:
    """Return whether clients of a revision are served tasks.

    Args:
        revision: the client's revision.
        methods: the methods that the policy declares.
    """
    return DECLARES in methods and revision in (Revision.V2025_11_25, Revision.V2026_07_28)


def about(method: str) -> bool:
    """Return whether a method's name is reserved for tasks (SEP-2663, Reservations)."""
    return method.startswith(_RESERVED)


# --- messages of clients -------------------------------------------------------------------------


def check_declared(message: Message, revision: Revision) -> None:
    """Refuse a task request that does not declare the tasks extension in this very request.

    Checked before the task is looked up (SEP-2663, Required Capabilities).

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
    """Return parameters and document of a message without tasks that are not served.

    A server without the tasks capability must treat such a request as a plain one (2025-11-25, tasks), so the removal
    changes nothing for its sender.

    Args:
        message: the message as received.
        revision: the client's revision, which decides the kind of tasks.
        served: whether tasks are served in it.
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
        # A client may state that it supports task requests; the tasks that it would run itself are removed.
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


# --- capabilities of servers ---------------------------------------------------------------------


def promised(result: dict[str, Any], revision: Revision, methods: Container[str]) -> dict[str, Any]:
    """Return an `initialize` or `server/discover` result that announces only the tasks that are served.

    Args:
        result: the backend's; not modified.
        revision: the client's revision.
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
    """Return capabilities with the edited `tasks` (None: removed), and with or without the extension."""
    tasks = offered.get("tasks")
    kept = {**offered, "tasks": core(tasks)} if core and isinstance(tasks, dict) else _without(offered, "tasks")
    return kept if extension else _each(kept, "extensions", lambda named: _without(named, TASKS_EXTENSION))


# --- nested objects ------------------------------------------------------------------------------


def _each(holder: Json, member: str, edit: Callable[[Json], Json]) -> Json:
    """Return `holder` with one object in it edited; `holder` itself when nothing changes."""
    inner = holder.get(member)
    if not isinstance(inner, dict):
        return holder
    edited = edit(inner)
    return holder if edited is inner else {**holder, member: edited}


def _without(members: Json, name: str) -> Json:
    return members if name not in members else {key: value for key, value in members.items() if key != name}
