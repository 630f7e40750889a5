"""`reload`: reload of a running sidecar over its control socket, with its answer."""

from __future__ import annotations

import argparse
import json
import socket
import sys
from pathlib import Path
from typing import Any, Final

from sidecar.cli.common import CommandError, Commands, command, emit, escaped
from sidecar.config.files import named_control
from sidecar.store.connection.unix_sockets import connectable

ANSWER_WITHIN: Final = 100.0
"""Seconds for the answer: a reload waits for files and for the backend's tools."""

_MAX_ANSWER: Final = 4 << 20  # bytes


def add(commands: Commands) -> None:
    """Add the command."""
    parser = command(commands, "reload", run, "reload config and policy in a running sidecar, and print its answer")
    parser.description = (
        "Reload config and policy in the sidecar that listens on the socket `control` of the config file, wait for "
        "its answer and print it. A refused reload, which changes nothing, is exit status 1."
    )


def run(arguments: argparse.Namespace) -> int:
    """Ask the sidecar to reload."""
    path = named_control(arguments.config)
    if path is None:
        raise CommandError(f"{arguments.config} has no `control`: add it and restart, or send the sidecar SIGHUP")
    answer = _asked(path)
    problems = [str(problem) for problem in answer.get("problems") or ()]
    if arguments.format != "json":
        for problem in problems:
            print(escaped(problem), file=sys.stderr)
    emit(arguments, answer, _lines(answer))
    return 0 if answer.get("ok") is True else 1


def _lines(answer: dict[str, Any]) -> list[str]:
    if answer.get("ok") is not True:
        return ["refused: the sidecar serves by the files that it had"]
    before, revision = answer.get("before"), answer.get("revision")
    named = f"revision {revision}" if before == revision else f"revision {before} → {revision}"
    return [f"reloaded: {named}", *(f"  {change}" for change in answer.get("changes") or ["no changes"])]


def _asked(path: Path) -> dict[str, Any]:
    """Return the answer of the sidecar at the socket.

    Raises:
        CommandError: no sidecar listens there, or it does not answer.
    """
    try:
        with socket.socket(socket.AF_UNIX) as made, connectable(str(path)) as name:
            made.settimeout(ANSWER_WITHIN)
            made.connect(name)
            made.sendall(b"reload\n")
            data = _read(made)
    except (FileNotFoundError, ConnectionRefusedError):
        raise CommandError(f"no sidecar listens on {path}: is one running with this config?") from None
    except TimeoutError:
        raise CommandError(f"no answer on {path} in {ANSWER_WITHIN:g} s; the sidecar's log has the outcome") from None
    except OSError as error:
        raise CommandError(f"{path}: {(error.strerror or str(error)).lower()}") from None
    try:
        answer = json.loads(data)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise CommandError(f"{path} was closed without an answer: the sidecar stops, or other reloads are waiting")
    return answer


def _read(made: socket.socket) -> bytes:
    data = b""
    while len(data) < _MAX_ANSWER and (chunk := made.recv(65536)):
        data += chunk
    return data
