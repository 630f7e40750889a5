"""What the commands share: options, output for people and for machines, and how they fail."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

from sidecar.config.documents import Problem
from sidecar.config.enforced import NOT_ENFORCED
from sidecar.config.settings import Settings
from sidecar.identity.claims import MAX_CLIENT_ID, MAX_NAME
from sidecar.model import MAX_AMOUNT

# The class cannot be subscripted where Python runs, only where types are checked.
Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"

_INVISIBLE: Final = re.compile(r"[^\n\x20-\x7e]")


class CommandError(Exception):
    """What was asked cannot be done, or what was checked is wrong: exit status 1."""


class UsageError(Exception):
    """The command line is wrong: exit status 2."""


# --- options -----------------------------------------------------------------------------------


def command(
    commands: Commands,
    name: str,
    run: Callable[[argparse.Namespace], int],
    about: str,
    *,
    config: bool = True,
    output: bool = True,
) -> argparse.ArgumentParser:
    """Add a command with the options that every one has."""
    parser = commands.add_parser(name, help=about, description=about[0].upper() + about[1:] + ".", allow_abbrev=False)
    parser.set_defaults(run=run)
    if config:
        parser.add_argument(
            "--config", type=Path, default=Path("config.yaml"), metavar="FILE", help="default: config.yaml"
        )
    parser.set_defaults(format="text")
    if output:
        parser.add_argument("--format", choices=("text", "json"), help="default: text")
    return parser


def verbs(commands: Commands, name: str, about: str) -> Commands:
    """Add a command that consists of a noun and a verb."""
    parser = commands.add_parser(name, help=about, description=about[0].upper() + about[1:] + ".", allow_abbrev=False)
    return parser.add_subparsers(title="actions", metavar="ACTION", required=True)


class _NotEnforced(argparse.Action):
    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: str | None = None
    ) -> None:
        parser.error(f"{option} is {NOT_ENFORCED}")


def not_enforced(parser: argparse.ArgumentParser, *options: str) -> None:
    """Refuse options that the contract knows and this version does not do, whatever follows them."""
    for option in options:
        parser.add_argument(option, action=_NotEnforced, nargs="?", help=argparse.SUPPRESS)


def account_name(text: str) -> str:
    """An account or a subject on the command line, as it could stand in a token."""
    return _name(text, MAX_NAME)


def client_name(text: str) -> str:
    """A client id on the command line; it may be a URL."""
    return _name(text, MAX_CLIENT_ID)


def _name(text: str, most: int) -> str:
    if not text or not text.isprintable() or text != text.strip():
        raise argparse.ArgumentTypeError("a name is printable, not empty, and has no blanks around it")
    if len(text) > most:
        raise argparse.ArgumentTypeError(f"a name has {most} characters at most, as in a token")
    return text


def amount(text: str) -> int:
    """An amount on the command line."""
    if not (text.isascii() and text.isdigit()) or len(text) > len(str(MAX_AMOUNT)) or int(text) > MAX_AMOUNT:
        raise argparse.ArgumentTypeError(f"an amount is an integer from 0 to {MAX_AMOUNT}")
    return int(text)


def words(texts: Sequence[str]) -> tuple[str, ...]:
    """Scopes, each a word of its own or several in one text as in a token."""
    return tuple(dict.fromkeys(word for text in texts for word in text.split()))


def issuer_id(arguments: argparse.Namespace, settings: Settings) -> str:
    """The issuer whose accounts are meant.

    Raises:
        UsageError: it is not configured, or several are and none is named.
    """
    ids = [each.id for each in settings.issuers]
    if arguments.issuer is None and len(ids) == 1:
        return ids[0]
    if arguments.issuer is None:
        raise UsageError(f"several issuers are configured: --issuer one of {', '.join(ids)}")
    if arguments.issuer not in ids:
        raise UsageError(f"there is no issuer {arguments.issuer!r}: --issuer one of {', '.join(ids)}")
    return str(arguments.issuer)


# --- output ------------------------------------------------------------------------------------


def emit(arguments: argparse.Namespace, document: Any, lines: Iterable[str]) -> None:
    """Print an answer: one JSON document, or lines for people."""
    if arguments.format == "json":
        print(as_json(document, indent=2))
        return
    for line in lines:
        print(escaped(line))


def as_json(document: Any, indent: int | None = None) -> str:
    """JSON that can be read, and that a terminal only shows."""
    return escaped(json.dumps(document, indent=indent, ensure_ascii=False))


def escaped(text: str) -> str:
    """Text as a terminal may show it: other programs, and the command line, may say what would steer it.

    Line breaks stay; what else cannot be seen is written as in JSON.
    """
    return _INVISIBLE.sub(_escape, text)


def _escape(found: re.Match[str]) -> str:
    character = found[0]
    return character if character.isprintable() else json.dumps(character)[1:-1].replace("\x7f", "\\u007f")


def report(arguments: argparse.Namespace, problems: Iterable[Problem], **more: Any) -> None:
    """Print located problems: one per line on stderr, or as one JSON document on stdout."""
    if arguments.format != "json":
        for problem in problems:
            print(escaped(str(problem)), file=sys.stderr)
        return
    found = [
        {
            "file": problem.place.file,
            "line": problem.place.line,
            "column": problem.place.column,
            "path": problem.path,
            "wrong": problem.wrong,
            "accepted": problem.accepted,
        }
        for problem in problems
    ]
    print(as_json({"ok": False, "problems": found, **more}, indent=2))


def shown(text: str) -> str:
    """A name from the store for a terminal: other programs write there too."""
    return text if text.isprintable() else ascii(text)


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Columns of one width, two blanks apart."""
    lines = [tuple(heads), *(tuple(map(shown, row)) for row in rows)]
    widths = [max(len(line[index]) for line in lines) for index in range(len(heads))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]


def plural(count: int, noun: str) -> str:
    """`1 tool`, `2 tools`."""
    return f"{count} {noun}" + ("" if count == 1 else "s")
