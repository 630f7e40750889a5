"""Callers of opaque tokens: introspect each token, and cache the verdict for at most the configured time.

The cache lives as long as one config; the state of the endpoint (`introspection_endpoint`) survives a reload.

An answer is used for `cache` seconds after its request was sent, and never beyond the token's `exp` and leeway; then
the issuer is asked again, and without its answer the call is refused. Concurrent calls with one token share a request.
Refused tokens are cached apart from accepted ones, so made-up tokens evict no good ones.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sidecar.config.settings.settings import Introspection, IssuerSettings
from sidecar.errors import ErrorCode, Refusal
from sidecar.identity.claims import expired
from sidecar.identity.jwt.discovery import bare
from sidecar.identity.opaque import introspected_claims
from sidecar.identity.opaque.introspection import IntrospectionError
from sidecar.identity.opaque.introspection_endpoint import IntrospectionEndpoint
from sidecar.identity.recent import Recent, owner_of
from sidecar.model import Caller

MAX_REMEMBERED: Final = 10_000
"""Accepted tokens cached by one process, and as many refused ones; the least recently used is evicted."""
REFUSED_FOR: Final = 10.0
"""Seconds for which a refused token stays refused, unless `cache` is shorter."""
RETRY_AFTER: Final = 1.0
"""Seconds until a token is introspected again after its request failed."""


@dataclass(frozen=True, slots=True)
class _Verdict:
    """Result of one introspection request.

    Attributes:
        asked: when the request was sent, monotonic seconds.
        until: when the verdict must no longer be used, monotonic seconds.
        caller: the token's caller; None when it is refused.
        refusal: the refusal of an invalid token; None when it is accepted or its issuer did not answer.
        reason: the reason why the issuer did not answer.
        retry_after: seconds until a retry makes sense, when the issuer did not answer.
    """

    asked: float
    until: float
    caller: Caller | None = None
    refusal: Refusal | None = None
    reason: str = ""
    retry_after: int | None = None

    def outcome(self) -> Caller:
        """Return the caller or raise its refusal: a new one each time, because raising adds a traceback to it."""
        if self.caller is not None:
            return self.caller
        if self.refusal is not None:
            raise self.refusal.replace()
        raise Refusal(
            ErrorCode.ISSUER_UNAVAILABLE,
            "The access token cannot be verified right now: its issuer does not answer.",
            log=f"introspection: {self.reason}",
            retry_after=self.retry_after,
        )


class OpaqueTokens:
    """Gate 2 for the opaque tokens of one issuer.

    Args:
        resource: the configured resource: the audience of tokens, unless the issuer has its own.
        issuer: the issuer.
        introspection: its settings.
        endpoint: the issuer's introspection endpoint.
        monotonic: seconds of a clock that never jumps.
        clock: seconds since the epoch.
        capacity: the number of cached verdicts about accepted tokens, and as many about refused ones.
        evicted: called for each evicted verdict.
        declared: the scopes that the policy declares.
        accepted: called with the claims and the caller of each accepted answer.
    """

    def __init__(
        self,
        resource: str,
        issuer: IssuerSettings,
        introspection: Introspection,
        endpoint: IntrospectionEndpoint,
        *,
        monotonic: Callable[[], float],
        clock: Callable[[], float],
        capacity: int = MAX_REMEMBERED,
        evicted: Callable[[], None] = lambda: None,
        declared: frozenset[str] = frozenset(),
        accepted: Callable[[Mapping[str, Any], Caller], None] = lambda claims, caller: None,
    ) -> None:
        self._resource = resource
        self._declared = declared
        self._noted = accepted
        self._issuer = issuer
        self._cache = introspection.cache
        self._location = bare(introspection.url)
        self._endpoint = endpoint
        self._monotonic = monotonic
        self._clock = clock
        self._accepted: Recent[bytes, _Verdict] = Recent(capacity, lambda _: evicted())
        self._refused: Recent[bytes, _Verdict] = Recent(capacity, lambda _: evicted())
        self._in_flight: dict[bytes, asyncio.Task[_Verdict]] = {}

    async def caller(self, token: str, digest: bytes) -> Caller:
        """Return the caller of a token.

        Args:
            token: the credentials after `Bearer`.
            digest: the cache key of the token.

        Raises:
            Refusal: `token_invalid`, or `issuer_unavailable` when the issuer does not answer.
        """
        introspected_claims.check_form(token)
        arrived = self._monotonic()
        while True:
            verdict = self._cached(digest)
            if verdict is None:
                verdict = await self._shared_request(token, digest)
                # A request that was in flight before this call may already be older than `cache` allows.
                if verdict.caller is not None and verdict.asked < arrived - self._cache:
                    continue
            return verdict.outcome()

    def _cached(self, digest: bytes) -> _Verdict | None:
        verdict = self._accepted.get(digest) or self._refused.get(digest)
        if verdict is None:
            return None
        is_expired = verdict.caller is not None and expired(
            verdict.caller.expires_at, self._issuer.leeway, self._clock()
        )
        if is_expired or self._monotonic() >= verdict.until:
            self._accepted.pop(digest)
            self._refused.pop(digest)
            return None
        return verdict

    async def _shared_request(self, token: str, digest: bytes) -> _Verdict:
        """Join the request in flight about this token, or start one."""
        request = self._in_flight.get(digest)
        if request is None:
            request = self._endpoint.run(self._introspect_and_cache(token, digest), "introspect")
            self._in_flight[digest] = request
            request.add_done_callback(lambda _: self._in_flight.pop(digest))
        # Cancelling one waiter leaves the request running: other calls may wait for it.
        await asyncio.wait([request])
        if request.cancelled():
            now = self._monotonic()
            return _Verdict(now, now, reason="the endpoint is closed", retry_after=1)
        return request.result()

    async def _introspect_and_cache(self, token: str, digest: bytes) -> _Verdict:
        verdict = await self._introspect(token, digest)
        self._accepted.pop(digest)
        self._refused.pop(digest)
        if verdict.until > self._monotonic():
            if verdict.caller is None:
                self._refused.put(digest, None, verdict)
            else:
                self._accepted.put(digest, owner_of(verdict.caller), verdict)
        return verdict

    async def _introspect(self, token: str, digest: bytes) -> _Verdict:
        try:
            answer = await self._endpoint.ask(token, digest)
        except IntrospectionError as error:
            now = self._monotonic()
            reason = f"{error.problem} ({self._location})"
            return _Verdict(now, now + RETRY_AFTER, reason=reason, retry_after=error.retry_after)
        try:
            caller = introspected_claims.caller(
                answer.document,
                self._issuer,
                self._resource,
                now=answer.wall,
                first_seen=answer.first_seen,
                declared=self._declared,
            )
        except Refusal as refusal:
            self._endpoint.refused(digest)
            until = answer.asked + min(self._cache, REFUSED_FOR)
            # A copy: the traceback of the raised one refers to the token.
            return _Verdict(answer.asked, until, refusal=refusal.replace())
        self._endpoint.accepted(digest, answer.first_seen, owner_of(caller))
        self._noted(answer.document, caller)
        return _Verdict(answer.asked, answer.asked + self._cache, caller)
