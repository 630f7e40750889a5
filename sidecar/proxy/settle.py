"""Settlement of one call, from its admission until its outcome is known: resolved exactly once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from typing import Any, Final

from sidecar.errors import ErrorCode, Refusal
from sidecar.ledger import receipts
from sidecar.ledger.settlement import UNKNOWN_OUTCOMES, action
from sidecar.model import Application, OnUnknown, Price
from sidecar.outcome import Action, Charge, Event, Receipt
from sidecar.protocol.results import Response
from sidecar.proxy.calls.call_price import deferral_context, settled_price
from sidecar.proxy.calls.leases import HoldLease
from sidecar.proxy.calls.steps import Decided
from sidecar.proxy.confirming.approved_call import ApprovedCall
from sidecar.store.commands.keys import event_digest
from sidecar.store.connection.store_connection import RejectedError
from sidecar.store.health import corruption
from sidecar.store.health.corruption import CORRUPTION_CODES
from sidecar.store.outbox import Outbox
from sidecar.store.store import ANSWER_TIMEOUT
from sidecar.vocabulary import record

# Members of enums as constants: as attributes of their classes they take ten times as long.
_CHARGE_RESULT: Final = Action.CHARGE_RESULT
_DEFER: Final = Action.DEFER
_RELEASE: Final = Action.RELEASE
_RESULT: Final = Event.RESULT

# Unknown outcomes that a client causes by disconnecting.
_AFTER_DISCONNECT: Final = UNKNOWN_OUTCOMES - {Event.OWNER_DIED}
# Outcomes of a call that was cancelled, or of an ended session: servers disconnect, answer an error or an unknown
# session, or send nothing (2025-11-25, cancellation, session management).
# The client does not resume it: if it were deferred, a later error response would release the whole hold.
_AFTER_CANCELLATION: Final = UNKNOWN_OUTCOMES | {Event.RPC_ERROR, Event.HTTP_REFUSED, Event.STREAM_ENDED}
# Outcomes after which the client can still get the response, where it can resume the stream.
_RESUMABLE: Final = UNKNOWN_OUTCOMES | {Event.STREAM_ENDED}
# All of these; any other outcome stands.
_REVISED: Final = _AFTER_DISCONNECT | _AFTER_CANCELLATION | _RESUMABLE

UNCONFIRMED: Final = "the store did not confirm the settlement; the hold's lease decides"
"""Note of a settlement without a receipt."""

_CONFIRMED_WITHIN: Final = 0.25  # seconds that a result waits for the store's receipt
_CHARGES: Final = frozenset({Action.CHARGE_RESULT, Action.CHARGE_RESERVE})


@record
class ReservedHold:
    """Hold of an admitted call, as this process knows it.

    Attributes:
        application: the application that the store has admitted.
        lease: the time for which the hold is certainly this process's own.
        prices: the reserved amounts, one per demand.
    """

    application: Application
    lease: HoldLease
    prices: tuple[Price, ...]


@record
class Settled:
    """End of a call, for its record.

    Attributes:
        code: `ok`, or the event that ended the call.
        action: applied to the hold; None when nothing was reserved.
        rows: rows of the result, if the policy asks for them.
        notes: sentences for the log.
        receipt: the cost that the store reports; None when it reports none.
        hold_lost: True when the store had lost the hold before its lease ended.
    """

    code: str
    action: Action | None = None
    rows: int | None = None
    notes: tuple[str, ...] = ()
    receipt: Receipt | None = None
    hold_lost: bool = False


_UNPRICED: Final = Settled("ok")  # of a result that nothing depends on: neither a price nor the rows


class Settlement:
    """Settlement of an admitted call; `resolve` it once with the outcome.

    Args:
        outbox: delivers its settle or release.
        decided: the call, its decision and its price.
        hold: the reserved amounts; None for a call without a price: then the store keeps no hold.
        closed: called when an open hold is resolved.
        approved: the approval of a person that the call has used.

    Attributes:
        events: ids of the events from which the client can resume the call's stream.
        is_free: True for a call without a price, for which the store keeps no hold.
    """

    __slots__ = (
        *(
            "_approved",
            "_closed",
            "_costs",
            "_decided",
            "_done",
            "_held",
            "_hold",
            "_is_delivered",
            "_outbox",
            "_receipt",
            "_settled",
        ),
        "events",
        "is_free",
    )

    def __init__(
        self,
        outbox: Outbox,
        decided: Decided,
        hold: ReservedHold | None,
        closed: Callable[[], None],
        approved: ApprovedCall | None = None,
    ) -> None:
        self._outbox = outbox
        self._approved = approved
        self._decided = decided
        self._hold = hold
        self.is_free = hold is None
        self._held = None if hold is None else hold.application
        self._closed = closed
        self._settled: Settled | None = None
        self._done: Callable[[Settled], None] | None = None
        self._is_delivered = False
        self._receipt: asyncio.Future[Receipt] | None = None
        self._costs: list[int | None] | None = None
        self.events: Collection[str] = ()

    @property
    def resolved(self) -> bool:
        """True once the outcome is known."""
        return self._settled is not None

    @property
    def is_foreseen(self) -> bool:
        """True when the cost of any result is known without the store: no item is paid once."""
        if self._held is not None:
            for each in self._held.demands:
                if each.items is not None:
                    return False
        return True

    @property
    def cancelled(self) -> bool:
        """True when the client has cancelled the call: it made the call, and pays for an unknown outcome."""
        return self._decided.parsed.cancellation.requested

    def resolve(self, event: Event, response: Response | None = None, *, now: bool = True) -> Settled:
        """Settle, release or defer the hold; only the first outcome counts.

        The command is on its way to the store when this returns, or after `confirm`, and is not waited for: later
        admissions of the account follow it on the same connection.

        Args:
            event: the outcome.
            response: the backend's response, which may determine the price.
            now: False lets the command wait for others of this turn; the caller then awaits `confirm` first.

        Returns:
            The end of the call as far as this process decides it, without the store's receipt.
        """
        operation, held = self._decided.operation, self._held
        if held is None and event is _RESULT and (operation is None or operation.prices.reserved is not None):
            self._settled = self._settled or _UNPRICED
        if self._settled is not None:
            return self._settled
        if event in _REVISED:
            event = self._outcome(event)
        on_unknown, errors = (None, False) if operation is None else (operation.on_unknown, operation.charge_errors)
        todo = action(event, on_unknown or OnUnknown.RELEASE, errors)
        price = settled_price(self._decided, held, response) if todo is _CHARGE_RESULT else None
        charges, rows, failures = (None, None, ()) if price is None else (price.charges, price.rows, price.failures)
        prices = self._hold.prices if self._hold is not None else ()
        context = deferral_context(self._decided, held, prices) if todo is _DEFER and held is not None else b""
        # Not before it is priced: a fault there must leave the call to be resolved by its owner.
        code = "ok" if event is _RESULT else event.value
        self._settled = settled = Settled(code, None if held is None else todo, rows, failures)
        if self._approved is not None and held is None and event is Event.NOT_SENT:
            self._approved.give_back()  # the release of a hold does it, too
        if held is not None:
            self._closed()
            self._receipt = self._send(todo, event, held, charges, context, now)
            if event in receipts.RECEIPTED and self._decided.parsed.call.tool is not None:
                self._costs = receipts.costs(todo, held.demands, prices, charges)
        return settled

    async def confirm(self) -> None:
        """Ensure that the call is settled before its outcome is known to anybody; await this last before it is relayed.

        Past the safe part of the lease another process may have released the hold. The store's answer to the settle
        then decides: the result must not be delivered when the settle came too late or is not confirmed.

        Raises:
            Refusal: `backend_timeout`.
        """
        hold, settled = self._hold, self._settled
        if self._is_delivered or hold is None or settled is None or self._receipt is None:
            return
        if (waiting := self._outbox.written()) is not None:
            await waiting
        if settled.action not in _CHARGES:
            return
        if self._costs is not None and None in self._costs:
            await confirmation(self._receipt)
        if not hold.lease.is_safe:
            await settled_in_time(self._receipt)
        self._is_delivered = True

    async def receipt(self) -> dict[str, Any] | None:
        """Return the receipt for the result of a tool; None when it had no price, or was no result.

        The costs are known without the store, except for items that are paid once: when two calls reserve the
        same item, only the store knows which call pays. Such a result waits briefly for the store, after the
        settle is written; on a timeout it is relayed with a pending price, and the settle is not affected.
        """
        hold = self._hold
        if self._costs is None or self._receipt is None or hold is None:
            return None
        asked = None in self._costs
        confirmed = await confirmation(self._receipt, 0 if self._is_delivered else _CONFIRMED_WITHIN) if asked else None
        return receipts.receipt(hold.application.call_id, hold.prices, self._costs, confirmed)

    def foreseen_receipt(self) -> dict[str, Any] | None:
        """Return the receipt of a call whose cost `is_foreseen`; None as of `receipt`."""
        hold = self._hold
        if self._costs is None or hold is None:
            return None
        return receipts.receipt(hold.application.call_id, hold.prices, self._costs, None)

    @property
    def final(self) -> Settled | None:
        """End of a resolved call that waits for nothing of the store; None for any other."""
        return self._settled if self._receipt is None else None

    def on_settled(self, done: Callable[[Settled], None]) -> None:
        """Call back with the end of a resolved call once the store has confirmed its cost; at once without a hold."""
        settled = self._settled
        if settled is None:
            raise RuntimeError("the call is not resolved")
        if self._receipt is None:
            done(settled)
        else:
            self._done = done
            self._receipt.add_done_callback(self._confirmed)

    def _outcome(self, event: Event) -> Event:
        if self.cancelled and event in _AFTER_CANCELLATION:
            return Event.CLIENT_GONE
        if self.events and event in _RESUMABLE:
            return Event.DEFERRED  # a response that the client can still fetch must stay paid for
        if self._decided.parsed.received.reply.disconnected and event in _AFTER_DISCONNECT:
            return Event.CLIENT_GONE
        return event

    def _send(
        self, todo: Action, event: Event, held: Application, charges: Sequence[Charge] | None, context: bytes, now: bool
    ) -> asyncio.Future[Receipt]:
        if todo is _DEFER:
            session = self._decided.parsed.call.session or ""
            return self._outbox.defer(held, context, [event_digest(session, each) for each in self.events])
        if todo is _RELEASE:
            return self._outbox.release(held, forwarded=event is not Event.NOT_SENT, now=now)
        return self._outbox.settle(held, charges, now=now)

    def _confirmed(self, receipt: asyncio.Future[Receipt]) -> None:
        """Add the store's receipt, or a note that there is none."""
        settled, done, self._done = self._settled, self._done, None  # it refers to this: no cycle for the collector
        if settled is None or done is None:  # `on_settled` has found and set them
            return
        code, action, rows, notes = settled.code, settled.action, settled.rows, settled.notes
        try:
            confirmed = receipt.result()
        except (asyncio.CancelledError, Exception) as fault:  # noqa: BLE001 - the note says so, whatever it is
            notes = (*notes, UNCONFIRMED)
            if isinstance(fault, RejectedError) and fault.code in CORRUPTION_CODES:
                notes = (*notes, corruption.sentence(fault))
            done(Settled(code, action, rows, notes))
            return
        hold_lost = confirmed.late and self._hold is not None and self._hold.lease.is_safe
        done(Settled(code, action, rows, notes, confirmed, hold_lost))


async def confirmation(receipt: asyncio.Future[Receipt], within: float = _CONFIRMED_WITHIN) -> Receipt | None:
    """Return the store's receipt; None when it does not arrive in time. The settle itself is not affected."""
    if within and not receipt.done():
        await asyncio.wait((receipt,), timeout=within)
    if not receipt.done() or receipt.cancelled() or receipt.exception() is not None:
        return None
    return receipt.result()


async def settled_in_time(receipt: asyncio.Future[Receipt]) -> None:
    """Wait until the store confirms that a settle was applied.

    Raises:
        Refusal: `backend_timeout`: it was late, or the store does not answer.
    """
    confirmed = await confirmation(receipt, ANSWER_TIMEOUT)
    if confirmed is None:
        raise Refusal(ErrorCode.BACKEND_TIMEOUT, log="the result came late and the store has not confirmed its settle")
    if confirmed.late:
        raise Refusal(ErrorCode.BACKEND_TIMEOUT, log="the result came after its hold had been resolved")
