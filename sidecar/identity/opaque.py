"""Opaque tokens under one config: whom they speak for, as their issuer said not longer ago than configured.

An answer is used for `cache` seconds from when its question was sent, and never beyond the token's `exp`;
then the issuer is asked again, and without its word there is no caller. Many calls with one token share
one question. What is not good is remembered apart from what is, so made-up tokens push nothing out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from sidecar.config.settings import Introspection, Issuer
from sidecar.errors import ErrorCode, Refusal
from sidecar.identity import claims_introspected
from sidecar.identity.claims import expired, invalid
from sidecar.identity.endpoint import Endpoint
from sidecar.identity.introspection import IntrospectionError
from sidecar.model import Caller

MAX_REMEMBERED: Final = 10_000
"""Good tokens remembered by one process, and as many that are not; beyond that the oldest is forgotten."""
NEGATIVE: Final = 10.0
"""Seconds for which a bad token stays bad, if `cache` is not shorter."""
RETRY: Final = 1.0
"""Seconds for which a token is not asked about again when there was no answer."""


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What is known of one token.

    Attributes:
        asked: when its question was sent, monotonic seconds.
        until: how long it holds, monotonic seconds.
        caller: whom it speaks for; None when it is refused.
        reason: why it is refused.
        retry_after: seconds; None when the token itself is at fault.
    """

    asked: float
    until: float
    caller: Caller | None = None
    reason: str = ""
    retry_after: int | None = None

    def outcome(self) -> Caller:
        """The caller; a new refusal for each request, which may change it."""
        if self.caller is not None:
            return self.caller
        if self.retry_after is None:
            raise invalid(self.reason)
        raise Refusal(
            ErrorCode.ISSUER_UNAVAILABLE,
            "The issuer of the access token cannot be asked about it right now.",
            log=f"introspection: {self.reason}",
            retry_after=self.retry_after,
        )


class OpaqueTokens:
    """Gate 2 for the tokens of one issuer that are no JWTs.

    Args:
        resource: the configured resource: the audience of tokens, unless the issuer has its own.
        issuer: the issuer.
        introspection: its settings.
        endpoint: whom to ask.
        monotonic: seconds of a clock that never jumps.
        clock: seconds since the epoch.
        capacity: how many tokens are remembered of each kind.
    """

    def __init__(
        self,
        resource: str,
        issuer: Issuer,
        introspection: Introspection,
        endpoint: Endpoint,
        *,
        monotonic: Callable[[], float],
        clock: Callable[[], float],
        capacity: int = MAX_REMEMBERED,
    ) -> None:
        self._resource = resource
        self._issuer = issuer
        self._cache = introspection.cache
        self._endpoint = endpoint
        self._monotonic = monotonic
        self._clock = clock
        self._capacity = capacity
        self._good: dict[bytes, _Verdict] = {}
        self._bad: dict[bytes, _Verdict] = {}
        self._flights: dict[bytes, asyncio.Task[_Verdict]] = {}

    async def caller(self, token: str, digest: bytes) -> Caller:
        """Whom a token speaks for.

        Args:
            token: as it stands behind `Bearer`.
            digest: what it is known by.

        Raises:
            Refusal: `token_invalid`, or `issuer_unavailable` when the issuer does not say.
        """
        claims_introspected.check_form(token)
        arrived = self._monotonic()
        while True:
            verdict = self._known(digest)
            if verdict is None:
                verdict = await self._asked(token, digest)
                # A question that was under way already may be too old for a call that came later.
                if verdict.caller is not None and verdict.asked < arrived - self._cache:
                    continue
            return verdict.outcome()

    def _known(self, digest: bytes) -> _Verdict | None:
        verdict = self._good.get(digest) or self._bad.get(digest)
        if verdict is None:
            return None
        gone = verdict.caller is not None and expired(verdict.caller.expires_at, self._issuer.leeway, self._clock())
        if gone or self._monotonic() >= verdict.until:
            self._good.pop(digest, None)
            self._bad.pop(digest, None)
            return None
        return verdict

    async def _asked(self, token: str, digest: bytes) -> _Verdict:
        flight = self._flights.get(digest)
        if flight is None:
            flight = self._endpoint.run(self._ask(token, digest), "introspect")
            self._flights[digest] = flight
            flight.add_done_callback(lambda _: self._flights.pop(digest))
        # Others may wait for it too: whoever is cancelled leaves it running.
        await asyncio.wait([flight])
        if flight.cancelled():
            now = self._monotonic()
            return _Verdict(now, now, reason="the endpoint is no longer asked", retry_after=1)
        return flight.result()

    async def _ask(self, token: str, digest: bytes) -> _Verdict:
        """Ask, judge and remember."""
        verdict = await self._judged(token, digest)
        kept = self._bad if verdict.caller is None else self._good
        self._good.pop(digest, None)
        self._bad.pop(digest, None)
        if verdict.until > self._monotonic():
            if len(kept) >= self._capacity:
                kept.pop(next(iter(kept)))
            kept[digest] = verdict
        return verdict

    async def _judged(self, token: str, digest: bytes) -> _Verdict:
        try:
            answer = await self._endpoint.ask(token, digest)
        except IntrospectionError as error:
            now = self._monotonic()
            return _Verdict(now, now + RETRY, reason=error.problem, retry_after=error.retry_after)
        try:
            speaker = claims_introspected.caller(
                answer.document, self._issuer, self._resource, now=answer.wall, first_seen=answer.first_seen
            )
        except Refusal as refusal:
            self._endpoint.refused(digest)
            until = answer.asked + min(self._cache, NEGATIVE)
            return _Verdict(answer.asked, until, reason=refusal.log or "")
        self._endpoint.accepted(digest, answer.first_seen)
        return _Verdict(answer.asked, answer.asked + self._cache, speaker)
