"""The backend's answer on its way to the client: read, understood, settled, then passed on.

What became of the call is told to its bill before the message that says so is relayed, so a
client that has seen its result can rely on its balance.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final, NoReturn

from sidecar.errors import ErrorCode, Refusal
from sidecar.model import Call, CallKind
from sidecar.outcome import Event
from sidecar.protocol import answers, results, sse
from sidecar.protocol.stamping import stamped
from sidecar.proxy.client import Client
from sidecar.proxy.events import Events, Pace
from sidecar.proxy.forward import relayed_headers
from sidecar.proxy.settling import Bill
from sidecar.proxy.tasks import TaskGuard
from sidecar.proxy.upstream import Answer, UpstreamError

Editor = Callable[[dict[str, Any]], dict[str, Any]]
ReceiptDocument = dict[str, Any]
"""What `ledger.receipts` makes for a caller."""

STREAM_HEADERS: Final = (
    ("Content-Type", "text/event-stream"),
    ("Cache-Control", "no-store"),
    ("X-Accel-Buffering", "no"),
)
"""Headers of every stream to a client."""

_EVENTS: Final = 16  # the last events of a stream: a client that resumes it does so from one of them
# Statuses that would make a client log in somewhere. The backend has no authentication, so they
# are its own faults and not the caller's.
_MISLEADING: Final = frozenset({401, 403, 407})


class Relay:
    """One answer of the backend to one call.

    Args:
        call: what was asked.
        client: where the answer goes.
        bill: told what became of the call.
        guard: looks after the tasks that the backend's messages name.
        edit: the change a result needs before it is relayed (see `listings`); None for none.
        pace: how long its streams may be silent.
        limit: bytes of one answer (`limits.response`).
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
    ) -> None:
        self._call = call
        self._client = client
        self._bill = bill
        self._edit = edit
        self._guard = guard
        self._pace = pace
        self._limit = limit
        self._events: deque[str] = deque(maxlen=_EVENTS)  # the client may come back for what follows these

    async def run(self, answer: Answer) -> None:
        """Relay until the answer ends.

        Raises:
            UpstreamError: the backend gave no usable answer, and nothing was sent to the client yet.
            Refusal: it must not be relayed; or the client was told in its stream, which had begun.
        """
        try:
            if not 200 <= answer.status < 300:
                await self._refused(answer)
            elif self._call.kind is CallKind.STREAM and answer.media_type != sse.MEDIA_TYPE:
                raise UpstreamError(Event.UNUSABLE, "the backend's GET answer is no event stream")
            elif self._call.kind not in (CallKind.REQUEST, CallKind.STREAM):
                self._bill.resolve(Event.RESULT)
                self._client.answer(answer.status, (), b"")
            elif answer.media_type == sse.MEDIA_TYPE:
                await self._stream(answer)
            elif answer.media_type == "application/json":
                await self._document(answer)
            else:
                raise UpstreamError(Event.UNUSABLE, "the backend answered neither JSON nor an event stream")
        except UpstreamError as error:
            await self._fail(error)

    async def _document(self, answer: Answer) -> None:
        data = await answer.read(self._limit)
        try:
            response = results.read_response(data)
        except results.Unusable as error:
            raise UpstreamError(Event.UNUSABLE, str(error)) from None
        if response.id != self._call.id:
            raise UpstreamError(Event.UNUSABLE, "the backend answered another request's id")
        judged = await self._judged(response)
        body = self._rewritten(response, judged) or data
        text = body.decode()
        made = stamped(text, judged.result, await self._bill.receipt())
        await self._answer(answer, body if made is text else made.encode())

    async def _refused(self, answer: Answer) -> None:
        """Relay a 4xx byte for byte: clients find out from a 400 body which revision to speak."""
        if answer.status >= 500:
            raise UpstreamError(Event.HTTP_FAILED, f"the backend answered {answer.status}")
        if answer.status < 400 or answer.status in _MISLEADING:
            raise UpstreamError(Event.HTTP_REFUSED, f"the backend answered {answer.status}")
        self._bill.resolve(Event.HTTP_REFUSED)  # the status says it all, whatever becomes of the body
        await self._answer(answer, await answer.read(self._limit))

    async def _answer(self, answer: Answer, body: bytes) -> None:
        """Relay a whole answer; it is for this caller alone, so nothing on the way may keep it."""
        headers = (*relayed_headers(answer.headers), ("Cache-Control", "no-store"))
        self._client.answer(answer.status, headers, body)
        await self._client.deliver()

    async def _stream(self, answer: Answer) -> None:
        """Relay a call's event stream until it ends; it may say nothing more after its response."""
        await self._client.start(answer.status, STREAM_HEADERS)
        events = Events(answer, self._client, self._pace, self._limit)
        while (batch := await events.more()) is not None:
            if events.received > self._limit:
                raise UpstreamError(Event.TOO_LARGE, "the stream is longer than limits.response")
            for event in batch:
                await self._pass(event)
        if not self._bill.resolved:
            await self._unanswered()
        await self._client.end()

    async def _pass(self, event: sse.ServerEvent) -> None:
        """Relay one event; settle first when it carries the response to this call."""
        if event.id and self._call.session is not None:
            self._events.append(event.id)
            self._bill.events = self._events
        message = results.read_event(event.data)
        if isinstance(message, results.Response):
            if message.id != self._call.id or self._bill.resolved:
                return  # nobody here asked for it
            try:
                judged = await self._judged(message)
            except Refusal as refusal:
                await self._tell(refusal)
            event = self._finished(event, message, judged, await self._bill.receipt())
        elif message is None or not await self._guard.passes(message.message):
            return  # what cannot be judged, or is about another's task, is not passed on
        else:
            event = restamped(event)
        await self._client.write(event.encode())

    def _finished(
        self,
        event: sse.ServerEvent,
        response: results.Response,
        judged: results.Response,
        receipt: ReceiptDocument | None,
    ) -> sse.ServerEvent:
        """The event with a response as its client may have it."""
        rewritten = self._rewritten(response, judged)
        if rewritten is not None:
            event = event.with_data(rewritten.decode())
        return restamped(event, judged.result, receipt)

    def _rewritten(self, response: results.Response, judged: results.Response) -> bytes | None:
        """The message, written anew where something of its result changes."""
        if self._edit is not None and judged.result is not None:
            result = self._edit(judged.result)
            if result is not judged.result:
                return judged.with_result(result)
        return None if judged is response else judged.encode()

    async def _judged(self, response: results.Response) -> results.Response:
        """The response as the caller may have it; told to the bill.

        Raises:
            UpstreamError: it is not usable for this caller.
            Refusal: it must not be relayed now; the call was made all the same, and costs what it says.
        """
        self._bill.events = ()  # this was the response, whatever it is worth: no other comes
        try:
            judged = await self._guard.answered(response, self._call)
        except results.Unusable as error:
            raise UpstreamError(Event.UNUSABLE, str(error)) from None
        except Refusal:
            self._bill.resolve(response.event, response)
            raise
        self._bill.resolve(judged.event, judged)
        return judged

    async def _unanswered(self) -> None:
        """The stream ended cleanly without its response, as a backend may mean it (2025-11-25, polling)."""
        self._bill.resolve(Event.STREAM_ENDED)
        if not (self._bill.events or self._bill.cancelled):
            await self._tell(Refusal(ErrorCode.BACKEND_UNAVAILABLE, log="the stream ended without its response"))

    async def _fail(self, error: UpstreamError) -> None:
        answered = self._bill.resolved
        self._bill.resolve(error.event)
        if not self._client.started:
            raise error
        cancelled = self._bill.cancelled and error.event is Event.CLIENT_GONE
        broken = bool(self._bill.events) and error.event is Event.BACKEND_GONE
        if not (answered or broken or cancelled):
            await self._tell(error.refusal())
        await self._client.end()

    async def _tell(self, refusal: Refusal) -> NoReturn:
        """Answer inside the stream, whose head and status have been sent; then refuse, for the log."""
        await self._client.write(sse.encode(answers.error_message(refusal, self._call)))
        await self._client.end()
        raise refusal


def restamped(
    event: sse.ServerEvent, result: Mapping[str, Any] | None = None, receipt: ReceiptDocument | None = None
) -> sse.ServerEvent:
    """The event, with what `stamping` makes of its message."""
    text = stamped(event.data, result, receipt)
    return event if text is event.data else event.with_data(text)
