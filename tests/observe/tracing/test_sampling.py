"""Choice of the requests to trace: by the caller's header, or by the random id."""

from __future__ import annotations

import pytest

from sidecar.observe.tracing.traceparent import read_traceparent
from sidecar.observe.tracing.tracer import Tracer, drawn
from sidecar.system.random_ids import random_id

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.mark.parametrize(("flags", "sampled"), [("01", True), ("03", True), ("ff", True), ("00", False), ("02", False)])
def test_the_lowest_flag_says_that_the_caller_samples(flags: str, sampled: bool):
    parent = read_traceparent(f"00-{TRACE}-{PARENT}-{flags}")
    assert parent is not None
    assert (parent.trace_id, parent.parent_id, parent.sampled) == (TRACE, PARENT, sampled)


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        f"01-{TRACE}-{PARENT}-01",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}-01\n",
        f"00-{TRACE}-{PARENT}-01-x",
        f" 00-{TRACE}-{PARENT}-01",
    ],
)
def test_an_invalid_header_is_ignored(text: str | None):
    assert read_traceparent(text) is None
    traced = Tracer(1, lambda spans: None).begin("POST", text, "5" * 32)
    assert traced is not None
    assert (traced.trace_id, traced.parent) == ("5" * 32, None)


def test_the_part_of_new_traces_is_that_of_the_setting():
    tracer = Tracer(0.25, lambda spans: None)
    traced = sum(tracer.begin("POST", None, random_id()) is not None for _ in range(4000))
    assert 850 <= traced <= 1150  # five standard deviations


@pytest.mark.parametrize(("rate", "ids"), [(0, ["0" * 32, "f" * 32]), (1, [])])
def test_none_and_all(rate: float, ids: list[str]):
    refused = [each for each in ("0" * 32, "f" * 32) if not drawn(each, rate)]
    assert refused == ids


def test_a_larger_part_has_the_smaller_one_in_it():
    ids = [random_id() for _ in range(500)]
    assert {each for each in ids if drawn(each, 0.1)} < {each for each in ids if drawn(each, 0.5)}
