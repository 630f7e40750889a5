"""`serve`: the sidecar itself."""

from __future__ import annotations

import argparse
import importlib

from sidecar.cli.common import Commands, command


def add(commands: Commands) -> None:
    """Add the command."""
    command(commands, "serve", run, "run the sidecar")


def run(arguments: argparse.Namespace) -> int:
    """Serve until a signal ends it."""
    # Imported only here: the other commands need no server.
    status: int = importlib.import_module("sidecar.proxy.app").serve(arguments.config)
    return status
