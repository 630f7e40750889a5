"""`doctor`: look at a public URL as an MCP client does, and report what to fix."""

from __future__ import annotations

import argparse
import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from sidecar.cli.common import Commands, UsageError, command, emit
from sidecar.cli.live_backend import read_token
from sidecar.doctor.checkup import WAIT, CheckupOptions, examine
from sidecar.doctor.rules.address import origin_of, split_url
from sidecar.doctor.rules.findings import Finding, Severity

_MAX_WAIT = 300.0  # seconds
_MARKS = {Severity.OK: "ok", Severity.WARN: "warn", Severity.FAIL: "FAIL", Severity.UNCHECKED: "-"}


def add(commands: Commands) -> None:
    """Add the command."""
    parser = command(
        commands, "doctor", run, "act as an MCP client against a public URL and report what to fix", config=False
    )
    parser.add_argument("url", metavar="URL", help="as clients are given it")
    parser.add_argument("--token-file", type=Path, metavar="FILE", help="file of an access token for the URL")
    parser.add_argument("--register", action="store_true", help="register a client at the authorization server")
    parser.add_argument("--origin", metavar="ORIGIN", help="pages of this origin must be able to call")
    parser.add_argument(
        "--wait", type=float, default=WAIT, metavar="SECONDS", help=f"for a stream's first bytes; default: {WAIT:.0f}"
    )


def run(arguments: argparse.Namespace) -> int:
    """Examine the URL; the exit status is 1 when a check fails."""
    url: str = arguments.url
    try:
        split_url(url)
    except ValueError as error:
        raise UsageError(f"URL: {error}") from None
    if not 0 < arguments.wait <= _MAX_WAIT:
        raise UsageError(f"--wait takes more than 0 and at most {_MAX_WAIT:.0f} seconds")
    token = None if arguments.token_file is None else read_token(arguments.token_file)
    options = CheckupOptions(token, arguments.register, _origin(arguments.origin), arguments.wait)
    findings = asyncio.run(examine(url, options))
    failed = any(each.severity is Severity.FAIL for each in findings)
    emit(
        arguments,
        {"ok": not failed, "url": url, "findings": [asdict(each) for each in findings]},
        _lines(findings),
    )
    return 1 if failed else 0


def _origin(text: str | None) -> str | None:
    if text is None:
        return None
    try:
        split_url(text)
        wrong = origin_of(text) != text
    except ValueError:
        wrong = True
    if wrong:
        raise UsageError(
            "--origin takes scheme, host and port as a browser sends them, such as https://app.example.com"
        )
    return text


def _lines(findings: Sequence[Finding]) -> Iterator[str]:
    for each in findings:
        yield f"{_MARKS[each.severity]:<5} {each.check:<13} {each.says}"
        if each.fix:
            yield f"{'':<19} fix: {each.fix}"
    counts = Counter(each.severity for each in findings)
    yield ", ".join(f"{counts[severity]} {severity.value}" for severity in Severity)
