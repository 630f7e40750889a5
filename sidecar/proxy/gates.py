"""Gates 5-7 as the pipeline meets them: one trip to the store, and what its answer means for the call."""

from __future__ import annotations

import time
from dataclasses import dataclass

from sidecar.errors import ErrorCode, Refusal, Shape
from sidecar.identity.declined import Challenges
from sidecar.ledger import refusals
from sidecar.ledger.sessions import Sessions
from sidecar.ledger.store import Store
from sidecar.model import Application, Call, CallKind, Caller, Decision, Exchange
from sidecar.policy.rules import Policy

LEASE_MARGIN = 60.0
"""Seconds that a hold outlives its call's timeout before somebody else may resolve it."""


@dataclass(frozen=True, slots=True)
class Grant:
    """A call that may happen.

    Attributes:
        scopes: what counts for it: token and consent record, expanded.
        plan: the account's current plan.
        held: the application whose hold must be resolved; None when nothing was reserved.
    """

    scopes: frozenset[str]
    plan: str | None = None
    held: Application | None = None


class Gates:
    """Who asks the store.

    Args:
        store: the one ordered connection.
        owner: names this process in its holds.
        lease_margin: seconds; see `LEASE_MARGIN`.
    """

    def __init__(self, store: Store, owner: str, lease_margin: float = LEASE_MARGIN) -> None:
        self._store = store
        self._sessions = Sessions(store)
        self._owner = owner
        self._lease_margin = lease_margin
        self._challenges = Challenges()

    async def enter(
        self, policy: Policy, caller: Caller, call: Call, decision: Decision, exchange: Exchange, timeout: float
    ) -> Grant:
        """Pass gates 5-7, or be refused by them, or by gate 4 once they have been looked at.

        Args:
            timeout: seconds the call may take; its hold lives longer.

        Raises:
            Refusal: whatever refuses the call; nothing is reserved then.
        """
        if decision.terms is None:
            await self._check_session(caller, call)
            return Grant(policy.expand(caller.scopes))
        application = Application(
            call_id=exchange.request_id,
            owner=self._owner,
            caller=caller,
            look=decision.refusal is not None,
            depth=decision.depth,
            terms=decision.terms,
            demands=decision.demands,
            on_unknown=decision.on_unknown,
            lease=round((timeout + self._lease_margin) * 1000),
            session=call.session,
        )
        admission = await self._store.admit(application)
        exchange.plan = admission.plan
        refusal = refusals.refusal(admission, application, policy.manage_url)
        if refusal is None and decision.refusal is not None:
            refusal = refusals.with_price(decision.refusal, admission.prices)
        if refusal is not None:
            raise self._softened(refusal, caller)
        exchange.reserved = admission.prices
        return Grant(
            policy.effective(caller.scopes, admission.consent_scopes),
            admission.plan,
            application if admission.held else None,
        )

    async def _check_session(self, caller: Caller, call: Call) -> None:
        """Calls that need a token only still may not touch somebody else's session."""
        if call.session is not None and not await self._sessions.check(caller, call.session):
            raise Refusal(ErrorCode.SESSION_UNKNOWN)

    async def bind(self, caller: Caller, session: str) -> None:
        """Bind a session to its caller, before anybody learns its id.

        Raises:
            Refusal: `store_unavailable`.
        """
        await self._sessions.bind(caller, session)

    async def unbind(self, caller: Caller, session: str) -> None:
        """Forget a session that has ended."""
        await self._sessions.unbind(caller, session)

    def _softened(self, refusal: Refusal, caller: Caller) -> Refusal:
        """Tell the model instead of challenging again when the person has declined the scopes."""
        if refusal.code is not ErrorCode.INSUFFICIENT_SCOPE or refusal.shape is not Shape.CHALLENGE:
            return refusal
        if self._challenges.declined(caller, refusal.scopes, time.time()):
            detail = "The account holder did not grant the permission that this call needs; ask them before retrying."
            return Refusal(refusal.code, detail, shape=Shape.TOOL_RESULT, scopes=refusal.scopes, rule=refusal.rule)
        return refusal


def is_request_with_session(call: Call) -> bool:
    """Whether another request of the same id on the same session would be mistaken for this one."""
    return call.kind is CallKind.REQUEST and call.session is not None
