"""Limits on requests to an issuer: on concurrent ones, and on the rate of those that prove invalid tokens.

Each call with a made-up token causes a request to the issuer. These two limits keep such calls from delaying known
tokens and from overloading the issuer.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager


class BusyError(Exception):
    """Refusal because the limit is reached; nothing was done."""


class BoundedQueue:
    """Slots, and a bounded queue for them.

    Args:
        places: the number of slots.
        waiting: the longest queue.
    """

    def __init__(self, places: int, waiting: int) -> None:
        self._places = asyncio.Semaphore(places)
        self._limit = waiting
        self._waiting = 0

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Acquire a slot for the block, waiting in the queue.

        Raises:
            BusyError: the queue is full.
        """
        if self._places.locked() and self._waiting >= self._limit:
            raise BusyError
        self._waiting += 1
        try:
            await self._places.acquire()
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._places.release()


class TokenBucket:
    """Token bucket: a burst at once, then a number per second.

    Args:
        burst: the most tokens that it holds.
        rate: tokens added per second.
        monotonic: seconds of a clock that never jumps.
    """

    def __init__(self, burst: float, rate: float, monotonic: Callable[[], float]) -> None:
        self._burst = burst
        self._rate = rate
        self._monotonic = monotonic
        self._left = burst
        self._at = monotonic()

    def take(self) -> None:
        """Take one token.

        Raises:
            BusyError: none is left.
        """
        now = self._monotonic()
        self._left = min(self._burst, self._left + (now - self._at) * self._rate)
        self._at = now
        if self._left < 1:
            raise BusyError
        self._left -= 1

    def refund(self) -> None:
        """Return a token, because its use was justified."""
        self._left = min(self._burst, self._left + 1)
