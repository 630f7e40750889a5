"""Log part of `explain`: the recorded decision of a past call."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Final

from sidecar.cli.common import CommandError, UsageError, emit, shown
from sidecar.config.documents.merging import DocumentError
from sidecar.workbench.explaining.log_search import CallLines, find_call
from sidecar.workbench.explaining.recorded import recorded
from sidecar.workbench.loading import load

_OTHERS: Final = (
    *("tool", "resource", "prompt", "method", "token_file", "scopes", "client", "account", "subject", "plan", "issuer"),
)


def explain_recorded(arguments: argparse.Namespace) -> int:
    """Print the recorded decision; the exit status is 0 for a refused call too.

    Raises:
        CommandError: the log cannot be read, or has no line of the call.
    """
    if arguments.request_id is None or arguments.log is None:
        raise UsageError("a past call needs both --request-id and --log")
    others = [word for word in _OTHERS if getattr(arguments, word) is not None]
    if others:
        option = others[0].replace("_", "-")
        raise UsageError(f"--request-id names a whole call: use it without --{option}")
    lines = _search(arguments.log, arguments.request_id)
    if lines.call is None and lines.settled is None:
        raise CommandError(
            f"{arguments.log} has no line of request {shown(arguments.request_id)} among {lines.searched} lines; "
            "calls that are still running have none yet"
        )
    try:
        loaded = load(arguments.config, serving=False)
        revision, issuers = loaded.policy.revision, {each.issuer: each.id for each in loaded.settings.issuers}
    except (DocumentError, OSError):
        revision, issuers = None, {}  # a past call can be explained while the files are invalid
    explanation = recorded(lines, revision, issuers, _rule_text(arguments.config, lines, revision))
    emit(arguments, explanation.document(), str(explanation).splitlines())
    return 0


def _rule_text(config: Path, lines: CallLines, revision: str | None) -> str | None:
    """Return the text of the line that decided, if the policy on disk is the one that decided."""
    line = lines.call or {}
    file, _, number = str(line.get("rule")).rpartition(":")
    if revision is None or line.get("revision") != revision or not file or not number.isdecimal():
        return None
    try:
        return (config.parent / file).read_text("utf-8").splitlines()[int(number) - 1].strip()
    except (OSError, UnicodeDecodeError, IndexError):
        return None


def _search(path: Path, request_id: str) -> CallLines:
    if str(path) == "-":
        return find_call(sys.stdin.buffer, request_id)
    try:
        with path.open("rb") as log:
            return find_call(log, request_id)
    except OSError as error:
        raise CommandError(f"{path} cannot be read: {error.strerror}") from None
