"""Task ids that a message names, and results that start a task.

An id is all that a request for a task contains, so it grants access to the task. Ids are strings and compared byte
by byte: the number 1 is not an id, and similar text is another id.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Set
from typing import Any, Final

from sidecar.model import CallKind
from sidecar.protocol.jsonrpc import Message
from sidecar.protocol.meta import RELATED_TASK_KEY
from sidecar.protocol.strict.members import Members, malformed

Json = Mapping[str, Any]

OF_ONE: Final = frozenset({"tasks/get", "tasks/result", "tasks/update", "tasks/cancel"})
"""Requests about one task; their results are about the same task."""

MAX_LENGTH: Final = 1024
"""The longest id, in characters: a header also carries it (SEP-2663, Routing Headers)."""

MAX_NAMED: Final = 500
"""The most tasks that one message may name: each is looked up."""

# The keys on the path to an id, and the keys of ids.
_READ: Final = Members.of("taskId", "taskIds", "task", "tasks", "notifications", "_meta", RELATED_TASK_KEY)
# Members of a body on the path to an id; a body without them names tasks at most in its `_meta`.
_NAMING: Final = frozenset({"inputRequests", "notifications", "result", "task", "taskId", "tasks"})


class Unreadable(Exception):  # noqa: N818 - a judgement of a message, not a failure of this program
    """Message that names tasks ambiguously; the text quotes nothing."""


# --- messages of clients -------------------------------------------------------------------------


def check_names(message: Message) -> None:
    """Refuse keys that a lenient parser confuses with one on the path to a task id.

    Raises:
        Refusal: `params_malformed`.
    """
    body = _body(message)
    meta = body.get("_meta")
    related = meta.get(RELATED_TASK_KEY) if isinstance(meta, dict) else None
    for holder in (body, body.get("task"), body.get("notifications"), meta, related):
        if isinstance(holder, dict) and any(map(_READ.mistakable, holder)):
            raise malformed("A parameter's name is confusable with one that names tasks; use the exact name.")


def asked(message: Message) -> tuple[str, ...]:
    """Return the tasks that a client's message names, each once; the sender must own all of them.

    Raises:
        Refusal: `params_malformed`: a value that should be a task id is none.
    """
    try:
        return tuple(sorted(named(_body(message))))
    except Unreadable as error:
        raise malformed(str(error)) from None


def _body(message: Message) -> Json:
    body = message.document.get("result") if message.kind is CallKind.RESPONSE else message.params
    return body if isinstance(body, dict) else {}


# --- messages of the backend ---------------------------------------------------------------------


def starts_task(result: Json) -> bool:
    """Return whether a result is a task instead of the requested result.

    In 2026-07-28, `resultType` marks it (SEP-2663, CreateTaskResult); in 2025-11-25, the member `task`.
    """
    if "resultType" in result and result["resultType"] == "task":
        return True
    return "task" in result and isinstance(result["task"], dict) and "taskId" in result["task"]


def lifetime(result: Json) -> float:
    """Return the seconds that the backend keeps the task of a result; 0 if it does not state them."""
    for holder in (result, result.get("task")):
        if not isinstance(holder, dict):
            continue
        for member in ("ttlMs", "ttl"):  # 2026-07-28 and 2025-11-25; null is unlimited in both
            if member not in holder:
                continue
            ttl = holder[member]
            known = isinstance(ttl, int | float) and not isinstance(ttl, bool)
            return math.inf if ttl is None else max(0.0, ttl / 1000) if known else 0.0
    return 0.0


def entries(result: Json) -> list[tuple[Json, frozenset[str]]]:
    """Return the readable tasks of a list, each with all task ids in it."""
    tasks = result.get("tasks")
    found = []
    for entry in tasks if isinstance(tasks, list) else ():
        try:
            names = named(entry) if isinstance(entry, dict) and "taskId" in entry else frozenset()
        except Unreadable:
            continue
        if names:
            found.append((entry, names))
    return found


def owned(result: dict[str, Any], mine: Set[str]) -> dict[str, Any]:
    """Return a list of tasks without those of other callers; order and cursor are unchanged."""
    return {**result, "tasks": [entry for entry, names in entries(result) if names <= mine]}


def named(body: Json) -> frozenset[str]:
    """Return the tasks that a result, or the parameters of a message, name.

    Raises:
        Unreadable: a value that should be a task id is none, or there are too many.
    """
    if _NAMING.isdisjoint(body) and not _has_related(body):
        return frozenset()
    found: set[str] = set()
    for holder in (body, *_nested(body)):
        for value in _ids(holder):
            if not isinstance(value, str) or not 0 < len(value) <= MAX_LENGTH:
                raise Unreadable(f"A task id must be a string of 1 to {MAX_LENGTH} characters.")
            found.add(value)
    if len(found) > MAX_NAMED:
        raise Unreadable(f"One message may name at most {MAX_NAMED} tasks.")
    return frozenset(found)


def _has_related(body: Json) -> bool:
    return "_meta" in body and isinstance(body["_meta"], dict) and RELATED_TASK_KEY in body["_meta"]


def _nested(body: Json) -> Iterator[Json]:
    """Yield the objects inside a task: its result, and its pending requests to the client (SEP-2663)."""
    requests = body.get("inputRequests")
    waiting = requests.values() if isinstance(requests, dict) else ()
    params = (each.get("params") for each in waiting if isinstance(each, dict))
    yield from (inner for inner in (body.get("result"), *params) if isinstance(inner, dict))


def _ids(body: Json) -> Iterator[object]:
    tasks = body.get("tasks")
    for holder in (body, body.get("task"), *(tasks if isinstance(tasks, list) else ())):
        if isinstance(holder, dict) and "taskId" in holder:
            yield holder["taskId"]
    wanted, meta = body.get("notifications"), body.get("_meta")
    if isinstance(wanted, dict) and "taskIds" in wanted:
        yield from wanted["taskIds"] if isinstance(wanted["taskIds"], list) else (None,)
    if isinstance(meta, dict) and RELATED_TASK_KEY in meta:
        related = meta[RELATED_TASK_KEY]
        yield related.get("taskId") if isinstance(related, dict) else None
