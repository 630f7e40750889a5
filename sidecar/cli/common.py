"""Common parts of the commands: options, output as text or JSON, and errors."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

from sidecar.cli.annotations import error_annotation
from sidecar.config.documents.merging import Problem
from sidecar.config.settings.settings import Settings
from sidecar.identity.parties.party_names import MAX_ACCOUNT, MAX_CLIENT_ID
from sidecar.model import MAX_AMOUNT

# Subscripting this class works for type checkers only.
Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"

_INVISIBLE: Final = re.compile(r"[^\n\x20-\x7e]")


class CommandError(Exception):
    """Impossible operation or failed check: exit status 1."""


class UsageError(Exception):
    """Invalid command line: exit status 2."""


# --- options -----------------------------------------------------------------------------------


def command(
    commands: Commands,
    name: str,
    run: Callable[[argparse.Namespace], int],
    about: str,
    *,
    config: bool = True,
    output: bool = True,
    formats: Sequence[str] = ("text", "json"),
) -> argparse.ArgumentParser:
    """Add a command with the options of every command."""
    parser = commands.add_parser(name, help=about, description=about[0].upper() + about[1:] + ".", allow_abbrev=False)
    parser.set_defaults(run=run)
    if config:
        parser.add_argument(
            "--config", type=Path, default=Path("config.yaml"), metavar="FILE", help="default: config.yaml"
        )
    parser.set_defaults(format="text")
    if output:
        parser.add_argument("--format", choices=formats, help="default: text")
    return parser


def verbs(commands: Commands, name: str, about: str) -> Commands:
    """Add a command that consists of a noun and a verb."""
    parser = commands.add_parser(name, help=about, description=about[0].upper() + about[1:] + ".", allow_abbrev=False)
    return parser.add_subparsers(title="actions", metavar="ACTION", required=True)


def account_name(text: str) -> str:
    """Parse an account or a subject of the command line, in the form that tokens allow."""
    return _name(text, MAX_ACCOUNT)


def client_name(text: str) -> str:
    """Parse a client id of the command line; it may be a URL."""
    return _name(text, MAX_CLIENT_ID)


def _name(text: str, most: int) -> str:
    if not text or not text.isprintable() or text != text.strip():
        raise argparse.ArgumentTypeError("a name must be printable and not empty, without blanks around it")
    if len(text) > most:
        raise argparse.ArgumentTypeError(f"a name must have at most {most} characters, as in a token")
    return text


def amount(text: str) -> int:
    """Parse an amount of the command line."""
    if not (text.isascii() and text.isdigit()) or len(text) > len(str(MAX_AMOUNT)) or int(text) > MAX_AMOUNT:
        raise argparse.ArgumentTypeError(f"an amount must be an integer from 0 to {MAX_AMOUNT}")
    return int(text)


def words(texts: Sequence[str]) -> tuple[str, ...]:
    """Split scopes: each is a word of its own, or several are in one text as in a token."""
    return tuple(dict.fromkeys(word for text in texts for word in text.split()))


def issuer_id(arguments: argparse.Namespace, settings: Settings) -> str:
    """Return the id of the issuer that the command line selects.

    Raises:
        UsageError: it is not configured, or it is missing although several are configured.
    """
    ids = [each.id for each in settings.issuers]
    if arguments.issuer is None and len(ids) == 1:
        return ids[0]
    if arguments.issuer is None:
        raise UsageError(f"several issuers are configured: use --issuer with one of {', '.join(ids)}")
    if arguments.issuer not in ids:
        raise UsageError(f"there is no issuer {arguments.issuer!r}: use --issuer with one of {', '.join(ids)}")
    return str(arguments.issuer)


# --- output ------------------------------------------------------------------------------------


def emit(
    arguments: argparse.Namespace,
    document: Any,
    lines: Iterable[str],
    paint: Callable[[str], str] = lambda line: line,
) -> None:
    """Print a result: one JSON document, or lines of text.

    Args:
        arguments: the command line, which chooses.
        document: the result as a document.
        lines: the result as lines; characters that control a terminal are escaped.
        paint: adds colours to an escaped line.
    """
    if arguments.format == "json":
        print(as_json(document, indent=2))
        return
    for line in lines:
        print(paint(escaped(line)))


def as_json(document: Any, indent: int | None = None) -> str:
    """Format readable JSON without characters that control a terminal."""
    return escaped(json.dumps(document, indent=indent, ensure_ascii=False))


def escaped(text: str) -> str:
    """Escape text for a terminal: values of other programs and of the command line may contain control characters.

    Line breaks remain; other invisible characters are escaped as in JSON.
    """
    return _INVISIBLE.sub(_escape, text)


def _escape(found: re.Match[str]) -> str:
    character = found[0]
    return character if character.isprintable() else json.dumps(character)[1:-1].replace("\x7f", "\\u007f")


def report(arguments: argparse.Namespace, problems: Iterable[Problem], **more: Any) -> None:
    """Print problems with their places: one per line on stderr, or on stdout as annotations or as one JSON document."""
    if arguments.format == "github":
        for problem in problems:
            print(escaped(error_annotation(problem)))
        return
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
            "found": problem.found,
            "did_you_mean": problem.near,
        }
        for problem in problems
    ]
    print(as_json({"ok": False, "problems": found, **more}, indent=2))


def shown(text: str) -> str:
    """Escape a name from the store for a terminal: other programs write to the store too."""
    return text if text.isprintable() else ascii(text)


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Format rows as aligned columns, two blanks apart."""
    lines = [tuple(heads), *(tuple(map(shown, row)) for row in rows)]
    widths = [max(len(line[index]) for line in lines) for index in range(len(heads))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]


def plural(count: int, noun: str) -> str:
    """Format a count with its noun: `1 tool`, `2 tools`."""
    return f"{count} {noun}" + ("" if count == 1 else "s")
