"""Settlement of a call with an answer on another stream of its session, perhaps in another process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Any

from sidecar.errors import ErrorCode, Refusal
from sidecar.ledger import receipts
from sidecar.ledger.settlement import action
from sidecar.model import AmountKind, Application, Call, Caller, Demand, Depth, OnUnknown, Price
from sidecar.outcome import Action, Event, Exchange, Receipt
from sidecar.policy import deferral
from sidecar.policy.deferral import Context
from sidecar.policy.rules import Kind, Operation, Policy, Tool
from sidecar.protocol.jsonrpc import canonical
from sidecar.protocol.results import Response
from sidecar.proxy.settle import UNCONFIRMED, Settled, confirmation, settled_in_time
from sidecar.store.commands import stream_commands
from sidecar.store.commands.keys import event_digest, request_digest
from sidecar.store.store import Store


class ResumedCalls:
    """Deferred calls whose answers may pass on one stream.

    Args:
        resuming: settles them.
        caller: the owner of the session.
        call: the GET that opened the stream.
        policy: in force for this stream.
    """

    __slots__ = ("_call", "_caller", "_policy", "_resuming")

    def __init__(self, resuming: Resuming, caller: Caller, call: Call, policy: Policy) -> None:
        self._resuming = resuming
        self._caller = caller
        self._call = call
        self._policy = policy

    async def settle(self, response: Response) -> dict[str, Any] | None:
        """Settle the call of a response; see `Resuming.settle`."""
        return await self._resuming.settle(self._caller, self._call, self._policy, response)

    def stream_ended(self, events: Iterable[str]) -> None:
        """Let a deferred call be resumed again; see `Resuming.stream_ended`."""
        self._resuming.stream_ended(self._caller, self._call, events)


class Resuming:
    """Settle deferred calls.

    Args:
        store: keeps their holds.
        record: called with the record of each call that is settled.
    """

    def __init__(self, store: Store, record: Callable[[Exchange], None]) -> None:
        self._store = store
        self._record = record
        self._settling: dict[str, asyncio.Future[Receipt]] = {}  # settles on their way to the store, by call

    async def settle(self, caller: Caller, call: Call, policy: Policy, response: Response) -> dict[str, Any] | None:
        """Settle the call that a response belongs to, before it is relayed; do nothing when no hold is open.

        Only a response on the resumed stream of the call itself determines the cost. On another stream it may
        replay the response to an earlier request of the same id, so that the reserved amounts are charged.

        Args:
            caller: the owner of the session.
            call: the GET that opened the stream with the response.
            policy: in force for this stream.
            response: the response to a request of the same session.

        Returns:
            The receipt of a tool call that was settled now.

        Raises:
            Refusal: `store_unavailable`, or `backend_timeout` when the settle came after its hold was resolved or
                the store does not answer: it must not be relayed.
        """
        request = request_digest(call.session or "", canonical(response.id))
        costs = response.event in (Event.RESULT, Event.TASK_STARTED)
        reply = await self._store.run(stream_commands.recall(caller, request, costs, _resumed(call)))
        if stream_commands.lapsed(reply):
            raise Refusal(ErrorCode.BACKEND_TIMEOUT, log="the hold was released when its lease ended")
        recalled = stream_commands.recalled(reply)
        if recalled is None:
            return None
        call_id, data, on_unknown, own = recalled
        if call_id in self._settling:  # another stream replays the response at the same time
            if costs:
                await settled_in_time(self._settling[call_id])
            return None
        context = deferral.read(data) or Context()
        settled, receipt = self._start(caller, call, policy, response if own else None, call_id, context, on_unknown)
        if settled.action is not Action.RELEASE:
            await settled_in_time(receipt)  # only the store knows how much of the lease is left
        if context.kind != Kind.TOOL or response.event not in receipts.RECEIPTED:
            return None
        return _receipt_document(call_id, context, await confirmation(receipt))

    def stream_ended(self, caller: Caller, call: Call, events: Iterable[str]) -> None:
        """Let a deferred call be resumed again after the end of a stream that may have been its own.

        Args:
            caller: the owner of the session.
            call: the GET.
            events: ids of the events from which it can be resumed.
        """
        if resumed := _resumed(call):
            digests = [event_digest(call.session or "", each) for each in events]
            self._store.outbox.deliver(stream_commands.follow(caller, resumed, digests))

    def _start(
        self,
        caller: Caller,
        call: Call,
        policy: Policy,
        response: Response | None,
        call_id: str,
        context: Context,
        on_unknown: OnUnknown,
    ) -> tuple[Settled, asyncio.Future[Receipt]]:
        """Send the settle or release to the store; without a response charge the reserved amounts."""
        operation = deferral.operation_of(policy, context)
        application = Application(call_id, "", caller, dry_run=False, depth=Depth.PRICE, terms=policy.open_terms)
        if response is not None:
            settled, receipt = self._resolve(application, response, context, operation, on_unknown)
        else:
            settled = Settled(Event.STREAM_ENDED.value, Action.CHARGE_RESERVE)
            receipt = self._store.outbox.settle(application, None)
        self._settling[call_id] = receipt
        record = partial(_exchange, call_id, time.monotonic(), caller, call, context, operation)
        receipt.add_done_callback(lambda done: self._received(call_id, settled, record, done))
        return settled, receipt

    def _resolve(
        self,
        application: Application,
        response: Response,
        context: Context,
        operation: Operation | None,
        on_unknown: OnUnknown,
    ) -> tuple[Settled, asyncio.Future[Receipt]]:
        code = "ok" if response.event is Event.RESULT else response.event.value
        charge_errors = operation is not None and operation.charge_errors
        todo = action(response.event, on_unknown, charge_errors)
        if todo is Action.RELEASE:
            return Settled(code, todo), self._store.outbox.release(application, forwarded=True)
        price = None
        if todo is Action.CHARGE_RESULT and response.result is not None:
            price = deferral.settled(operation, context, response.result)
        if price is None:
            return Settled(code, todo), self._store.outbox.settle(application, None)
        return Settled(code, todo, price.rows, price.failures), self._store.outbox.settle(application, price.charges)

    def _received(
        self,
        call_id: str,
        settled: Settled,
        record: Callable[[Settled], Exchange],
        receipt: asyncio.Future[Receipt],
    ) -> None:
        if not receipt.cancelled() and receipt.exception() is None:
            settled = replace(settled, receipt=receipt.result())
        else:
            settled = replace(settled, notes=(*settled.notes, UNCONFIRMED))
        self._settling.pop(call_id, None)
        self._record(record(settled))


def _resumed(call: Call) -> str:
    """Return the digest of the event that a GET resumes from; empty for a new stream."""
    return "" if call.session is None or call.last_event_id is None else event_digest(call.session, call.last_event_id)


def _receipt_document(call_id: str, context: Context, confirmed: Receipt | None) -> dict[str, Any]:
    """Return the receipt without the units left: they were read at the admission, perhaps long ago."""
    prices = [Price(each.kind, each.name, _reserved(each, context), None) for each in context.demands]
    return receipts.receipt(call_id, prices, [None] * len(prices), confirmed)


def _reserved(demand: Demand, context: Context) -> int:
    return context.credits.get(demand.name, 0) if demand.kind is AmountKind.CREDIT else demand.reserve


def _exchange(
    call_id: str,
    now: float,
    caller: Caller,
    call: Call,
    context: Context,
    operation: Operation | None,
    settled: Settled,
) -> Exchange:
    """Build the record of the call under its own id; its duration is in the line of another request."""
    return Exchange(
        call_id,
        now,
        ended=now,
        call=call,
        caller=caller,
        tool=operation.name if isinstance(operation, Tool) else None,
        code=settled.code,
        rows=settled.rows,
        reserved=tuple(Price(AmountKind.CREDIT, pool, units, None) for pool, units in context.credits.items()),
        receipt=settled.receipt,
        action=settled.action,
        notes=settled.notes,
    )
