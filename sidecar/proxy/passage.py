"""One request on its way: what is known of it so far, and its one end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Hashable
from typing import Final

from aiohttp.web import BaseRequest, Response, StreamResponse

from sidecar.errors import ErrorCode, Gate, Refusal, Shape
from sidecar.identity.metadata import challenge
from sidecar.model import Call, Caller, Decision
from sidecar.outcome import Event, Exchange
from sidecar.policy.rules import Operation
from sidecar.protocol.answers import Answer, refusal_answer
from sidecar.protocol.jsonrpc import Message
from sidecar.proxy.client import Client
from sidecar.proxy.settling import Bill
from sidecar.proxy.snapshot import Snapshot
from sidecar.proxy.streams import OpenStream
from sidecar.proxy.upstream import Outgoing, UpstreamError

CANCEL_GRACE: Final = 5.0
"""Seconds that the backend is given to end a call which its client has cancelled."""


class Passage:
    """A request between its first byte and its log line.

    Attributes:
        snapshot: the settings and policy this request began with; a reload does not touch it.
        message: what was said, before the headers told which revision it belongs to.
        outgoing: the request to the backend, once there is one.
        bill: what the call owes, once it was admitted.
        relaying: the task that outlives the client where the call must be read to its end.
        operation: what is called of what the policy declares.
        flight: what names this request among those in flight.
        place: the account that it takes a place of (`places`), if it takes one.
        stream: the open stream it is, if it is one.
        asked: when gates 5-7 were asked, on the event loop's clock.
    """

    def __init__(self, request: BaseRequest, snapshot: Snapshot, exchange: Exchange) -> None:
        self.request = request
        self.snapshot = snapshot
        self.exchange = exchange
        stall = snapshot.settings.backend.idle_timeout
        self.client = Client(request, [("X-Request-Id", exchange.request_id)], stall)
        self.caller: Caller | None = None
        self.message: Message | None = None
        self.call: Call | None = None
        self.outgoing: Outgoing | None = None
        self.bill: Bill | None = None
        self.relaying: asyncio.Task[None] | None = None
        self.operation: Operation | None = None
        self.flight: Hashable = None
        self.place: str | None = None
        self.stream: OpenStream | None = None
        self.asked = 0.0
        self._cancelled = False

    @property
    def the_caller(self) -> Caller:
        """The caller, behind gate 2."""
        if self.caller is None:
            raise RuntimeError("gate 2 was not passed")
        return self.caller

    @property
    def the_call(self) -> Call:
        """The call, behind gate 3."""
        if self.call is None:
            raise RuntimeError("gate 3 was not passed")
        return self.call

    @property
    def the_bill(self) -> Bill:
        """The bill, behind gate 7."""
        if self.bill is None:
            raise RuntimeError("gate 7 was not passed")
        return self.bill

    def owe(self, bill: Bill) -> None:
        """The call was admitted, and this is what it owes."""
        bill.cancelled = self._cancelled
        self.bill = bill

    def cancel(self) -> None:
        """The client has cancelled, perhaps before the call was even admitted.

        Servers should not answer a cancelled call (2025-11-25, cancellation), and some do not end it either.
        """
        self._cancelled = True
        if self.bill is not None:
            self.bill.cancelled = True
        asyncio.get_running_loop().call_later(CANCEL_GRACE, self._give_up)

    def _give_up(self) -> None:
        if self.outgoing is not None and self.outgoing.answer is not None:
            self.outgoing.answer.fail(UpstreamError(Event.CLIENT_GONE, "the call was cancelled and never ended"))

    def timeout(self, decision: Decision) -> float:
        """Seconds this call may take to its final result."""
        return decision.timeout or self.snapshot.settings.backend.timeout

    def answer(self, answer: Answer) -> None:
        """Give a whole answer of the sidecar's own."""
        self.client.answer(answer.status, (*answer.headers, ("Cache-Control", "no-store")), answer.body)

    def refuse(self, refusal: Refusal) -> None:
        """Answer with a refusal, and remember it for the log."""
        exchange = self.exchange
        exchange.refusal = refusal
        exchange.code = refusal.code.id
        exchange.rule = refusal.rule or exchange.rule
        if self.client.started:
            return  # the stream's head is out: whoever writes the stream has told it there
        if refusal.gate is Gate.TRANSPORT and refusal.code is not ErrorCode.OVERLOADED:
            self.client.close_after()
        wanted = None
        if refusal.shape is Shape.CHALLENGE:
            scopes = refusal.scopes or self.snapshot.policy.base_scopes
            wanted = challenge(refusal.code, self.snapshot.settings.resource, scopes, refusal.detail)
        self.answer(refusal_answer(refusal, self.call or self.message, wanted))

    def response(self) -> StreamResponse:
        """What the server sends, or has sent."""
        return self.client.response or Response(status=500)

    def finish(self, record: Callable[[Exchange], None], *, stopping: bool) -> None:
        """End it: what is still reserved is resolved, then the exchange is recorded.

        Args:
            record: writes the log line, once the store has said what the call cost.
            stopping: whether this process is leaving, and not the client.
        """
        response, bill = self.client.response, self.bill
        if self.stream is not None and self.stream.ending is not None:
            self.exchange.stream_end = self.stream.ending.name.lower()
        self.exchange.ended = time.monotonic()
        self.exchange.http_status = response.status if response is not None else None
        if bill is None:
            if response is None and self.exchange.refusal is None:
                self.exchange.code = Event.CLIENT_GONE.value  # it left before it was answered
            record(self.exchange)
            return
        if not bill.resolved:
            bill.resolve(self._abandoned(stopping))
        if self.exchange.refusal is not None:
            self.exchange.code = self.exchange.refusal.code.id
        bill.when_known(lambda: record(self.exchange))

    def _abandoned(self, stopping: bool) -> Event:
        """What became of a call that nobody could tell the end of."""
        if self.outgoing is None or not self.outgoing.sent:
            return Event.NOT_SENT
        if stopping or not self.client.gone:
            return Event.OWNER_DIED
        return Event.CLIENT_GONE
