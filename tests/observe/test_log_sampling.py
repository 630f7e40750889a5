"""Sampling of log lines: free calls without a problem may be left out, everything else has its line."""

from __future__ import annotations

import json
import tempfile
from typing import Any

import pytest

from sidecar.errors import ErrorCode, Refusal
from sidecar.model import AmountKind, Price
from sidecar.observe.logs import Lines
from sidecar.observe.metrics import Metrics
from sidecar.observe.record import Recorder
from sidecar.outcome import Exchange, Receipt
from sidecar.system.random_ids import random_id


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


def exchange(**values: Any) -> Exchange:
    return Exchange(random_id(), 100.0, **{"method": "tools/call", "tool": "search", **values})


CREDIT = Price(AmountKind.CREDIT, "contact", needed=0, left=10)


@pytest.mark.parametrize(
    ("values", "is_kept"),
    [
        ({}, False),
        ({"code": "result"}, False),
        ({"refusal": Refusal(ErrorCode.QUOTA_EXCEEDED), "code": "quota_exceeded"}, True),
        ({"refusal": Refusal(ErrorCode.TOKEN_MISSING), "code": "token_missing"}, True),
        ({"code": "tool_error"}, True),
        ({"code": "timed_out"}, True),
        ({"receipt": Receipt({"contact": 2}, {})}, True),
        ({"reserved": (CREDIT,)}, True),
        ({"notes": ("rows: not an integer",)}, True),
        ({"stream_end": "token_expired"}, True),
        ({"hold_lost": True}, True),
    ],
)
def test_only_free_calls_without_a_problem_are_left_out(metrics: Metrics, values: dict[str, Any], is_kept: bool):
    written = sampled(metrics, 0.0, [exchange(**values)])
    assert len(written) == is_kept
    assert all("sample" not in line for line in written)


def test_a_line_of_a_sample_has_its_rate_and_all_calls_are_counted(metrics: Metrics):
    calls = [exchange() for _ in range(2000)]
    written = sampled(metrics, 0.25, calls)
    assert 400 <= len(written) <= 600  # five standard deviations
    assert {line["sample"] for line in written} == {0.25}
    assert "mcp_sidecar_requests_total" in (text := b"".join(metrics.expose().parts).decode())
    assert (
        sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith("mcp_sidecar_requests_total{"))
        == 2000
    )


def sampled(metrics: Metrics, rate: float, calls: list[Exchange]) -> list[dict[str, Any]]:
    with tempfile.TemporaryFile() as file:
        lines = Lines(fd=file.fileno())
        lines.sample = rate
        recorder = Recorder(metrics, lines, clock=lambda: 100.25)
        for each in calls:
            recorder.finish(each)
        assert lines.flush(10)
        file.seek(0)
        return [json.loads(line) for line in file]
