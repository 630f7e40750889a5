"""Watch over the backend: its reachability, and the tools that it lists.

An unreachable backend is reported; it makes the sidecar unready only until it was reached once. Its
tools are listed at start, after a reload, after a reconnect and once a minute.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from sidecar.mcp_client.conversation import ListingError
from sidecar.mcp_client.lister import LIST_WITHIN, Lister
from sidecar.observe.redact import cut
from sidecar.observe.repeats import Repeats
from sidecar.policy.drift.backend_drift import Drift
from sidecar.proxy.backend.pool import BackendPool, UpstreamError
from sidecar.proxy.memory import MemoryLease, unbounded
from sidecar.proxy.snapshot import Snapshot

PROBE_UNREACHABLE: Final = 1.0
"""Seconds between attempts to connect to an unreachable backend."""
PROBE_REACHED: Final = 2.0
"""Seconds without an answer after which a reachable backend is probed."""
LIST_EVERY: Final = 60.0
RELOAD_WITHIN: Final = 5.0
"""Seconds that a reload waits for the list of tools that its policy needs."""

_MAX_NAMES: Final = 1000  # characters of declared tools in one line
_LIST_AGAIN: Final = 2.0  # seconds before a failed listing is tried again; doubled each time


class BackendWatch:
    """Keep track of one backend.

    Args:
        snapshot: returns the snapshot in force; its knowledge of tools is kept up to date.
        repeats: the log.
        memory: opens a lease for one listing.
    """

    def __init__(
        self,
        snapshot: Callable[[], Snapshot],
        repeats: Repeats,
        memory: Callable[[], MemoryLease] = unbounded,
    ) -> None:
        self._snapshot = snapshot
        self._repeats = repeats
        self._lister: Lister | None = None
        self._memory = memory
        self._wanted = asyncio.Event()
        self._drift: Drift | None = None  # as last logged
        self._reached = False
        self._listed_once = False
        self._problem: str | None = "not connected yet"

    @property
    def started(self) -> bool:
        """True once the backend was reached and an attempt to list its tools has ended."""
        return self._reached and self._listed_once

    @property
    def up(self) -> bool:
        """True while the backend is reachable."""
        return self._problem is None

    @property
    def problem(self) -> str | None:
        """Reason why it is unreachable, or not known yet, with its address; None when nothing is wrong."""
        if self._problem is not None:
            return f"{self._address}: {self._problem}"
        return None if self._listed_once else f"{self._address}: its tools are being listed"

    async def reach(self) -> None:
        """Probe the backend periodically, forever."""
        while True:
            await self.check()
            await asyncio.sleep(PROBE_REACHED if self._problem is None else PROBE_UNREACHABLE)

    async def check(self) -> None:
        """Connect to the backend unless it has just answered; log when it becomes unreachable or reachable."""
        upstream = self._snapshot().upstream
        known, heard = self._reached, upstream.heard_at
        if heard is None or asyncio.get_running_loop().time() - heard >= PROBE_REACHED:
            try:
                await upstream.probe(keep=not known)
            except UpstreamError as error:
                if upstream is not self._snapshot().upstream:
                    return  # a reload has replaced it
                if known and self._problem is None:
                    problem = f"{self._address}: {error.log}"
                    self._repeats.event("backend_unreachable", "warning", plain=True, problem=problem)
                self._problem = error.log
                return
        if self._problem is None:
            return
        self._reached, self._problem = True, None
        self._wanted.set()
        if known:
            self._repeats.event("backend_reachable", plain=True, address=self._address)

    async def list_forever(self) -> None:
        """List the tools whenever that is due, forever."""
        pause = LIST_EVERY
        while True:
            try:
                async with asyncio.timeout(pause):
                    await self._wanted.wait()
            except TimeoutError:
                pass
            self._wanted.clear()
            if not self.up:
                pause = LIST_EVERY  # `check` reports when it is reachable again
            elif await self.learn(self._snapshot()):
                pause = LIST_EVERY
            else:
                pause = _LIST_AGAIN if pause == LIST_EVERY else min(2 * pause, LIST_EVERY - 1)

    async def prepare(self, coming: Snapshot) -> None:
        """List the tools for a snapshot that comes into force next, where its policy depends on them."""
        replaced = coming.upstream is not self._snapshot().upstream
        learnt = coming.tools.needed and (replaced or self.up) and await self.learn(coming, RELOAD_WITHIN)
        if not learnt:
            self._wanted.set()

    def follow(self) -> None:
        """Watch the backend of a snapshot that has come into force with other connections."""
        if self._reached:
            self._problem = None  # the next probe reports one that is unreachable

    async def learn(self, snapshot: Snapshot, within: float = LIST_WITHIN) -> bool:
        """List the tools once; False when they cannot be listed, which fails no call of a client.

        Args:
            snapshot: names the backend, and receives the list.
            within: seconds.
        """
        tools, memory = snapshot.tools, self._memory()
        try:
            for _ in tools.learning(await self._lister_of(snapshot.upstream).list_tools(within, memory)):
                await asyncio.sleep(0)
        except ListingError as error:
            level = "warning" if tools.needed else "info"
            problem = f"{snapshot.upstream.address}: {error}"
            self._repeats.event("backend_tools_unavailable", level, plain=True, problem=problem)
            return False
        finally:
            memory.close()
            self._listed_once = True
        for tool in tools.collisions:
            self._repeats.event("tool_argument_conflict", "warning", tool=tool)
        for tool in tools.unseen:
            self._repeats.event("tool_unlisted", "warning", tool=tool)
        self._report(tools.drift)
        return True

    @property
    def _address(self) -> str:
        return self._snapshot().upstream.address

    def _lister_of(self, upstream: BackendPool) -> Lister:
        """Return the lister, which remembers the revision of its backend."""
        if self._lister is None or self._lister.upstream is not upstream:
            self._lister = Lister(upstream)
        return self._lister

    def _report(self, drift: Drift | None) -> None:
        """Log the drift of the newest list, and what has changed in it once."""
        if drift is None:
            return
        for tool in drift.changed:
            self._repeats.event("tool_changed", "warning", tool=tool)
        if drift == self._drift:
            return
        self._drift = drift
        level = "warning" if drift.missing or drift.changed else "info"
        names = {key: cut(" ".join(getattr(drift, key)), _MAX_NAMES) for key in ("missing", "changed")}
        self._repeats.event("backend_drift", level, plain=True, **names, undeclared=drift.undeclared)
