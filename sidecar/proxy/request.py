"""Values of one request, from its head to its log line: the values that the steps returned, and its outcome."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from typing import Final

from sidecar.errors import ErrorCode, Gate, Refusal, ShadowRefusal
from sidecar.observe.logs import fault_place
from sidecar.outcome import Event, Exchange
from sidecar.protocol.answers import LocalAnswer, input_answer
from sidecar.protocol.jsonrpc import Message
from sidecar.proxy.admit import Admitted, Rejected
from sidecar.proxy.calls.steps import Authenticated, Decided, ParsedCall, Received
from sidecar.proxy.forward import BackendRequest
from sidecar.proxy.listener.http_answers import Answer
from sidecar.proxy.listener.reply import ClientReply
from sidecar.proxy.relay.streams import OpenStream
from sidecar.proxy.settle import Settled

# Members of enums as constants: as attributes of their classes they take ten times as long.
_TRANSPORT: Final = Gate.TRANSPORT

_UNSETTLED: Final = Settled("")
_NO_SHADOW: Final[tuple[ShadowRefusal, ...]] = ()


class RequestContext:
    """Values that the steps of one request have returned; None for a step that was not reached.

    Only the pipeline writes it, and only the end of the request reads it: each step takes the value of the step
    before.

    Attributes:
        message: the message, before its headers say which revision it belongs to.
        slot: the key of its slot in `in_flight_limits`.
        key: its key among the requests in flight.
        stream: the open stream that it is.
        relaying: the task that outlives the client where the call must be read to its end.
        refusal: the last refusal, for the log.
    """

    __slots__ = (
        "admission",
        "authenticated",
        "decided",
        "forwarded",
        "key",
        "message",
        "parsed",
        "received",
        "refusal",
        "relaying",
        "slot",
        "stream",
    )

    def __init__(self, received: Received) -> None:
        self.received = received
        self.authenticated: Authenticated | None = None
        self.message: Message | None = None
        self.parsed: ParsedCall | None = None
        self.decided: Decided | None = None
        self.admission: Admitted | Rejected | None = None
        self.forwarded: BackendRequest | None = None
        self.relaying: asyncio.Task[None] | None = None
        self.key: Hashable = None
        self.slot: str | None = None
        self.stream: OpenStream | None = None
        self.refusal: Refusal | None = None

    @property
    def holds_slot(self) -> bool:
        """True once the request counts as one in flight or as an open stream."""
        return self.slot is not None or self.stream is not None

    def refuse(self, refusal: Refusal) -> None:
        """Answer with a refusal, and keep it for the log.

        Without its traceback, which refers to the frame that refers to this context: such a cycle stays in memory until
        the collector runs.
        """
        self.refusal = refusal
        refusal.with_traceback(None)
        if refusal.__context__ is not None:
            refusal.__context__ = None
        reply, snapshot = self.received.reply, self.received.snapshot
        if reply.started and not reply.early:
            return  # the head of the stream is out: the relay has written the refusal into the stream
        if refusal.code.row.gate is _TRANSPORT and refusal.code is not ErrorCode.OVERLOADED:
            reply.close_after()
        call = self.parsed.call if self.parsed is not None else None
        asked = self.admission.asked if isinstance(self.admission, Rejected) else None
        if call is not None and asked is not None:
            answer_locally(reply, input_answer(refusal, call, asked))
            return
        issuer_id = None if self.authenticated is None else self.authenticated.caller.issuer_id
        answer_locally(reply, snapshot.refusals.answer(refusal, call or self.message, issuer_id))

    def response(self) -> Answer:
        """Return the response that the server sends or has sent."""
        response = self.received.reply.response
        return Answer(500) if response is None else response

    def release_memory(self) -> None:
        """Release the memory of the message and its answer."""
        if self.authenticated is not None:
            self.authenticated.memory.close()

    def abandoned(self, *, stopping: bool) -> Event:
        """Classify a call that ended without an outcome.

        Args:
            stopping: True when this process is shutting down; then it is not the client that ended the call.
        """
        if self.forwarded is None or not self.forwarded.outgoing.sent:
            return Event.NOT_SENT
        if stopping or not self.received.reply.disconnected:
            return Event.OWNER_DIED
        return Event.CLIENT_GONE

    def exchange(self, ended: float, settled: Settled | None) -> Exchange:
        """Build the record of the request.

        Args:
            ended: when the answer was ready, on the monotonic clock.
            settled: the end of an admitted call.
        """
        received, decided, forwarded, admission = self.received, self.decided, self.forwarded, self.admission
        refusal, stream, response = self.refusal, self.stream, received.reply.response
        end = settled or _UNSETTLED
        rule = None if refusal is None else refusal.rule
        tool, method, revision, shadow = None, None, None, _NO_SHADOW
        if decided is not None:
            rule, shadow, method = rule or decided.decision.rule, decided.decision.shadow, decided.method
            tool = None if decided.tool is None else decided.tool.name
            revision = received.snapshot.policy.revision
        if admission is not None and admission.shadow:
            shadow = (*shadow, *admission.shadow)
        trace_id, seconds, notes = None, None, end.notes
        if forwarded is not None:
            outgoing = forwarded.outgoing
            trace_id, seconds = forwarded.trace_id, outgoing.seconds
            if outgoing.notes:
                notes = (*outgoing.notes, *notes)
        elif received.trace is not None:  # a refused request with spans has a trace, too
            trace_id = received.trace.trace_id
        return Exchange(  # by place: a call with named arguments takes twice as long
            received.id, received.started, ended, None if self.parsed is None else self.parsed.call,
            None if self.authenticated is None else self.authenticated.caller, tool, method,
            settled.code if refusal is None and settled is not None else self._code(settled),
            refusal, None if response is None else response.status, rule, end.rows,
            admission.prices if isinstance(admission, Admitted) else (), end.receipt, end.hold_lost, end.action,
            seconds, None if admission is None else admission.plan, revision, trace_id, shadow,
            None if stream is None or stream.ending is None else stream.ending.name.lower(), notes,
            received.asked_seconds,
        )  # fmt: skip

    def _code(self, settled: Settled | None) -> str:
        if self.refusal is not None:
            return self.refusal.code.id
        if settled is not None:
            return settled.code
        # The client left, or cancelled, before it was answered.
        reply = self.received.reply
        answered = reply.response is not None and not (reply.early and self.forwarded is None)
        return "ok" if answered else Event.CLIENT_GONE.value


def internal(error: Exception) -> Refusal:
    """Build the refusal of a fault: the log gets its type and place, never its message, which may quote input."""
    return Refusal(ErrorCode.INTERNAL, log=fault_place(error))


def answer_locally(reply: ClientReply, answer: LocalAnswer) -> None:
    """Answer with a complete answer of the sidecar itself."""
    reply.answer(answer.status, (*answer.headers, ("Cache-Control", "no-store")), answer.body)
