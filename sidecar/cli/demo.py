"""`demo`: everything on this machine, and a scripted client that shows each refusal."""

from __future__ import annotations

import argparse

from sidecar.cli.common import CommandError, Commands, command


def add(commands: Commands) -> None:
    """Add the command."""
    parser = command(
        commands, "demo", run, "show every refusal, with all that it takes on this machine", config=False, output=False
    )
    parser.add_argument("--keep", action="store_true", help="leave it running, and say what to try with curl")


def run(arguments: argparse.Namespace) -> int:
    """Tell the story; 0 only when every step came out as told."""
    try:
        # Imported only here: it needs the extra `demo`, which a server does not have.
        from sidecar.demo.story import main as tell
    except ModuleNotFoundError as missing:
        if (missing.name or "").startswith("sidecar"):
            raise
        raise CommandError(f"the demo needs mcp-policy-sidecar[demo]: {missing.name} is not installed") from None
    return tell(arguments.keep)
