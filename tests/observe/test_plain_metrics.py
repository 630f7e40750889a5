"""Metrics without a lock are scraped as those of prometheus_client are, byte by byte."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from sidecar.observe.plain_metrics import PlainCounter, PlainHistogram
from sidecar.outcome import Action

TEXT = 'A help text with a \\ and a "quote".'
BOUNDS = (0.001, 0.0025, 0.1, 1, 30, 300)
NAMES = st.sampled_from(["search", 'a "tool"', "back\\slash", "", "ümlaut"])


@given(st.lists(st.tuples(NAMES, NAMES, st.sampled_from([0, 1, 2, 2.5, 2**40]))))
def test_counters_are_exposed_alike(counted: list[tuple[str, str, float]]):
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    plain = PlainCounter("spent", TEXT, ("tool", "code"), ours)
    counter = Counter("spent", TEXT, ("tool", "code"), registry=theirs)
    for tool, code, amount in counted:
        plain.labels(tool, code).inc(amount)
        counter.labels(tool, code).inc(amount)
    assert generate_latest(ours) == generate_latest(theirs)


OBSERVED = st.one_of(st.sampled_from([0.0, 300.1, *BOUNDS]), st.floats(0, 1e6))


@given(st.lists(st.tuples(NAMES, OBSERVED)))
def test_histograms_are_exposed_alike(observed: list[tuple[str, float]]):
    """A value equal to a bound belongs into its bucket."""
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    plain = PlainHistogram("seconds", TEXT, ("tool",), ours, BOUNDS)
    histogram = Histogram("seconds", TEXT, ("tool",), registry=theirs, buckets=BOUNDS)
    for tool, value in observed:
        plain.labels(tool).observe(value)
        histogram.labels(tool).observe(value)
    assert generate_latest(ours) == generate_latest(theirs)


def test_series_begin_at_0_and_members_of_an_enum_are_their_values():
    registry = CollectorRegistry()
    counter = PlainCounter("settlements", TEXT, ("action",), registry)
    assert counter.labels(Action.RELEASE) is counter.labels("release")
    assert registry.get_sample_value("settlements_total", {"action": "release"}) == 0
    assert b'settlements_total{action="release"} 0.0\n' in generate_latest(registry)


def test_a_name_is_registered_once():
    registry = CollectorRegistry()
    PlainCounter("requests", TEXT, (), registry)
    with pytest.raises(ValueError, match="Duplicated timeseries"):
        Counter("requests", TEXT, registry=registry)


def test_a_series_has_a_value_of_every_label():
    counter = PlainCounter("requests", TEXT, ("tool", "code"), CollectorRegistry())
    with pytest.raises(ValueError, match="the labels"):
        counter.labels("search")
