"""One scrape of several workers: sums, gauges by their meaning, and counters that outlive their worker."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from sidecar.observe.metrics import Metrics
from sidecar.runtime.workers.worker_metrics import CombinedMetrics, encode


def worker(**gauges: float) -> Metrics:
    made = Metrics()
    for name, value in gauges.items():
        getattr(made, name).set(value)
    return made


def scraped(metrics: CombinedMetrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    text = b"".join(metrics.expose().parts).decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(metrics: CombinedMetrics, name: str, **labels: str) -> float:
    return scraped(metrics)[f"mcp_sidecar_{name}", tuple(sorted(labels.items()))]


def test_counters_and_histograms_are_added_up():
    combined = CombinedMetrics()
    for slot, calls in enumerate((2, 3)):
        metrics = worker()
        for _ in range(calls):
            metrics.settlements.labels("settle").inc()
            metrics.latency.labels("tools/call", "a").observe(0.01)
        combined.totals.put(slot, encode(metrics.registry))
    assert value(combined, "settlements_total", action="settle") == 5
    assert value(combined, "request_seconds_count", method="tools/call", tool="a") == 5
    assert value(combined, "request_seconds_bucket", method="tools/call", tool="a", le="0.01") == 5
    assert value(combined, "request_seconds_bucket", method="tools/call", tool="a", le="0.005") == 0


def test_gauges_are_combined_by_their_meaning():
    combined = CombinedMetrics()
    combined.totals.put(0, encode(worker(in_flight=2, store_up=1, files_differ=0, workers=1).registry))
    combined.totals.put(1, encode(worker(in_flight=3, store_up=0, files_differ=1, workers=1).registry))
    assert (value(combined, "in_flight"), value(combined, "workers")) == (5, 2)
    assert value(combined, "store_up") == 0


def test_gauges_of_files_and_reloads_are_the_supervisor_s():
    combined = CombinedMetrics()
    combined.files_valid.set(1)
    combined.reload_success.set(1)
    combined.totals.put(0, encode(worker(files_valid=0, reload_success=0).registry))
    assert (value(combined, "files_valid"), value(combined, "last_reload_success")) == (1, 1)


def test_counters_of_an_ended_worker_stay_and_its_gauges_do_not():
    combined, metrics = CombinedMetrics(), worker(in_flight=7)
    metrics.late.inc(4)
    combined.totals.put(0, encode(metrics.registry))
    combined.totals.end(0)
    assert (value(combined, "late_settlements_total"), value(combined, "in_flight")) == (4, 0)
    combined.totals.put(0, encode(worker(in_flight=1).registry))
    assert (value(combined, "late_settlements_total"), value(combined, "in_flight")) == (4, 1)
    combined.totals.end(0)
    combined.totals.end(0)
    assert value(combined, "late_settlements_total") == 4


def test_counters_of_the_supervisor_count():
    combined = CombinedMetrics()
    combined.reload_failures.inc()
    combined.totals.put(0, encode(worker().registry))
    assert value(combined, "reload_failures_total") == 1


def test_every_gauge_has_a_meaning():
    metrics = Metrics()
    gauges = {family.name for family in metrics.registry.collect() if family.type == "gauge"}
    assert gauges <= set(metrics.modes)
    assert set(metrics.modes.values()) <= {"livesum", "livemin", "livemax"}
