"""Which tasks a message names, and whether a result hands one out.

A task is asked for by its id alone, so an id is as good as what it stands for. Ids are strings and
compared byte by byte: 1 is no id, and what merely looks like one is another.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Set
from typing import Any, Final

from sidecar.model import CallKind
from sidecar.protocol.jsonrpc import Message
from sidecar.protocol.members import malformed
from sidecar.protocol.meta import RELATED_TASK_KEY
from sidecar.protocol.strictjson import fold

Json = Mapping[str, Any]

OF_ONE: Final = frozenset({"tasks/get", "tasks/result", "tasks/update", "tasks/cancel"})
"""Requests about one task; their results are about no other."""

MAX_LENGTH: Final = 1024
"""The longest id, in characters: it is sent in a header, too (SEP-2663, Routing Headers)."""

MAX_NAMED: Final = 500
"""The most tasks that one message may name: each is looked up."""

# The keys on the way to an id, and those under which one stands.
_READ: Final = frozenset({"taskId", "taskIds", "task", "tasks", "notifications", "_meta", RELATED_TASK_KEY})
_FOLDED: Final = frozenset(map(fold, _READ))


class Unreadable(Exception):  # noqa: N818 - a judgement of a message, not a failure of this program
    """A message names tasks in a way that cannot be read for certain; the text quotes nothing."""


# --- what clients say ----------------------------------------------------------------------------


def check_names(message: Message) -> None:
    """Refuse keys that a lenient parser takes for one that leads to a task's id.

    Raises:
        Refusal: `params_malformed`.
    """
    body = _body(message)
    meta = body.get("_meta")
    related = meta.get(RELATED_TASK_KEY) if isinstance(meta, dict) else None
    for holder in (body, body.get("task"), body.get("notifications"), meta, related):
        if isinstance(holder, dict) and any(name not in _READ and fold(name) in _FOLDED for name in holder):
            raise malformed("A parameter's name could be taken for one that names tasks.")


def asked(message: Message) -> tuple[str, ...]:
    """The tasks that a client's message names, each once: all of them have to be its sender's.

    Raises:
        Refusal: `params_malformed`: something else than an id stands where one should.
    """
    try:
        return tuple(sorted(named(_body(message))))
    except Unreadable as error:
        raise malformed(str(error)) from None


def _body(message: Message) -> Json:
    body = message.document.get("result") if message.kind is CallKind.RESPONSE else message.params
    return body if isinstance(body, dict) else {}


# --- what the backend says -----------------------------------------------------------------------


def starts_task(result: Json) -> bool:
    """Whether a result is a task instead of what was asked for.

    `resultType` says so in 2026-07-28 (SEP-2663, CreateTaskResult); in 2025-11-25 it is the `task`.
    """
    task = result.get("task")
    return result.get("resultType") == "task" or (isinstance(task, dict) and "taskId" in task)


def lifetime(result: Json) -> float:
    """Seconds that the backend keeps the task that a result hands out; 0 when it does not say."""
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
    """The tasks of a list that can be read, each with all that it names."""
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
    """A list without the tasks of others; order and cursor stay as they are."""
    return {**result, "tasks": [entry for entry, names in entries(result) if names <= mine]}


def named(body: Json) -> frozenset[str]:
    """The tasks that a result, or the parameters of a message, name.

    Raises:
        Unreadable: something else than an id stands where one should, or there are too many.
    """
    found: set[str] = set()
    for holder in (body, *_nested(body)):
        for value in _ids(holder):
            if not isinstance(value, str) or not 0 < len(value) <= MAX_LENGTH:
                raise Unreadable(f"A task id is a string of 1 to {MAX_LENGTH} characters.")
            found.add(value)
    if len(found) > MAX_NAMED:
        raise Unreadable(f"One message may name {MAX_NAMED} tasks at most.")
    return frozenset(found)


def _nested(body: Json) -> Iterator[Json]:
    """What a task holds: its result when it is finished, requests to its client while it waits (SEP-2663)."""
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
