"""Access to a live backend for the commands that read its lists."""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from sidecar.cli.common import CommandError, UsageError
from sidecar.mcp_client.conversation import ListingError
from sidecar.mcp_client.survey import survey
from sidecar.workbench.scaffolding.inventory import Inventory
from sidecar.workbench.scaffolding.scaffold import BackendHeader

_HEADER: Final = re.compile(r"([A-Za-z0-9!#$%&'*+.^`|~-]+):[ \t]*([!-~](?:[\t -~]*[!-~])?)[ \t]*")
_MAX_TOKEN: Final = 64 * 1024
_HINTS: Final = {
    401: "the backend wants credentials: use --header or --token-file",
    403: "the backend refuses: use --header or --token-file",
    404: "the path may be wrong: most servers use /mcp",
    **dict.fromkeys((301, 302, 307, 308), "it redirects: use the final URL, often with or without a slash at its end"),
    421: "the backend refuses this Host: use the name that it expects",
    405: "this is no MCP endpoint of the streamable HTTP transport: most servers use /mcp",
}


@dataclass(frozen=True, slots=True)
class BackendAccess:
    """Headers of the command line for the backend; their values may be secret.

    Attributes:
        headers: from `--header`.
        token_file: from `--token-file`.
        token: its content.
    """

    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    token_file: Path | None = None
    token: str | None = field(default=None, repr=False)

    @property
    def sent(self) -> tuple[tuple[str, str], ...]:
        """All headers to send."""
        return self.headers + ((("Authorization", f"Bearer {self.token}"),) if self.token is not None else ())

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables that a scaffolded config reads the values of `--header` from."""
        return {BackendHeader.variable(name): value for name, value in self.headers}


def add_access(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "--header", action="append", default=[], metavar="'NAME: VALUE'", help="sent to the backend; may be repeated"
    )
    parser.add_argument("--token-file", type=Path, metavar="FILE", help="file of a bearer token for the backend")


def access_of(arguments: argparse.Namespace) -> BackendAccess:
    """Return the headers of the command line.

    Raises:
        UsageError: a header has no name and value of visible ASCII.
        CommandError: the token file cannot be used.
    """
    found = [_HEADER.fullmatch(each) for each in arguments.header]
    headers = tuple((each[1], each[2]) for each in found if each is not None)
    if len(headers) < len(found):
        raise UsageError("--header takes 'Name: value' in visible ASCII on one line")
    path: Path | None = arguments.token_file
    return BackendAccess(headers, path, None if path is None else read_token(path))


async def read_inventory(url: str, access: BackendAccess) -> Inventory:
    """Read everything that a backend lists.

    Raises:
        CommandError: it cannot be read.
        UsageError: the URL cannot be used.
    """
    try:
        return await survey(url, access.sent)
    except ListingError as error:
        hint = _HINTS.get(error.status or 0, "is the backend running, and is this its MCP endpoint?")
        raise CommandError(f"{url}: {error}; {hint}") from None
    except ValueError as error:
        raise UsageError(f"--backend: {error}") from None


def read_token(path: Path) -> str:
    """Read a bearer token.

    Raises:
        CommandError: the file cannot be read, or holds no token.
    """
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_TOKEN).decode("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{path}: the token cannot be read: {type(error).__name__}") from None
    if not text or not text.isprintable() or " " in text:
        raise CommandError(f"{path}: one token of visible ASCII is accepted")
    return text
