"""The tasks in the backend's messages: bound to their caller before their ids are relayed, others' kept back.

The backend has no authentication and cannot tell whose a task is. So what it hands out in the answer
to somebody's request is theirs, from before they learn its id; and what it says of a task on a stream
passes only to whose it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

from sidecar.errors import Refusal
from sidecar.model import Call, Caller
from sidecar.outcome import Event
from sidecar.protocol import task_ids
from sidecar.protocol.results import Response, Unusable
from sidecar.protocol.task_ids import Unreadable
from sidecar.proxy.gates import Gates

_AT_ONCE: Final = task_ids.MAX_NAMED


class TaskGuard:
    """What one caller may see of tasks.

    Args:
        gates: asked whose they are.
        caller: whom the backend's messages are for.
        served: whether tasks are served, in the revision that is spoken.
    """

    def __init__(self, gates: Gates, caller: Caller, *, served: bool) -> None:
        self._gates = gates
        self._caller = caller
        self._served = served

    async def answered(self, response: Response, call: Call | None) -> Response:
        """The response to one of the caller's requests, once all the tasks that it names are the caller's.

        Ids that are new in it become the caller's. A list loses the tasks of others.

        Args:
            response: the backend's.
            call: the request; None when it is not known any more (the response comes on another
                stream than it was asked on): then only a task that is handed out becomes the caller's.

        Raises:
            Unusable: it names a task that is not the caller's, or none can be told for certain.
            Refusal: `store_unavailable`; the response must not be relayed.
        """
        result = response.result
        if result is None or not self._served:
            return _unasked(response)
        try:
            if _is_list(result, call):
                return await self._listed(response, result)
            names = task_ids.named(result)
            if call is not None and call.method in task_ids.OF_ONE:
                return _about(call, response, names)
            await self._handed_out(response, result, names, call)
        except Unreadable as error:
            raise Unusable(f"the backend names a task in no usable way: {error}") from None
        return response

    async def passes(self, message: Mapping[str, Any] | None) -> bool:
        """Whether a notification or request of the backend names no task, or the caller's own.

        What cannot be told, because the id is none or the store does not answer, is no.
        """
        params = message.get("params") if message is not None else None
        try:
            names = task_ids.named(params) if isinstance(params, dict) else frozenset()
            return not names or await self._own(names) == names
        except (Unreadable, Refusal):
            return False

    async def _handed_out(
        self, response: Response, result: Mapping[str, Any], names: frozenset[str], call: Call | None
    ) -> None:
        started = response.event is Event.TASK_STARTED
        if started and not names:
            raise Unusable("the backend handed back a task without an id")
        if names and (started or call is not None):
            if not await self._gates.bind_tasks(self._caller, sorted(names), task_ids.lifetime(result)):
                raise Unusable("the backend handed out a task that is another caller's")
        elif names and await self._own(names) != names:
            raise Unusable("the backend answered for a task that is not this caller's")

    async def _listed(self, response: Response, result: dict[str, Any]) -> Response:
        beside = task_ids.named({**result, "tasks": []})
        mine = await self._own(beside.union(*(names for _, names in task_ids.entries(result))))
        if not beside <= mine:
            raise Unusable("the backend answered for a task that is not this caller's")
        return response.replaced(task_ids.owned(result, mine))

    async def _own(self, names: Iterable[str]) -> frozenset[str]:
        ordered = sorted(names)
        mine: set[str] = set()
        for start in range(0, len(ordered), _AT_ONCE):
            mine |= await self._gates.own_tasks(self._caller, ordered[start : start + _AT_ONCE])
        return frozenset(mine)


def _unasked(response: Response) -> Response:
    """A response where tasks are not served: none can be followed."""
    if response.event is Event.TASK_STARTED:
        raise Unusable("the backend handed back a task, which nobody asked for")
    return response


def _about(call: Call, response: Response, names: frozenset[str]) -> Response:
    """The response to a request about one task, which starts none, whatever type it says it is."""
    if not names <= {call.params["taskId"]}:
        raise Unusable("the backend answered for another task than was asked for")
    return response if response.event is not Event.TASK_STARTED else replace(response, event=Event.RESULT)


def _is_list(result: Mapping[str, Any], call: Call | None) -> bool:
    return call.method == "tasks/list" if call is not None else isinstance(result.get("tasks"), list)
