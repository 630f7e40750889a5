"""An issuer's keys, kept fresh: fetched in the background, and at once for an unknown key.

Callers can cause at most one fetch per `INTERVAL`. While an issuer is unreachable, known keys stay in use for `STALE`
seconds. A token with an unknown key is refused as invalid only when a key set that must list the key does not; until
then the answer is `issuer_unavailable`, because clients discard tokens that are refused as invalid.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from sidecar.config.settings.settings import IssuerSettings
from sidecar.errors import ErrorCode, Refusal
from sidecar.identity.invalid_token import invalid
from sidecar.identity.jwt.discovery import FetchError
from sidecar.identity.jwt.jwt_claims import Token
from sidecar.identity.jwt.key_set import KeyTable
from sidecar.identity.jwt.tenant_keys import TenantKeyTable, without_foreign_keys
from sidecar.identity.jwt.trial_mark import REFUSED, is_trial

INTERVAL: Final = 10.0
"""Seconds between the starts of two fetches for one issuer, after success and failure alike."""
REFRESH: Final = 300.0
"""Seconds after which keys are fetched again: the longest use of a withdrawn key."""
STALE: Final = 6 * 3600.0
"""Seconds for which known keys are used while fetching fails."""

Clock = Callable[[], float]
Keys = KeyTable | TenantKeyTable
Refused = Callable[[Keys, Refusal], None]


@dataclass(frozen=True, slots=True)
class KeyHealth:
    """State of one issuer's keys, for metrics and readiness.

    Attributes:
        keys: the number of usable keys; with 0, no token of this issuer can be verified.
        age: seconds since the fetch of the set in use started; None without one.
        problem: the failure of the last fetch; None if it succeeded.
    """

    keys: int
    age: float | None
    problem: str | None


@dataclass(frozen=True, slots=True)
class _FetchedKeys:
    """Key set of the last successful fetch, with the start time of the fetch on both clocks."""

    table: Keys
    document: object
    monotonic: float
    wall: float


class KeySet:
    """One issuer's keys.

    Args:
        issuer: the configured issuer.
        fetch: returns the parsed key set, or raises `FetchError`.
        monotonic: seconds of a clock that never jumps.
        clock: seconds since the epoch, to compare with `iat`.
        interval: see `INTERVAL`.
        refresh: see `REFRESH`.
    """

    def __init__(
        self,
        issuer: IssuerSettings,
        fetch: Callable[[], Awaitable[object]],
        *,
        monotonic: Clock = time.monotonic,
        clock: Clock = time.time,
        interval: float = INTERVAL,
        refresh: float = REFRESH,
    ) -> None:
        self._issuer = issuer
        self._interval = interval
        self._refresh = refresh
        self._expected = issuer.signs
        self._fetch = fetch
        self._monotonic = monotonic
        self._clock = clock
        self._fetched: _FetchedKeys | None = None
        self._problem: str | None = None
        self._began = -math.inf
        self._begun = 0  # number of fetches started, including the one in flight
        self._flight: asyncio.Task[bool] | None = None

    def refresh_if_due(self) -> None:
        """Start a fetch when one is due; call it every second.

        For an issuer without required keys, nothing is fetched before one of its tokens needs a key.
        """
        if self._expected or self._fetched is not None:
            self.current()

    def current(self) -> Keys | None:
        """Return the usable keys; start a fetch when one is due, without waiting for it."""
        good, now = self._fetched, self._monotonic()
        if good is None or now - good.monotonic >= self._refresh:
            self._begin(now)
            if good is None or now - good.monotonic >= STALE:
                return None
        return good.table

    def known(self) -> Keys | None:
        """Return the usable keys; never start a fetch."""
        good = self._fetched
        return None if good is None or self._monotonic() - good.monotonic >= STALE else good.table

    async def refresh(self) -> bool:
        """Wait for the fetch in flight, or start one if allowed; return whether keys are usable."""
        self._begin(self._monotonic())
        if self._flight is not None:
            await _outcome(self._flight)
        return self.current() is not None

    def health(self) -> KeyHealth:
        """Return the state of the keys, without fetching."""
        if self._fetched is None:
            return KeyHealth(0, None, self._problem)
        age = self._monotonic() - self._fetched.monotonic
        return KeyHealth(len(self._fetched.table) if age < STALE else 0, age, self._problem)

    async def verify(self, token: Token, issued_at: int, leeway: float, refused: Refused | None = None) -> Keys:
        """Verify a token's signature, waiting for a fetch if its key is unknown.

        Args:
            token: checked except for its signature.
            issued_at: its `iat`, seconds since the epoch.
            leeway: seconds by which the issuer's clock may be ahead.
            refused: called with the keys of which a known one did not make the signature, and the refusal.

        Returns:
            The keys that verified it: while they are current, the result stays valid.

        Raises:
            Refusal: `token_invalid`, or `issuer_unavailable` while that is undecided.
        """
        arrived = self._begun
        while True:
            table = self.current()
            if table is not None and _judged(table, token, refused):
                return table
            self._begin(self._monotonic())
            if self._flight is None:
                raise self._undecided(token.kid, issued_at, leeway)
            number = self._begun
            fetched = await _outcome(self._flight)
            # A fetch that was already in flight may bring the key, but cannot prove that it does not exist: the
            # issuer may have answered before it created the key.
            if number > arrived:
                return self._conclude(token, refused, fetched=fetched)

    async def close(self) -> None:
        """Cancel the fetch in flight."""
        if self._flight is not None:
            self._flight.cancel()
            await asyncio.wait([self._flight])

    def _conclude(self, token: Token, refused: Refused | None, *, fetched: bool) -> Keys:
        table = self.current()
        if table is not None and _judged(table, token, refused):
            return table
        if not fetched:
            raise self._unavailable()
        raise invalid("the issuer has no such key", check="signature", found=token.kid)

    def _undecided(self, kid: str | None, issued_at: int, leeway: float) -> Refusal:
        """Return the refusal while no fetch may start."""
        good = self._fetched
        if good is not None and good.wall > issued_at + leeway:
            return invalid("the issuer had no such key after it was issued", check="signature", found=kid)
        return self._unavailable()

    def _unavailable(self) -> Refusal:
        wait = self._began + self._interval - self._monotonic()
        return Refusal(
            ErrorCode.ISSUER_UNAVAILABLE,
            log=f"the key of a token is unknown: {self._problem or 'the next fetch is not due yet'}",
            retry_after=max(1, math.ceil(wait)),
        )

    # --- fetching ----------------------------------------------------------------------------

    def _begin(self, now: float) -> None:
        if self._flight is None and now - self._began >= self._interval:
            self._began = now
            self._begun += 1
            self._flight = asyncio.create_task(self._fetch_once(now), name="fetch keys")

    async def _fetch_once(self, began: float) -> bool:
        """Fetch once; return whether it succeeded."""
        wall = self._clock()
        try:
            document = await self._fetch()
            if is_trial(document) and not self._issuer.accepts_trials:
                raise FetchError(REFUSED)
            old = self._fetched
            # An unchanged set stays the same object, so that verified tokens stay cached.
            same = old is not None and old.document == document
            table = old.table if old is not None and same else table_of(self._issuer, document)
        except (FetchError, ValueError) as error:
            self._problem = str(error)
            return False
        finally:
            self._flight = None
        self._fetched = _FetchedKeys(table, document, began, wall)
        self._problem = None
        return True


def table_of(issuer: IssuerSettings, document: object) -> Keys:
    """Return the usable keys of a parsed key set.

    Raises:
        ValueError: there are none; the message contains no key.
    """
    if issuer.tenants is not None:
        return TenantKeyTable(document, issuer.algorithms)
    return KeyTable(without_foreign_keys(document, issuer.issuer), issuer.algorithms)


def is_verified(table: Keys, token: Token) -> bool:
    """Return whether a known key made a token's signature; False if the key is unknown.

    Raises:
        Refusal: `token_invalid` when a known key did not make it.
    """
    for keys in table.of(str(token.claims.get("iss"))) if isinstance(table, TenantKeyTable) else (table,):
        verdict = keys.verifies(token.signed, token.kid, token.algorithm)
        if verdict is False:
            raise invalid(keys.fault(token.kid, token.algorithm), check="signature", found=token.kid)
        if verdict:
            return True
    return False


def _judged(table: Keys, token: Token, refused: Refused | None) -> bool:
    try:
        return is_verified(table, token)
    except Refusal as refusal:
        if refused is not None:
            refused(table, refusal)
        raise


async def _outcome(flight: asyncio.Task[bool]) -> bool:
    """Wait for a shared fetch: cancelling the waiter leaves it running."""
    await asyncio.wait([flight])
    return not flight.cancelled() and flight.result()
