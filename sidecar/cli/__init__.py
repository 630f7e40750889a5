"""Command line `mcp-sidecar`: one module per command.

Each module has `add`, which declares the command's options, and a function that runs it and returns the exit
status: 0 success, 1 a failed check or an impossible operation, 2 a wrong command line. Start with `main` here;
`common` has the options, the output (text or JSON) and the errors of all commands, `store_access` the
connection of commands that read or change accounts.

A *target* is the account that a command reads or changes; an *override* is an account's own limit; a *notice*
is a warning of `check`.

Commands may import every package; only `__main__` and the demo import them.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

import sidecar
from sidecar.cli import (
    account,
    check,
    consent,
    credits,
    diff,
    doctor,
    explain,
    init,
    reload,
    schema,
    script,
    serve,
    test,
    trial_issuer,
    try_,
    usage,
)
from sidecar.cli.common import CommandError, UsageError, escaped, report
from sidecar.config.documents.merging import DocumentError

_COMMANDS = (
    *(serve, check, test, explain, init, reload, try_, trial_issuer),
    *(diff, doctor, schema, account, consent, credits, usage, script),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status.

    Args:
        argv: the words after the command's name; None: those of this process.
    """
    try:
        arguments = _parser().parse_args(argv)
        status: int = arguments.run(arguments)
        sys.stdout.flush()
    except SystemExit as left:  # argparse: --help, --version, or a command line that is wrong
        return int(left.code or 0)
    except UsageError as error:
        print(f"mcp-sidecar: {escaped(str(error))}", file=sys.stderr)
        return 2
    except CommandError as error:
        print(f"mcp-sidecar: {escaped(str(error))}", file=sys.stderr)
        return 1
    except DocumentError as error:
        report(arguments, error.problems)
        return 1
    except BrokenPipeError:
        # The reader of stdout has closed it; flushing the buffer at exit must not raise again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mcp-sidecar",
        description="Policy and metering proxy for one MCP server.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"mcp-policy-sidecar {sidecar.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in _COMMANDS:
        command.add(commands)
    return parser
