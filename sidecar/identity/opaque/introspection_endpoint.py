"""State of an introspection endpoint: its health, its known tokens, and limits on requests.

It survives a reload. Anyone can make up tokens, so requests about known tokens have their own queue, and requests
about unknown tokens have a rate limit: a flood of made-up tokens neither locks out known callers nor overloads the
issuer.
"""

from __future__ import annotations

import asyncio
import math
import secrets
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from sidecar.identity.opaque.introspected_claims import active
from sidecar.identity.opaque.introspection import IntrospectionError
from sidecar.identity.opaque.request_limits import BoundedQueue, BusyError, TokenBucket
from sidecar.identity.recent import Owner, Recent

TIMEOUT: Final = 5.0
"""Seconds for one request, including the wait in the queue."""
PLACES: Final = 16
"""Concurrent requests about unknown tokens, and as many about known ones."""
WAITING: Final = 512
"""Requests waiting in each of the two queues."""
BURST: Final = 100
"""Requests about unknown tokens that may fail in a burst,"""
RATE: Final = 20.0
"""and how many more per second."""
MAX_KNOWN: Final = 10_000
"""Known tokens; beyond that the least recently used one is unknown again."""
PROBE_EVERY: Final = 10.0
"""Seconds between probes with a made-up token, while the endpoint is in doubt."""

Clock = Callable[[], float]


class IntrospectionOutcome(StrEnum):
    """Outcome of one introspection request."""

    ACTIVE = "active"
    INACTIVE = "inactive"
    FAILED = "failed"  # no usable answer
    NOT_ASKED = "not_asked"  # too many requests


@dataclass(frozen=True, slots=True)
class IntrospectionAnswer:
    """The issuer's answer.

    Attributes:
        document: the response.
        asked: when the request was sent, on the monotonic clock: the answer's age counts from then.
        wall: the same, in seconds since the epoch.
        first_seen: when the token was first accepted; now for an unknown one.
    """

    document: Mapping[str, Any]
    asked: float
    wall: float
    first_seen: int


class IntrospectionEndpoint:
    """One endpoint.

    Args:
        ask: sends one request, see `Introspector.ask`.
        monotonic: seconds of a clock that never jumps.
        clock: seconds since the epoch.
        report: called with the outcome of every request that a caller caused.
        timeout: seconds; see `TIMEOUT`.
    """

    def __init__(
        self,
        ask: Callable[[str], Awaitable[Mapping[str, Any]]],
        *,
        monotonic: Clock,
        clock: Clock,
        report: Callable[[str], None] = lambda outcome: None,
        timeout: float = TIMEOUT,
    ) -> None:
        self._ask = ask
        self._monotonic = monotonic
        self._clock = clock
        self._report = report
        self._timeout = timeout
        self._known: Recent[bytes, int] = Recent(MAX_KNOWN)
        self._unknown_queue, self._known_queue = BoundedQueue(PLACES, WAITING), BoundedQueue(PLACES, WAITING)
        self._allowance = TokenBucket(BURST, RATE, monotonic)
        self._resumes = monotonic()
        self._doubted = True
        self._probed = -math.inf
        self._tasks: set[asyncio.Task[Any]] = set()
        self.problem: str | None = "not asked yet"
        """Failure of the endpoint that also affects a made-up token; None while it works."""

    # --- requests ----------------------------------------------------------------------------

    async def ask(self, token: str, digest: bytes) -> IntrospectionAnswer:
        """Ask the issuer about a token.

        Args:
            token: well-formed as a bearer token.
            digest: the cache key of the token.

        Raises:
            IntrospectionError: there is no answer, or too many requests are waiting.
        """
        try:
            async with asyncio.timeout(self._timeout):
                answer = await (self._known_one if digest in self._known else self._unknown_one)(token, digest)
        except BusyError:
            self._report(IntrospectionOutcome.NOT_ASKED)
            wait = max(1, math.ceil(self._resumes - self._monotonic()))
            raise IntrospectionError("too many requests about unknown tokens", retry_after=wait) from None
        except TimeoutError:
            raise self._failed(IntrospectionError("no answer in time")) from None
        except IntrospectionError as error:
            raise self._failed(error) from None
        self._report(IntrospectionOutcome.ACTIVE if active(answer.document) else IntrospectionOutcome.INACTIVE)
        self._doubted, self.problem = False, None
        return answer

    async def _known_one(self, token: str, digest: bytes) -> IntrospectionAnswer:
        async with self._known_queue.slot():
            return await self._put(token, digest)

    async def _unknown_one(self, token: str, digest: bytes) -> IntrospectionAnswer:
        async with self._unknown_queue.slot():
            # Checked after the wait: valid tokens that waited before have refunded their tokens.
            if self._monotonic() < self._resumes:
                raise BusyError
            self._allowance.take()
            return await self._put(token, digest)

    async def _put(self, token: str, digest: bytes) -> IntrospectionAnswer:
        asked, wall = self._monotonic(), self._clock()
        document = await self._ask(token)
        first_seen = self._known.get(digest)
        return IntrospectionAnswer(document, asked, wall, int(wall) if first_seen is None else first_seen)

    def _failed(self, error: IntrospectionError) -> IntrospectionError:
        """Record a failed request; the token may have caused it, so a probe judges the endpoint."""
        self._report(IntrospectionOutcome.FAILED)
        if error.rate_limited:
            self._resumes = self._monotonic() + error.retry_after
        else:
            self._doubted = True
        return error

    def accepted(self, digest: bytes, first_seen: int, owner: Owner | None = None) -> None:
        """Remember a token that has passed every check.

        Args:
            digest: the cache key of the token.
            first_seen: when it was first accepted.
            owner: its caller.
        """
        if self._known.pop(digest) is None:
            self._allowance.refund()
        self._known.put(digest, owner, first_seen)

    def refused(self, digest: bytes) -> None:
        """Forget a token that was refused."""
        self._known.pop(digest)

    # --- background work ---------------------------------------------------------------------

    def run(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Start a task that ends with the endpoint."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def probe_if_due(self) -> None:
        """Probe the endpoint with a made-up token when it is in doubt; call it at the start, then every second.

        Only the probe finds a recovery: a process that is not ready gets no callers that would show it.
        """
        now = self._monotonic()
        if self._doubted and now - self._probed >= PROBE_EVERY:
            self._probed = now
            self.run(self._probe(), "probe introspection")

    async def _probe(self) -> None:
        try:
            async with asyncio.timeout(self._timeout):
                await self._ask(secrets.token_urlsafe(32))
        except TimeoutError:
            self.problem = "no answer in time"
        except IntrospectionError as error:
            self.problem = None if error.rate_limited else error.problem
        else:
            self.problem = None
        self._doubted = self.problem is not None

    async def close(self) -> None:
        """Cancel all requests."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
