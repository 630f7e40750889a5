"""An admitted call and the backend: sent once, read to its end, its session kept track of."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import Any

from sidecar.errors import ErrorCode, Refusal
from sidecar.model import Call, CallKind, Decision, Event
from sidecar.protocol import strictjson, tasks
from sidecar.protocol.headers import check_session
from sidecar.proxy.forward import backend_headers, trace
from sidecar.proxy.gates import Gates, Grant
from sidecar.proxy.listings import Viewer, editor
from sidecar.proxy.passage import Passage
from sidecar.proxy.relay import Relay
from sidecar.proxy.settling import Bill
from sidecar.proxy.tasks import TaskGuard
from sidecar.proxy.upstream import Answer, Outgoing, Upstream, UpstreamError

_VERBS = {CallKind.STREAM: "GET", CallKind.END_SESSION: "DELETE"}


class Forwarder:
    """The way to the one backend and back.

    Args:
        upstream: its connections.
        gates: binds the sessions that the backend opens.
    """

    def __init__(self, upstream: Upstream, gates: Gates) -> None:
        self._upstream = upstream
        self._gates = gates
        self._outliving: set[asyncio.Task[None]] = set()
        self._listening: set[asyncio.Task[Any]] = set()
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
        if call.kind is CallKind.STREAM:
            await self._listen(work)
        elif call.revision.stateless or call.kind is not CallKind.REQUEST:
            await work
        else:
            passage.relaying = asyncio.create_task(work)
            self._outliving.add(passage.relaying)
            passage.relaying.add_done_callback(self._outliving.discard)
            await asyncio.shield(passage.relaying)

    @property
    def streams(self) -> int:
        """GET streams that are open."""
        return len(self._listening)

    def end_streams(self) -> None:
        """End all GET streams: they would outlive any grace."""
        for task in self._listening:
            task.cancel()

    async def close(self, grace: float) -> None:
        """Wait at most `grace` seconds for what goes on without its client, then give it up."""
        tasks = list(self._outliving)
        if tasks:
            await asyncio.wait(tasks, timeout=grace)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _listen(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine runs in a task
        self._listening.add(task)
        try:
            await work
        finally:
            self._listening.discard(task)

    async def _exchange(self, passage: Passage, call: Call, decision: Decision, grant: Grant) -> None:
        outgoing = self._outgoing(passage, call, decision, grant)
        bill = passage.the_bill
        started = time.monotonic()
        try:
            answer = await self._upstream.send(outgoing)
            try:
                await self._note_session(passage, call, answer)
                await self._relay(passage, call, bill, grant).run(answer)
            finally:
                answer.close()
        except UpstreamError as error:
            bill.resolve(error.event)
            raise error.refusal() from None
        finally:
            passage.exchange.backend_seconds = time.monotonic() - started

    def _outgoing(self, passage: Passage, call: Call, decision: Decision, grant: Grant) -> Outgoing:
        trace_id, traceparent = trace(passage.request.headers.get("traceparent"))
        passage.exchange.trace_id = trace_id
        made = backend_headers(call, passage.the_caller, grant.scopes, passage.exchange.request_id, traceparent)
        document = decision.document
        deadline = self._deadline(passage, call, decision)
        if call.kind is not CallKind.STREAM:
            passage.client.deadline = deadline
        body = None if document is None else strictjson.dumps(document)
        passage.outgoing = Outgoing(_VERBS.get(call.kind, "POST"), made, body, deadline)
        return passage.outgoing

    def _deadline(self, passage: Passage, call: Call, decision: Decision) -> float:
        now = asyncio.get_running_loop().time()
        if call.kind is CallKind.STREAM:
            caller = passage.the_caller
            issuers = passage.snapshot.settings.issuers
            leeway = next(issuer.leeway for issuer in issuers if issuer.id == caller.issuer_id)
            return now + max(0.0, caller.expires_at + leeway - time.time())
        return now + passage.timeout(decision)

    def _relay(self, passage: Passage, call: Call, bill: Bill, grant: Grant) -> Relay:
        settings, policy = passage.snapshot.settings, passage.snapshot.policy
        served = tasks.served(call.revision, policy.methods)
        viewer = Viewer(grant.plan, grant.scopes, served)
        return Relay(
            call,
            passage.client,
            bill,
            edit=editor(call, policy, viewer, self.collisions),
            guard=TaskGuard(self._gates, passage.the_caller, served=served),
            idle=settings.backend.idle_timeout,
            limit=settings.limits.response,
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
