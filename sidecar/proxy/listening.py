"""Streams of the server's own messages on their way to the client: GET, and subscriptions/listen.

They carry what no call here asked for, and so what no call here was judged for: responses that a session
resumes are settled and edited by what they look like; what cannot be read is dropped.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

from sidecar.model import Call, CallKind
from sidecar.outcome import Event
from sidecar.protocol import results, sse
from sidecar.proxy.client import Client
from sidecar.proxy.events import Events, Pace
from sidecar.proxy.relay import STREAM_HEADERS, Editor, ReceiptDocument, Relay, restamped
from sidecar.proxy.settling import Bill
from sidecar.proxy.streams import StreamEndedError
from sidecar.proxy.tasks import TaskGuard
from sidecar.proxy.upstream import Answer, UpstreamError

Resumed = Callable[[results.Response], Awaitable[ReceiptDocument | None]]
Left = Callable[[Iterable[str]], None]


class Listening(Relay):
    """One open stream.

    Args:
        call: what was asked: GET, or subscriptions/listen.
        client: where the messages go.
        bill: told that the stream was opened, which is all that was asked for.
        guard: looks after the tasks that the backend's messages name.
        edit: the change that results need before they are relayed, told by their shape.
        pace: how long the stream may be silent.
        limit: bytes of one event, and of an answer that is no stream.
        resumed: awaited before the response to an earlier request of the session is relayed; gives the receipt
            that it carries, if it was settled now.
        left: told from which events it can be resumed when it has ended, before its client knows.
    """

    def __init__(
        self,
        call: Call,
        client: Client,
        bill: Bill,
        guard: TaskGuard,
        *,
        edit: Editor | None,
        pace: Pace,
        limit: int,
        resumed: Resumed,
        left: Left,
    ) -> None:
        super().__init__(call, client, bill, guard, edit=edit, pace=pace, limit=limit)
        self._resumed = resumed
        self._left = left

    async def run(self, answer: Answer) -> None:
        """As every relay does; in the end it is noted where the stream can be resumed."""
        try:
            await super().run(answer)
        finally:
            self._note_events()

    def _note_events(self) -> None:
        if self._events:
            self._left(tuple(self._events))
            self._events.clear()

    async def _stream(self, answer: Answer) -> None:
        if self._call.kind is CallKind.STREAM:
            self._bill.resolve(Event.RESULT)
        await self._client.start(answer.status, STREAM_HEADERS)
        events = Events(answer, self._client, self._pace, self._limit)
        while (batch := await events.more()) is not None:
            for event in batch:
                await self._pass(event)
            if self._client.gone:
                return
        self._bill.resolve(Event.STREAM_ENDED)
        self._note_events()
        await self._client.end()

    async def _pass(self, event: sse.ServerEvent) -> None:
        if event.id:
            self._events.append(event.id)
        message = results.read_event(event.data)
        if message is None:
            return  # undecodable: what cannot be judged is not passed on
        if isinstance(message, results.Response):
            passed = await self._response(event, message)
            if passed is None:
                return
            event = passed
        elif message.message is not None:
            self._bill.resolve(Event.RESULT)  # it has begun to speak: the subscription stands
            if not await self._guard.passes(message.message):
                return  # it is about somebody else's task
            event = restamped(event)
        await self._client.write(event.encode())

    async def _response(self, event: sse.ServerEvent, response: results.Response) -> sse.ServerEvent | None:
        """The event with a response as it may be relayed; None for one that nobody here asked for."""
        receipt = None
        if self._call.kind is CallKind.REQUEST:
            if response.id != self._call.id:
                return None
            judged = await self._judged(response)
        elif self._call.session is None:
            return None
        else:
            try:
                judged = await self._guard.answered(response, None)
            except results.Unusable:
                return None  # it names a task of somebody else
            receipt = await self._resumed(judged)
        return self._finished(event, response, judged, receipt)

    async def _fail(self, error: UpstreamError) -> None:
        self._bill.resolve(error.event)
        self._note_events()
        if not self._client.started:
            raise error
        # Clients open such a stream again by themselves; a comment says why to whoever looks.
        if isinstance(error, StreamEndedError):
            await self._client.write(sse.comment(error.ending.value))
        await self._client.end()
