"""`serve`: the sidecar itself."""

from __future__ import annotations

import argparse

from sidecar.cli.common import Commands, command


def add(commands: Commands) -> None:
    """Add the command."""
    parser = command(commands, "serve", run, "run the sidecar", output=False)
    parser.description = "Serve until SIGTERM or SIGINT; SIGHUP reads config and policy again."


def run(arguments: argparse.Namespace) -> int:
    """Serve until a signal ends it."""
    from sidecar.proxy.serve import serve  # only here: the other commands need no server

    return serve(arguments.config)
