"""Gates 5-7 as the pipeline meets them: one trip to the store, and what its answer means for the call."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sidecar.errors import ErrorCode, Refusal, Shape
from sidecar.identity.declined import Challenges
from sidecar.ledger import accounts, bindings, changes, refusals
from sidecar.ledger.keys import caller_keys, request_digest
from sidecar.ledger.store import Store
from sidecar.ledger.stored import UnreadableError
from sidecar.model import Application, Call, Caller, CallKind, Decision, Terms
from sidecar.outcome import Event
from sidecar.policy.rules import Policy, Tool
from sidecar.protocol.jsonrpc import canonical
from sidecar.proxy.passage import Passage
from sidecar.proxy.settling import Bill

LEASE_MARGIN: Final = 60.0
"""Seconds that a hold outlives its call's timeout before somebody else may resolve it."""

_DECLINED: Final = "The account holder did not grant the permission that this call needs; ask them before trying again."


@dataclass(frozen=True, slots=True)
class Grant:
    """A call that may happen.

    Attributes:
        scopes: what counts for it: token and consent record, expanded.
        plan: the account's current plan.
        usage: the answer of a tool that the sidecar serves itself.
    """

    scopes: frozenset[str]
    plan: str | None = None
    usage: Mapping[str, Any] | None = None


class Gates:
    """Who asks the store.

    Args:
        store: the one ordered connection.
        owner: names this process in its holds.
        lease_margin: seconds; see `LEASE_MARGIN`.
    """

    def __init__(self, store: Store, owner: str, lease_margin: float = LEASE_MARGIN) -> None:
        self._store = store
        self._owner = owner
        self._lease_margin = lease_margin
        self._challenges = Challenges()
        self.open_holds = 0
        """Calls whose price is reserved and not yet resolved by this process."""

    async def enter(self, passage: Passage, decision: Decision) -> Grant:
        """Pass gates 5-7, or be refused by them, or by gate 4 once they have been looked at.

        The passage gets the bill of what was reserved.

        Raises:
            Refusal: whatever refuses the call; nothing is reserved then.
        """
        policy, caller, call = passage.snapshot.policy, passage.the_caller, passage.the_call
        if decision.terms is None:
            await self._check_bindings(caller, call)
            passage.owe(Bill(self._store, None, call, None, passage.exchange, passage.client, self._closed))
            return Grant(policy.expand(caller.scopes))
        application = self._application(passage, decision, decision.terms)
        admission = await self._store.admit(application)
        passage.exchange.plan = admission.plan
        refusal = refusals.refusal(admission, application, policy.manage_url)
        if refusal is None and decision.refusal is not None:
            refusal = refusals.with_price(decision.refusal, admission.prices)
        if refusal is not None:
            raise self._softened(refusal, caller, policy)
        passage.exchange.reserved = admission.prices
        held, operation = application if admission.held else None, passage.operation
        passage.owe(Bill(self._store, held, call, operation, passage.exchange, passage.client, self._closed))
        self.open_holds += admission.held
        return Grant(
            policy.effective(caller.scopes, admission.consent_scopes),
            admission.plan,
            await self._usage(passage) if isinstance(operation, Tool) and operation.serve is not None else None,
        )

    def _closed(self) -> None:
        self.open_holds -= 1

    def _application(self, passage: Passage, decision: Decision, terms: Terms) -> Application:
        call = passage.the_call
        return Application(
            call_id=passage.exchange.request_id,
            owner=self._owner,
            caller=passage.the_caller,
            look=decision.refusal is not None,
            depth=decision.depth,
            terms=terms,
            demands=decision.demands,
            on_unknown=decision.on_unknown,
            lease=round((passage.timeout(decision) + self._lease_margin) * 1000),
            session=call.session,
            request=_request(call),
            tasks=() if _undeclared(decision) else call.tasks,
        )

    async def _usage(self, passage: Passage) -> Mapping[str, Any]:
        """What `serve: usage` answers, this call included: what it reserved counts as used already.

        Raises:
            Refusal: `store_unavailable`, also when what is stored cannot be read.
        """
        reply = await self._store.run(changes.inspect(caller_keys(passage.the_caller)))
        try:
            seen = changes.inspected(reply)
        except UnreadableError as fault:
            raise Refusal(ErrorCode.STORE_UNAVAILABLE, log=str(fault), retry_after=1) from fault
        passage.the_bill.resolve(Event.RESULT)
        return accounts.usage(seen.state, passage.snapshot.policy.account_terms, seen.now)

    async def _check_bindings(self, caller: Caller, call: Call) -> None:
        """Calls that need a token only still may not touch somebody else's session or task."""
        if call.session is None and not call.tasks:
            return
        mine = bindings.owned(await self._store.run(bindings.touch(caller, call.session, call.tasks)))
        if call.session is not None and not mine[0]:
            raise Refusal(ErrorCode.SESSION_UNKNOWN)
        if not all(mine):
            raise Refusal(ErrorCode.TASK_UNKNOWN)

    async def bind(self, caller: Caller, session: str) -> bool:
        """Bind a session to its caller, before anybody learns its id; False when it is bound to another.

        Raises:
            Refusal: `store_unavailable`.
        """
        return all(bindings.owned(await self._store.run(bindings.bind_session(caller, session))))

    async def bind_tasks(self, caller: Caller, tasks: Sequence[str], lifetime: float) -> bool:
        """Bind tasks to their caller, before anybody learns their ids; False when one is bound to another.

        Args:
            caller: whose they will be.
            tasks: their ids.
            lifetime: seconds that the backend keeps them.

        Raises:
            Refusal: `store_unavailable`.
        """
        return all(bindings.owned(await self._store.run(bindings.bind_tasks(caller, tasks, lifetime))))

    async def own_tasks(self, caller: Caller, tasks: Sequence[str]) -> frozenset[str]:
        """Which of these tasks are the caller's; they live on.

        Raises:
            Refusal: `store_unavailable`.
        """
        mine = bindings.owned(await self._store.run(bindings.touch(caller, None, tasks)))
        return frozenset(task for task, own in zip(tasks, mine, strict=True) if own)

    async def unbind(self, caller: Caller, session: str) -> None:
        """Forget a session that has ended.

        Raises:
            Refusal: `store_unavailable`.
        """
        await self._store.run(bindings.end_session(caller, session))

    def _softened(self, refusal: Refusal, caller: Caller, policy: Policy) -> Refusal:
        """Tell the model, instead of challenging again, when the person has declined these scopes."""
        if refusal.code is not ErrorCode.INSUFFICIENT_SCOPE or refusal.shape is not Shape.CHALLENGE:
            return refusal
        # A challenge names scopes of this policy only, whatever else the token carries.
        refusal.scopes = tuple(scope for scope in refusal.scopes if scope in policy.scopes.rules)
        if not self._challenges.declined(caller, refusal.scopes, time.time()):
            return refusal
        return Refusal(refusal.code, _DECLINED, shape=Shape.TOOL_RESULT, scopes=refusal.scopes, rule=refusal.rule)


def _request(call: Call) -> str | None:
    """What stands for this request while it is open on its session."""
    if call.session is None or call.id is None or call.kind is not CallKind.REQUEST:
        return None
    return request_digest(call.session, canonical(call.id))


def _undeclared(decision: Decision) -> bool:
    """Whether the method does not exist for clients: then nor does what it is about."""
    return decision.refusal is not None and decision.refusal.code is ErrorCode.METHOD_NOT_ALLOWED
