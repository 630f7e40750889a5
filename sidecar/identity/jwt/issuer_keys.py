"""An issuer's keys, kept fresh: fetched in the background, and at once for a key not seen before.

Nobody can make the sidecar ask an issuer more often than once per `INTERVAL`, and an issuer that is
down costs nothing for `STALE` seconds: known keys go on verifying. A token whose key is unknown is
only called invalid when a set that must have listed the key does not; until then the answer is
`issuer_unavailable`, because clients throw tokens away that are called invalid.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from sidecar.config.settings import Issuer
from sidecar.errors import ErrorCode, Refusal
from sidecar.identity.claims import invalid
from sidecar.identity.claims_jwt import Token
from sidecar.identity.discovery import FetchError
from sidecar.identity.jwks import KeyTable

INTERVAL: Final = 10.0
"""Seconds between the beginnings of two fetches for one issuer, whatever their outcome."""
REFRESH: Final = 300.0
"""Seconds after which keys are fetched anew: how long a withdrawn key goes on verifying."""
STALE: Final = 6 * 3600.0
"""Seconds for which known keys are used although fetching fails."""

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class KeyHealth:
    """One issuer's keys, for metrics and readiness.

    Attributes:
        keys: how many can be used now; 0 means that no token of this issuer can be verified.
        age: seconds since the set in use was asked for; None without one.
        problem: why the last fetch failed; None when it did not.
    """

    keys: int
    age: float | None
    problem: str | None


@dataclass(frozen=True, slots=True)
class _Good:
    """The last fetch that succeeded; when it began, on both clocks."""

    table: KeyTable
    document: object
    monotonic: float
    wall: float


class KeySet:
    """One issuer's keys.

    Args:
        issuer: the configured issuer.
        fetch: gives the parsed key set, or raises `FetchError`.
        monotonic: seconds of a clock that never jumps.
        clock: seconds since the epoch, to compare with `iat`.
    """

    def __init__(
        self,
        issuer: Issuer,
        fetch: Callable[[], Awaitable[object]],
        *,
        monotonic: Clock = time.monotonic,
        clock: Clock = time.time,
    ) -> None:
        self._algorithms = tuple(issuer.algorithms)
        self._expected = issuer.signs
        self._fetch = fetch
        self._monotonic = monotonic
        self._clock = clock
        self._good: _Good | None = None
        self._problem: str | None = None
        self._began = -math.inf
        self._begun = 0  # fetches begun so far: the number of the one under way, too
        self._flight: asyncio.Task[bool] | None = None

    def tend(self) -> None:
        """Begin a fetch when one is due; to be called every second.

        An issuer that may have no keys is not asked for any before one of its tokens needs them.
        """
        if self._expected or self._good is not None:
            self.current()

    def current(self) -> KeyTable | None:
        """The keys that may be used now; begins a fetch when one is due, without waiting for it."""
        good, now = self._good, self._monotonic()
        if good is None or now - good.monotonic >= REFRESH:
            self._begin(now)
            if good is None or now - good.monotonic >= STALE:
                return None
        return good.table

    async def refresh(self) -> bool:
        """Wait for the fetch under way, or begin one if that is allowed; whether keys can be used."""
        self._begin(self._monotonic())
        if self._flight is not None:
            await _outcome(self._flight)
        return self.current() is not None

    def health(self) -> KeyHealth:
        """How it stands, without fetching anything."""
        if self._good is None:
            return KeyHealth(0, None, self._problem)
        age = self._monotonic() - self._good.monotonic
        return KeyHealth(len(self._good.table) if age < STALE else 0, age, self._problem)

    async def verify(self, token: Token, issued_at: int, leeway: float) -> KeyTable:
        """Verify a token's signature, waiting for a fetch when its key is not known.

        Args:
            token: checked, but for its signature.
            issued_at: its `iat`, seconds since the epoch.
            leeway: seconds by which the issuer's clock may be ahead.

        Returns:
            The keys that verified it: while they are current, they need not do it again.

        Raises:
            Refusal: `token_invalid`, or `issuer_unavailable` while that cannot be said yet.
        """
        arrived = self._begun
        while True:
            table = self.current()
            if table is not None and self._verified(table, token):
                return table
            self._begin(self._monotonic())
            if self._flight is None:
                raise self._undecided(issued_at, leeway)
            number = self._begun
            fetched = await _outcome(self._flight)
            # A fetch that was under way already may bring the key, but cannot show there is none:
            # the issuer may have answered before it made the key.
            if number > arrived:
                return self._conclude(token, fetched)

    async def close(self) -> None:
        """Give up the fetch under way."""
        if self._flight is not None:
            self._flight.cancel()
            await asyncio.wait([self._flight])

    def _conclude(self, token: Token, fetched: bool) -> KeyTable:
        table = self.current()
        if table is not None and self._verified(table, token):
            return table
        if not fetched:
            raise self._unavailable()
        raise invalid("the issuer has no such key")

    @staticmethod
    def _verified(table: KeyTable, token: Token) -> bool:
        """Whether a known key made the signature; False when the key is unknown."""
        verdict = table.verifies(token.compact, token.kid, token.algorithm)
        if verdict is False:
            raise invalid("its signature does not verify")
        return verdict is True

    def _undecided(self, issued_at: int, leeway: float) -> Refusal:
        """The answer while no fetch may begin."""
        good = self._good
        if good is not None and good.wall > issued_at + leeway:
            return invalid("the issuer had no such key after it was issued")
        return self._unavailable()

    def _unavailable(self) -> Refusal:
        wait = self._began + INTERVAL - self._monotonic()
        return Refusal(
            ErrorCode.ISSUER_UNAVAILABLE,
            log=f"the key of a token is unknown: {self._problem or 'the next fetch is not due yet'}",
            retry_after=max(1, math.ceil(wait)),
        )

    # --- fetching ----------------------------------------------------------------------------

    def _begin(self, now: float) -> None:
        if self._flight is None and now - self._began >= INTERVAL:
            self._began = now
            self._begun += 1
            self._flight = asyncio.create_task(self._fly(now), name="fetch keys")

    async def _fly(self, began: float) -> bool:
        """One fetch; whether it succeeded."""
        wall = self._clock()
        try:
            document = await self._fetch()
            old = self._good
            # An unchanged set stays the same object, so that verified tokens stay remembered.
            same = old is not None and old.document == document
            table = old.table if old is not None and same else KeyTable(document, self._algorithms)
        except (FetchError, ValueError) as error:
            self._problem = str(error)
            return False
        finally:
            self._flight = None
        self._good = _Good(table, document, began, wall)
        self._problem = None
        return True


async def _outcome(flight: asyncio.Task[bool]) -> bool:
    """Wait for a fetch that others wait for too: whoever is cancelled leaves it running."""
    await asyncio.wait([flight])
    return not flight.cancelled() and flight.result()
