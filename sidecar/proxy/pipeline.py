"""The way of one request through the gates: read `Pipeline._pass` from top to bottom.

A refusal is raised where it is found and answered in one place; anything unexpected refuses as
`internal`. What was reserved is resolved exactly once, whoever leaves first.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Container, Iterator
from contextlib import contextmanager
from typing import Final

from aiohttp.web import BaseRequest, StreamResponse

from sidecar.errors import ErrorCode, Refusal
from sidecar.model import Call, Caller, CallKind, Decision, Depth
from sidecar.observe.logs import fault_place
from sidecar.observe.record import Recorder
from sidecar.outcome import Event, Exchange
from sidecar.policy.decide import judge
from sidecar.policy.rules import Tool
from sidecar.protocol import answers, headers, jsonrpc, revisions
from sidecar.proxy.body import Readers, read_body
from sidecar.proxy.flights import Flights
from sidecar.proxy.forwarding import Forwarder
from sidecar.proxy.gates import Gates
from sidecar.proxy.passage import Passage
from sidecar.proxy.places import Places
from sidecar.proxy.snapshot import Snapshot
from sidecar.proxy.streams import OpenStreams


class Pipeline:
    """What every request to the public listener goes through.

    Args:
        snapshot: what to begin with; a reload replaces it in one assignment.
        gates: gates 5-7.
        forwarder: the way to the backend.
        recorder: what is left behind.
    """

    def __init__(self, snapshot: Snapshot, gates: Gates, forwarder: Forwarder, recorder: Recorder) -> None:
        self.snapshot = snapshot
        self.stopping = False
        self.alone = 0
        """Calls among them that go on without their clients."""
        self._gates = gates
        self._forwarder = forwarder
        self._recorder = recorder
        self._flights = Flights()
        self._places = Places()
        self._readers = Readers()
        self.streams = OpenStreams()

    @property
    def in_flight(self) -> int:
        """Requests being served, open streams beside."""
        return self._places.taken

    async def handle(self, request: BaseRequest) -> StreamResponse:
        """Serve one request; every way out of here is an answer, a refusal or a lost client."""
        passage = Passage(request, self.snapshot, Exchange(uuid.uuid4().hex, time.monotonic()))
        try:
            await self._pass(passage)
        except Refusal as refusal:
            passage.refuse(refusal)
        except asyncio.CancelledError:
            passage.client.leave()
            raise
        except Exception as error:  # noqa: BLE001 - whatever went wrong, the call is refused
            passage.refuse(_internal(error))
        finally:
            self._leave(passage)
        return passage.response()

    def record(self, exchange: Exchange) -> None:
        """Leave behind what is known of an exchange that has ended."""
        self._recorder.finish(exchange)

    async def _pass(self, passage: Passage) -> None:
        """The seven gates in their order, then the backend."""
        request, snapshot = passage.request, passage.snapshot
        if snapshot.doors.answer(request, passage.client):  # documents and preflights are for everybody
            return
        snapshot.doors.check(request)
        passage.caller = await snapshot.authenticator.authenticate(request.headers.getall("Authorization", ()))
        passage.exchange.caller = passage.caller
        passage.call = await self._read(passage)
        with self._place(passage, passage.call, passage.caller):
            await self._answer(passage, passage.call, passage.caller)

    async def _answer(self, passage: Passage, call: Call, caller: Caller) -> None:
        """Gates 4 to 7, then the backend."""
        decision = self._decide(passage, call, caller)
        passage.asked = asyncio.get_running_loop().time()
        grant = await self._gates.enter(passage, decision)
        if grant.usage is not None:
            passage.answer(answers.tool_answer(call, grant.usage, await passage.the_bill.receipt()))
        elif self._nothing_to_cancel(caller, call):
            passage.the_bill.resolve(Event.RESULT)
            passage.client.answer(202, (), b"")
        else:
            await self._forwarder.forward(passage, call, decision, grant)

    async def _read(self, passage: Passage) -> Call:
        """Gate 3: one message that every parser reads alike, and headers that agree with it."""
        request, limits = passage.request, passage.snapshot.settings.limits
        if request.method != "POST":
            call = _bodiless(passage, headers.read(request.headers.items()))
        else:
            with self._readers.place(passage.the_caller):
                body = await read_body(request, limits.body)
            # First, so that a refusal of the headers has the message's id and its revision's number.
            passage.message = jsonrpc.read(body, limits.json_depth)
            fields, methods = headers.read(request.headers.items()), passage.snapshot.policy.methods
            call = revisions.call_of(passage.message, fields, methods)
        passage.exchange.call = call
        return call

    @contextmanager
    def _place(self, passage: Passage, call: Call, caller: Caller) -> Iterator[None]:
        """Count what is known and whole; who is still sending, or nobody yet, keeps no place from others.

        Open streams are known from here on, before the store is asked about them: what is revoked later ends them.
        """
        limits = passage.snapshot.settings.limits
        if call.listens:
            self._flights.begin(passage)
            life, cut = self._life(passage, caller), passage.client.leave
            with self.streams.opened(caller, limits.streams_per_account, life, cut) as stream:
                passage.stream = stream
                yield
            return
        passage.place = self._places.take(caller, call, limits)  # until `_finish`: a call may outlive its client
        self._flights.begin(passage)
        yield

    @staticmethod
    def _life(passage: Passage, caller: Caller) -> float:
        """Seconds until the caller's token expires."""
        issuers = passage.snapshot.settings.issuers
        leeway = next(issuer.leeway for issuer in issuers if issuer.id == caller.issuer_id)
        return max(0.0, caller.expires_at + leeway - time.time())

    def _nothing_to_cancel(self, caller: Caller, call: Call) -> bool:
        """Tell the bills of calls that their client ends them, before the backend hears of it.

        Returns:
            Whether this is a cancellation of nothing in flight here. It is not forwarded: the backend
            might find a call by an id that this process reads in another way.
        """
        if call.method != "notifications/cancelled" and call.kind is not CallKind.END_SESSION:
            return False
        ended = self._flights.ended_by(caller, call)
        for passage in ended:
            passage.cancel()
        return not ended and call.kind is CallKind.NOTIFICATION

    def _decide(self, passage: Passage, call: Call, caller: Caller) -> Decision:
        """Gate 4."""
        policy, exchange = passage.snapshot.policy, passage.exchange
        decision, operation = judge(policy, call, caller)
        tool = operation.name if isinstance(operation, Tool) else None
        if tool in self._forwarder.collisions:
            decision = Decision(Refusal(ErrorCode.TOOL_UNKNOWN), policy.open_terms, Depth.CONSENT)
        passage.operation = operation
        exchange.rule = decision.rule
        exchange.method = method_label(call, policy.methods)
        exchange.tool = tool
        exchange.policy_revision, exchange.shadow = policy.revision, decision.shadow
        return decision

    def _leave(self, passage: Passage) -> None:
        """The request is over for its client; what goes on without it ends later."""
        relaying = passage.relaying
        if relaying is not None and not relaying.done():
            self.alone += 1
            relaying.add_done_callback(lambda task: self._relayed_alone(passage, task))
        else:
            self._finish(passage)

    def _relayed_alone(self, passage: Passage, task: asyncio.Task[None]) -> None:
        self.alone -= 1
        error = None if task.cancelled() else task.exception()
        if isinstance(error, Refusal):
            passage.refuse(error)
        elif isinstance(error, Exception):
            passage.refuse(_internal(error))
        self._finish(passage)

    def _finish(self, passage: Passage) -> None:
        self._flights.end(passage)
        if passage.place is not None:
            self._places.leave(passage.place)
        passage.finish(self.record, stopping=self.stopping)


_BODILESS: Final = {CallKind.STREAM: "GET", CallKind.END_SESSION: "DELETE", CallKind.RESPONSE: "response"}


def method_label(call: Call, declared: Container[str]) -> str | None:
    """The method for log and metrics: what the protocol or the policy knows, never a name that a client made up."""
    known = call.method in revisions.METHODS or call.method in declared
    return call.method if known else _BODILESS.get(call.kind)


def _bodiless(passage: Passage, fields: headers.McpHeaders) -> Call:
    """What a GET or DELETE asks; in a revision without sessions there is only POST."""
    try:
        return revisions.bodiless_call(passage.request.method, fields)
    except Refusal as refusal:
        if refusal.code is ErrorCode.HTTP_METHOD_REFUSED:
            passage.client.add_header("Allow", "POST")  # RFC 9110 section 15.5.6
        raise


def _internal(error: Exception) -> Refusal:
    """The log is told what failed and where, never the message: it may quote what was being read."""
    return Refusal(ErrorCode.INTERNAL, log=fault_place(error))
