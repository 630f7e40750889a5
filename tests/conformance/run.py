"""Run the official conformance suite on a server, bare and behind the sidecar, and show both results."""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from tests.conformance.columns import ROOT, bare, behind
from tests.conformance.suite import REVISIONS, Found, Requirements, SuiteError, requirements, run
from tests.conformance.verdict import Row, rows
from tests.support import node

AT_ONCE: Final = 2
"""Runs of the suite at one time: it has time windows that a crowded machine would miss."""


async def measure(wanted: Mapping[str, Requirements], folder: Path) -> dict[str, list[Row]]:
    """Run the suite in both columns.

    Args:
        wanted: the scenarios of each revision.
        folder: an empty one, where everything that was written stays.

    Returns:
        The rows of each revision.
    """
    places = asyncio.Semaphore(AT_ONCE)

    async def found(column: str, url: str, revision: str) -> Found:
        output = folder / f"{column}-{revision}"
        output.mkdir()
        some = () if wanted[revision] == requirements(revision) else wanted[revision].scenarios
        async with places:
            return await run(url, revision, output, some)

    sidecar = folder / "sidecar"
    sidecar.mkdir()
    async with bare() as server, behind(sidecar) as guarded:
        urls = {
            (revision, column): url for revision in wanted for column, url in (("bare", server), ("behind", guarded))
        }
        results = await asyncio.gather(*(found(column, url, revision) for (revision, column), url in urls.items()))
    by_place = dict(zip(urls, results, strict=True))
    return {
        revision: rows(scenarios, by_place[revision, "bare"], by_place[revision, "behind"])
        for revision, scenarios in wanted.items()
    }


Measure = Callable[[Mapping[str, Requirements], Path], Awaitable[dict[str, list[Row]]]]


async def confirm(measured: Mapping[str, list[Row]], folder: Path, again: Measure = measure) -> dict[str, list[Row]]:
    """Run the scenarios that went wrong once more, with few others at one time; that run decides about them.

    What the sidecar breaks is broken again; a time window that a busy machine has missed is met now.

    Args:
        measured: the rows of each revision.
        folder: where everything that is written stays.
        again: runs scenarios, as `measure` does.
    """
    made: dict[str, list[Row]] = {}
    for revision, found in measured.items():
        wrong = [row for row in found if row.wrong]
        made[revision] = found
        if wrong:
            required, unscored = ([row.scenario for row in wrong if row.required is each] for each in (True, False))
            output = folder / f"again-{revision}"
            output.mkdir()
            rerun = await again({revision: Requirements(tuple(required), tuple(unscored))}, output)
            second = {row.scenario: row for row in rerun[revision]}
            made[revision] = [second.get(row.scenario, row) for row in found]
    return made


def chosen(revisions: Sequence[str], scenarios: Sequence[str]) -> dict[str, Requirements]:
    """Select scenarios by revision: these, or all; revisions without one are omitted."""
    made: dict[str, Requirements] = {}
    for revision in revisions:
        every = requirements(revision)
        if scenarios:
            required, unscored = (
                [name for name in names if name in scenarios] for names in (every.required, every.unscored)
            )
            every = Requirements(tuple(required), tuple(unscored))
        if every.scenarios:
            made[revision] = every
    return made


def table(revision: str, found: Sequence[Row]) -> str:
    """One revision for people: a line per scenario, and under it what was lost."""
    width = max((len(row.scenario) for row in found), default=0)
    lines = [f"{revision:<{width + 2}}  {'bare':>7}  {'behind':>7}   (checks passed of those made)"]
    for row in found:
        name = row.scenario if row.required else f"{row.scenario} *"
        lines.append(f"  {name:<{width + 2}}{row.bare!s:>7}  {row.behind!s:>7}   {row.remark}".rstrip())
        lines += [
            f"      {lost.id}: {lost.bare or 'not made'} -> {lost.behind or 'not made'}: {lost.description}\n"
            f"        {lost.error[:600]}"
            for lost in row.lost
        ]
    return "\n".join(lines)


def summary(found: Sequence[Row]) -> str:
    """The closing lines: how many checks pass behind the sidecar, and how many fail there."""
    passed = sum(row.behind.passed for row in found)
    failed = sum(max(row.behind.total - row.behind.passed, len(row.lost)) for row in found)
    lost = sum(len(row.lost) for row in found)
    return f"* not required for conformance\nlost behind the sidecar: {lost}\n{passed} passed, {failed} failed"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command.

    Returns:
        0 when nothing that passes bare fails behind the sidecar, 1 when something does, 2 for a wrong command line.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__)
    parser.add_argument("--revision", action="append", choices=REVISIONS, help="this one only; may be repeated")
    parser.add_argument("--scenario", action="append", default=[], help="this one only; may be repeated")
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "conformance", help="where results stay")
    options = parser.parse_args(arguments)
    try:
        node.prepare()
    except node.UnavailableError as missing:
        return _without_node(missing)
    wanted = chosen(options.revision or REVISIONS, options.scenario)
    if not wanted or not {*options.scenario} <= {name for each in wanted.values() for name in each.scenarios}:
        parser.error("not every --scenario is one of these revisions'")
    shutil.rmtree(options.output, ignore_errors=True)
    options.output.mkdir(parents=True)
    try:
        measured = asyncio.run(_measured(wanted, options.output))
    except SuiteError as error:
        print(error, file=sys.stderr)
        return 1
    for revision, found in measured.items():
        print(table(revision, found), end="\n\n")
    everything = [row for found in measured.values() for row in found]
    print(summary(everything))
    wrong = any(row.wrong for row in everything)
    if wrong:
        print(f"details: {options.output}", file=sys.stderr)
    return int(wrong)


async def _measured(wanted: Mapping[str, Requirements], folder: Path) -> dict[str, list[Row]]:
    return await confirm(await measure(wanted, folder), folder)


def _without_node(missing: node.UnavailableError) -> int:
    """Return if this is CI, where a test that cannot run has failed."""
    if os.environ.get("CI") == "true":
        print(f"the conformance suite cannot be run: {missing}", file=sys.stderr)
        return 1
    print(f"SKIPPED, NOTHING WAS TESTED: the conformance suite cannot be run here: {missing}", file=sys.stderr)
    return 0
