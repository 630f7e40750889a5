"""The suite's results are read completely or not at all, and a regression behind the sidecar is found."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.columns import ROOT, bare
from tests.conformance.run import chosen, main, measure
from tests.conformance.suite import REVISIONS, Check, Requirements, SuiteError, read, requirements, run


def write(folder: Path, name: str, *checks: dict[str, Any]) -> None:
    (folder / name).mkdir()
    (folder / name / "checks.json").write_text(json.dumps(checks))


def test_results_are_read_by_scenario(tmp_path: Path):
    write(
        tmp_path,
        "server-tools-list-2026-11-25T22-01-06-340Z",
        {"id": "a", "name": "A", "status": "SUCCESS", "description": "does it"},
        {"id": "b", "name": "B", "status": "FAILURE", "description": "does more", "errorMessage": "it did not"},
    )
    write(tmp_path, "server-sep-2164-resource-not-found-2026-11-25T22-01-06-341Z")
    assert read(tmp_path) == {
        "tools-list": [Check("a", "SUCCESS", "does it"), Check("b", "FAILURE", "does more", "it did not")],
        "sep-2164-resource-not-found": [],
    }


@pytest.mark.parametrize("name", ["client-ping-2026-11-25T22-01-06-340Z", "server-ping", "server-ping-2026-11-25"])
def test_other_files_are_not_read_as_results(tmp_path: Path, name: str):
    write(tmp_path, name)
    with pytest.raises(SuiteError, match="unexpected result"):
        read(tmp_path)


def test_two_results_of_one_scenario_are_none(tmp_path: Path):
    for second in (1, 2):
        write(tmp_path, f"server-ping-2026-11-25T22-01-0{second}-340Z")
    with pytest.raises(SuiteError, match="unexpected result"):
        read(tmp_path)


@pytest.mark.node
def test_the_suite_says_what_it_asks_for():
    newest, older = (requirements(revision) for revision in REVISIONS)
    assert {"server-stateless", "dns-rebinding-protection", "input-required-result-multi-round"} <= {*newest.required}
    assert {"tasks-lifecycle", "http-header-validation"} <= {*newest.unscored}
    assert {"server-initialize", "elicitation-sep1330-enums"} <= {*older.required}
    assert {"server-sse-polling", "server-session-lifecycle"} <= {*older.unscored}


@pytest.mark.node
def test_scenarios_are_chosen_from_the_revisions_that_have_them():
    assert chosen(REVISIONS, ["ping", "tools-list", "server-sse-polling"]) == {
        "2026-07-28": Requirements(("tools-list",), ()),
        "2025-11-25": Requirements(("ping", "tools-list"), ("server-sse-polling",)),
    }
    assert chosen(REVISIONS, ["ping"]).keys() == {"2025-11-25"}
    assert chosen(REVISIONS, []) == {revision: requirements(revision) for revision in REVISIONS}


@pytest.mark.node
def test_an_unknown_scenario_is_a_usage_error():
    with pytest.raises(SystemExit) as ended:
        main(["--scenario", "ping", "--scenario", "pong"])
    assert ended.value.code == 2


@pytest.mark.node
async def test_one_scenario_is_run_in_both_columns(tmp_path: Path):
    wanted = chosen(["2026-07-28"], ["dns-rebinding-protection"])
    [row] = (await measure(wanted, tmp_path))["2026-07-28"]
    assert (row.scenario, row.required, str(row.bare), str(row.behind), row.lost) == (
        *("dns-rebinding-protection", True),
        *("2/2", "2/2", ()),
    )


@pytest.mark.node
async def test_a_scenario_without_a_result_is_reported_with_the_suite_s_output(tmp_path: Path):
    async with bare() as url:
        with pytest.raises(SuiteError, match="no result of no-such-scenario") as caught:
            await run(url, "2025-11-25", tmp_path, ["no-such-scenario"])
    assert "Unknown" in str(caught.value)


@pytest.mark.parametrize(
    ("ci", "status", "said"), [("true", 1, "cannot be run"), ("", 0, "SKIPPED, NOTHING WAS TESTED")]
)
def test_without_node_it_is_skipped_but_never_in_ci(ci: str, status: int, said: str):
    ended = subprocess.run(
        [sys.executable, "-P", "-m", "tests.conformance"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PATH": "", "CI": ci},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (status, "")
    assert said in ended.stderr
    assert "npm is not installed" in ended.stderr
