"""Confirmation of calls, as the pipeline uses it: posted answers, and the calls that wait for them."""

from __future__ import annotations

from sidecar.model import Call, CallKind
from sidecar.outcome import Event
from sidecar.protocol.elicitation.elicitation import is_question_id
from sidecar.proxy.admit import Admitted
from sidecar.proxy.confirmation.client_answers import ClientAnswers
from sidecar.proxy.confirmation.stream_questions import StreamQuestions
from sidecar.proxy.confirmation.waiting import WaitingCalls
from sidecar.store.approval_store import ApprovalStore
from sidecar.store.store import Store


class Confirmation:
    """Confirmation of calls in this process.

    Args:
        store: keeps the approvals.

    Attributes:
        waiting: the calls that wait.
    """

    def __init__(self, store: Store) -> None:
        approvals = ApprovalStore(store)
        self.waiting = WaitingCalls()
        self._answers = ClientAnswers(approvals, self.waiting)
        self._questions = StreamQuestions(approvals, self.waiting)

    async def take_answer(self, admitted: Admitted) -> None:
        """Take the response to a question; the backend has not asked it, and never sees it.

        Raises:
            Refusal: `store_unavailable`.
        """
        parsed = admitted.decided.parsed
        await self._answers.take(parsed)
        admitted.settlement.resolve(Event.RESULT)
        parsed.received.reply.answer(202, (), b"")

    def announced(self, account: str, handle: str, failed: bool) -> None:
        """Wake the calls that wait for an approval, which any sidecar or the account page has answered."""
        self.waiting.answered(account, handle, failed=failed)


def answers_question(call: Call) -> bool:
    """Return True for a response to a question of the sidecar."""
    return call.kind is CallKind.RESPONSE and is_question_id(call.id)
