"""Series are bounded: names beyond the budget of a metric are counted as `_other`, and that is counted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.samples import Sample

from sidecar.errors import ErrorCode, Refusal
from sidecar.model import AmountKind, Call, CallKind, Price, Revision
from sidecar.observe.families import MAX_COUNTERS, MAX_HISTOGRAMS, MAX_REQUESTS
from sidecar.observe.metrics import Metrics
from sidecar.observe.plain_metrics import OTHER, PlainCounter, SeriesBudget
from sidecar.outcome import Action, Exchange, Receipt

MOST_SAMPLES = 40_000
"""Samples of a scrape that docs/metrics.md promises never to exceed."""


def samples(metrics: Metrics) -> Iterator[Sample]:
    for family in metrics.registry.collect():
        yield from family.samples


def exchange(tool: str, pool: str, quota: str, **more: Any) -> Exchange:
    call = Call(CallKind.REQUEST, Revision.V2026_07_28, "tools/call", 1)
    reserved = (Price(AmountKind.CREDIT, pool, 2, 9), Price(AmountKind.QUOTA, quota, 1, 9))
    receipt = Receipt({pool: 1}, {quota: 1})
    action = Action.CHARGE_RESULT
    made: dict[str, Any] = {"reserved": reserved, "receipt": receipt, "action": action, "backend_seconds": 0.1, **more}
    return Exchange("r", 0.0, call=call, method="tools/call", tool=tool, notes=["a"], **made)


def test_a_policy_of_any_size_keeps_a_scrape_bounded():
    metrics = Metrics()
    names = [f"name{number}" for number in range(MAX_REQUESTS // 2)]
    for number in range(2):
        policy = [f"{name}-{number}" for name in names]
        metrics.expect(policy, policy, [(name, "quota_exceeded", name) for name in policy], policy)
        for name in policy:
            metrics.count(exchange(name, name, name), "ok", 1.0)
            for code, kind in ((ErrorCode.QUOTA_EXCEEDED, "quota"), (ErrorCode.INSUFFICIENT_CREDITS, "pool")):
                refusal = Refusal(code, specifics={kind: name})
                metrics.count(exchange(name, name, name, refusal=refusal, code=code.id), "refused", 1.0)
    assert sum(1 for _ in samples(metrics)) <= MOST_SAMPLES


def test_what_is_beyond_the_budget_is_counted_as_other():
    metrics = Metrics()
    calls = MAX_HISTOGRAMS + 7
    for number in range(calls):
        metrics.count(exchange(f"tool{number}", "contact", "requests"), "ok", 1.0)
    counts = [each.value for each in samples(metrics) if each.name == "mcp_sidecar_request_seconds_count"]
    assert (len(counts), sum(counts)) == (MAX_HISTOGRAMS + 1, calls)
    others = {"method": OTHER, "tool": OTHER}
    assert metrics.registry.get_sample_value("mcp_sidecar_request_seconds_count", others) == 7
    exceeded = {"metric": "mcp_sidecar_request_seconds"}
    assert metrics.registry.get_sample_value("mcp_sidecar_series_over_budget_total", exceeded) == 7
    assert metrics.registry.get_sample_value(
        "mcp_sidecar_requests_total", {"method": "tools/call", "tool": f"tool{calls - 1}", "status": "ok", "code": "ok"}
    )


def test_a_large_policy_alone_exceeds_no_budget():
    """Series that start at 0 must leave room for what occurs."""
    metrics = Metrics()
    names = [f"name{number}" for number in range(MAX_COUNTERS + 1)]
    metrics.expect(names, names, [(name, "quota_exceeded", name) for name in names], names)
    assert not [each for each in samples(metrics) if each.name == "mcp_sidecar_series_over_budget_total"]


def test_fixed_values_and_empty_ones_stay_beyond_the_budget():
    exceeded: list[int] = []
    budget = SeriesBudget(1, lambda: exceeded.append(1))
    counter = PlainCounter("refusals", "Text.", ("gate", "code", "quota", "pool"), CollectorRegistry(), budget)
    counter.labels("budget", "quota_exceeded", "rows", "").inc()
    beyond = counter.labels("budget", "quota_exceeded", "pages", "")
    assert beyond is counter.labels("budget", "quota_exceeded", "words", "")
    assert beyond is counter.labels("budget", "quota_exceeded", OTHER, "")
    assert counter.labels("transport", "overloaded", "", "") is not beyond
    assert len(exceeded) == 3


def test_the_page_names_the_limits():
    page = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text("utf-8")
    assert f"at most {MOST_SAMPLES:,} samples" in page
    assert f"| `mcp_sidecar_requests_total` | {MAX_REQUESTS:,} |" in page
    assert f"| other counters with `tool`, `pool` or `quota` | {MAX_COUNTERS:,} |" in page
    assert f"| histograms with `tool` | {MAX_HISTOGRAMS:,}, each" in page
