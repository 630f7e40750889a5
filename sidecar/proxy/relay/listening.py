"""Relay of streams with the server's own messages: GET, and subscriptions/listen.

They carry messages that no call of this exchange asked for and that were not judged for one: responses that a
session resumes are settled and edited by their shape; messages that cannot be read are dropped.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from sidecar.config.settings.settings import BackendSettings
from sidecar.errors import ErrorCode, Refusal
from sidecar.model import Call, CallKind
from sidecar.outcome import Event
from sidecar.protocol import results
from sidecar.protocol.session_ids import ExchangeIds
from sidecar.protocol.sse import sse
from sidecar.protocol.strict.strictjson import MAX_DEPTH
from sidecar.proxy.backend.pool import BackendAnswer, UpstreamError
from sidecar.proxy.listener.reply import STREAM_HEADERS, ClientReply
from sidecar.proxy.relay.event_reader import Events
from sidecar.proxy.relay.list_changes import ListChanges
from sidecar.proxy.relay.relay import Editor, Relay, restamped
from sidecar.proxy.relay.resuming import ResumedCalls
from sidecar.proxy.relay.streams import StreamEndedError
from sidecar.proxy.relay.task_guard import TaskGuard
from sidecar.proxy.settle import Settlement
from sidecar.system.shared_timers import SharedTimers


class Listening(Relay):
    """Relay of one open stream.

    Args:
        call: GET, or subscriptions/listen.
        client: the reply to the client.
        settlement: resolved once the stream is open, which is all that the call costs.
        guard: checks the tasks that the backend's messages name.
        ids: those of the session, restored for the client.
        edit: the change that results need before they are relayed, by their shape.
        pace: how long the stream may be silent.
        limit: bytes of one event, and of an answer that is no stream.
        depth: levels of nesting in one message.
        resumed: settles the call of a response to an earlier request of the session before it is relayed, and learns
            of the events from which the stream can be resumed when it has ended, before its client knows.
        lists: changes of lists that the client is notified of.
        timers: those of all open streams.
    """

    __slots__ = ("_lists", "_resumed", "_timers")

    def __init__(
        self,
        call: Call,
        client: ClientReply,
        settlement: Settlement,
        guard: TaskGuard,
        *,
        ids: ExchangeIds,
        edit: Editor | None,
        pace: BackendSettings,
        limit: int,
        resumed: ResumedCalls,
        lists: ListChanges,
        timers: SharedTimers,
        depth: int = MAX_DEPTH,
    ) -> None:
        super().__init__(call, client, settlement, guard, ids=ids, edit=edit, pace=pace, limit=limit, depth=depth)
        self._resumed = resumed
        self._lists = lists
        self._timers = timers

    def _ended(self) -> None:
        """Report the events from which the stream can be resumed."""
        if self._events:
            self._resumed.stream_ended(self._events)
            self._events = ()

    async def _stream(self, answer: BackendAnswer) -> None:
        if self._call.kind is CallKind.STREAM:
            self._settlement.resolve(Event.RESULT)
        await self._client.start(answer.status, STREAM_HEADERS, last=True)
        answer.forget_head()
        events = Events(answer, self._client, self._pace, self._limit, self._lists.take, self._timers)
        while (batch := await events.more()) is not None:
            for event in batch:
                await self._pass(event)
            if self._client.disconnected:
                return
        self._settlement.resolve(Event.STREAM_ENDED)
        self._ended()
        await self._client.end()

    async def _pass(self, event: sse.ServerEvent) -> None:
        event = self._noted(event)
        message = results.read_event(event.data, self._depth)
        if message is None:
            return  # undecodable: a message that cannot be judged is dropped
        if isinstance(message, results.Response):
            passed = await self._response(event, message)
            if passed is None:
                return
            event = passed
        elif message.message is not None:
            self._settlement.resolve(Event.RESULT)  # its first message: the subscription stands
            if not await self._guard.passes(message.message):
                return  # it is about another caller's task
            event = restamped(self._acknowledged(event, message.message))
        try:
            await self._settlement.confirm()
        except Refusal as refusal:
            await self._write_refusal(refusal)
        await self._client.write(event.encode())

    def _acknowledged(self, event: sse.ServerEvent, message: Mapping[str, Any]) -> sse.ServerEvent:
        """Return the event; one that acknowledges the subscription names the lists that the sidecar watches, too."""
        complete = self._lists.acknowledged(message)
        return event if complete is message else event.with_data(orjson.dumps(complete).decode())

    async def _response(self, event: sse.ServerEvent, response: results.Response) -> sse.ServerEvent | None:
        """Return the event with a response as it may be relayed; None if it answers no request here."""
        receipt = None
        own = self._ids.own(response)
        if own is None:
            return None
        if self._call.kind is CallKind.REQUEST:
            try:
                judged = await self._judged(own)
            except Refusal as refusal:
                await self._write_refusal(refusal)
        else:
            try:
                judged = await self._guard.answered(own, None)
            except results.Unusable:
                return None  # it names a task of another caller
            try:
                receipt = await self._resumed.settle(judged)
            except Refusal as refusal:
                self._guard.withdraw(judged)
                if refusal.code is not ErrorCode.BACKEND_TIMEOUT:
                    raise  # the client may resume the stream for it
                await self._write_refusal(refusal, judged.id)
        return self._finished(self._restored(event, response, own), own, judged, receipt)

    async def _fail(self, error: UpstreamError) -> None:
        self._settlement.resolve(error.event)
        self._ended()
        if not self._client.started:
            raise error
        # Clients reopen such a stream by themselves; a comment says why it has ended.
        if isinstance(error, StreamEndedError):
            await self._client.write(sse.comment(error.ending.value))
        await self._client.end()
