"""Guard of the answer to an approved call: a backend's own request for input keeps the approval."""

from __future__ import annotations

from sidecar.model import Call, Caller
from sidecar.outcome import Event
from sidecar.protocol.results import Response
from sidecar.proxy.confirming.approved_call import ApprovedCall
from sidecar.proxy.ownership import Ownership
from sidecar.proxy.relay.task_guard import TaskGuard


class CarryingGuard(TaskGuard):
    """Filter of tasks that also carries the approval of the call through the backend's requests for input.

    Args:
        ownership: knows the owners of tasks.
        caller: the recipient of the backend's messages.
        served: True when tasks are served in the revision that is spoken.
        approved: the approval that the call has used.
    """

    __slots__ = ("_approved",)

    def __init__(self, ownership: Ownership, caller: Caller, *, served: bool, approved: ApprovedCall) -> None:
        super().__init__(ownership, caller, served=served)
        self._approved = approved

    async def answered(self, response: Response, call: Call | None) -> Response:
        """Return the response as its client may see it, as `TaskGuard` does."""
        response = await super().answered(response, call)
        if response.event is not Event.INPUT_REQUIRED or response.result is None:
            return response
        return response.replaced(await self._approved.carry(response.result))
