"""Answers of clients to the sidecar's own questions, posted as responses to any sidecar and never forwarded."""

from __future__ import annotations

from sidecar.approval import ConfirmBy
from sidecar.protocol.elicitation.elicitation import AnswerAction, answer_of, asked_handle
from sidecar.proxy.calls.steps import ParsedCall
from sidecar.proxy.confirming.waiting import WaitingCalls
from sidecar.store.approval_store import ApprovalStore


class ClientAnswers:
    """Write answers to their approvals, and wake the calls that wait for them.

    Args:
        approvals: the approvals in the store.
        waiting: calls of this process that wait.
    """

    def __init__(self, approvals: ApprovalStore, waiting: WaitingCalls) -> None:
        self._approvals = approvals
        self._waiting = waiting

    async def take(self, parsed: ParsedCall) -> None:
        """Take a response with the id of a question; one that answers no pending question of its caller is ignored.

        In URL mode the client only says that it opens the page, where the answer is given: it can decline, not accept.

        Raises:
            Refusal: `store_unavailable`.
        """
        caller, call = parsed.caller, parsed.call
        handle = asked_handle(call.id)
        if handle is None:
            return
        found = await self._approvals.find(caller.issuer_id, caller.account, handle)
        if found is None or (found.subject, found.client_id) != (caller.subject, caller.client_id):
            return
        action = answer_of(call.document or {})
        accepted = action is AnswerAction.ACCEPT
        if accepted and found.by is not ConfirmBy.PERSON:
            return
        await self._approvals.answer(
            *(caller.issuer_id, caller.account, handle, caller.subject), accepted=accepted, failed=action is None
        )
        self._waiting.answered(parsed.account, handle, failed=action is None)
