"""Evaluate the alert rules with promtool: each fires under its condition, with its labels, and not close to it."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml

from sidecar.observe.metrics import Metrics
from tests.deploy.alert_cases import CASES, A, Case, Series
from tests.support.debian import promtool

ROOT = Path(__file__).parents[2]
ALERTS = ROOT / "deploy" / "alerts.yaml"
PAGES = "https://runbooks.example.com/mcp-policy-sidecar/"
Json = dict[str, Any]

pytestmark = pytest.mark.process


def rules() -> list[Json]:
    (group,) = yaml.safe_load(ALERTS.read_text("utf-8"))["groups"]
    return list(group["rules"])


def fired(rule: Json, case: Case) -> Json:
    """The alert that promtool must find: labels and annotations are compared whole."""

    def filled(text: str) -> str:
        return re.sub(r"{{ \$(?:labels\.(\w+)|value) }}", lambda found: case.labels.get(found[1], case.value), text)

    annotations = {name: filled(text) for name, text in rule["annotations"].items()}
    return {"exp_labels": {**case.labels, **rule["labels"]}, "exp_annotations": annotations}


def unit(name: str, alert: str, series: Series, at: int, expected: list[Json]) -> Json:
    return {
        "name": name,
        "interval": "1m",
        "input_series": [{"series": each, "values": values} for each, values in series.items()],
        "alert_rule_test": [{"eval_time": f"{at}m", "alertname": alert, "exp_alerts": expected}],
    }


def run(tmp_path: Path, tests: Iterable[Json]) -> subprocess.CompletedProcess[str]:
    """Run promtool; status 0 if every test finds exactly the alerts that it expects."""
    written = tmp_path / "test.yaml"
    document = {"rule_files": [str(ALERTS)], "evaluation_interval": "1m", "tests": list(tests)}
    written.write_text(yaml.safe_dump(document))
    return subprocess.run([promtool(), "test", "rules", str(written)], capture_output=True, text=True, timeout=50)


def test_promtool_accepts_the_rules():
    done = subprocess.run([promtool(), "check", "rules", str(ALERTS)], capture_output=True, text=True, timeout=50)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert f"{len(rules())} rules found" in done.stdout


def test_promtool_accepts_the_metrics():
    metrics = Metrics()
    metrics.expect(["search"], ["contact"], [("search", "quota_exceeded", "requests")], ["requests"])
    metrics.refresh()
    scraped = b"".join(metrics.expose().parts)
    done = subprocess.run([promtool(), "check", "metrics"], input=scraped, capture_output=True, timeout=50)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_every_alert_has_a_case():
    assert [rule["alert"] for rule in rules()] == [case.alert for case in CASES]
    assert all(case.quiet for case in CASES)


def test_every_alert_fires_under_its_condition(tmp_path: Path):
    made = {rule["alert"]: rule for rule in rules()}
    done = run(
        tmp_path, (unit(case.alert, case.alert, case.fires, case.at, [fired(made[case.alert], case)]) for case in CASES)
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_alert_fires_close_to_its_condition(tmp_path: Path):
    done = run(
        tmp_path,
        (
            unit(f"{case.alert} {number}", case.alert, series, case.at, [])
            for case in CASES
            for number, series in enumerate(case.quiet)
        ),
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_alert_that_is_not_expected_is_found(tmp_path: Path):
    done = run(tmp_path, [unit(case.alert, case.alert, case.fires, case.at, []) for case in CASES])
    assert done.returncode == 1
    assert set(re.findall(r"name: (\w+),", done.stdout + done.stderr)) == {case.alert for case in CASES}


COUNTERS = [case for case in CASES if list(case.fires.values()) == ["0x20 1x40"]]


def test_a_series_that_starts_at_its_first_count_would_not_fire(tmp_path: Path):
    """So counters with known labels start at 0."""
    assert len(COUNTERS) >= 5
    begun = (
        unit(
            case.alert,
            case.alert,
            {each: values.replace("0x20 1x40", "_x20 1x40") for each, values in case.fires.items()},
            case.at,
            [],
        )
        for case in COUNTERS
    )
    done = run(tmp_path, begun)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_says_how_urgent_it_is_and_where_its_runbook_is():
    for rule in rules():
        assert rule["labels"].keys() == {"severity"}
        assert rule["labels"]["severity"] in ("page", "ticket")
        url = rule["annotations"]["runbook_url"]
        assert url == f"{PAGES}runbook.md#{rule['alert'].lower()}"


def test_every_alert_has_its_heading_in_the_runbook_and_every_heading_its_alert():
    runbook = (ROOT / "docs" / "runbook.md").read_text("utf-8")
    headings = re.findall(r"^### (McpSidecar\w+)$", runbook, re.M)
    assert sorted(headings) == sorted(rule["alert"] for rule in rules())
    for entry in re.split(r"^### ", runbook, flags=re.M)[1:]:
        heading, _, body = entry.partition("\n")
        assert 1 <= len(body.partition("\n#")[0].strip().splitlines()) <= 25, heading


def test_the_series_of_the_cases_are_of_one_job():
    """The cases name the target that fires; a label that Prometheus would not add proves nothing."""
    assert all(
        A in series or 'instance="b:9090"' in series or series == "up" for case in CASES for series in case.fires
    )
