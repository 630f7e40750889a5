"""`serve`: the sidecar process."""

from __future__ import annotations

import argparse

from sidecar.cli.common import Commands, command


def add(commands: Commands) -> None:
    """Add the command."""
    parser = command(commands, "serve", run, "run the sidecar", output=False)
    parser.description = "Serve until SIGTERM or SIGINT; SIGHUP reloads config and policy."


def run(arguments: argparse.Namespace) -> int:
    """Serve until a signal ends the process."""
    from sidecar.runtime.process import serve

    return serve(arguments.config)
