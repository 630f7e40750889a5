"""The answer to a call that passes on another stream of its session, perhaps in another process than the call."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Any

from sidecar.ledger import receipts, streams
from sidecar.ledger.keys import event_digest, request_digest
from sidecar.ledger.settlement import action
from sidecar.ledger.store import Store
from sidecar.model import AmountKind, Application, Call, Caller, Demand, Depth, OnUnknown, Price
from sidecar.outcome import Action, Event, Exchange, Receipt
from sidecar.policy import deferral
from sidecar.policy.deferral import Context
from sidecar.policy.rules import Kind, Operation, Policy, Tool
from sidecar.protocol.jsonrpc import canonical
from sidecar.protocol.results import Response
from sidecar.proxy.settling import confirmation


class Resuming:
    """Settles deferred calls.

    Args:
        store: where their holds are.
        record: told of each one that is settled.
    """

    def __init__(self, store: Store, record: Callable[[Exchange], None]) -> None:
        self._store = store
        self._record = record
        self._settling: set[str] = set()  # calls whose settlement is on its way to the store

    async def settle(self, caller: Caller, call: Call, policy: Policy, response: Response) -> dict[str, Any] | None:
        """Settle the call that a response belongs to, before it is relayed; nothing when that is not owed.

        Only on the call's own stream, resumed, does the response say what it cost. On any other it may be an
        earlier request's of the same id, replayed, so that what was reserved is due.

        Args:
            caller: whose session it is.
            call: the GET whose stream carries the response.
            policy: in force for this stream.
            response: to a request of the same session.

        Returns:
            the receipt of a tool call that was settled now.

        Raises:
            Refusal: `store_unavailable`: it must not be relayed.
        """
        request = request_digest(call.session or "", canonical(response.id))
        costs = response.event in (Event.RESULT, Event.TASK_STARTED)
        reply = await self._store.run(streams.recall(caller, request, costs, _resumed(call)))
        recalled = streams.recalled(reply)
        if recalled is None:
            return None
        call_id, data, on_unknown, own = recalled
        if call_id in self._settling:
            return None  # another stream replays the response at the same time
        context = deferral.read(data) or Context()
        operation = deferral.operation_of(policy, context)
        application = Application(call_id, "", caller, look=False, depth=Depth.PRICE, terms=policy.open_terms)
        exchange = _exchange(call_id, caller, call, context, operation)
        if own:
            receipt = self._resolve(application, exchange, response, context, operation, on_unknown)
        else:
            exchange.code, exchange.action = Event.STREAM_ENDED.value, Action.CHARGE_RESERVE
            receipt = self._store.settle(application, None)
        self._settling.add(call_id)
        receipt.add_done_callback(lambda done: self._received(exchange, done))
        if context.kind != Kind.TOOL or response.event not in receipts.RECEIPTED:
            return None
        return _told(call_id, context, await confirmation(receipt))

    def left(self, caller: Caller, call: Call, events: Iterable[str]) -> None:
        """A stream has ended that may have been the resumed one of a deferred call: so it may be resumed again.

        Args:
            caller: whose session it is.
            call: the GET.
            events: ids of the events from which it can be resumed.
        """
        if resumed := _resumed(call):
            digests = [event_digest(call.session or "", each) for each in events]
            self._store.tell(streams.follow(caller, resumed, digests))

    def _resolve(
        self,
        application: Application,
        exchange: Exchange,
        response: Response,
        context: Context,
        operation: Operation | None,
        on_unknown: OnUnknown,
    ) -> asyncio.Future[Receipt]:
        exchange.code = "ok" if response.event is Event.RESULT else response.event.value
        charge_errors = operation is not None and operation.charge_errors
        exchange.action = todo = action(response.event, on_unknown, charge_errors)
        if todo is Action.RELEASE:
            return self._store.release(application, forwarded=True)
        settled = None
        if todo is Action.CHARGE_RESULT and response.result is not None:
            settled = deferral.settled(operation, context, response.result)
        if settled is None:
            return self._store.settle(application, None)
        exchange.rows = settled.rows
        exchange.notes += settled.failures
        return self._store.settle(application, settled.charges)

    def _received(self, exchange: Exchange, receipt: asyncio.Future[Receipt]) -> None:
        if not receipt.cancelled() and receipt.exception() is None:
            exchange.receipt = receipt.result()
        else:
            exchange.notes.append("the store did not confirm the settlement; the hold's lease decides")
        self._settling.discard(exchange.request_id)
        self._record(exchange)


def _resumed(call: Call) -> str:
    """What stands for the event that a GET goes on from; empty when it begins anew."""
    return "" if call.session is None or call.last_event_id is None else event_digest(call.session, call.last_event_id)


def _told(call_id: str, context: Context, confirmed: Receipt | None) -> dict[str, Any]:
    """The receipt; what was left is not told, for it was asked when the call was admitted, perhaps long ago."""
    prices = [Price(each.kind, each.name, _reserved(each, context), None) for each in context.demands]
    return receipts.receipt(call_id, prices, [None] * len(prices), confirmed)


def _reserved(demand: Demand, context: Context) -> int:
    return context.credits.get(demand.name, 0) if demand.kind is AmountKind.CREDIT else demand.reserve


def _exchange(call_id: str, caller: Caller, call: Call, context: Context, operation: Operation | None) -> Exchange:
    """The record of the call, under its own id; its time is that of another line."""
    now = time.monotonic()
    prices = tuple(Price(AmountKind.CREDIT, pool, units, None) for pool, units in context.credits.items())
    return Exchange(
        call_id,
        now,
        ended=now,
        call=call,
        caller=caller,
        reserved=prices,
        tool=operation.name if isinstance(operation, Tool) else None,
    )
