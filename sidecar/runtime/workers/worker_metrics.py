"""Metrics of all workers in one scrape: counters and histograms summed, each gauge by its meaning.

A worker sends all its series as one line of JSON. Those of a worker that has ended keep counting, so no counter goes
back; its gauges end with it. Gauges are combined by the mode that `observe.families` gives each of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

import orjson
from prometheus_client import CollectorRegistry
from prometheus_client.core import Exemplar, Metric, Sample

from sidecar.observe.metrics import Metrics

_SUPERVISED: Final = frozenset(
    f"mcp_sidecar_{name}"
    for name in ("last_reload_success", "last_reload_timestamp_seconds", "files_valid", "files_differ", "ready")
)
"""Gauges of the supervisor; those of workers are ignored."""
_ADDED: Final = ("counter", "histogram", "summary")
_COMBINED: Final[Mapping[str, Callable[[float, float], float]]] = {
    "livesum": lambda one, other: one + other,
    "livemin": min,
    "livemax": max,
}

_Labels = tuple[tuple[str, str], ...]


class _Value(NamedTuple):
    value: float
    exemplar: Exemplar | None


class _Family:
    """Samples of one metric, combined."""

    def __init__(self, kind: str, text: str) -> None:
        self.kind = kind
        self.text = text
        self.samples: dict[tuple[str, _Labels], _Value] = {}

    def combine(self, sample: Sample, combined: Callable[[float, float], float]) -> None:
        """Take one more value of a series."""
        key = (sample.name, tuple(sample.labels.items()))
        found = self.samples.get(key)
        if found is None:
            self.samples[key] = _Value(sample.value, sample.exemplar)
        else:
            newest = max(
                (each for each in (found.exemplar, sample.exemplar) if each is not None),
                key=lambda each: each.timestamp or 0,
                default=None,
            )
            self.samples[key] = _Value(combined(found.value, sample.value), newest)

    def metric(self, name: str) -> Metric:
        """Return it as the registry exposes it."""
        made = Metric(name, self.text, self.kind)
        for (sample, labels), each in self.samples.items():
            made.add_sample(sample, dict(labels), each.value, exemplar=each.exemplar)
        return made


class WorkerTotals:
    """Collector of the metrics of all workers.

    Args:
        own: metrics of the supervisor.
        modes: of the gauges, by name.
    """

    def __init__(self, own: CollectorRegistry, modes: Mapping[str, str]) -> None:
        self._own = own
        self._modes = modes
        self._latest: dict[int, bytes] = {}
        self._ended: dict[str, _Family] = {}

    def put(self, slot: int, encoded: bytes) -> None:
        """Keep the newest metrics of the worker in a slot."""
        self._latest[slot] = encoded

    def end(self, slot: int) -> None:
        """Keep the counters of a worker that has ended."""
        encoded = self._latest.pop(slot, None)
        if encoded is not None:
            for metric in decode(encoded):
                if metric.type in _ADDED:
                    _add(self._ended, metric, _COMBINED["livesum"])

    def collect(self) -> Iterable[Metric]:
        """Return the combined metrics."""
        families: dict[str, _Family] = {}
        for metric in self._own.collect():
            sums = metric.type in _ADDED or self._mode(metric.name) == "livesum"
            if sums or metric.name in _SUPERVISED:
                _add(families, metric, _COMBINED["livesum"])
        for encoded in self._latest.values():
            for metric in decode(encoded):
                if metric.type in _ADDED:
                    _add(families, metric, _COMBINED["livesum"])
                elif metric.name not in _SUPERVISED:
                    _add(families, metric, _COMBINED[self._mode(metric.name)])
        for name, ended in self._ended.items():
            _add(families, ended.metric(name), _COMBINED["livesum"])
        return [family.metric(name) for name, family in families.items()]

    def _mode(self, name: str) -> str:
        return self._modes.get(name, "livemax")


class CombinedMetrics(Metrics):
    """Metrics of the supervisor, whose scrape has those of all workers.

    Attributes:
        totals: the workers' metrics.
    """

    def __init__(self) -> None:
        super().__init__()
        self.totals = WorkerTotals(self.registry, self.modes)
        self.registry = CollectorRegistry()
        self.registry.register(self.totals)


def _add(families: dict[str, _Family], metric: Metric, combined: Callable[[float, float], float]) -> None:
    family = families.get(metric.name)
    if family is None:
        family = families[metric.name] = _Family(metric.type, metric.documentation)
    for sample in metric.samples:
        family.combine(sample, combined)


def encode(registry: CollectorRegistry) -> bytes:
    """Return the metrics of this process as one line of JSON."""
    return orjson.dumps(
        [
            [metric.name, metric.type, metric.documentation, [_encoded(sample) for sample in metric.samples]]
            for metric in registry.collect()
        ]
    )


def _encoded(sample: Sample) -> list[Any]:
    exemplar = sample.exemplar
    found = None if exemplar is None else [exemplar.labels, exemplar.value, exemplar.timestamp]
    return [sample.name, sample.labels, sample.value, found]


def decode(encoded: bytes) -> Iterator[Metric]:
    """Yield the metrics that `encode` has encoded."""
    for name, kind, text, samples in orjson.loads(encoded):
        metric = Metric(name, text, kind)
        for sample, labels, value, exemplar in samples:
            metric.add_sample(sample, labels, value, exemplar=None if exemplar is None else Exemplar(*exemplar))
        yield metric
