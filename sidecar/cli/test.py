"""`test`: the policy's own tests."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from sidecar.cli.common import Commands, command, emit, escaped, plural
from sidecar.policy.rules import Policy
from sidecar.workbench.loading import load, load_policy
from sidecar.workbench.policy_tests.coverage import Coverage, coverage
from sidecar.workbench.testing import CaseOutcome, run_tests


def add(commands: Commands) -> None:
    """Add the command."""
    parser = command(commands, "test", run, "run the tests of a policy")
    parser.add_argument(
        "files",
        nargs="*",
        type=Path,
        metavar="FILE",
        help="files or folder of the policy; default: those of the config",
    )
    parser.add_argument("--coverage", action="store_true", help="list the rules that no test reaches")


def run(arguments: argparse.Namespace) -> int:
    """Run the tests; the exit status is 1 when one fails."""
    policy = _policy(arguments)
    outcomes = run_tests(policy)
    covered = coverage(policy) if arguments.coverage else None
    failed = [outcome for outcome in outcomes if not outcome.passed]
    document = {
        "passed": len(outcomes) - len(failed),
        "failed": len(failed),
        "tests": list(map(_plain, outcomes)),
        **({} if covered is None else {"coverage": _plain_coverage(covered)}),
    }
    if arguments.format == "text":
        for outcome in failed:
            print(escaped("\n".join(_failure(outcome))), file=sys.stderr)
    lines = [f"{plural(len(outcomes), 'test')}: {document['passed']} passed, {len(failed)} failed"]
    emit(arguments, document, lines if covered is None else [*lines, *_coverage_lines(covered)])
    return 1 if failed else 0


def _policy(arguments: argparse.Namespace) -> Policy:
    files: list[Path] = arguments.files
    if not files:
        return load(arguments.config, serving=False).policy
    return load_policy(files[0] if len(files) == 1 else tuple(files), tests=False)


def _failure(outcome: CaseOutcome) -> list[str]:
    return [
        f"{outcome.rule}: {outcome.place}: failed",
        f"  expected  {outcome.expected}",
        f"  got       {outcome.got}",
        f"  decided   {outcome.decided or 'by no line of the policy'}",
    ]


def _coverage_lines(covered: Coverage) -> list[str]:
    summary = f"coverage: tests reach {covered.covered} of {plural(covered.total, 'rule')}"
    return [summary, *(f"  {target}" for target in covered.missing)]


def _plain(outcome: CaseOutcome) -> dict[str, object]:
    return {
        "name": outcome.name,
        "rule": outcome.rule,
        "passed": outcome.passed,
        "expected": outcome.expected,
        "got": outcome.got,
        "decided": outcome.decided,
        "step": outcome.step,
        "time": outcome.time,
    }


def _plain_coverage(covered: Coverage) -> dict[str, object]:
    return {
        "covered": covered.covered,
        "total": covered.total,
        "missing": [
            {"kind": each.kind, "name": each.name, "rule": each.rule or None, "lacks": each.lacks}
            for each in covered.missing
        ],
    }
