"""The answer to a call that passes on another stream of its session, perhaps in another process than the call."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from sidecar.ledger import scripts
from sidecar.ledger.keys import request_digest
from sidecar.ledger.settlement import action
from sidecar.ledger.store import Store
from sidecar.model import AmountKind, Application, Call, Caller, Depth, OnUnknown, Price
from sidecar.outcome import Action, Event, Exchange, Receipt
from sidecar.policy import deferral
from sidecar.policy.deferral import Context
from sidecar.policy.rules import Operation, Policy, Tool
from sidecar.protocol.jsonrpc import canonical
from sidecar.protocol.results import Response


class Resuming:
    """Settles deferred calls.

    Args:
        store: where their holds are.
        record: told of each one that is settled.
    """

    def __init__(self, store: Store, record: Callable[[Exchange], None]) -> None:
        self._store = store
        self._record = record

    async def settle(self, caller: Caller, call: Call, policy: Policy, response: Response) -> None:
        """Settle the call that a response belongs to, before it is relayed; nothing when that is not owed.

        Args:
            caller: whose session it is.
            call: the GET whose stream carries the response.
            policy: in force for this stream.
            response: to a request of the same session.

        Raises:
            Refusal: `store_unavailable`: it must not be relayed.
        """
        request = request_digest(call.session or "", canonical(response.id))
        costs = response.event in (Event.RESULT, Event.TASK_STARTED)
        reply = await self._store.run(scripts.recall(caller, request, costs))
        recalled = scripts.recalled(reply)
        if recalled is None:
            return
        call_id, data, on_unknown = recalled
        context = deferral.read(data) or Context()
        operation = deferral.operation_of(policy, context)
        application = Application(call_id, "", caller, look=False, depth=Depth.PRICE, terms=policy.open_terms)
        exchange = _exchange(call_id, caller, call, context, operation)
        receipt = self._resolve(application, exchange, response, context, operation, on_unknown)
        receipt.add_done_callback(lambda done: self._received(exchange, done))

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
        self._record(exchange)


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
