"""Relay of the backend's answer to the client: read, judged, settled, then passed on.

The call is settled before the message with its outcome is relayed, so a client that has seen its
result can rely on its balance.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final, NoReturn

from sidecar.config.settings.settings import BackendSettings
from sidecar.errors import ErrorCode, Refusal
from sidecar.ledger.settlement import status_event
from sidecar.model import Call, CallKind, RequestId
from sidecar.outcome import Event
from sidecar.protocol import answers, results
from sidecar.protocol.session_ids import ExchangeIds
from sidecar.protocol.sse import sse
from sidecar.protocol.stamping import stamped
from sidecar.protocol.strict.strictjson import MAX_DEPTH
from sidecar.proxy.backend.answer import AnswerMemoryError
from sidecar.proxy.backend.forwarding import relayed_headers, retry_after
from sidecar.proxy.backend.pool import BackendAnswer, UpstreamError
from sidecar.proxy.listener.reply import STREAM_HEADERS, ClientReply
from sidecar.proxy.memory import ANSWER_VALUE, decoded_size
from sidecar.proxy.relay.event_reader import Events
from sidecar.proxy.relay.task_guard import TaskGuard
from sidecar.proxy.settle import Settlement

Editor = Callable[[dict[str, Any]], dict[str, Any]]
ReceiptDocument = dict[str, Any]
"""Receipt for a caller, as `ledger.receipts` makes it."""

_EVENTS: Final = 16  # the last events of a stream: a client resumes it from one of them
# Statuses that would make a client begin a login. The backend has no authentication, so they
# are faults of the backend and not of the caller.
_MISLEADING: Final = frozenset({401, 403, 407})


class Relay:
    """Relay of one answer of the backend to one call.

    Args:
        call: the call.
        client: the reply to the client.
        settlement: resolved with the outcome of the call.
        guard: checks the tasks that the backend's messages name.
        ids: those of the session, restored for the client.
        edit: the change a result needs before it is relayed (see `listings`); None for none.
        pace: how long its streams may be silent.
        limit: bytes of one answer (`limits.response`).
        depth: levels of nesting in one message (`limits.json_depth`).
    """

    __slots__ = ("_call", "_client", "_depth", "_edit", "_events", "_guard", "_ids", "_limit", "_pace", "_settlement")

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
        depth: int = MAX_DEPTH,
    ) -> None:
        self._call = call
        self._client = client
        self._settlement = settlement
        self._edit = edit
        self._guard = guard
        self._ids = ids
        self._pace = pace
        self._limit = limit
        self._depth = depth
        self._events: tuple[str, ...] = ()  # the client may resume after one of these

    async def run(self, answer: BackendAnswer) -> None:
        """Relay until the answer ends.

        Raises:
            UpstreamError: the backend gave no usable answer, and nothing was sent to the client yet.
            Refusal: it must not be relayed; or the refusal was written into the stream, which had begun.
        """
        kind, media = self._call.kind, answer.media_type
        try:
            if not 200 <= answer.status < 300:
                await self._refused(answer)
            elif kind is CallKind.STREAM and media != sse.MEDIA_TYPE:
                raise UpstreamError(Event.UNUSABLE, "the backend's GET answer is no event stream")
            elif kind is not CallKind.REQUEST and kind is not CallKind.STREAM:
                self._settlement.resolve(Event.RESULT)
                # Clients accept only 202 for posted notifications and responses (2025-11-25, transports).
                accepted = answer.status if kind is CallKind.END_SESSION else 202
                self._client.answer(accepted, (), b"")
            elif media == "application/json":
                await self._document(answer)
            elif media == sse.MEDIA_TYPE:
                await self._stream(answer)
            else:
                raise UpstreamError(Event.UNUSABLE, "the backend answered neither JSON nor an event stream")
        except UpstreamError as error:
            await self._fail(error)
        finally:
            self._ended()

    def _ended(self) -> None:
        """Note the end of the answer, before its client can know of it."""

    async def _document(self, answer: BackendAnswer) -> None:
        body = await self._whole(answer, await answer.read(self._limit))
        if answer.memory is not None:
            answer.memory.decoded()
        await self._answer(answer, body)

    async def _whole(self, answer: BackendAnswer, data: bytes) -> bytes:
        """Return the document as its client may see it; the decoded value is released before it is sent."""
        _hold_decoded(answer, data)
        try:
            response = results.read_response(data, self._depth)
        except results.Unusable as error:
            raise UpstreamError(Event.UNUSABLE, str(error)) from None
        own = self._ids.own(response)
        if own is None:
            raise UpstreamError(Event.UNUSABLE, "the backend answered another request's id")
        judged = await self._judged(own)
        body = self._rewritten(own, judged)
        text = received = (body or data).decode()
        if body is None and own is not response:
            text = self._ids.text(text, response, own)
        made = stamped(text, judged.result, await self._settlement.receipt())
        return (body or data) if made is received else made.encode()

    async def _refused(self, answer: BackendAnswer) -> None:
        """Relay a 4xx byte for byte, except the request's id: a 400 body says which revision to speak."""
        status, event = answer.status, status_event(answer.status)
        if status >= 500 or status < 400 or status in _MISLEADING:
            wait = retry_after(answer.header("retry-after"), time.time()) if status == 503 else None
            raise UpstreamError(event, f"the backend answered {status}", retry_after=wait)
        self._settlement.resolve(event)  # the status alone decides, whatever the body holds
        body = await answer.read(self._limit)
        if self._ids.sent_in(body):
            _hold_decoded(answer, body)
            body = self._ids.refused(body, self._depth)
            if answer.memory is not None:
                answer.memory.decoded()
        if status == 404 and self._call.kind is CallKind.STREAM:
            # A backend without such streams may have no route for GET, and clients end a session at a 404.
            status = 405
            self._client.add_header("Allow", "POST")  # RFC 9110 section 15.5.6
        if self._client.early and not results.is_error(body, self._call.id, self._depth):
            # The status is sent already, and an event is a JSON-RPC message.
            await self._write_refusal(UpstreamError(event, f"the backend answered {status}").refusal())
        await self._answer(answer, body, status)

    async def _answer(self, answer: BackendAnswer, body: bytes, status: int | None = None) -> None:
        """Relay a whole answer; it is for this caller alone, so no cache may keep it."""
        headers = (*relayed_headers(answer.fields), ("Cache-Control", "no-store"))
        self._client.answer(status or answer.status, headers, body)
        await self._client.deliver()

    async def _stream(self, answer: BackendAnswer) -> None:
        """Relay the event stream of a call until it ends; drop every further response after its own."""
        await self._client.start(answer.status, STREAM_HEADERS)
        events = Events(answer, self._client, self._pace, self._limit)
        while (batch := await events.more()) is not None:
            if events.received > self._limit:
                raise UpstreamError(Event.TOO_LARGE, "the stream is longer than limits.response")
            for event in batch:
                await self._pass(event)
        if not self._settlement.resolved:
            await self._unanswered()
        await self._client.end()

    async def _pass(self, event: sse.ServerEvent) -> None:
        """Relay one event; settle first when it carries the response to this call."""
        event = self._noted(event)
        if event.id and self._call.session is not None:
            self._settlement.events = self._events
        message = results.read_event(event.data, self._depth)
        if isinstance(message, results.Response):
            own = self._ids.own(message)
            if own is None or self._settlement.resolved:
                return  # no request of this exchange has this id
            try:
                judged = await self._judged(own)
            except Refusal as refusal:
                await self._write_refusal(refusal)
            event = self._finished(self._restored(event, message, own), own, judged, await self._settlement.receipt())
        elif message is None or not await self._guard.passes(message.message):
            return  # a message that cannot be read, or is about another caller's task, is dropped
        else:
            event = restamped(event)
        await self._client.write(event.encode())

    def _noted(self, event: sse.ServerEvent) -> sse.ServerEvent:
        """Return the event with its id as the client sees it; remember an id that the stream can be resumed from."""
        marked = self._ids.event(event)
        if event.id and marked.id:
            self._events = (*self._events[1 - _EVENTS :], event.id)
        return marked

    def _restored(self, event: sse.ServerEvent, response: results.Response, own: results.Response) -> sse.ServerEvent:
        """Return the event with the client's own id in its response."""
        text = self._ids.text(event.data, response, own)
        return event if text is event.data else event.with_data(text)

    def _finished(
        self,
        event: sse.ServerEvent,
        response: results.Response,
        judged: results.Response,
        receipt: ReceiptDocument | None,
    ) -> sse.ServerEvent:
        """Return the event with a response as its client may see it."""
        rewritten = self._rewritten(response, judged)
        if rewritten is not None:
            event = event.with_data(rewritten.decode())
        return restamped(event, judged.result, receipt)

    def _rewritten(self, response: results.Response, judged: results.Response) -> bytes | None:
        """Return the message, serialised again; None where nothing of its result changes."""
        if self._edit is not None and judged.result is not None:
            result = self._edit(judged.result)
            if result is not judged.result:
                return judged.with_result(result)
        return None if judged is response else judged.encode()

    async def _judged(self, response: results.Response) -> results.Response:
        """Settle the call by its response; return the response as the caller may see it.

        Raises:
            UpstreamError: it is not usable for this caller.
            Refusal: it must not be relayed now; the call was made, and is charged by its result. Or its
                hold may have been released (`Settlement.confirm`).
        """
        self._settlement.events = ()  # this was the response, usable or not: no second one follows
        try:
            judged = await self._guard.answered(response, self._call)
        except results.Unusable as error:
            raise UpstreamError(Event.UNUSABLE, str(error)) from None
        except Refusal:
            self._settlement.resolve(response.event, response)
            raise
        self._settlement.resolve(judged.event, judged, now=False)
        try:
            await self._settlement.confirm()
        except Refusal:
            self._guard.withdraw(judged)
            raise
        return judged

    async def _unanswered(self) -> None:
        """End a stream that ended cleanly without its response, as a backend may intend (2025-11-25, polling)."""
        self._settlement.resolve(Event.STREAM_ENDED)
        if not (self._settlement.events or self._settlement.cancelled):
            await self._write_refusal(
                Refusal(ErrorCode.BACKEND_UNAVAILABLE, log="the stream ended without its response")
            )

    async def _fail(self, error: UpstreamError) -> None:
        answered = self._settlement.resolved
        self._settlement.resolve(error.event)
        if not self._client.started:
            raise error
        cancelled = self._settlement.cancelled and error.event is Event.CLIENT_GONE
        broken = bool(self._settlement.events) and error.event is Event.BACKEND_GONE
        if not (answered or broken or cancelled):
            await self._write_refusal(error.refusal())
        await self._client.end()

    async def _write_refusal(self, refusal: Refusal, id_: RequestId | None = None) -> NoReturn:
        """Write a refusal into a stream that has begun, because its status is already sent; then raise it, for the log.

        Args:
            refusal: the refusal.
            id_: the id of the request that is answered, where that is not the call.
        """
        call = self._call if id_ is None else replace(self._call, id=id_)
        await self._client.write(sse.encode(answers.error_message(refusal, call)))
        await self._client.end()
        raise refusal


def _hold_decoded(answer: BackendAnswer, data: bytes) -> None:
    """Take working memory to decode an answer.

    Raises:
        AnswerMemoryError: there is no room.
    """
    if answer.memory is not None and not answer.memory.decode(decoded_size(data, ANSWER_VALUE) - len(data)):
        raise AnswerMemoryError


def restamped(
    event: sse.ServerEvent, result: Mapping[str, Any] | None = None, receipt: ReceiptDocument | None = None
) -> sse.ServerEvent:
    """Return the event, with its message stamped (`stamping`)."""
    text = stamped(event.data, result, receipt)
    return event if text is event.data else event.with_data(text)
