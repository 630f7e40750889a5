"""Counters and histograms of one thread: a count is an addition.

Those of prometheus_client take a lock and check their labels for each count. A call is counted about ten times, always
by the event loop, so these have no lock. They are exposed by the same registry, under the same names.
"""

from __future__ import annotations

import sys
from bisect import bisect_left
from collections.abc import Callable, Iterable
from itertools import accumulate
from typing import Final, Generic, NamedTuple, TypeVar

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, Exemplar, HistogramMetricFamily, Metric

OTHER: Final = "_other"
"""Label value for every name that the policy does not declare, and for names beyond the budget of series."""

_INFINITE: Final = "+Inf"
_OF_POLICY: Final = frozenset({"method", "tool", "pool", "quota"})  # labels whose values are names; others are fixed


class CounterSeries:
    """Value of a counter for one combination of its labels."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def inc(self, amount: float = 1) -> None:
        """Add an amount, which is not negative."""
        self.value += amount


class HistogramSeries:
    """Observations of a histogram for one combination of its labels.

    Args:
        bounds: upper bounds of the buckets but the last, which has none.

    Attributes:
        bounds: as given.
        counts: observations in each bucket alone.
        total: sum of the observed values.
        exemplars: labels and value of the newest observation in each bucket that had such labels.
    """

    __slots__ = ("bounds", "counts", "exemplars", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.exemplars: list[tuple[dict[str, str], float] | None] = [None] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float, exemplar: dict[str, str] | None = None) -> None:
        """Count a value in the first bucket whose bound is not below it.

        Args:
            value: the observation.
            exemplar: labels of the bucket's exemplar, at most 128 characters.
        """
        self.total += value
        bucket = bisect_left(self.bounds, value)
        self.counts[bucket] += 1
        if exemplar is not None:
            self.exemplars[bucket] = (exemplar, value)


_Series = TypeVar("_Series", CounterSeries, HistogramSeries)


class SeriesBudget(NamedTuple):
    """Limit of the label combinations of one metric.

    Attributes:
        most: combinations with names of their own.
        exceeded: called for each combination that becomes `_other` instead.
    """

    most: int
    exceeded: Callable[[], None]


_UNLIMITED: Final = SeriesBudget(sys.maxsize, lambda: None)


class _LabelledSeries(Generic[_Series]):
    """Series by the values of their labels, in the order in which they began."""

    def __init__(self, labels: tuple[str, ...], begin: Callable[[], _Series], budget: SeriesBudget) -> None:
        self.label_names = labels
        self._begin: Callable[[], _Series] = begin
        self._budget = budget
        self._series: dict[tuple[str, ...], _Series] = {}

    def labels(self, *values: str) -> _Series:
        """Return the series of these values of the labels; a new one begins at 0.

        When the budget is spent, names of the policy become `_other` in new series.
        """
        try:
            return self._series[values]
        except KeyError:
            return self._new(values)

    def _new(self, values: tuple[str, ...]) -> _Series:
        if len(values) != len(self.label_names):
            raise ValueError(f"this metric has the labels {self.label_names}")
        # Keys are plain strings: a member of an enum would be kept and found as well, but printed by its class.
        key = tuple(str(value) for value in values)
        if len(self._series) >= self._budget.most and key not in self._series:
            self._budget.exceeded()
            key = tuple(
                OTHER if value and name in _OF_POLICY else value
                for name, value in zip(self.label_names, key, strict=True)
            )
        return self._series.setdefault(key, self._begin())


class PlainCounter(_LabelledSeries[CounterSeries]):
    """Counter with labels that one thread counts.

    Args:
        name: without the suffix `_total`.
        text: its help text.
        labels: their names.
        registry: exposes it.
        budget: limit of its series.
    """

    def __init__(
        self,
        name: str,
        text: str,
        labels: tuple[str, ...],
        registry: CollectorRegistry,
        budget: SeriesBudget = _UNLIMITED,
    ) -> None:
        super().__init__(labels, CounterSeries, budget)
        self._name, self._text = name, text
        registry.register(self)

    def describe(self) -> Iterable[Metric]:
        """Return the metric without its series."""
        return [CounterMetricFamily(self._name, self._text, labels=self.label_names)]

    def collect(self) -> Iterable[Metric]:
        """Return the metric with its series."""
        family = CounterMetricFamily(self._name, self._text, labels=self.label_names)
        for values, series in self._series.items():
            family.add_metric(values, series.value)
        return [family]


class PlainHistogram(_LabelledSeries[HistogramSeries]):
    """Histogram with labels that one thread counts.

    Args:
        name: of the metric.
        text: its help text.
        labels: their names.
        registry: exposes it.
        bounds: upper bounds of its buckets, ascending; one more bucket has none.
        budget: limit of its series.
    """

    def __init__(
        self,
        name: str,
        text: str,
        labels: tuple[str, ...],
        registry: CollectorRegistry,
        bounds: tuple[float, ...],
        budget: SeriesBudget = _UNLIMITED,
    ) -> None:
        super().__init__(labels, lambda: HistogramSeries(bounds), budget)
        self._name, self._text = name, text
        self._buckets = (*(str(float(bound)) for bound in bounds), _INFINITE)
        registry.register(self)

    def describe(self) -> Iterable[Metric]:
        """Return the metric without its series."""
        return [HistogramMetricFamily(self._name, self._text, labels=self.label_names)]

    def collect(self) -> Iterable[Metric]:
        """Return the metric with its series; a bucket counts the observations of those below it, too."""
        family = HistogramMetricFamily(self._name, self._text, labels=self.label_names)
        for values, series in self._series.items():
            buckets = [
                (bound, float(count)) if observed is None else (bound, float(count), Exemplar(*observed, None))
                for bound, count, observed in zip(
                    self._buckets, accumulate(series.counts), series.exemplars, strict=True
                )
            ]
            family.add_metric(values, buckets, series.total)
        return [family]
