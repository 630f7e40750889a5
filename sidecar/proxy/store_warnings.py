"""What the store may lose, for the operator: a line when it is first seen or over, and a gauge while it lasts."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Final

from sidecar.ledger.durability import Risk, Warned
from sidecar.ledger.store import Store
from sidecar.observe.logs import Lines
from sidecar.observe.metrics import Metrics

LOOK_EVERY: Final = 60.0
"""Seconds between two looks at a server that stays connected."""


class StoreWarnings:
    """Tells warnings once, however often the server is looked at."""

    def __init__(self, metrics: Metrics, lines: Lines) -> None:
        self._lines = lines
        self._told: frozenset[Warned] = frozenset()
        self._gauges = {risk: metrics.store_warnings.labels(risk.value) for risk in Risk}

    def tell(self, warnings: Iterable[Warned]) -> None:
        """Say what is new, and what is over, of all that a look has found."""
        found = {each.risk: each for each in warnings}
        for each in found.values():
            if each not in self._told:
                self._lines.event("store_warning", "warning", warning=each.risk.value, problem=each.text)
        for each in self._told:
            if each.risk not in found:
                self._lines.event("store_warning_over", warning=each.risk.value)
        for risk, gauge in self._gauges.items():
            gauge.set(risk in found)
        self._told = frozenset(found.values())


async def look_forever(store: Store, every: float = LOOK_EVERY) -> None:
    """Look again and again: a warning is over as soon as somebody has set the server right. Never returns."""
    while True:
        await asyncio.sleep(every)
        await store.look()
