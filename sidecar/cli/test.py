"""`test`: the policy's own tests alone."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from sidecar.cli.common import Commands, command, emit, plural
from sidecar.policy.rules import Policy
from sidecar.workbench.load import load, load_policy
from sidecar.workbench.testing import Outcome, run_tests


def add(commands: Commands) -> None:
    """Add the command."""
    parser = command(commands, "test", run, "run the tests of a policy")
    parser.add_argument(
        "files", nargs="*", type=Path, metavar="FILE", help="the policy's files or folder; default: those of the config"
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the tests; 1 when one fails."""
    outcomes = run_tests(_policy(arguments))
    failed = [outcome for outcome in outcomes if not outcome.passed]
    document = {"passed": len(outcomes) - len(failed), "failed": len(failed), "tests": list(map(_plain, outcomes))}
    if arguments.format == "text":
        for outcome in failed:
            print(outcome, file=sys.stderr)
    emit(arguments, document, [f"{plural(len(outcomes), 'test')}: {document['passed']} passed, {len(failed)} failed"])
    return 1 if failed else 0


def _policy(arguments: argparse.Namespace) -> Policy:
    files: list[Path] = arguments.files
    if not files:
        return load(arguments.config, serving=False).policy
    return load_policy(files[0] if len(files) == 1 else tuple(files), tests=False)


def _plain(outcome: Outcome) -> dict[str, object]:
    return {
        "name": outcome.name,
        "rule": outcome.rule,
        "passed": outcome.passed,
        "expected": outcome.expected,
        "got": outcome.got,
    }
