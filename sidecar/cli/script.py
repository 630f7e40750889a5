"""`script`: source of the store's scripts, for other programs that run them."""

from __future__ import annotations

import argparse
import json

from sidecar.cli.common import Commands, command, emit, table
from sidecar.store.commands import scripts
from sidecar.store.connection.layout import LAYOUT_VERSION


def add(commands: Commands) -> None:
    """Add the command."""
    names = [each.name for each in scripts.scripts]
    parser = command(commands, "script", run, "print a script of the store, for other programs to run", config=False)
    parser.add_argument("script", nargs="?", choices=names, metavar="NAME", help="default: list all scripts")


def run(arguments: argparse.Namespace) -> int:
    """Print one script exactly as the sidecar runs it, or list all scripts."""
    known = {each.name: each for each in scripts.scripts}
    if arguments.script is None:
        found = [{"name": name, "sha1": each.sha, "layout": LAYOUT_VERSION} for name, each in sorted(known.items())]
        emit(arguments, found, table(("SCRIPT", "SHA1"), [(name, known[name].sha) for name in sorted(known)]))
        return 0
    script = known[arguments.script]
    if arguments.format == "json":
        document = {"name": script.name, "sha1": script.sha, "layout": LAYOUT_VERSION, "source": script.source}
        print(json.dumps(document, indent=2, ensure_ascii=False))
    else:
        print(script.source, end="")
    return 0
