"""How many questions may be put to somebody else at one time, and how many may be in vain.

Whoever calls with a made-up token has the issuer asked. These two bounds keep that from taking the
places of those whose tokens are known to be good, and from becoming the issuer's load.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager


class BusyError(Exception):
    """There is no room for one more; nothing was done."""


class Lane:
    """Places, and a bounded queue before them.

    Args:
        places: how many may be in it at one time.
        waiting: how many may wait for a place.
    """

    def __init__(self, places: int, waiting: int) -> None:
        self._places = asyncio.Semaphore(places)
        self._limit = waiting
        self._waiting = 0

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Wait for a place and keep it for the block.

        Raises:
            BusyError: too many wait already.
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


class Allowance:
    """A token bucket: so many at once, and so many per second after that.

    Args:
        burst: the most that is saved up.
        rate: how many come back per second.
        monotonic: seconds of a clock that never jumps.
    """

    def __init__(self, burst: float, rate: float, monotonic: Callable[[], float]) -> None:
        self._burst = burst
        self._rate = rate
        self._monotonic = monotonic
        self._left = burst
        self._at = monotonic()

    def take(self) -> None:
        """Use one.

        Raises:
            BusyError: none is left.
        """
        now = self._monotonic()
        self._left = min(self._burst, self._left + (now - self._at) * self._rate)
        self._at = now
        if self._left < 1:
            raise BusyError
        self._left -= 1

    def give_back(self) -> None:
        """Return one that was taken and turned out to be well used."""
        self._left = min(self._burst, self._left + 1)
