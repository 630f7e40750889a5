"""Run the official conformance suite against one URL and read its results."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from tests.support.node import package, run_script

PACKAGE: Final = "@modelcontextprotocol/conformance"
REVISIONS: Final = ("2026-07-28", "2025-11-25")
"""The revisions whose requirements the suite has frozen."""

_SECONDS: Final = 600.0
_FOLDER: Final = re.compile(r"server-(?P<scenario>.+)-\d{4}-\d\d-\d\dT[\d-]+Z")


class SuiteError(Exception):
    """The suite itself has not run as it should; the text holds what it said."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that one scenario looked at.

    Attributes:
        id: the suite's name for it.
        status: SUCCESS, FAILURE, WARNING, SKIPPED or INFO.
        description: what was to be seen. Several checks of one scenario may share an id, not both.
        error: what was seen instead; empty when all was well.
    """

    id: str
    status: str
    description: str
    error: str = ""


Found = dict[str, list[Check]]
"""Findings of each scenario, in the order of the checks."""


@dataclass(frozen=True, slots=True)
class Requirements:
    """The scenarios of one revision.

    Attributes:
        required: those that an implementation of this revision must pass.
        unscored: further scenarios that are run.
    """

    required: tuple[str, ...]
    unscored: tuple[str, ...]

    @property
    def scenarios(self) -> tuple[str, ...]:
        return (*self.required, *self.unscored)


def requirements(revision: str) -> Requirements:
    """Return the scenarios of the installed suite for servers of this revision."""
    document: Any = yaml.safe_load(package(PACKAGE, "requirements", f"{revision}.yaml").read_text())
    unscored = [entry["scenario"] for entry in document.get("not_scored", []) if entry["leg"] == "server"]
    return Requirements(tuple(document["server"]), tuple(unscored))


async def run(url: str, revision: str, folder: Path, scenarios: Iterable[str] = ()) -> Found:
    """Run all scenarios of a revision, or these of them.

    Args:
        url: the server.
        revision: what is spoken.
        folder: an empty one, for what the suite writes.
        scenarios: their names; all of the revision when omitted.

    Raises:
        SuiteError: a scenario has left no result.
    """
    chosen = tuple(scenarios)
    cli = package(PACKAGE, "dist", "index.js")
    common = ("server", "--url", url, "-o", str(folder))
    each: list[tuple[str, ...]] = [("--scenario", name, "--spec-version", revision, "--force") for name in chosen]
    said = ""
    for way in each or [("--requirements", revision)]:
        # The exit status is not looked at: it says what the results say, less exactly.
        ended = await run_script(cli, *common, *way, seconds=_SECONDS)
        said += ended.stdout[-2000:] + ended.stderr[-2000:]
    found = read(folder)
    missing = set(chosen or requirements(revision).scenarios) - found.keys()
    if missing:
        raise SuiteError(f"no result of {', '.join(sorted(missing))} at {url}\n{said}")
    return found


def read(folder: Path) -> Found:
    """The results that the suite has written.

    Raises:
        SuiteError: it has written something else.
    """
    found: Found = {}
    for path in sorted(folder.glob("*/checks.json")):
        named = _FOLDER.fullmatch(path.parent.name)
        if named is None or named["scenario"] in found:
            raise SuiteError(f"unexpected result: {path}")
        found[named["scenario"]] = [_check(entry) for entry in json.loads(path.read_text())]
    return found


def _check(entry: dict[str, Any]) -> Check:
    return Check(entry["id"], entry["status"], entry.get("description", ""), entry.get("errorMessage") or "")
