"""The command `mcp-sidecar`.

Exit status: 0 fine, 1 the thing checked is wrong or cannot be done, 2 the command line is wrong.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

import sidecar
from sidecar.cli import account, check, consent, credits, demo, explain, schema, script, serve, test, usage
from sidecar.cli.common import CommandError, UsageError, escaped, report
from sidecar.config.documents import DocumentError

_COMMANDS = (serve, check, test, explain, schema, account, consent, credits, usage, script, demo)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and give its exit status.

    Args:
        argv: the words behind the command's name; None: this process's.
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
        # Whoever read our output has left; what is still buffered must not raise once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mcp-sidecar",
        description="A policy and metering proxy in front of one MCP server.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"mcp-policy-sidecar {sidecar.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in _COMMANDS:
        command.add(commands)
    return parser
