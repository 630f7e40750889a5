"""What the store may lose, for the operator: a line when it is first seen or over, and a gauge while it lasts."""

from __future__ import annotations

from collections.abc import Iterable

from sidecar.ledger.durability import Risk, Warned
from sidecar.observe.logs import Lines
from sidecar.observe.metrics import Metrics


class StoreWarnings:
    """Tells warnings once, however often the store is connected to."""

    def __init__(self, metrics: Metrics, lines: Lines) -> None:
        self._lines = lines
        self._told: frozenset[Warned] = frozenset()
        self._gauges = {risk: metrics.store_warnings.labels(risk.value) for risk in Risk}

    def tell(self, warnings: Iterable[Warned]) -> None:
        """Say what is new, and what is over, of all that a new connection has found."""
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
