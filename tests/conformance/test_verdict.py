"""Checks that count as lost, checks that do not, and their report."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.conformance.run import confirm, summary, table
from tests.conformance.suite import Check, Found, Requirements
from tests.conformance.verdict import Row, Tally, lost, rows


def checks(*statuses: str, id_: str = "a", description: str = "does it") -> list[Check]:
    return [Check(id_, status, description, "" if status == "SUCCESS" else "it did not") for status in statuses]


@pytest.mark.parametrize(
    ("bare", "behind"),
    [
        ("SUCCESS", "SUCCESS"),
        ("FAILURE", "FAILURE"),
        ("WARNING", "WARNING"),
        ("SKIPPED", "SKIPPED"),
        ("FAILURE", "SUCCESS"),
        ("WARNING", "SUCCESS"),
        ("SKIPPED", "SUCCESS"),
        ("INFO", "INFO"),
    ],
)
def test_a_check_that_is_not_worse_is_not_lost(bare: str, behind: str):
    assert list(lost(checks(bare), checks(behind))) == []


@pytest.mark.parametrize(
    ("bare", "behind"),
    [
        ("SUCCESS", "FAILURE"),
        ("SUCCESS", "WARNING"),
        ("SUCCESS", "SKIPPED"),
        ("WARNING", "FAILURE"),
        ("SKIPPED", "FAILURE"),
        ("SUCCESS", "INFO"),
    ],
)
def test_a_check_that_is_worse_is_lost(bare: str, behind: str):
    [found] = lost(checks(bare), checks(behind))
    assert (found.id, found.bare, found.behind) == ("a", bare, "" if behind == "INFO" else behind)


def test_a_check_that_is_not_made_any_more_is_lost_if_it_passed():
    [found] = lost(checks("SUCCESS"), [])
    assert (found.bare, found.behind, found.error) == ("SUCCESS", "", "the check was not made")
    assert list(lost(checks("FAILURE"), [])) == []


def test_a_check_that_is_made_only_behind_is_lost_if_it_fails():
    [found] = lost([], checks("FAILURE"))
    assert (found.bare, found.behind, found.error) == ("", "FAILURE", "it did not")
    assert list(lost([], checks("SUCCESS"))) == []


def test_checks_of_one_kind_are_compared_in_their_order():
    assert len(list(lost(checks("SUCCESS", "FAILURE"), checks("FAILURE", "SUCCESS")))) == 1
    other = checks("FAILURE", description="does something else")
    assert len(list(lost(checks("SUCCESS"), [*other, *checks("SUCCESS")]))) == 1


WANTED = Requirements(("needed",), ("extra", "unrun"))


def test_a_lost_check_fails_the_run_and_is_shown_under_its_scenario():
    [needed, extra] = rows(
        WANTED,
        {"needed": checks("SUCCESS"), "extra": checks("SUCCESS")},
        {"needed": checks("SUCCESS"), "extra": checks("FAILURE")},
    )
    assert not needed.wrong
    assert extra.wrong
    shown = table("2026-07-28", [needed, extra]).splitlines()
    assert shown[1].split() == ["needed", "1/1", "1/1"]
    assert shown[2].split()[:4] == ["extra", "*", "1/1", "0/1"]
    assert "LOST BEHIND THE SIDECAR: 1" in shown[2]
    assert shown[3].strip() == "a: SUCCESS -> FAILURE: does it"
    assert shown[4].strip() == "it did not"
    assert summary([needed, extra]).splitlines()[-2:] == ["lost behind the sidecar: 1", "1 passed, 1 failed"]


def test_a_check_that_fails_in_both_fails_the_run_only_if_required():
    failing = {"needed": checks("FAILURE"), "extra": checks("FAILURE")}
    [needed, extra] = rows(WANTED, failing, failing)
    assert (needed.wrong, needed.remark) == (True, "THE SERVER ITSELF MUST PASS THIS")
    assert (extra.wrong, extra.remark) == (False, "fails in both")
    assert summary([extra]).splitlines()[-1] == "0 passed, 1 failed"


def test_a_required_scenario_in_which_nothing_is_checked_is_no_pass():
    nothing = {"needed": checks("INFO"), "extra": checks("SKIPPED")}
    [needed, extra] = rows(WANTED, nothing, nothing)
    assert needed.wrong
    assert (extra.wrong, extra.remark, str(extra.bare)) == (False, "nothing is checked", "-")


def test_tallies_count_checks_with_a_verdict():
    assert Tally.of(checks("SUCCESS", "INFO", "SKIPPED", "WARNING", "FAILURE")) == Tally(1, 3)


@pytest.mark.parametrize("second", ["SUCCESS", "FAILURE"])
async def test_a_second_run_decides_about_what_went_wrong(tmp_path: Path, second: str):
    asked: list[Requirements] = []

    async def again(wanted: Mapping[str, Requirements], folder: Path) -> dict[str, list[Row]]:
        asked.extend(wanted.values())
        behind: Found = {"extra": checks(second)}
        return {revision: rows(each, {"extra": checks("SUCCESS")}, behind) for revision, each in wanted.items()}

    first = rows(
        WANTED,
        {"needed": checks("SUCCESS"), "extra": checks("SUCCESS")},
        {"needed": checks("SUCCESS"), "extra": checks("FAILURE")},
    )
    made = await confirm({"2026-07-28": first, "2025-11-25": first[:1]}, tmp_path, again)
    assert asked == [Requirements((), ("extra",))]
    assert [(row.scenario, row.wrong) for row in made["2026-07-28"]] == [
        ("needed", False),
        ("extra", second == "FAILURE"),
    ]
    assert made["2025-11-25"] == first[:1]
