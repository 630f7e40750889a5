"""Tasks in the backend's messages: bound to their caller before their ids are relayed; those of others are dropped.

The backend has no authentication and does not know the owner of a task. So a task that it returns in the answer
to a request belongs to the caller of that request, before the caller learns its id; and a message about a task
on a stream passes only to the owner of the task.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

from sidecar.errors import Refusal
from sidecar.model import Call, Caller
from sidecar.outcome import Event
from sidecar.protocol.results import Response, Unusable
from sidecar.protocol.tasks import task_ids
from sidecar.protocol.tasks.task_ids import Unreadable
from sidecar.proxy.ownership import Ownership

_AT_ONCE: Final = task_ids.MAX_NAMED


class TaskGuard:
    """Filter of the tasks that one caller may see.

    Args:
        ownership: knows the owners of tasks.
        caller: the recipient of the backend's messages.
        served: True when tasks are served in the revision that is spoken.
    """

    __slots__ = ("_caller", "_ownership", "_served")

    def __init__(self, ownership: Ownership, caller: Caller, *, served: bool) -> None:
        self._ownership = ownership
        self._caller = caller
        self._served = served

    async def answered(self, response: Response, call: Call | None) -> Response:
        """Return the response to one of the caller's requests, once all tasks that it names are the caller's.

        New ids in it become the caller's. A list loses the tasks of others.

        Args:
            response: the backend's.
            call: the request; None when it is no longer known (the response comes on another
                stream than the request's own): then only a new task becomes the caller's.

        Raises:
            Unusable: it names a task that is not the caller's, or its tasks cannot be read.
            Refusal: `store_unavailable`; the response must not be relayed.
        """
        result = response.result
        if result is None or not self._served:
            if response.event is Event.TASK_STARTED:  # none can be followed where tasks are not served
                raise Unusable("the backend returned a task that the client did not ask for")
            return response
        try:
            if _is_list(result, call):
                return await self._listed(response, result)
            names = task_ids.named(result)
            if call is not None and call.method in task_ids.OF_ONE:
                return _task_response(call, response, names)
            await self._bind_new(response, result, names, call)
        except Unreadable as error:
            raise Unusable(f"the backend names a task in an unusable way: {error}") from None
        return response

    def withdraw(self, response: Response) -> None:
        """Unbind a new task, because its response must not be relayed."""
        if self._served and response.event is Event.TASK_STARTED and response.result is not None:
            self._ownership.forget_tasks(self._caller, sorted(task_ids.named(response.result)))

    async def passes(self, message: Mapping[str, Any] | None) -> bool:
        """Return True when a notification or request of the backend names no task, or the caller's own.

        False when the id cannot be read or the store does not answer.
        """
        params = message.get("params") if message is not None else None
        try:
            names = task_ids.named(params) if isinstance(params, dict) else frozenset()
            return not names or await self._own(names) == names
        except (Unreadable, Refusal):
            return False

    async def _bind_new(
        self, response: Response, result: Mapping[str, Any], names: frozenset[str], call: Call | None
    ) -> None:
        started = response.event is Event.TASK_STARTED
        if started and not names:
            raise Unusable("the backend returned a task without an id")
        if names and (started or call is not None):
            if not await self._ownership.bind_tasks(self._caller, sorted(names), task_ids.lifetime(result)):
                raise Unusable("the backend returned a task that belongs to another caller")
        elif names and await self._own(names) != names:
            raise Unusable("the backend answered for a task that is not this caller's")

    async def _listed(self, response: Response, result: dict[str, Any]) -> Response:
        named = task_ids.named({**result, "tasks": []})
        mine = await self._own(named.union(*(names for _, names in task_ids.entries(result))))
        if not named <= mine:
            raise Unusable("the backend answered for a task that is not this caller's")
        return response.replaced(task_ids.owned(result, mine))

    async def _own(self, names: Iterable[str]) -> frozenset[str]:
        ordered = sorted(names)
        mine: set[str] = set()
        for start in range(0, len(ordered), _AT_ONCE):
            mine |= await self._ownership.own_tasks(self._caller, ordered[start : start + _AT_ONCE])
        return frozenset(mine)


def _task_response(call: Call, response: Response, names: frozenset[str]) -> Response:
    """Return the response to a request about one task; it starts none, whatever its type says."""
    if not names <= {call.params["taskId"]}:
        raise Unusable("the backend answered for another task than was asked for")
    return response if response.event is not Event.TASK_STARTED else replace(response, event=Event.RESULT)


def _is_list(result: Mapping[str, Any], call: Call | None) -> bool:
    return call.method == "tasks/list" if call is not None else isinstance(result.get("tasks"), list)
