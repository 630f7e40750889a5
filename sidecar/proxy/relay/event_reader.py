"""Events of one stream of the backend, and the comments that keep its client connected between them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from sidecar.config.settings.settings import BackendSettings
from sidecar.outcome import Event
from sidecar.protocol.sse import sse
from sidecar.proxy.backend.answer import AnswerMemoryError
from sidecar.proxy.backend.pool import BackendAnswer, UpstreamError
from sidecar.proxy.listener.reply import ClientReply
from sidecar.proxy.memory import ANSWER_VALUE, decoded_size
from sidecar.system.shared_timers import SharedTimers


class Events:
    """Read one stream. Comments are written between events and never within one.

    Args:
        answer: the backend's stream, from its head on.
        client: gets the comments.
        pace: `idle_timeout`, silence of the backend that ends a stream, and `keepalive`, silence towards the client
            after which it gets a comment.
        limit: bytes of one event.
        own: returns events of the sidecar itself, which are written between those of the backend.
        timers: make the timers of silence, for streams of which thousands are open; by default the event loop does.

    Attributes:
        received: number of bytes so far.
    """

    __slots__ = ("_answer", "_client", "_own", "_pace", "_parser", "_timers", "received")

    def __init__(
        self,
        answer: BackendAnswer,
        client: ClientReply,
        pace: BackendSettings,
        limit: int,
        own: Callable[[], bytes] = bytes,
        timers: SharedTimers | None = None,
    ) -> None:
        self._answer = answer
        self._client = client
        self._pace = pace
        self._own = own
        self._timers = asyncio.get_running_loop() if timers is None else timers
        self._parser = sse.Parser(limit)
        self.received = 0

    async def more(self) -> list[sse.ServerEvent] | None:
        """Return the events that arrive next, perhaps none; None at the clean end.

        Raises:
            UpstreamError: the stream broke, was silent for too long, or has an event that is too large.
            AnswerMemoryError: there is no room for the arrived bytes.
        """
        self._settle_memory()
        # All in one coroutine: it waits for hours in thousands of streams.
        while True:
            if data := self._own():
                await self._client.write(data)
            waiter = self._answer.waiting()
            if waiter is not None:
                timer = self._timers.call_at(self._due(), self._answer.wake)
                try:
                    await waiter
                finally:
                    timer.cancel()
            chunk = self._answer.taken()
            if chunk is not None:
                return self._parsed(chunk)
            if self._is_quiet():
                await self._client.write(sse.KEEPALIVE)

    def _parsed(self, chunk: bytes) -> list[sse.ServerEvent] | None:
        self.received += len(chunk)
        try:
            events = self._parser.feed(chunk)
        except sse.EventTooLarge:
            raise UpstreamError(Event.TOO_LARGE, "one event is larger than limits.response") from None
        if events:
            self._hold_decoded(events)
        return events if chunk else None

    def _settle_memory(self) -> None:
        """Release the bytes of earlier events, which have been passed on, and hold only those still buffered."""
        memory = self._answer.memory
        if memory is None:
            return
        memory.decoded()
        if not memory.resize(self._answer.unread + self._parser.held + self._client.unsent):
            raise AnswerMemoryError

    def _hold_decoded(self, events: list[sse.ServerEvent]) -> None:
        """Take working memory for the largest of the events: they are decoded one at a time."""
        memory = self._answer.memory
        if memory is None:
            return
        text = max((event.data for event in events), key=len).encode("utf-8", "replace")
        if not memory.decode(decoded_size(text, ANSWER_VALUE) - len(text)):
            raise AnswerMemoryError

    def _due(self) -> float:
        """Return when the backend has been silent, or the client was sent nothing, for too long."""
        return min(self._answer.last_byte + self._pace.idle_timeout, self._client.wrote + self._pace.keepalive)

    def _is_quiet(self) -> bool:
        """Return True when the client needs a comment.

        Raises:
            UpstreamError: the backend was silent for too long.
        """
        now = asyncio.get_running_loop().time()
        if now >= self._answer.last_byte + self._pace.idle_timeout:
            raise UpstreamError(Event.TIMED_OUT, "the backend's stream was silent for backend.idle_timeout")
        return now >= self._client.wrote + self._pace.keepalive
