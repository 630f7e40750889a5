"""Gates 5-7 in the pipeline: one trip to the store, and the meaning of its answer for the call."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Final, Protocol

from sidecar.approval import ApprovalUse
from sidecar.errors import ErrorCode, Refusal, ShadowRefusal
from sidecar.identity.recent import Owner
from sidecar.ledger import admission_refusals
from sidecar.ledger.shadow import shadow_refusals
from sidecar.model import AdmissionCode, AdmissionReply, Application, Call, Caller, CallKind, Decision, Price
from sidecar.outcome import Eviction
from sidecar.policy.confirming.confirm_rule import Confirm
from sidecar.protocol.answers import InputRequest
from sidecar.protocol.jsonrpc import canonical
from sidecar.proxy.calls.leases import HoldLease
from sidecar.proxy.calls.steps import Decided
from sidecar.proxy.confirming.approved_call import ApprovedCall
from sidecar.proxy.ownership import Ownership
from sidecar.proxy.scope_challenges import ScopeChallenges
from sidecar.proxy.settle import ReservedHold, Settlement
from sidecar.store.approval_store import ApprovalStore
from sidecar.store.commands.keys import request_digest
from sidecar.store.store import Store
from sidecar.terms import Terms

# Members of enums as constants: as attributes of their classes they take ten times as long.
_ADMITTED: Final = AdmissionCode.ADMITTED

_NO_SHADOW: Final[tuple[ShadowRefusal, ...]] = ()

LEASE_MARGIN: Final = 60.0
"""Seconds that a hold outlives its call's timeout before another process may resolve it."""

_CONFIRMATIONS: Final = frozenset({ErrorCode.CONFIRMATION_REQUIRED, ErrorCode.CONFIRMATION_DECLINED})
_SKEW: Final = 0.5
"""Part of the margin for a store clock that runs ahead: it ends the safe part of a lease early."""


@dataclass(slots=True, eq=False)
class Admitted:
    """Call that may be forwarded.

    Attributes:
        decided: the call and its decision.
        scopes: the scopes that count for it: token and consent record, expanded.
        settlement: resolved with its outcome.
        deadline: latest end of the call, on the event loop's clock, which is the monotonic one. It counts from before
            the lease: a process that hung during the admission must not send a call after its lease has expired.
        plan: the account's current plan.
        prices: the reserved amounts, one per demand.
        consented: scopes of the consent record; None when it lists none.
        shadow: refusals of gates 6 and 7 that rules in shadow mode would have made.
        approved: the approval of a person that it has used.
    """

    decided: Decided
    scopes: frozenset[str]
    settlement: Settlement
    deadline: float
    plan: str | None = None
    prices: tuple[Price, ...] = ()
    consented: Iterable[str] | None = None
    shadow: tuple[ShadowRefusal, ...] = ()
    approved: ApprovedCall | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Rejected:
    """Call that gate 4, or one of gates 5-7, has refused; nothing is reserved.

    Attributes:
        refusal: the answer.
        plan: the account's current plan, for the log.
        shadow: as in `Admitted`.
        asked: the question to a person that is the answer instead.
    """

    refusal: Refusal
    plan: str | None
    shadow: tuple[ShadowRefusal, ...] = ()
    asked: InputRequest | None = None


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Unconfirmed(Rejected):
    """Call that is refused for nothing but a person's confirmation; `proxy.confirming` asks for it.

    Attributes:
        decided: the call and its decision.
        rule: the tool's confirmation.
        use: the approval that the call needs, or has had.
        prices: the amounts that it would reserve.
    """

    decided: Decided
    rule: Confirm
    use: ApprovalUse
    prices: tuple[Price, ...]


class Evictions(Protocol):
    """Recorder of evictions."""

    def evicted(self, caller: Caller, eviction: Eviction) -> None:
        """Record the session or task that was evicted for one of this caller's; both belong to one account."""

    def challenge_evicted(self, owner: Owner | None) -> None:
        """Record an evicted challenge: its client will be challenged once more for the same scopes."""


class Admission:
    """Run gates 5-7 against the store.

    Args:
        store: the one ordered connection.
        owner: the name of this process in its holds.
        lease_margin: seconds; see `LEASE_MARGIN`.
        evictions: records evicted sessions, tasks and challenges.

    Attributes:
        ownership: sessions and tasks of the backend, bound to their callers.
        open_holds: calls with a reserved price that this process has not resolved yet.
        revoked: called with the caller of each call denied by a revocation, and the second of the revocation.
    """

    def __init__(
        self,
        store: Store,
        owner: str,
        lease_margin: float = LEASE_MARGIN,
        evictions: Evictions | None = None,
    ) -> None:
        self._store = store
        self._approvals = ApprovalStore(store)
        self._owner = owner
        self._lease_margin = lease_margin
        self._challenges = ScopeChallenges() if evictions is None else ScopeChallenges(evictions.challenge_evicted)
        self.ownership = Ownership(store) if evictions is None else Ownership(store, evictions.evicted)
        self.open_holds = 0
        self.revoked: Callable[[Caller, int | None], None] = lambda _caller, _since: None

    async def admit(self, decided: Decided) -> Admitted | Rejected:
        """Pass gates 5-7; a refusal of gate 4 is answered only after a dry run of them.

        Raises:
            Refusal: the store cannot be asked, or the call needs a token only and is about another caller's session
                or task; nothing is reserved.
        """
        parsed, decision = decided.parsed, decided.decision
        policy, caller = parsed.received.snapshot.policy, parsed.caller
        timeout = decided.timeout
        deadline = time.monotonic() + timeout
        if decision.terms is None:
            await self.ownership.check(caller, parsed.call)
            settlement = Settlement(self._store.outbox, decided, None, self._closed)
            return Admitted(decided, policy.expand(caller.scopes), settlement, deadline)
        application = self._application(decided, decision, decision.terms, timeout)
        lease = None
        if application.demands:
            lease = HoldLease(application.lease / 1000, self._lease_margin * _SKEW)  # begins before the store is asked
        admission = await self._store.admit(application)
        shadow = shadow_refusals(admission, application) if application.demands or admission.plan else _NO_SHADOW
        if admission.code is not _ADMITTED or decision.refusal is not None:
            refusal = self._refusal(admission, application, decision, policy.manage_url)
            if refusal is not None:
                return self._rejected(self._answered(refusal, decided, admission), decided, admission, shadow)
        if application.session is not None or application.tasks:
            self.ownership.used(caller, application.session, application.tasks)
        hold = None
        if admission.held and lease is not None:
            hold = ReservedHold(application, lease, admission.prices)
            self.open_holds += 1
        approved = None
        if decision.approval is not None:
            approved = self._approved(application, admission.approval, decided, admission)
            decided = _with_state(decided, admission.carried)
        scopes = policy.effective(caller.scopes, admission.consent_scopes)
        self._challenges.satisfied(caller, scopes)
        settlement = Settlement(self._store.outbox, decided, hold, self._closed, approved)
        plan, prices, consented = admission.plan, admission.prices, admission.consent_scopes
        return Admitted(decided, scopes, settlement, deadline, plan, prices, consented, shadow, approved)

    def _refusal(
        self, admission: AdmissionReply, application: Application, decision: Decision, manage_url: str | None
    ) -> Refusal | None:
        """Return the refusal of gates 5-7, or else that of gate 4."""
        refusal = None
        if admission.code is not _ADMITTED:
            refusal = admission_refusals.refusal(admission, application, manage_url)
            if admission.code is AdmissionCode.CONSENT_REVOKED:
                self.revoked(application.caller, admission.consent_since)
        if refusal is None and decision.refusal is not None:
            refusal = admission_refusals.with_price(decision.refusal, admission.prices)
        return refusal

    def _approved(
        self, application: Application, handle: str | None, decided: Decided, admission: AdmissionReply
    ) -> ApprovedCall:
        if handle is None:  # no answer of the store may let a call pass that claims an approval
            raise Refusal(ErrorCode.INTERNAL, log="admitted without the approval that it needs")
        confirm = None if decided.tool is None else decided.tool.confirm
        title = "" if confirm is None else confirm.title
        return ApprovedCall(self._approvals, application, title, admission.prices)

    def _rejected(
        self, refusal: Refusal, decided: Decided, admission: AdmissionReply, shadow: tuple[ShadowRefusal, ...]
    ) -> Rejected:
        """Return the refused call; one that only lacks a confirmation, or was declined one, as such."""
        use, confirm = decided.decision.approval, None if decided.tool is None else decided.tool.confirm
        if use is None or confirm is None or refusal.code not in _CONFIRMATIONS:
            return Rejected(refusal, admission.plan, shadow)
        return Unconfirmed(
            refusal, admission.plan, shadow, decided=decided, rule=confirm, use=use, prices=admission.prices
        )

    def _answered(self, refusal: Refusal, decided: Decided, admission: AdmissionReply) -> Refusal:
        """Return the refusal with its rule, and without a challenge that the client has answered in vain."""
        parsed, decision = decided.parsed, decided.decision
        policy, caller = parsed.received.snapshot.policy, parsed.caller
        given = policy.effective(caller.scopes, admission.consent_scopes)
        missing = tuple([scope for scope in decision.scopes if scope not in given])
        if not missing:  # refused for something else
            self._challenges.satisfied(caller, given)
        if refusal.rule is None:
            refusal = refusal.replace(rule=policy.refusing_rule(decided.operation, admission))
        return self._challenges.rewrite(refusal, caller, policy, missing, parsed.received.snapshot.published)

    def _closed(self) -> None:
        self.open_holds -= 1

    def _application(self, decided: Decided, decision: Decision, terms: Terms, timeout: float) -> Application:
        parsed = decided.parsed
        call = parsed.call
        request = None if call.session is None else _request(call, call.session)
        tasks = call.tasks if not call.tasks or not _undeclared(decision) else ()
        # By place: a call with named arguments takes twice as long.
        return Application(
            parsed.received.id, self._owner, parsed.caller, decision.refusal is not None, decision.depth, terms,
            decision.demands, decision.on_unknown, int((timeout + self._lease_margin) * 1000 + 0.5),
            call.session, request, tasks, None if decision.refusal is not None else decision.approval,
        )  # fmt: skip


def _with_state(decided: Decided, state: str | None) -> Decided:
    """Return the call with the backend's own state, which the approval has kept."""
    document = decided.decision.document
    if state is None or document is None:
        return decided
    forwarded = {**document, "params": {**document["params"], "requestState": state}}
    return replace(decided, decision=replace(decided.decision, document=forwarded))


def _request(call: Call, session: str) -> str | None:
    """Return the digest of a request that is open on a session."""
    if call.id is None or call.kind is not CallKind.REQUEST:
        return None
    return request_digest(session, canonical(call.id))


def _undeclared(decision: Decision) -> bool:
    """Return True for a method that does not exist for clients; the tasks that it names are not checked."""
    return decision.refusal is not None and decision.refusal.code is ErrorCode.METHOD_NOT_ALLOWED
