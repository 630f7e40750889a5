"""`init`: config and policy for a live backend; existing files are compared and never overwritten."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Iterator, Mapping
from difflib import unified_diff
from pathlib import Path
from typing import Final

from sidecar.cli.common import CommandError, Commands, UsageError, command, emit, escaped, plural
from sidecar.cli.live_backend import BackendAccess, access_of, add_access, read_inventory
from sidecar.cli.schema import schema_text
from sidecar.workbench.loading import load
from sidecar.workbench.scaffolding.inventory import Inventory
from sidecar.workbench.scaffolding.policy_scaffold import SCHEMA as POLICY_SCHEMA
from sidecar.workbench.scaffolding.scaffold import CONFIG, SCHEMA, BackendHeader, Scaffold, problems_of, scaffold

_MAX_FINDINGS: Final = 100  # lines; a hostile backend may cause thousands
_MARK: Final = "# DECIDE"


def add(commands: Commands) -> None:
    """Add the command."""
    parser = command(commands, "init", run, "write config and policy for a live backend", config=False)
    parser.add_argument("--backend", required=True, metavar="URL", help="the MCP server to protect")
    parser.add_argument("--resource", required=True, metavar="URL", help="the public URL that clients will use")
    parser.add_argument("--issuer", required=True, metavar="URL", help="the authorization server of its tokens")
    add_access(parser)
    parser.add_argument("directory", nargs="?", type=Path, default=Path(), metavar="DIR", help="default: this folder")


def run(arguments: argparse.Namespace) -> int:
    """Write the files, or compare them with existing ones; the exit status is 1 when these differ."""
    access = access_of(arguments)
    folder: Path = arguments.directory
    _check_urls(arguments)
    inventory = asyncio.run(read_inventory(arguments.backend, access))
    made = _scaffold(arguments, inventory, access)
    for finding in _cut(made.findings):
        if arguments.format == "text":
            print(f"note: {escaped(finding)}", file=sys.stderr)
    if any((folder / name).exists() for name in made.files):
        return _compare(arguments, folder, made)
    written = [*_write(folder, made.files), *_write_schemas(folder)]
    load(folder / CONFIG, {**os.environ, **access.environment})
    emit(arguments, _document(made, written, {}), _lines(arguments, inventory, made, written, access))
    return 0


def _check_urls(arguments: argparse.Namespace) -> None:
    """Check the URLs before anything is sent to one of them."""
    problems = problems_of(_scaffold(arguments, Inventory("mcp"), BackendAccess()))
    if problems:
        raise UsageError("; ".join(problems))


def _scaffold(arguments: argparse.Namespace, inventory: Inventory, access: BackendAccess) -> Scaffold:
    headers = [BackendHeader.from_environment(name) for name, _ in access.headers]
    if access.token_file is not None:
        path = os.path.relpath(access.token_file, arguments.directory)
        headers.append(BackendHeader("Authorization", f"Bearer ${{file:{path}}}"))
    return scaffold(
        inventory,
        backend=arguments.backend,
        resource=arguments.resource,
        issuer=arguments.issuer,
        headers=tuple(headers),
    )


# --- files -------------------------------------------------------------------------------------


def _write(folder: Path, files: Mapping[str, str]) -> list[str]:
    written = []
    for name, text in files.items():
        path = folder / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            raise CommandError(f"{path}: {error.strerror}; use another folder") from None
        written.append(str(path))
    return written


def _write_schemas(folder: Path) -> list[str]:
    """Write the JSON Schemas that the first line of each file names, except for existing ones."""
    paths = {SCHEMA: "config", POLICY_SCHEMA.removeprefix("../"): "policy"}
    return _write(folder, {name: schema_text(kind) for name, kind in paths.items() if not (folder / name).exists()})


def _compare(arguments: argparse.Namespace, folder: Path, made: Scaffold) -> int:
    diffs = {str(folder / name): list(_diff(folder / name, text)) for name, text in made.files.items()}
    changed = {name: "".join(diff) for name, diff in diffs.items() if diff}
    lines = [line.rstrip("\n") for diff in diffs.values() for line in diff]
    same = "the files are as init would write them" if not changed else "nothing was written"
    emit(arguments, _document(made, [], changed), [*lines, f"{folder / CONFIG}: {same}"])
    return 1 if changed else 0


def _diff(path: Path, text: str) -> Iterator[str]:
    """Return the lines of a diff from the file on disk to the text that `init` would write."""
    try:
        before = path.read_text(encoding="utf-8").splitlines(keepends=True)
    except FileNotFoundError:
        before = []
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{path}: cannot be read: {type(error).__name__}") from None
    return unified_diff(before, text.splitlines(keepends=True), str(path), f"{path} (from the backend)")


# --- output ------------------------------------------------------------------------------------


def _cut(findings: tuple[str, ...]) -> tuple[str, ...]:
    if len(findings) <= _MAX_FINDINGS:
        return findings
    return (*findings[:_MAX_FINDINGS], f"{len(findings) - _MAX_FINDINGS} more notes are not shown")


def _document(made: Scaffold, written: list[str], changed: Mapping[str, str]) -> dict[str, object]:
    return {
        "ok": not changed,
        "written": written,
        "differs": dict(changed),
        "scopes": list(made.scopes),
        "notes": list(_cut(made.findings)),
        "decide": sum(text.count(_MARK) for text in made.files.values()),
    }


def _lines(
    arguments: argparse.Namespace, inventory: Inventory, made: Scaffold, written: list[str], access: BackendAccess
) -> Iterator[str]:
    yield f"found    {plural(len(inventory.tools), 'tool')}, {plural(len(inventory.resources), 'resource')}, " + (
        f"{plural(len(inventory.templates), 'template')}, {plural(len(inventory.prompts), 'prompt')}"
    )
    for path in written:
        yield f"wrote    {path}"
    yield f"scopes   {' '.join(made.scopes) or 'none'}"
    for name in access.environment:
        yield f"set      {name}, which {CONFIG} sends to the backend"
    marks = sum(text.count(_MARK) for text in made.files.values())
    check = f"mcp-sidecar check --config {arguments.directory / CONFIG}"
    yield f"decide   {plural(marks, 'line')} with DECIDE, then: {check}"
