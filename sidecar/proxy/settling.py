"""The bill of one call, from its admission until its outcome is known: resolved exactly once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from typing import Any, Final

from sidecar.ledger import damage, receipts
from sidecar.ledger.connection import RejectedError
from sidecar.ledger.damage import DAMAGED
from sidecar.ledger.keys import event_digest
from sidecar.ledger.settlement import UNKNOWN_OUTCOMES, action
from sidecar.ledger.store import Store
from sidecar.model import Application, Call, OnUnknown
from sidecar.observe.metrics import credits_of
from sidecar.outcome import Action, Charge, Event, Exchange, Receipt
from sidecar.policy import deferral, pricing
from sidecar.policy.decide import completed_arguments, request_meta
from sidecar.policy.rules import Operation
from sidecar.protocol.results import Response
from sidecar.proxy.client import Client

# Ends that nobody saw, where it was the client that looked away.
_UNSEEN: Final = UNKNOWN_OUTCOMES - {Event.OWNER_DIED}
# How a cancelled call ends, or one whose session was: servers break it off, answer an error, that there is no such
# session, or nothing at all (2025-11-25, cancellation, session management).
# Nobody comes back for it, either: were it deferred, the error that says so would give everything back.
_BROKEN_OFF: Final = UNKNOWN_OUTCOMES | {Event.RPC_ERROR, Event.HTTP_REFUSED, Event.STREAM_ENDED}
# Ends after which the response may still be had, where the client can resume the stream.
_UNFINISHED: Final = UNKNOWN_OUTCOMES | {Event.STREAM_ENDED}

_CONFIRMED_WITHIN: Final = 0.25  # seconds that a result waits for the store to say who pays


class Bill:
    """What an admitted call owes, and to whom its outcome is told.

    Args:
        store: where holds live.
        held: the application whose hold is to be resolved; None when nothing was reserved.
        call: the call, with the arguments its price is computed from.
        operation: what was called; None for what needs no declaration and has no price.
        exchange: the record that the log line and metrics are made from.
        client: who may leave before the end is seen.
        closed: told when the hold is resolved.

    Attributes:
        events: ids of the events from which the client can resume the call's stream.
        cancelled: whether the client has cancelled: it has still made the call, and pays for an end
            that nobody saw.
    """

    def __init__(
        self,
        store: Store,
        held: Application | None,
        call: Call,
        operation: Operation | None,
        exchange: Exchange,
        client: Client,
        closed: Callable[[], None],
    ) -> None:
        self._store = store
        self._held = held
        self._call = call
        self._operation = operation
        self._exchange = exchange
        self._client = client
        self._closed = closed
        self._receipt: asyncio.Future[Receipt] | None = None
        self._costs: list[int | None] | None = None
        self.resolved = False
        self.events: Collection[str] = ()
        self.cancelled = False

    def resolve(self, event: Event, response: Response | None = None) -> None:
        """Tell what became of the call; only the first telling counts.

        The settle or release is on its way to the store when this returns and is not waited for:
        later admissions of the account travel behind it on the same connection.

        Args:
            event: what happened.
            response: the backend's response, for what it says of the price.
        """
        if self.resolved:
            return
        if self.cancelled and event in _BROKEN_OFF:
            event = Event.CLIENT_GONE
        elif self.events and event in _UNFINISHED:
            event = Event.DEFERRED  # what can still be fetched must not be given up for nothing
        elif self._client.gone and event in _UNSEEN:
            event = Event.CLIENT_GONE
        self._exchange.code = "ok" if event is Event.RESULT else event.value
        operation = self._operation
        on_unknown = operation.on_unknown if operation else OnUnknown.RELEASE
        charge_errors = operation is not None and operation.charge_errors
        todo = action(event, on_unknown, charge_errors)
        charges = self._price(response) if todo is Action.CHARGE_RESULT else None
        context = self._context(self._held) if todo is Action.DEFER and self._held is not None else deferral.EMPTY
        self.resolved = True  # not before it is priced: a fault there must leave it to be resolved by its owner
        if self._held is None:
            return
        self._closed()
        self._exchange.action = todo
        if todo is Action.DEFER:
            self._receipt = self._store.defer(
                self._held, context, [event_digest(self._call.session or "", each) for each in self.events]
            )
        elif todo is Action.RELEASE:
            self._receipt = self._store.release(self._held, forwarded=event is not Event.NOT_SENT)
        else:
            self._receipt = self._store.settle(self._held, charges)
        if event in receipts.RECEIPTED and self._call.tool is not None:
            self._costs = receipts.costs(todo, self._held.demands, self._exchange.reserved, charges)

    async def receipt(self) -> dict[str, Any] | None:
        """What the result of a tool says it cost; None when it had no price, or was none.

        What is charged is known without the store, but for items that are paid once: of two calls that reserved
        one at the same time only the store knows which pays. Those wait for it, after the settle was written and
        not for long: an account holder is better served by a result whose price is pending than by none. Whoever
        stops waiting changes nothing, the store has been told already.
        """
        if self._costs is None or self._receipt is None:
            return None
        confirmed = await confirmation(self._receipt) if None in self._costs else None
        return receipts.receipt(self._exchange.request_id, self._exchange.reserved, self._costs, confirmed)

    def _context(self, held: Application) -> bytes:
        operation, reserved = self._operation, credits_of(self._exchange.reserved)
        if operation is None:
            return deferral.EMPTY
        arguments, meta = completed_arguments(operation, self._call), request_meta(self._call)
        return deferral.write(operation, arguments, meta, held.demands, reserved)

    def _price(self, response: Response | None) -> Sequence[Charge] | None:
        """What the result says the call cost, None for what was reserved; the log's rows come with it."""
        operation, demands = self._operation, self._held.demands if self._held else ()
        if operation is None or response is None or response.result is None:
            return None
        arguments, meta = completed_arguments(operation, self._call), request_meta(self._call)
        settled = pricing.charges(operation.prices, demands, arguments, meta, response.result)
        self._exchange.rows = settled.rows
        self._exchange.notes += settled.failures
        return settled.charges

    def when_known(self, done: Callable[[], None]) -> None:
        """Call back once the store has said what the call cost; at once when nothing was reserved."""
        if self._receipt is None:
            done()
        else:
            self._receipt.add_done_callback(lambda receipt: self._received(receipt, done))

    def _received(self, receipt: asyncio.Future[Receipt], done: Callable[[], None]) -> None:
        if not receipt.cancelled() and receipt.exception() is None:
            self._exchange.receipt = receipt.result()
        else:
            self._exchange.notes.append("the store did not confirm the settlement; the hold's lease decides")
            fault = None if receipt.cancelled() else receipt.exception()
            if isinstance(fault, RejectedError) and fault.code in DAMAGED:
                self._exchange.notes.append(damage.sentence(fault))
        done()


async def confirmation(receipt: asyncio.Future[Receipt]) -> Receipt | None:
    """The store's receipt, if it comes in time; whether or not, it is still to be delivered."""
    await asyncio.wait((receipt,), timeout=_CONFIRMED_WITHIN)
    if not receipt.done() or receipt.cancelled() or receipt.exception() is not None:
        return None
    return receipt.result()
