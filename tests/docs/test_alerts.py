"""Evaluate the alert rules with promtool: each fires at the first occurrence of its condition."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.debian import promtool

ALERTS = Path(__file__).parents[2] / "deploy" / "alerts.yaml"
Json = dict[str, Any]

SIDECARS = [
    {"series": 'mcp_sidecar_build_info{job="mcp", instance="a:9090"}', "values": "1x60"},
    {"series": 'mcp_sidecar_build_info{job="mcp", instance="b:9090"}', "values": "1x20"},
    {"series": 'up{job="mcp", instance="a:9090"}', "values": "1x60"},
    {"series": 'up{job="mcp", instance="b:9090"}', "values": "1x20 0x40"},
    {"series": 'up{job="other", instance="c:80"}', "values": "0x60"},
]


def evaluate(
    tmp_path: Path, series: list[Json], alert: str, at: str, expected: list[Json]
) -> subprocess.CompletedProcess[str]:
    """Run promtool; status 0 if the alert fires with exactly these labels."""
    checks = [{"eval_time": at, "alertname": alert, "exp_alerts": expected}]
    written = tmp_path / "test.yaml"
    tests = [{"interval": "1m", "input_series": series, "alert_rule_test": checks}]
    written.write_text(yaml.safe_dump({"rule_files": [str(ALERTS)], "evaluation_interval": "1m", "tests": tests}))
    return subprocess.run([promtool(), "test", "rules", str(written)], capture_output=True, text=True, timeout=150)


def evaluated(tmp_path: Path, series: list[Json], alert: str, at: str, expected: list[Json]) -> None:
    done = evaluate(tmp_path, series, alert, at, expected)
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_accepts_the_rules():
    done = subprocess.run([promtool(), "check", "rules", str(ALERTS)], capture_output=True, text=True, timeout=150)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_sidecar_that_is_down_fires_with_its_address_and_targets_of_other_jobs_do_not(tmp_path: Path):
    labels = {"severity": "page", "job": "mcp", "instance": "b:9090"}
    fired = {"exp_labels": labels, "exp_annotations": {"summary": "The sidecar at b:9090 does not answer."}}
    evaluated(tmp_path, SIDECARS, "McpSidecarDown", "19m", [])
    evaluated(tmp_path, SIDECARS, "McpSidecarDown", "25m", [fired])


def test_no_sidecar_at_all_fires(tmp_path: Path):
    fired = {"exp_labels": {"severity": "page"}, "exp_annotations": {"summary": "No sidecar is scraped."}}
    evaluated(tmp_path, SIDECARS[-1:], "McpSidecarDown", "5m", [fired])


@pytest.mark.parametrize(
    ("alert", "series"),
    [
        ("McpSidecarInternalErrors", 'mcp_sidecar_refusals_total{code="internal", gate="forward"}'),
        ("McpSidecarPricesNotComputed", 'mcp_sidecar_settle_problems_total{tool="reveal_contacts"}'),
        ("McpSidecarReservationsLost", "mcp_sidecar_lost_holds_total"),
        ("McpSidecarConnectionsWait", 'mcp_sidecar_accepts_paused_total{listener="listen", reason="limit"}'),
        ("McpSidecarLogLost", "mcp_sidecar_log_lines_dropped_total"),
    ],
)
@pytest.mark.parametrize("begins", [True, False])
def test_the_first_occurrence_fires_because_the_counter_starts_at_0(
    tmp_path: Path, alert: str, series: str, begins: bool
):
    """A series that starts at 1 has not increased, so counters with known labels start at 0."""
    values = "0x20 1x40" if begins else "_x20 1x40"
    done = evaluate(tmp_path, [{"series": series, "values": values}], alert, "25m", [])
    assert (done.returncode, "got:" in done.stdout + done.stderr) == ((1, True) if begins else (0, False))
