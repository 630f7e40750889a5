"""The events of one stream of the backend, and the comments that keep its client waiting meanwhile."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from sidecar.outcome import Event
from sidecar.protocol import sse
from sidecar.proxy.client import Client
from sidecar.proxy.upstream import Answer, UpstreamError


@dataclass(frozen=True, slots=True)
class Pace:
    """How long streams may be silent, in seconds.

    Attributes:
        idle: silence of the backend that ends a stream (`backend.idle_timeout`).
        keepalive: silence towards the client after which it gets a comment (`backend.keepalive`).
    """

    idle: float
    keepalive: float


class Events:
    """Reads one stream. Comments are written between events and never within one.

    Args:
        answer: the backend's stream, from its head on.
        client: gets the comments.
        pace: how long silence may last.
        limit: bytes of one event.

    Attributes:
        received: bytes so far.
    """

    def __init__(self, answer: Answer, client: Client, pace: Pace, limit: int) -> None:
        self._answer = answer
        self._client = client
        self._pace = pace
        self._parser = sse.Parser(limit)
        self.received = 0

    async def more(self) -> list[sse.ServerEvent] | None:
        """The events that arrive next, perhaps none; None at the clean end.

        Raises:
            UpstreamError: the stream broke, was silent for too long, or has an event that is too large.
        """
        chunk = await self._chunk()
        self.received += len(chunk)
        try:
            events = self._parser.feed(chunk)
        except sse.EventTooLarge:
            raise UpstreamError(Event.TOO_LARGE, "one event is larger than limits.response") from None
        return events if chunk else None

    async def _chunk(self) -> bytes:
        now = asyncio.get_running_loop().time
        while True:
            silent_until = self._answer.last_byte + self._pace.idle
            quiet_until = self._client.wrote + self._pace.keepalive
            chunk = await self._answer.chunk(max(0.0, min(silent_until, quiet_until) - now()))
            if chunk is not None:
                return chunk
            if now() >= self._answer.last_byte + self._pace.idle:
                raise UpstreamError(Event.TIMED_OUT, "the backend's stream was silent for backend.idle_timeout")
            if now() >= self._client.wrote + self._pace.keepalive:
                await self._client.write(sse.KEEPALIVE)
