"""Exchange of an admitted call with the backend: send it once, read its answer, and track its session."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from functools import partial
from typing import Final

from sidecar.errors import ErrorCode, Refusal
from sidecar.model import Call, CallKind, RequestId, Revision
from sidecar.outcome import Event
from sidecar.protocol.elicitation.elicitation import declared_modes
from sidecar.protocol.headers import check_session
from sidecar.protocol.session_ids import GET_STREAM, ExchangeIds, SessionIds
from sidecar.protocol.strict import strictjson
from sidecar.protocol.tasks import task_support
from sidecar.proxy.admit import Admitted
from sidecar.proxy.backend.forwarding import request_lines, trace
from sidecar.proxy.backend.pool import BackendAnswer, Outgoing, UpstreamError
from sidecar.proxy.calls.usual_answers import relay_usual
from sidecar.proxy.confirming.carrying_guard import CarryingGuard
from sidecar.proxy.ownership import Ownership
from sidecar.proxy.relay.list_changes import ListChanges
from sidecar.proxy.relay.listening import Listening
from sidecar.proxy.relay.listings import Viewer, edit_by_shape, editor
from sidecar.proxy.relay.relay import Relay
from sidecar.proxy.relay.resuming import ResumedCalls, Resuming
from sidecar.proxy.relay.streams import OpenStream
from sidecar.proxy.relay.task_guard import TaskGuard
from sidecar.proxy.settle import Settlement
from sidecar.store.stream_key import StreamKey
from sidecar.vocabulary import record

# Members of enums as constants: as attributes of their classes they take ten times as long.
_STREAM: Final = CallKind.STREAM
_END_SESSION: Final = CallKind.END_SESSION
_REQUEST: Final = CallKind.REQUEST

_VERBS = {CallKind.STREAM: "GET", CallKind.END_SESSION: "DELETE"}


@record
class BackendRequest:
    """Request of an admitted call to the backend.

    Attributes:
        admitted: the call, and the rights of its caller.
        call: the message as the backend gets it.
        ids: of the exchange, restored for the client.
        outgoing: the HTTP request.
        trace_id: the id of the trace that the request is part of.
        stream: the open stream that the answer is; None for a call that ends by itself.
        lists: changes of lists that an open stream announces.
    """

    admitted: Admitted
    call: Call
    ids: ExchangeIds
    outgoing: Outgoing
    trace_id: str
    stream: OpenStream | None
    lists: ListChanges | None = None

    @property
    def detachable(self) -> bool:
        """True when the exchange goes on without its client.

        In the older revisions a client that disconnects has not cancelled (2025-11-25, transports): the exchange
        then goes on without the client, so that the call is charged its real cost.
        """
        return self.call.kind is _REQUEST and not self.call.revision.stateless


class Forwarder:
    """Exchange of admitted calls with the one backend.

    Args:
        ownership: binds the sessions that the backend opens.
        resuming: settles calls that are answered on another stream.
        stream_key: marks the ids of sessions.
    """

    def __init__(self, ownership: Ownership, resuming: Resuming, stream_key: StreamKey) -> None:
        self._ownership = ownership
        self._resuming = resuming
        self._stream_key = stream_key
        self._detached: set[asyncio.Task[None]] = set()

    def prepare(
        self, admitted: Admitted, call: Call, ids: ExchangeIds, stream: OpenStream | None, cancels: RequestId | None
    ) -> BackendRequest:
        """Build the request to the backend.

        Args:
            admitted: the call.
            call: the message as the backend gets it.
            ids: of the exchange.
            stream: the open stream that it is; None for a call that ends by itself.
            cancels: id of the request in flight that it cancels, as the client sent it.
        """
        parsed, document = admitted.decided.parsed, admitted.decided.decision.document
        received, caller = parsed.received, parsed.caller
        if received.trace is None:
            trace_id, traceparent = trace(received.request.head.traceparent, received.id)
        else:
            trace_id, traceparent = received.trace.forward(received.snapshot.upstream.url)
        lines = request_lines(call, caller, admitted.scopes, received.id, traceparent)
        body = None if document is None else strictjson.dumps(ids.document(document, cancels))
        outgoing = Outgoing(_VERBS.get(call.kind, "POST"), (), body, None, None, parsed.memory, lines)
        if stream is None:
            outgoing.deadline = received.reply.deadline = admitted.deadline
        elif admitted.prices:
            outgoing.send_by = admitted.deadline
        parsed.cancellation.attach(outgoing)
        lists = None
        if stream is not None:
            seen = received.snapshot.lists
            lists = ListChanges(call, caller, seen, admitted.plan, admitted.consented, replays=ids.replays)
            stream.attach(outgoing, lists)
        return BackendRequest(admitted, call, ids, outgoing, trace_id, stream, lists)

    def detach(self, request: BackendRequest) -> asyncio.Task[None]:
        """Begin an exchange that goes on when its client disconnects."""
        connection = request.admitted.decided.parsed.received.request.connection
        task = connection.loop.create_task(self.run(request))
        self._detached.add(task)
        task.add_done_callback(self._detached.discard)
        return task

    async def run(self, request: BackendRequest) -> None:
        """Send the request and relay its answer.

        Raises:
            Refusal: the backend gave no usable answer, and nothing was sent to the client yet.
        """
        outgoing, settlement = request.outgoing, request.admitted.settlement
        received = request.admitted.decided.parsed.received
        reply = received.reply
        started = time.monotonic()
        timer = None if outgoing.send_by is None else _charge_at(outgoing.send_by, outgoing, settlement)
        try:
            answer = await received.snapshot.upstream.send(outgoing)
            try:
                if request.stream is not None:
                    request.stream.check()
                if request.call.kind is _STREAM:
                    received.snapshot.upstream.has_streams = answer.status != 405
                if request.call.method == "initialize" or request.call.kind is _END_SESSION:
                    await self._note_session(request, answer)
                if not relay_usual(request.call, answer, settlement, reply, received.snapshot):
                    await self._relay(request).run(answer)
                elif not settlement.is_free:
                    await settlement.confirm()
            finally:
                answer.close()
        except UpstreamError as error:
            settlement.resolve(error.event)
            if not (settlement.cancelled and error.event is Event.CLIENT_GONE):
                raise error.refusal() from None
            reply.answer(202, (), b"")  # the client expects no answer, but the HTTP request has to end
        finally:
            if timer is not None:
                timer.cancel()
            outgoing.seconds = time.monotonic() - started

    async def close(self, grace: float) -> None:
        """Wait at most `grace` seconds for the exchanges of disconnected clients, then cancel them."""
        tasks = list(self._detached)
        if tasks:
            await asyncio.wait(tasks, timeout=grace)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def read_key(self) -> None:
        """Read the key that marks the ids of sessions.

        Raises:
            Refusal: `store_unavailable`.
        """
        await self._stream_key.read()

    def marked(self, admitted: Admitted) -> tuple[Call, ExchangeIds] | None:
        """Return the call as the backend gets it, and the ids of the exchange; None until `read_key` for a session's.

        A GET stream is resumed only where the backend keeps those of sessions apart; else a new one is opened.

        Raises:
            Refusal: `event_unknown`: the event to go on from is none of the session's.
        """
        parsed = admitted.decided.parsed
        call, key = parsed.call, self._stream_key.current
        if has_own_ids(call):
            return call, ExchangeIds(call)
        if key is None:
            return None
        session = SessionIds.of(key, parsed.caller, call.session or "")
        if call.last_event_id is None:
            return call, ExchangeIds(call, session)
        resumed = session.resumed(call.last_event_id)
        if resumed is None:
            raise Refusal(ErrorCode.EVENT_UNKNOWN)
        stream, event = resumed
        scoped = parsed.received.snapshot.settings.backend.events == "scoped"
        call = replace(call, last_event_id=None if stream == GET_STREAM and not scoped else event)
        return call, ExchangeIds(call, session, stream)

    def _relay(self, request: BackendRequest) -> Relay:
        admitted, call, ids = request.admitted, request.call, request.ids
        parsed, settlement = admitted.decided.parsed, admitted.settlement
        snapshot, caller, reply = parsed.received.snapshot, parsed.caller, parsed.received.reply
        settings, policy = snapshot.settings, snapshot.policy
        pace, limit, depth = settings.backend, settings.limits.response, settings.limits.json_depth
        # The revision of a GET is the one its client names; the replayed requests may be of another revision.
        revision = Revision.V2025_11_25 if call.kind is _STREAM else call.revision
        served = task_support.served(revision, policy.methods)
        guard = TaskGuard(self._ownership, caller, served=served)
        if admitted.approved is not None and call.revision.stateless:
            guard = CarryingGuard(self._ownership, caller, served=served, approved=admitted.approved)
        viewer = Viewer(admitted.plan, admitted.scopes, served)
        if request.lists is None or request.stream is None:
            streams = snapshot.upstream.has_streams
            edit = editor(call, policy, viewer, snapshot.tools, streams=streams)
            return Relay(call, reply, settlement, guard, ids=ids, edit=edit, pace=pace, limit=limit, depth=depth)
        # A stream replays responses to requests that are not known here.
        edit = partial(edit_by_shape, policy=policy, viewer=viewer, knowledge=snapshot.tools)
        return Listening(
            *(call, reply, settlement, guard),
            ids=ids,
            edit=edit,
            lists=request.lists,
            timers=request.stream.timers,
            pace=pace,
            limit=limit,
            depth=depth,
            resumed=ResumedCalls(self._resuming, caller, call, policy),
        )

    async def _note_session(self, request: BackendRequest, answer: BackendAnswer) -> None:
        """Bind a session before its id is relayed; forget one that its client has ended, as the backend confirms.

        A 404 ends none: it may come from a missing route, an unknown method or a load balancer.
        """
        call, parsed = request.call, request.admitted.decided.parsed
        caller = parsed.caller
        good = 200 <= answer.status < 300
        if call.method == "initialize" and good:
            session = answer.header("mcp-session-id")
            if session is None:
                return
            try:
                check_session(session)
            except Refusal:
                raise UpstreamError(Event.UNUSABLE, "the backend's Mcp-Session-Id is not visible ASCII") from None
            if not await self._ownership.bind(caller, session, declared_modes(call.params.get("capabilities"))):
                raise UpstreamError(Event.UNUSABLE, "the backend gave out a session id that is another caller's")
            parsed.received.reply.add_header("Mcp-Session-Id", session)
        elif call.session is not None and call.kind is _END_SESSION and good:
            try:
                await self._ownership.unbind(caller, call.session)
            except Refusal as refusal:
                # The session is gone all the same, and its binding ends by itself after a day.
                request.outgoing.notes += (f"session not forgotten: {refusal.log}",)
                if refusal.code is not ErrorCode.STORE_UNAVAILABLE:
                    raise


def has_own_ids(call: Call) -> bool:
    """Return True for a call outside of a session: its ids are those of its client."""
    return call.session is None or call.method == "initialize"


def _charge_at(due: float, outgoing: Outgoing, settlement: Settlement) -> asyncio.TimerHandle:
    """Charge a subscription that is open for as long as a call may take, silent or not.

    It outlives the lease of its hold; at the end of the lease the call would count as one of a dead process.
    """

    def charge() -> None:
        if outgoing.sent:
            settlement.resolve(Event.RESULT)

    return asyncio.get_running_loop().call_at(due, charge)
