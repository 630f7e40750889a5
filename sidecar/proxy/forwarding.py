"""An admitted call and the backend: sent once, read to its end, its session kept track of."""

from __future__ import annotations

import asyncio
import time
from functools import partial

from sidecar.errors import ErrorCode, Refusal
from sidecar.model import Call, CallKind, Decision, Revision
from sidecar.outcome import Event
from sidecar.protocol import strictjson, tasks
from sidecar.protocol.headers import check_session
from sidecar.proxy.events import Pace
from sidecar.proxy.forward import backend_headers, trace
from sidecar.proxy.gates import Gates, Grant
from sidecar.proxy.listening import Listening
from sidecar.proxy.listings import Viewer, by_shape, editor
from sidecar.proxy.passage import Passage
from sidecar.proxy.relay import Relay
from sidecar.proxy.resuming import Resuming
from sidecar.proxy.settling import Bill
from sidecar.proxy.tasks import TaskGuard
from sidecar.proxy.upstream import Answer, Outgoing, Upstream, UpstreamError

_VERBS = {CallKind.STREAM: "GET", CallKind.END_SESSION: "DELETE"}


class Forwarder:
    """The way to the one backend and back.

    Args:
        upstream: its connections.
        gates: binds the sessions that the backend opens.
        resuming: settles calls whose answers pass on another stream.
    """

    def __init__(self, upstream: Upstream, gates: Gates, resuming: Resuming) -> None:
        self._upstream = upstream
        self._gates = gates
        self._resuming = resuming
        self._outliving: set[asyncio.Task[None]] = set()
        self.collisions: set[str] = set()
        """Tools whose backend schema has the argument that the policy injects: they are not served."""

    async def forward(self, passage: Passage, call: Call, decision: Decision, grant: Grant) -> None:
        """Send the call and relay its answer.

        In the older revisions a client that disconnects has not cancelled (2025-11-25, transports):
        the exchange then goes on without it, so that the call is charged what it really cost.

        Raises:
            Refusal: the backend gave no usable answer, and nothing was sent to the client yet.
        """
        work = self._exchange(passage, call, decision, grant)
        if call.revision.stateless or call.kind is not CallKind.REQUEST:
            await work
        else:
            passage.relaying = asyncio.create_task(work)
            self._outliving.add(passage.relaying)
            passage.relaying.add_done_callback(self._outliving.discard)
            await asyncio.shield(passage.relaying)

    async def close(self, grace: float) -> None:
        """Wait at most `grace` seconds for what goes on without its client, then give it up."""
        tasks = list(self._outliving)
        if tasks:
            await asyncio.wait(tasks, timeout=grace)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _exchange(self, passage: Passage, call: Call, decision: Decision, grant: Grant) -> None:
        outgoing = self._outgoing(passage, call, decision, grant)
        bill = passage.the_bill
        started = time.monotonic()
        standing = self._standing(outgoing, bill)
        try:
            answer = await self._upstream.send(outgoing)
            try:
                if passage.stream is not None:
                    passage.stream.check()
                await self._note_session(passage, call, answer)
                await self._relay(passage, call, bill, grant).run(answer)
            finally:
                answer.close()
        except UpstreamError as error:
            bill.resolve(error.event)
            if not (bill.cancelled and error.event is Event.CLIENT_GONE):
                raise error.refusal() from None
            passage.client.answer(202, (), b"")  # nobody waits for an answer, but the request has to end
        finally:
            if standing is not None:
                standing.cancel()
            passage.exchange.backend_seconds = time.monotonic() - started

    def _outgoing(self, passage: Passage, call: Call, decision: Decision, grant: Grant) -> Outgoing:
        trace_id, traceparent = trace(passage.request.headers.get("traceparent"))
        passage.exchange.trace_id = trace_id
        made = backend_headers(call, passage.the_caller, grant.scopes, passage.exchange.request_id, traceparent)
        document = decision.document
        body = None if document is None else strictjson.dumps(document)
        passage.outgoing = outgoing = Outgoing(_VERBS.get(call.kind, "POST"), made, body)
        self._set_times(passage, call, decision, outgoing)
        if passage.stream is not None:
            passage.stream.attach(outgoing)
        return outgoing

    def _set_times(self, passage: Passage, call: Call, decision: Decision, outgoing: Outgoing) -> None:
        """When a call has to have ended; streams that stay open end when their caller may listen no more.

        A call's time begins before its lease does: a process that hung with the admission must not send what was
        decided by the lease meanwhile, be it a call or a subscription.
        """
        over = passage.asked + passage.timeout(decision)
        if not call.listens:
            outgoing.deadline = passage.client.deadline = over
        elif passage.exchange.reserved:
            outgoing.send_by = over

    @staticmethod
    def _standing(outgoing: Outgoing, bill: Bill) -> asyncio.TimerHandle | None:
        """Charge a subscription that is open for as long as a call may take, whether anything was said on it or not.

        It outlives the lease of its hold, which would decide as if this process had died.
        """
        if outgoing.send_by is None:
            return None

        def charge() -> None:
            if outgoing.sent:
                bill.resolve(Event.RESULT)

        return asyncio.get_running_loop().call_at(outgoing.send_by, charge)

    def _relay(self, passage: Passage, call: Call, bill: Bill, grant: Grant) -> Relay:
        backend, limit = passage.snapshot.settings.backend, passage.snapshot.settings.limits.response
        policy, pace = passage.snapshot.policy, Pace(backend.idle_timeout, backend.keepalive)
        # The revision of a GET is what its client says; what its stream replays may have been asked in another.
        revision = Revision.V2025_11_25 if call.kind is CallKind.STREAM else call.revision
        served = tasks.served(revision, policy.methods)
        guard = TaskGuard(self._gates, passage.the_caller, served=served)
        viewer = Viewer(grant.plan, grant.scopes, served)
        if not call.listens:
            edit = editor(call, policy, viewer, self.collisions)
            return Relay(call, passage.client, bill, guard, edit=edit, pace=pace, limit=limit)
        # What a stream replays answers requests that are not known here.
        edit = partial(by_shape, policy=policy, viewer=viewer, collisions=self.collisions)
        caller = passage.the_caller
        resumed, left = partial(self._resuming.settle, caller, call, policy), partial(self._resuming.left, caller, call)
        return Listening(
            call, passage.client, bill, guard, edit=edit, pace=pace, limit=limit, resumed=resumed, left=left
        )

    async def _note_session(self, passage: Passage, call: Call, answer: Answer) -> None:
        """Bind a session before its id is relayed, forget one that the backend has forgotten."""
        caller = passage.the_caller
        good = 200 <= answer.status < 300
        if call.method == "initialize" and good:
            session = answer.header("mcp-session-id")
            if session is None:
                return
            try:
                check_session(session)
            except Refusal:
                raise UpstreamError(Event.UNUSABLE, "the backend's Mcp-Session-Id is not visible ASCII") from None
            if not await self._gates.bind(caller, session):
                raise UpstreamError(Event.UNUSABLE, "the backend gave out a session id that is another caller's")
            passage.client.add_header("Mcp-Session-Id", session)
        elif call.session is not None and (answer.status == 404 or (call.kind is CallKind.END_SESSION and good)):
            try:
                await self._gates.unbind(caller, call.session)
            except Refusal as refusal:
                # The session is gone all the same, and its binding ends by itself after a day.
                passage.exchange.notes.append(f"session not forgotten: {refusal.log}")
                if refusal.code is not ErrorCode.STORE_UNAVAILABLE:
                    raise
