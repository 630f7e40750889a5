"""An introspection endpoint and what a process has learnt of it: how it is, and which tokens it knew.

It outlives a reload. Anybody can make up tokens, so questions about those that were good before have
places of their own, and questions in vain are counted: whoever floods the sidecar with made-up tokens
keeps neither the known callers out nor the issuer busy.
"""

from __future__ import annotations

import asyncio
import math
import secrets
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from sidecar.identity.claims_introspected import active
from sidecar.identity.introspection import IntrospectionError
from sidecar.identity.lanes import Allowance, BusyError, Lane

TIMEOUT: Final = 5.0
"""Seconds that one question may take, waiting for its turn included."""
PLACES: Final = 16
"""Questions under way at one time about tokens not known to be good, and as many about known ones."""
WAITING: Final = 512
"""Questions that wait for a place, in each of the two."""
BURST: Final = 100
"""Questions about unknown tokens that may be in vain at once,"""
RATE: Final = 20.0
"""and how many more per second."""
MAX_KNOWN: Final = 10_000
"""Tokens remembered to have been good; beyond that the one asked about longest ago is a new one again."""
PROBE_EVERY: Final = 10.0
"""Seconds between questions about a made-up token, while the endpoint is in doubt."""

Clock = Callable[[], float]


class Outcome(StrEnum):
    """What became of one question."""

    ACTIVE = "active"
    INACTIVE = "inactive"
    FAILED = "failed"  # no usable answer
    NOT_ASKED = "not_asked"  # too many questions


@dataclass(frozen=True, slots=True)
class Answer:
    """What the issuer said.

    Attributes:
        document: the response.
        asked: when the question was sent, on the monotonic clock: since then the answer ages.
        wall: the same, in seconds since the epoch.
        first_seen: when the token was first found good; now, if it was not yet.
    """

    document: Mapping[str, Any]
    asked: float
    wall: float
    first_seen: int


class Endpoint:
    """One endpoint.

    Args:
        ask: puts one question, see `Introspector.ask`.
        monotonic: seconds of a clock that never jumps.
        clock: seconds since the epoch.
        told: called with the outcome of every question that a caller caused.
        timeout: seconds; see `TIMEOUT`.
    """

    def __init__(
        self,
        ask: Callable[[str], Awaitable[Mapping[str, Any]]],
        *,
        monotonic: Clock,
        clock: Clock,
        told: Callable[[str], None] = lambda outcome: None,
        timeout: float = TIMEOUT,
    ) -> None:
        self._ask = ask
        self._monotonic = monotonic
        self._clock = clock
        self._told = told
        self._timeout = timeout
        self._known: dict[bytes, int] = {}
        self._strangers, self._friends = Lane(PLACES, WAITING), Lane(PLACES, WAITING)
        self._allowance = Allowance(BURST, RATE, monotonic)
        self._resumes = monotonic()
        self._doubted = True
        self._probed = -math.inf
        self._tasks: set[asyncio.Task[Any]] = set()
        self.problem: str | None = "not asked yet"
        """Why the endpoint cannot be used, so that it fails for a made-up token, too; None while it can be."""

    # --- questions ---------------------------------------------------------------------------

    async def ask(self, token: str, digest: bytes) -> Answer:
        """Ask about a token.

        Args:
            token: of the form of a bearer token.
            digest: what it is known by.

        Raises:
            IntrospectionError: there is no answer, or too many are being waited for.
        """
        try:
            async with asyncio.timeout(self._timeout):
                answer = await (self._known_one if digest in self._known else self._unknown_one)(token, digest)
        except BusyError:
            self._told(Outcome.NOT_ASKED)
            wait = max(1, math.ceil(self._resumes - self._monotonic()))
            raise IntrospectionError("too many questions about unknown tokens", retry_after=wait) from None
        except TimeoutError:
            raise self._failed(IntrospectionError("no answer in time")) from None
        except IntrospectionError as error:
            raise self._failed(error) from None
        self._told(Outcome.ACTIVE if active(answer.document) else Outcome.INACTIVE)
        self._doubted, self.problem = False, None
        return answer

    async def _known_one(self, token: str, digest: bytes) -> Answer:
        async with self._friends.place():
            return await self._put(token, digest)

    async def _unknown_one(self, token: str, digest: bytes) -> Answer:
        async with self._strangers.place():
            # Only now: of those that waited, the good ones have given back what they took.
            if self._monotonic() < self._resumes:
                raise BusyError
            self._allowance.take()
            return await self._put(token, digest)

    async def _put(self, token: str, digest: bytes) -> Answer:
        asked, wall = self._monotonic(), self._clock()
        document = await self._ask(token)
        return Answer(document, asked, wall, self._known.get(digest, int(wall)))

    def _failed(self, error: IntrospectionError) -> IntrospectionError:
        """One failure may be the token's doing, so it is no verdict on the endpoint: a probe tells."""
        self._told(Outcome.FAILED)
        if error.crowded:
            self._resumes = self._monotonic() + error.retry_after
        else:
            self._doubted = True
        return error

    def accepted(self, digest: bytes, first_seen: int) -> None:
        """A token was found good in every respect."""
        if self._known.pop(digest, None) is None:
            self._allowance.give_back()
        if len(self._known) >= MAX_KNOWN:
            self._known.pop(next(iter(self._known)))
        self._known[digest] = first_seen  # last: the one asked about longest ago comes first

    def refused(self, digest: bytes) -> None:
        """A token was found to be none, or not for here."""
        self._known.pop(digest, None)

    # --- what goes on besides ----------------------------------------------------------------

    def run(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """A task that ends with the endpoint."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def tend(self) -> None:
        """Ask about a made-up token when the endpoint is in doubt; to be called at first, and every second.

        Without callers there is no other way to find out: a process that is not ready gets none.
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
            self.problem = None if error.crowded else error.problem
        else:
            self.problem = None
        self._doubted = self.problem is not None

    async def close(self) -> None:
        """Give up all questions."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
