"""Path of one request through the gates: read `Pipeline.handle` from top to bottom.

A refusal is raised where it is found and answered in one place; an unexpected fault is refused as `internal`. A hold
is resolved exactly once, whether the client, the backend or this process ends first.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial

from sidecar.errors import Refusal
from sidecar.identity.authenticator import token_digest
from sidecar.model import Call, Caller, CallKind, RequestId
from sidecar.observe.record import Recorder
from sidecar.outcome import Event, Exchange
from sidecar.protocol import answers, jsonrpc
from sidecar.protocol.jsonrpc import Message
from sidecar.protocol.session_ids import ExchangeIds
from sidecar.proxy.admit import Admission, Admitted, Rejected, Unconfirmed
from sidecar.proxy.calls.cancellation import session_ended
from sidecar.proxy.calls.early_gates import arrived_message, decide, parse, token_lifetime
from sidecar.proxy.calls.siblings import CallName, NoSiblings, Siblings
from sidecar.proxy.calls.steps import Authenticated, ParsedCall, Received
from sidecar.proxy.confirming.confirmations import CallCancelledError, Confirmations, answers_question
from sidecar.proxy.forward import Forwarder, has_own_ids
from sidecar.proxy.in_flight import InFlightRequests
from sidecar.proxy.in_flight_limits import InFlightLimits
from sidecar.proxy.listener.answering_connection import ClientRequest
from sidecar.proxy.listener.body import BodyReaders
from sidecar.proxy.listener.http_answers import Answer
from sidecar.proxy.listener.reply import ClientReply
from sidecar.proxy.listener.unverified import Unverified
from sidecar.proxy.memory import MemoryBudget
from sidecar.proxy.relay.streams import OpenStreams
from sidecar.proxy.request import RequestContext, answer_locally, internal
from sidecar.proxy.served_tools import served_result
from sidecar.proxy.settle import Settled
from sidecar.proxy.snapshot import Snapshot
from sidecar.store.commands.keys import caller_keys
from sidecar.store.store import Store
from sidecar.system.random_ids import random_id


class Pipeline:
    """Steps of every request to the public listener.

    Args:
        snapshot: the first one; a reload replaces it in one assignment.
        admission: gates 5-7.
        forwarder: the exchange with the backend.
        store: asked by tools with `serve`.
        recorder: writes the log line and counts.

    Attributes:
        stopping: True when this process is shutting down.
        detached: number of running calls of disconnected clients; each keeps its slot in `in_flight`.
        requests: those in flight, by their ids.
        siblings: the other workers.
        page: answers requests to the account page; None in a process that has none.
    """

    def __init__(
        self, snapshot: Snapshot, admission: Admission, forwarder: Forwarder, store: Store, recorder: Recorder
    ) -> None:
        self.snapshot = snapshot
        self.stopping = False
        self.detached = 0
        self.siblings: Siblings = NoSiblings()
        self.page: Callable[[Received], Awaitable[None]] | None = None
        self._admission = admission
        self._forwarder = forwarder
        self._store = store
        self.confirmations = Confirmations(admission, store, lambda: self.snapshot)
        self._recorder = recorder
        self.requests = InFlightRequests()
        self._limits = InFlightLimits()
        self._readers = BodyReaders()
        self.memory = MemoryBudget()
        self.streams = OpenStreams()
        self._listening: set[ParsedCall] = set()  # GET streams have no request id, and so no key among those in flight

    @property
    def in_flight(self) -> int:
        """Requests being served, without open streams."""
        return self._limits.taken

    def in_use(self) -> Iterator[tuple[Caller, Call]]:
        """Callers and calls that are open now, streams included."""
        for parsed in (*self.requests, *self._listening):
            yield parsed.caller, parsed.call

    async def handle(self, request: ClientRequest) -> Answer:
        """Serve one request: authenticate, parse, decide, admit and relay; `_leave` settles and observes.

        It ends in an answer, a refusal or with a client that has disconnected.
        """
        context, received = self._receive(request)
        reply, request_filter = received.reply, received.snapshot.request_filter
        try:
            try:
                if request_filter.answer(request, reply):  # documents, preflights and the account page need no token
                    return await self._unauthenticated(context)
                request_filter.check(request)
                authenticated = context.authenticated = self._remembered(received) or await self._verify(received)
                # First, so that a refusal of the headers has the message's id and its revision's number.
                message = context.message = arrived_message(authenticated) or await self._read(authenticated)
                parsed = context.parsed = parse(authenticated, message)
                request.remember_head()
                self._take_slot(context, parsed)
                decided = context.decided = decide(parsed)
                admission = context.admission = await self._admission.admit(decided)
                if isinstance(admission, Rejected):
                    await self._reject(context, admission)
                else:
                    await self._answer(context, admission)
            except CallCancelledError:
                await reply.end()  # its client expects no answer
            except Refusal as refusal:
                await self._refuse(context, refusal)
        except asyncio.CancelledError:
            reply.disconnect()
            raise
        except Exception as error:  # noqa: BLE001 - an unexpected fault refuses the call
            context.refuse(internal(error))
        finally:
            self._leave(context)
        return context.response()

    async def _unauthenticated(self, context: RequestContext) -> Answer:
        """Return the answer to a request without a token: the account page makes its own."""
        if context.received.reply.response is None and self.page is not None:
            await self.page(context.received)
        return context.response()

    def record(self, exchange: Exchange) -> None:
        """Log and count an exchange that has ended."""
        self._recorder.finish(exchange)

    def _receive(self, request: ClientRequest) -> tuple[RequestContext, Received]:
        id_, snapshot = random_id(), self.snapshot
        reply = ClientReply(request, id_, snapshot.limits.idle_timeout)
        received = Received(id_, time.monotonic(), request, snapshot, reply)
        if (tracer := self._recorder.tracer) is not None:
            received.trace = tracer.begin(request.method, request.head.traceparent, id_)
        return RequestContext(received), received

    def _remembered(self, received: Received) -> Authenticated | None:
        """Run gate 2 for a token that is verified already; None for any other."""
        head = received.request.head
        if head.token is None:
            head.token = token_digest(received.request.access_token())
        caller = received.snapshot.authenticator.remembered(head.token)
        return None if caller is None else self._authenticated(received, caller)

    async def _verify(self, received: Received) -> Authenticated:
        """Run gate 2: verify the access token."""
        request, snapshot = received.request, received.snapshot
        verified = snapshot.authenticator.verify(request.access_token(), request.head.token)
        return self._authenticated(received, await Unverified(verified, request, self.memory, snapshot.limits.memory))

    def _authenticated(self, received: Received, caller: Caller) -> Authenticated:
        account = caller_keys(caller).digest
        lease = self.memory.lease(account, received.snapshot.limits.memory)
        return Authenticated(received, caller, account, lease)

    async def _read(self, authenticated: Authenticated) -> Message | None:
        """Run the first part of gate 3: read one message that every parser reads alike; None for GET and DELETE."""
        request, limits = authenticated.received.request, authenticated.received.snapshot.limits
        if request.method != "POST":
            return None
        body = await self._readers.read(request, authenticated.account, limits.body, authenticated.memory)
        return jsonrpc.read(body, limits.json_depth)

    async def _refuse(self, context: RequestContext, refusal: Refusal) -> None:
        context.refuse(refusal)
        if context.holds_slot:
            # A refused request counts until its client has been written to, as an answered one does.
            await context.received.reply.deliver(0)

    def _reject(self, context: RequestContext, rejected: Rejected) -> Awaitable[None]:
        """Refuse a call, or have it confirmed by a person where gates 4 to 7 refuse it for nothing else."""
        if isinstance(rejected, Unconfirmed):
            return self._confirm(context, rejected)
        return self._refuse(context, rejected.refusal)  # not raised: that takes as long as the answer

    async def _confirm(self, context: RequestContext, unconfirmed: Unconfirmed) -> None:
        """Answer a call once a person has confirmed it.

        Raises:
            Refusal: the call's.
            CallCancelledError: its client has cancelled it while it waited.
        """
        admission = context.admission = await self.confirmations.confirm(unconfirmed)
        if isinstance(admission, Rejected):
            raise admission.refusal
        await self._answer(context, admission)

    def _answer(self, context: RequestContext, admitted: Admitted) -> Awaitable[None]:
        """Choose how an admitted call is answered: from this process or from the backend."""
        parsed, tool = admitted.decided.parsed, admitted.decided.tool
        call = parsed.call
        if tool is not None and tool.serve is not None:
            return self._serve(admitted)
        if tool is not None and call.session is None:  # the usual call: none of the following
            return self._forward(context, admitted, call, ExchangeIds(call), None)
        if call.listens:
            self._admission.ownership.listening(parsed.caller, call)
        elif tool is None and call.kind is CallKind.END_SESSION:
            return self._end_session(context, admitted)
        elif call.method == "notifications/cancelled":
            return self._cancel(context, admitted)
        elif tool is None and answers_question(call):
            return self.confirmations.take_answer(admitted)
        if not has_own_ids(call):
            return self._relay(context, admitted)
        return self._forward(context, admitted, call, ExchangeIds(call), None)

    async def _serve(self, admitted: Admitted) -> None:
        parsed = admitted.decided.parsed
        result = await served_result(self._store, admitted)
        answer = answers.tool_answer(parsed.call, result, await admitted.settlement.receipt())
        answer_locally(parsed.received.reply, answer)

    async def _end_session(self, context: RequestContext, admitted: Admitted) -> None:
        """End a session; its calls count as cancelled already, because the backend may break them off first."""
        parsed = admitted.decided.parsed
        named = CallName.of(parsed.caller, parsed.call)
        ending = self.requests.session_ending(named)
        try:
            await self.siblings.session_ending(named)
            await self._relay(context, admitted)
        finally:
            answered = parsed.received.reply.response
            status = 0 if answered is None else answered.status
            session_ended(ending, status)
            self.siblings.session_ended(named, status)

    async def _cancel(self, context: RequestContext, admitted: Admitted) -> None:
        """Cancel the calls in flight that a notification names, before the backend learns of it."""
        parsed = admitted.decided.parsed
        named = CallName.of(parsed.caller, parsed.call)
        cancelled = self.requests.cancel(named)
        if cancelled is None:
            cancelled = await self.siblings.cancel(named)
        if cancelled is not None or parsed.call.kind is not CallKind.NOTIFICATION:
            await self._relay(context, admitted, cancelled)
        else:
            # Not forwarded: the backend might find a call by an id that this process reads in another way.
            admitted.settlement.resolve(Event.RESULT)
            parsed.received.reply.answer(202, (), b"")

    def _relay(self, context: RequestContext, admitted: Admitted, cancels: RequestId | None = None) -> Awaitable[None]:
        marked = self._forwarder.marked(admitted)
        if marked is None:
            return self._read_key(context, admitted, cancels)
        return self._forward(context, admitted, *marked, cancels)

    async def _read_key(self, context: RequestContext, admitted: Admitted, cancels: RequestId | None) -> None:
        await self._forwarder.read_key()
        await self._relay(context, admitted, cancels)

    def _forward(
        self, context: RequestContext, admitted: Admitted, call: Call, ids: ExchangeIds, cancels: RequestId | None
    ) -> Awaitable[None]:
        """Return the exchange with the backend, which goes on without its client where it must."""
        request = context.forwarded = self._forwarder.prepare(admitted, call, ids, context.stream, cancels)
        if not request.detachable:
            return self._forwarder.run(request)
        context.relaying = self._forwarder.detach(request)
        return asyncio.shield(context.relaying)

    def _take_slot(self, context: RequestContext, parsed: ParsedCall) -> None:
        """Take a slot for a request that is completely read and has a known caller; others need none.

        Open streams are known from here on, before the store is asked about them: a later revocation ends them.
        `_finish` releases it: a call may outlive its client.
        """
        limits, call = parsed.received.snapshot.limits, parsed.call
        if call.listens:
            context.key = self.requests.begin(parsed)
            life, disconnect = token_lifetime(parsed), parsed.received.reply.disconnect
            context.stream = self.streams.open(parsed.caller, limits.streams_per_account, life, disconnect)
            self._listening.add(parsed)
        else:
            context.slot = self._limits.acquire(parsed.account, call, limits)
            context.key = self.requests.begin(parsed)

    def _leave(self, context: RequestContext) -> None:
        """End the request for its client; a detached call ends later."""
        relaying = context.relaying
        if relaying is not None and not relaying.done():
            self.detached += 1
            relaying.add_done_callback(lambda task: self._detached_done(context, task))
        else:
            self._finish(context)

    def _detached_done(self, context: RequestContext, task: asyncio.Task[None]) -> None:
        self.detached -= 1
        error = None if task.cancelled() else task.exception()
        if isinstance(error, Refusal):
            context.refuse(error)
        elif isinstance(error, Exception):
            context.refuse(internal(error))
        self._finish(context)

    def _finish(self, context: RequestContext) -> None:
        """Settle an open hold, then observe the request once the store has confirmed the cost."""
        if context.parsed is not None:
            self.requests.end(context.key, context.parsed)
            if context.stream is not None:
                self.streams.close(context.stream)
                self._listening.discard(context.parsed)
        if context.slot is not None:
            self._limits.release(context.slot)
        ended, admission = time.monotonic(), context.admission
        settled: Settled | None = None
        try:
            if isinstance(admission, Admitted):
                settlement = admission.settlement
                if not settlement.resolved:
                    settlement.resolve(context.abandoned(stopping=self.stopping))
                if (settled := settlement.final) is None:
                    settlement.on_settled(partial(self._observe, context, ended))
                    return
            # After the answer, which is written in this turn of the loop: no caller waits for the record.
            context.received.request.connection.loop.call_soon(self._observe, context, ended, settled)
        except BaseException:
            context.release_memory()
            raise

    def _observe(self, context: RequestContext, ended: float, settled: Settled | None) -> None:
        """Record a request at its end; the decision is kept until now, because the price is computed from it."""
        context.release_memory()
        self._recorder.finish(context.exchange(ended, settled), context.received.trace)
