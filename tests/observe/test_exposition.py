"""Formats of a scrape: the one that `Accept` prefers, valid for the parsers of Prometheus' own client."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from prometheus_client import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from prometheus_client.samples import Sample

from sidecar.model import Call, CallKind, Revision
from sidecar.observe.metrics import Metrics
from sidecar.observe.scrape.exposition import MAX_SAMPLES, OPENMETRICS_TYPE, TEXT_TYPE, negotiated
from sidecar.outcome import Exchange

PROMETHEUS = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", TEXT_TYPE),
        ("*/*", TEXT_TYPE),
        ("text/html, */*;q=0.8", TEXT_TYPE),
        ("application/json", TEXT_TYPE),
        (PROMETHEUS, OPENMETRICS_TYPE),
        ("application/openmetrics-text", OPENMETRICS_TYPE),
        ("Application/OpenMetrics-Text; version=1.0.0", OPENMETRICS_TYPE),
        ("application/openmetrics-text; version=0.0.1", OPENMETRICS_TYPE),
        ("application/openmetrics-text; version=2.0.0, text/plain;q=0.1", TEXT_TYPE),
        ("application/openmetrics-text;q=0", TEXT_TYPE),
        ("application/openmetrics-text;q=0.2, text/plain;q=0.9", TEXT_TYPE),
        ("application/openmetrics-text;q=nonsense", TEXT_TYPE),
        ("application/openmetrics-text;q=1;;=, ,;", OPENMETRICS_TYPE),
    ],
)
def test_the_format_is_the_one_that_accept_prefers(accept: str, expected: str):
    assert negotiated(accept) == expected


def traced() -> Metrics:
    metrics = Metrics()
    call = Call(CallKind.REQUEST, Revision.V2026_07_28, "tools/call", 1)
    made = Exchange("r", 0.0, call=call, method="tools/call", tool="search", trace_id=TRACE, backend_seconds=0.1)
    metrics.count(made, "ok", 0.2)
    metrics.refresh()
    return metrics


def test_openmetrics_has_exemplars_that_name_the_trace():
    content_type, parts = traced().expose(PROMETHEUS)
    body = b"".join(parts)
    assert content_type == OPENMETRICS_TYPE
    families = {family.name: family for family in parse_openmetrics(body.decode())}
    (exemplar,) = [each.exemplar for each in families["mcp_sidecar_request_seconds"].samples if each.exemplar]
    assert (exemplar.labels, exemplar.value) == ({"trace_id": TRACE}, 0.2)


def test_both_formats_have_the_same_samples():
    metrics = traced()
    content_type, parts = metrics.expose("")
    text = b"".join(parts)
    assert content_type == TEXT_TYPE
    assert TRACE.encode() not in text
    formats = (parse_text(text.decode()), parse_openmetrics(b"".join(metrics.expose(PROMETHEUS).parts).decode()))
    plain, structured = ([each for family in families for each in family.samples] for families in formats)
    assert {_series(each): each.value for each in plain} == {_series(each): each.value for each in structured}


def _series(sample: Sample) -> tuple[Any, ...]:
    return (sample.name, *sorted(sample.labels.items()))


def test_a_long_body_is_made_in_short_parts_and_is_the_one_of_the_library():
    """Calls are served between the parts."""
    metrics = traced()
    metrics.expect([f"tool{number}" for number in range(40)], ["contact"])
    for accept, whole in (("", generate_latest), (PROMETHEUS, partial(generate_openmetrics, version="1.0.0"))):
        parts = list(metrics.expose(accept).parts)
        assert b"".join(parts) == whole(metrics.registry)
        assert max(part.count(b"\n") for part in parts) <= MAX_SAMPLES + 2
        assert b"".join(parts).count(b"\n") > 4 * MAX_SAMPLES
