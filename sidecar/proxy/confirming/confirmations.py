"""Step of a call that lacks nothing but a person's confirmation: ask for it in the way that its client can.

The pending approval is written before the question leaves. Nothing is forwarded or reserved until the answer: the call
that brings it, that waits for it on its own stream, or that follows an answer on the account page, is admitted in one
trip like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from sidecar.approval import ApprovalStatus, ApprovalUse, ConfirmBy
from sidecar.errors import ErrorCode
from sidecar.ledger.admission_refusals import with_price
from sidecar.ledger.approval_records import Approval
from sidecar.model import Call, CallKind
from sidecar.outcome import Event
from sidecar.policy.confirming import approval_claims
from sidecar.protocol.answers import InputRequest
from sidecar.protocol.elicitation import elicitation, embedded_question
from sidecar.protocol.elicitation.elicitation import ElicitationMode, Modes
from sidecar.proxy.admit import Admission, Admitted, Rejected, Unconfirmed
from sidecar.proxy.calls.steps import Decided, ParsedCall
from sidecar.proxy.confirming.client_answers import ClientAnswers
from sidecar.proxy.confirming.questions import page_address, page_refusal, question
from sidecar.proxy.confirming.stream_questions import StreamQuestions
from sidecar.proxy.confirming.waiting import WaitEnd, WaitingCalls
from sidecar.proxy.snapshot import Snapshot
from sidecar.store.approval_store import ApprovalStore
from sidecar.store.store import Store
from sidecar.system.random_ids import random_id

MAX_QUESTIONS: Final = 3
"""Most questions about one call on its stream: its price may rise while a person reads."""

_REFUSED: Final = {
    WaitEnd.DECLINED: ErrorCode.CONFIRMATION_DECLINED,
    WaitEnd.UNAVAILABLE: ErrorCode.CONFIRMATION_UNAVAILABLE,
    WaitEnd.EXPIRED: ErrorCode.CONFIRMATION_EXPIRED,
    WaitEnd.STOPPING: ErrorCode.OVERLOADED,
}


class CallCancelledError(Exception):
    """The client has cancelled a call that waited for its confirmation, and expects no answer."""


class Confirmations:
    """Questions to persons, and their answers.

    Args:
        admission: admits calls that need no question after all, and those that were accepted.
        store: keeps questions and answers.
        in_force: returns the settings and policy in force.

    Attributes:
        waiting: calls of this process that wait for an answer.
    """

    def __init__(self, admission: Admission, store: Store, in_force: Callable[[], Snapshot]) -> None:
        self._admission = admission
        self._approvals = ApprovalStore(store)
        self._in_force = in_force
        self.waiting = WaitingCalls()
        self._answers = ClientAnswers(self._approvals, self.waiting)
        self._questions = StreamQuestions(self._approvals, self.waiting)

    async def confirm(self, unconfirmed: Unconfirmed) -> Admitted | Rejected:
        """Return the admitted call, or the refusal or question that answers it.

        Raises:
            Refusal: `store_unavailable`, or another that ends the session; nothing is reserved.
            CallCancelledError: the client has cancelled the call.
        """
        rule, call = unconfirmed.rule, unconfirmed.decided.parsed.call
        if unconfirmed.refusal.code is ErrorCode.CONFIRMATION_DECLINED:
            return await self._declined(unconfirmed)
        modes = await self._modes(unconfirmed.decided.parsed)
        if rule.by is ConfirmBy.PAGE:
            return await self._on_page(unconfirmed, modes)
        if not approval_claims.can_ask(rule, modes):
            return await self._without_asking(unconfirmed)
        if not call.revision.stateless:
            return await self._on_stream(unconfirmed)
        asked = await self._ask(unconfirmed)
        return _in_result(unconfirmed, asked, elicitation.form(question(rule, asked), call.revision))

    async def take_answer(self, admitted: Admitted) -> None:
        """Take the response to a question: the backend has not asked it, and never sees it.

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

    async def _modes(self, parsed: ParsedCall) -> Modes:
        """Return the modes in which the client of a call can ask its user; a session has declared them once."""
        call = parsed.call
        if call.revision.stateless:
            declared = elicitation.declared_modes(embedded_question.declared_by(call.params))
        elif call.session is None:
            return elicitation.NO_MODES
        else:
            declared = await self._admission.ownership.modes(parsed.caller, call.session)
        return elicitation.usable_modes(declared, call.revision)

    async def _on_stream(self, unconfirmed: Unconfirmed) -> Admitted | Rejected:
        """Ask on the stream of the call, and admit it once it is accepted; a higher price is asked about again."""
        rule, parsed = unconfirmed.rule, unconfirmed.decided.parsed
        for _ in range(MAX_QUESTIONS):
            asked = await self._ask(unconfirmed)
            text, revision = question(rule, asked), parsed.call.revision
            if rule.by is ConfirmBy.PERSON:
                params = elicitation.form(text, revision)
            else:
                address = page_address(parsed.received.snapshot.settings, asked.handle) or ""
                params = elicitation.page(text, address, asked.handle, revision)
            admission = await self._answered(unconfirmed, asked, params)
            if not (isinstance(admission, Unconfirmed) and _is_missing(admission)):
                return admission
            unconfirmed = admission
        return unconfirmed

    async def _answered(
        self, unconfirmed: Unconfirmed, asked: Approval, params: Mapping[str, Any] | None
    ) -> Admitted | Rejected:
        """Wait for the answer to a question on the stream of the call; admit or refuse the call by it."""
        end = await self._questions.ask(unconfirmed.decided.parsed, asked, params)
        if end is WaitEnd.CANCELLED:
            raise CallCancelledError
        if end is WaitEnd.ACCEPTED and self._is_unchanged(unconfirmed):
            use = replace(unconfirmed.use, handle=asked.handle, accepted=False)  # the answer is in the store
            return await self._admission.admit(_claiming(unconfirmed.decided, use))
        code = _REFUSED.get(end, ErrorCode.CONFIRMATION_EXPIRED)
        return _refused(unconfirmed, code)

    def _is_unchanged(self, unconfirmed: Unconfirmed) -> bool:
        """Return True while the policy in force has the rule that the person was asked about."""
        tool = self._in_force().policy.tools.get(unconfirmed.use.tool)
        return tool is not None and tool.confirm is not None and tool.confirm.digest == unconfirmed.use.rule

    async def _on_page(self, unconfirmed: Unconfirmed, modes: Modes) -> Admitted | Rejected:
        """Send the person to the account page: through the client where it can open pages, else by the refusal."""
        decided, rule = unconfirmed.decided, unconfirmed.rule
        parsed = decided.parsed
        call, settings = parsed.call, parsed.received.snapshot.settings
        can_open = ElicitationMode.URL in modes
        if settings.account_page is None or (not can_open and rule.is_argument_true(_arguments(call))):
            return await self._without_asking(unconfirmed)
        if can_open and not call.revision.stateless:
            return await self._on_stream(unconfirmed)
        opened = await self._opened(unconfirmed) if can_open else None
        if opened is not None:
            admission = await self._answered(unconfirmed, opened, None)
            if not (isinstance(admission, Unconfirmed) and _is_missing(admission)):
                return admission
            unconfirmed = admission
        asked = await self._ask(unconfirmed)
        address = page_address(settings, asked.handle) or ""
        if not can_open:
            return replace(unconfirmed, refusal=page_refusal(unconfirmed.refusal, address))
        return _in_result(
            unconfirmed, asked, elicitation.page(question(rule, asked), address, asked.handle, call.revision)
        )

    async def _opened(self, unconfirmed: Unconfirmed) -> Approval | None:
        """Return the question whose page the client has opened; None when it is over, or about another call.

        It may be answered by now: it was pending, or too cheap, when the store judged it.
        """
        use, caller = unconfirmed.use, unconfirmed.decided.parsed.caller
        if not use.accepted or use.handle is None:
            return None
        found = await self._approvals.find(caller.issuer_id, caller.account, use.handle)
        if found is None or found.status is ApprovalStatus.USED:
            return None
        named = (found.subject, found.client_id, found.tool, found.arguments, found.rule)
        return found if named == (caller.subject, caller.client_id, use.tool, use.arguments, use.rule) else None

    async def _ask(self, unconfirmed: Unconfirmed) -> Approval:
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

    async def _without_asking(self, unconfirmed: Unconfirmed) -> Admitted | Rejected:
        """Admit or refuse the call of a client that cannot ask a person, by the argument of the rule."""
        decided = unconfirmed.decided
        claim = approval_claims.without_asking(unconfirmed.rule, _arguments(decided.parsed.call))
        if claim.refusal is None:
            return await self._admission.admit(_claiming(decided, None))
        refusal = with_price(claim.refusal, unconfirmed.prices)
        return Rejected(refusal, unconfirmed.plan, unconfirmed.shadow)

    async def _declined(self, unconfirmed: Unconfirmed) -> Rejected:
        """Note that the person declined: the same state does not admit the call later."""
        caller, handle = unconfirmed.decided.parsed.caller, unconfirmed.use.handle
        if handle is not None:
            owner, client = (caller.issuer_id, caller.account, handle, caller.subject), caller.client_id
            status = await self._approvals.answer(*owner, accepted=False, client_id=client)
            if status in (None, ApprovalStatus.USED):
                return _refused(unconfirmed, ErrorCode.CONFIRMATION_EXPIRED)
        return unconfirmed


def answers_question(call: Call) -> bool:
    """Return True for a response to a question of the sidecar."""
    return call.kind is CallKind.RESPONSE and elicitation.is_question_id(call.id)


def _is_missing(unconfirmed: Unconfirmed) -> bool:
    return unconfirmed.refusal.code is ErrorCode.CONFIRMATION_REQUIRED


def _in_result(unconfirmed: Unconfirmed, asked: Approval, params: Mapping[str, Any]) -> Rejected:
    """Return the question as the answer of the call (2026-07-28)."""
    requests = {embedded_question.OWN_INPUT: embedded_question.embedded(params)}
    request = InputRequest(requests, embedded_question.state_of(asked.handle))
    return Rejected(unconfirmed.refusal, unconfirmed.plan, unconfirmed.shadow, request)


def _refused(unconfirmed: Unconfirmed, code: ErrorCode) -> Rejected:
    refusal = unconfirmed.refusal
    shape, status = code.row.shape, code.row.status
    made = refusal.replace(code=code, detail=None, shape=shape, status=status, data=None)
    return Rejected(made, unconfirmed.plan, unconfirmed.shadow)


def _arguments(call: Call) -> Mapping[str, Any]:
    given: Mapping[str, Any] = call.params.get("arguments", {})
    return given


def _claiming(decided: Decided, use: ApprovalUse | None) -> Decided:
    """Return the call with another claim, and without the refusal for a missing one."""
    return replace(decided, decision=replace(decided.decision, refusal=None, approval=use))
