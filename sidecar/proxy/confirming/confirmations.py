"""Step of a call that lacks nothing but a person's confirmation: ask for it in the way that its client can.

The pending approval is written before the question leaves. Nothing is forwarded or reserved until the answer: the call
that brings it, or that follows an answer on the account page, is admitted in one trip like any other.
"""

from __future__ import annotations

from dataclasses import replace

from sidecar.approval import ApprovalStatus, ApprovalUse, ConfirmBy
from sidecar.errors import ErrorCode
from sidecar.ledger.admission_refusals import cost, with_price
from sidecar.ledger.approval_records import Approval
from sidecar.policy.confirming import approval_claims
from sidecar.policy.confirming.confirm_rule import Confirm
from sidecar.protocol import elicitation
from sidecar.protocol.answers import InputRequest
from sidecar.proxy.admit import Admission, Admitted, Rejected, Unconfirmed
from sidecar.proxy.calls.steps import Decided
from sidecar.store.approval_store import ApprovalStore
from sidecar.system.random_ids import random_id


class Confirmations:
    """Questions to persons.

    Args:
        admission: admits calls that need no question after all, and those that were accepted.
        approvals: keeps questions and answers.
    """

    def __init__(self, admission: Admission, approvals: ApprovalStore) -> None:
        self._admission = admission
        self._approvals = approvals

    async def confirm(self, unconfirmed: Unconfirmed) -> Admitted | Rejected:
        """Return the admitted call, or the refusal or question that answers it.

        Raises:
            Refusal: `store_unavailable`; nothing is reserved.
        """
        decided, rule, call = unconfirmed.decided, unconfirmed.rule, unconfirmed.decided.parsed.call
        if unconfirmed.refusal.code is ErrorCode.CONFIRMATION_DECLINED:
            return await self._declined(unconfirmed)
        if rule.by is ConfirmBy.PAGE:
            await self.ask(unconfirmed)
            return unconfirmed
        if call.revision.stateless and approval_claims.can_ask(rule, elicitation.declared_by(call.params)):
            asked = await self.ask(unconfirmed)
            request = InputRequest(
                {elicitation.OWN_INPUT: elicitation.form(question(rule, asked))}, elicitation.state_of(asked.handle)
            )
            return Rejected(unconfirmed.refusal, unconfirmed.plan, unconfirmed.shadow, request)
        return await self.without_asking(unconfirmed, decided)

    async def ask(self, unconfirmed: Unconfirmed) -> Approval:
        """Write the pending approval of a call; the person is shown its arguments and the prices of the look."""
        decided, rule, use = unconfirmed.decided, unconfirmed.rule, unconfirmed.use
        caller = decided.parsed.caller
        asked = Approval(
            random_id(),
            *(caller.issuer_id, caller.subject, caller.account, caller.client_id),
            tool=use.tool,
            title=rule.title,
            message=rule.question(decided.decision.arguments),
            prices=unconfirmed.prices,
            arguments=use.arguments,
            rule=use.rule,
            by=rule.by,
        )
        return await self._approvals.ask(asked)

    async def without_asking(self, unconfirmed: Unconfirmed, decided: Decided) -> Admitted | Rejected:
        """Admit or refuse the call of a client that cannot ask a person, by the argument of the rule."""
        given = decided.parsed.call.params.get("arguments", {})
        claim = approval_claims.without_asking(unconfirmed.rule, given)
        if claim.refusal is None:
            return await self._admission.admit(_claiming(decided, None))
        refusal = with_price(claim.refusal, unconfirmed.prices)
        return Rejected(refusal, unconfirmed.plan, unconfirmed.shadow)

    async def admit(self, unconfirmed: Unconfirmed, approval: Approval, *, accepted: bool) -> Admitted | Rejected:
        """Admit a call after the answer to its question.

        Args:
            unconfirmed: the call.
            approval: the question.
            accepted: True when the person accepted in the client's form; an answer on the account page is in the store.
        """
        use = replace(unconfirmed.use, handle=approval.handle, accepted=accepted)
        return await self._admission.admit(_claiming(unconfirmed.decided, use))

    async def _declined(self, unconfirmed: Unconfirmed) -> Rejected:
        """Note that the person declined: the same state does not admit the call later."""
        caller, handle = unconfirmed.decided.parsed.caller, unconfirmed.use.handle
        if handle is not None:
            owner, client = (caller.issuer_id, caller.account, handle, caller.subject), caller.client_id
            status = await self._approvals.answer(*owner, accepted=False, client_id=client)
            if status in (None, ApprovalStatus.USED):
                refusal = unconfirmed.refusal.replace(code=ErrorCode.CONFIRMATION_EXPIRED, detail=None)
                return Rejected(refusal, unconfirmed.plan, unconfirmed.shadow)
        return unconfirmed


def question(rule: Confirm, asked: Approval) -> str:
    """Return the text of a form: the tool, the call and its price."""
    said = asked.message if rule.template is None else f"{rule.title}: {asked.message}"
    price = cost(asked.prices)
    return said if price is None else f"{said}\n{price}"


def _claiming(decided: Decided, use: ApprovalUse | None) -> Decided:
    """Return the call with another claim, and without the refusal for a missing one."""
    return replace(decided, decision=replace(decided.decision, refusal=None, approval=use))
