"""Watch over the store: its first connection, its layout mark, and warnings of data that it may lose."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Final

from sidecar.observe.logs import Lines
from sidecar.observe.metrics import Metrics
from sidecar.observe.redact import sentence
from sidecar.observe.repeats import Repeats
from sidecar.store.connection.store_connection import StoreError
from sidecar.store.health.durability import DurabilityRisk, DurabilityWarning
from sidecar.store.store import Store

MARK_EVERY: Final = 2.0
"""Seconds between two checks of the layout version in the store."""

CHECK_EVERY: Final = 60.0
"""Seconds between two checks of a server that stays connected."""


class StoreWarnings:
    """Log of warnings: each is reported once, even when many checks find it."""

    def __init__(self, metrics: Metrics, lines: Lines) -> None:
        self._lines = lines
        self._reported: frozenset[DurabilityWarning] = frozenset()
        self._gauges = {risk: metrics.store_warnings.labels(risk.value) for risk in DurabilityRisk}

    def report(self, warnings: Iterable[DurabilityWarning]) -> None:
        """Report the warnings that are new since the last check, and those that have ended."""
        found = {each.risk: each for each in warnings}
        for each in found.values():
            if each not in self._reported:
                self._lines.event("store_warning", "warning", warning=each.risk.value, problem=each.text)
        for each in self._reported:
            if each.risk not in found:
                self._lines.event("store_warning_cleared", warning=each.risk.value)
        for risk, gauge in self._gauges.items():
            gauge.set(risk in found)
        self._reported = frozenset(found.values())


async def check_forever(store: Store, every: float = CHECK_EVERY) -> None:
    """Check periodically, forever: a warning ends once the operator has corrected the server."""
    while True:
        await asyncio.sleep(every)
        await store.examine()


async def keep_layout_version(store: Store, every: float = MARK_EVERY) -> None:
    """Write the layout version to the store again, forever, whenever the store was emptied."""
    while True:
        await asyncio.sleep(every)
        await store.restore_layout_version()


class StoreWatch:
    """Connect to the store at start; the connection itself reconnects.

    Args:
        store: the store.
        repeats: the log.
        embedded: True if the sidecar runs the server.
    """

    def __init__(self, store: Store, repeats: Repeats, *, embedded: bool) -> None:
        self._store = store
        self._repeats = repeats
        self._embedded = embedded
        self._problem: str | None = None

    async def connect(self) -> None:
        """Connect; retry when a private server fails to start at all."""
        while True:
            try:
                await self._store.start()
            except StoreError as error:
                self._problem = sentence(str(error))
                problem = self.unavailable_reason or self._problem
                self._repeats.event("store_unavailable", "error", plain=True, problem=problem)
                await asyncio.sleep(1)
            else:
                self._problem = None
                return

    @property
    def unavailable_reason(self) -> str | None:
        """Reason why the store is unreachable; None while it is reachable."""
        if self._store.up:
            return None
        if self._embedded and self._problem is not None:
            return self._problem
        return f"{self._store.location}: {sentence(self._store.error or 'not connected')}"
