"""Approval that a call has used: given back when nothing was sent, carried when the backend asks for input."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sidecar.approval import ApprovalStatus, ConfirmBy
from sidecar.ledger.approval_records import Approval
from sidecar.model import Application, Price
from sidecar.protocol.elicitation import embedded_question
from sidecar.protocol.results import Result, Unusable
from sidecar.store.approval_store import ApprovalStore
from sidecar.system.random_ids import random_id

MAX_STATE: Final = 64 * 1024
"""Most characters of a backend's `requestState` that is kept with an approval."""


@dataclass(frozen=True, slots=True, eq=False)
class ApprovedCall:
    """Approval that an admitted call has used.

    Attributes:
        approvals: keeps it.
        application: the application that used it.
        title: the tool's name for people.
        prices: the amounts that the call has reserved.
    """

    approvals: ApprovalStore
    application: Application
    title: str
    prices: tuple[Price, ...]

    def give_back(self) -> None:
        """Make it usable again: nothing of the call was sent, and no hold is released."""
        self.approvals.give_back(self.application)

    async def carry(self, result: Mapping[str, Any]) -> Result:
        """Return a backend's request for input with a state of the sidecar's, which stands for the backend's.

        The retry has the same approval, so that a person is asked once, and its arguments cannot change in between.

        Raises:
            Unusable: the backend's state is none, or too long to be kept.
            Refusal: `store_unavailable`.
        """
        state, use, caller = result.get("requestState"), self.application.approval, self.application.caller
        if use is None:
            raise ValueError("the call has used no approval")
        if state is not None and not isinstance(state, str):
            raise Unusable("the backend's requestState is no string")
        if state is not None and len(state) > MAX_STATE:
            raise Unusable(f"the backend's requestState has more than {MAX_STATE} characters")
        carried = Approval(
            random_id(),
            *(caller.issuer_id, caller.subject, caller.account, caller.client_id),
            tool=use.tool,
            title=self.title,
            message="",
            prices=self.prices,
            arguments=use.arguments,
            rule=use.rule,
            by=ConfirmBy.PERSON,  # an identical call without this state does not find it
            status=ApprovalStatus.ACCEPTED,
            carried=state,
        )
        kept = await self.approvals.ask(carried)
        return {**result, "requestState": embedded_question.state_of(kept.handle)}
