"""Delays of revocations: from the time in the store's record to the first call denied and to each stream ended.

The record is read afterwards, so that no call waits for it. Its age is that on the store's clock.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple

from sidecar.errors import Refusal
from sidecar.model import Caller
from sidecar.store.commands.keys import caller_keys
from sidecar.store.commands.stream_commands import revoked
from sidecar.store.store import Store

MAX_PENDING: Final = 1_000
"""Events whose delay is not known yet; further ones are not measured."""
MAX_REVOCATIONS: Final = 10_000
"""Revocations whose first denial is remembered."""

_Observe = Callable[[float], None]


class _Event(NamedTuple):
    caller: Caller
    at: float
    observe: _Observe


class RevocationTimes:
    """Measure revocations made since this process started.

    A denial by an older revocation is ignored: another process may have made the first one.

    Args:
        store: keeps the records.
        denial: receives the seconds from each revocation to the first call that it denied here.
        stream_end: receives the seconds from a revocation to the end of each stream that it ended.
        clock: seconds that never go back.
    """

    def __init__(
        self, store: Store, denial: _Observe, stream_end: _Observe, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        self._denial = denial
        self._stream_end = stream_end
        self._clock = clock
        self._started = clock()
        self._pending: deque[_Event] = deque()
        self._noted = asyncio.Event()
        self._denied: dict[tuple[str, str, str, str], int] = {}

    def denied(self, caller: Caller, since: int | None) -> None:
        """Note a denied call.

        Args:
            caller: the revoked caller.
            since: time of the revocation in whole seconds since the epoch; None if the record has none.
        """
        key = (caller.issuer_id, caller.account, caller.subject, caller.client_id)
        if since is None or self._denied.get(key) == since:
            return
        self._denied.pop(key, None)
        if len(self._denied) >= MAX_REVOCATIONS:
            del self._denied[next(iter(self._denied))]
        self._denied[key] = since
        self._note(caller, self._denial)

    def stream_ended(self, caller: Caller) -> None:
        """Note the end of a stream of a caller without access."""
        self._note(caller, self._stream_end)

    async def watch(self) -> None:
        """Measure what was noted, until cancelled."""
        while True:
            await self._noted.wait()
            self._noted.clear()
            while self._pending:
                with contextlib.suppress(Refusal):  # the store is unreachable: this event is not measured
                    await self._measure(self._pending[0])
                self._pending.popleft()

    async def _measure(self, event: _Event) -> None:
        keys, caller = caller_keys(event.caller), event.caller
        age = await self._store.run(revoked(keys, caller.subject, caller.client_id))
        if age is None:
            return  # disabled, without a consent, or granted again
        seconds = age / 1000 - (self._clock() - event.at)
        if seconds <= event.at - self._started:
            event.observe(max(0.0, seconds))

    def _note(self, caller: Caller, observe: _Observe) -> None:
        if len(self._pending) < MAX_PENDING:
            self._pending.append(_Event(caller, self._clock(), observe))
            self._noted.set()
