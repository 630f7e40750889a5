"""`diff`: the rules that two policies do not share, and the calls whose outcome changes."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from sidecar.cli.common import Commands, command, emit, plural
from sidecar.workbench.loading import load_policy
from sidecar.workbench.policy_diff import PolicyDiff, policy_diff


def add(commands: Commands) -> None:
    """Add the command."""
    parser = command(commands, "diff", run, "show the calls whose outcome differs between two policies", config=False)
    parser.add_argument("old", type=Path, metavar="OLD", help="file or folder of the policy in force")
    parser.add_argument("new", type=Path, metavar="NEW", help="file or folder of the policy to compare with it")
    parser.add_argument("--exit-code", action="store_true", help="exit with 1 when the policies differ")


def run(arguments: argparse.Namespace) -> int:
    """Print the differences; the exit status is 0 unless `--exit-code` asks for 1 when there are any."""
    found = policy_diff(load_policy(arguments.old, tests=False), load_policy(arguments.new, tests=False))
    document = {
        "declarations": list(found.declarations),
        "outcomes": [
            {"operation": each.operation, "before": each.before, "after": each.after, "callers": list(each.callers)}
            for each in found.outcomes
        ],
    }
    emit(arguments, document, _lines(found))
    return 1 if arguments.exit_code and (found.declarations or found.outcomes) else 0


def _lines(found: PolicyDiff) -> Iterator[str]:
    if not found.declarations and not found.outcomes:
        yield "no differences"
        return
    yield f"{plural(len(found.declarations), 'change')} of the declarations"
    yield from (f"  {each}" for each in found.declarations)
    yield f"{plural(len(found.outcomes), 'changed outcome')}"
    yield from (f"  {each}" for each in found.outcomes)
