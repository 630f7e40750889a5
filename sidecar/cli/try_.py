"""`try`: a trial issuer, a store and the sidecar in front of a server, with a first token."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import re
import shlex
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from sidecar.cli.common import CommandError, Commands, UsageError, command, emit, escaped, plural
from sidecar.cli.live_backend import BackendAccess, access_of, add_access, read_inventory
from sidecar.cli.schema import schema_text
from sidecar.cli.trial_issuer import port
from sidecar.observe.formats.palette import Palette, Style, palette_for
from sidecar.observe.logs import Lines, install
from sidecar.trial.issuer import TrialIssuer
from sidecar.trial.issuer_server import PATH, TOKEN, serving
from sidecar.trial.sample_calls import LISTING, SampleCall, curl_line, header_lines, sample_calls
from sidecar.trial.trial_files import policy_name, trial_files, trial_ports
from sidecar.trial.trial_run import CLIENT, LIFETIME, Opened, TrialError, open_first, running
from sidecar.workbench.loading import Loaded, load
from sidecar.workbench.scaffolding.scaffold import CONFIG, BackendHeader

PORT: Final = 8080
_HEADERS: Final = "headers"
_TOKEN: Final = "token"  # noqa: S105 - a file name


def add(commands: Commands) -> None:
    """Add the command."""
    parser = command(commands, "try", run, "run the sidecar in front of a server on this machine", config=False)
    parser.description = "Run a trial issuer, a store and the sidecar in front of a server, until Ctrl-C."
    parser.add_argument("--backend", required=True, metavar="URL", help="the MCP server")
    parser.add_argument("--port", type=port, metavar="N", help=f"of the sidecar; default: {PORT}, or a free one")
    about = "keep config, policy and store in this folder, and use those of an earlier trial"
    parser.add_argument("--directory", type=Path, metavar="DIR", help=about)
    add_access(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run everything until SIGINT or SIGTERM; all of it ends then."""
    access = access_of(arguments)
    os.environ.update(access.environment)  # the config refers to them, also at a reload
    with contextlib.ExitStack() as stack:
        folder: Path | None = arguments.directory
        if folder is None:
            # A short path: the name of a unix socket has at most 107 bytes.
            folder = Path(tempfile.mkdtemp(prefix="mcp-try-"))
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
        trial = _Trial(arguments, folder.resolve(), access)
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            asyncio.run(_until_signal(trial.serve()))
        except TrialError as error:
            raise CommandError(str(error)) from None
        except OSError as error:
            place = error.filename or " or ".join(f"port {each}" for each in trial.ports if each)
            raise CommandError(f"{place}: {os.strerror(error.errno or 0)}; use another --port or folder") from None
    return 0


async def _until_signal(serving: Coroutine[Any, Any, None]) -> None:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    trial, stopped = asyncio.create_task(serving), asyncio.create_task(stop.wait())
    await asyncio.wait([trial, stopped], return_when=asyncio.FIRST_COMPLETED)
    for task in (trial, stopped):
        task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await trial


@dataclass(slots=True)
class _Trial:
    """One trial: its command line and its folder.

    Attributes:
        ports: of sidecar and issuer; 0 is any free one.
    """

    arguments: argparse.Namespace
    folder: Path
    access: BackendAccess
    ports: tuple[int, int] = (0, 0)

    @property
    def config(self) -> Path:
        return self.folder / CONFIG

    async def serve(self) -> None:
        """Start everything, print how to use it, and wait until the task is cancelled."""
        self.ports = self._earlier_ports() if self.config.exists() else (self.arguments.port or _free_port(), 0)
        url = f"http://127.0.0.1:{self.ports[0]}/mcp"
        issuer = TrialIssuer((url,), lifetime=LIFETIME, any_scope=True)
        with self._log("issuer.log") as file:
            async with serving(issuer, port=self.ports[1], log=lambda line: print(line, file=file, flush=True)):
                if not self.config.exists():
                    await self._write(url, issuer.url)
                await self._run(load(self.config), issuer)

    def _earlier_ports(self) -> tuple[int, int]:
        settings = load(self.config, serving=False).settings
        found = trial_ports(settings)
        if found is None:
            raise TrialError(f"{self.config} is not of a trial; use another folder, or `mcp-sidecar serve`")
        if settings.backend.url != self.arguments.backend:
            raise TrialError(f"{self.config} is for the backend {settings.backend.url}; use another folder")
        if self.arguments.port not in (None, found[0]):
            raise UsageError(f"--port: {self.config} uses {found[0]}")
        return found

    async def _write(self, url: str, issuer: str) -> None:
        inventory = await read_inventory(self.arguments.backend, self.access)
        files = trial_files(inventory, self.arguments.backend, url, issuer, self._backend_headers())
        schemas = {f"schemas/{kind}.schema.json": schema_text(kind) for kind in ("config", "policy")}
        for name, text in (schemas | files).items():
            target = self.folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("w" if name in schemas else "x", encoding="utf-8") as file:
                file.write(text)

    def _backend_headers(self) -> dict[str, str]:
        """Return the headers for the config: each value is a reference."""
        headers = {name: BackendHeader.from_environment(name).reference for name, _ in self.access.headers}
        if self.access.token_file is not None:
            path = os.path.relpath(self.access.token_file, self.folder)
            headers["Authorization"] = f"Bearer ${{file:{path}}}"
        return headers

    async def _run(self, loaded: Loaded, issuer: TrialIssuer) -> None:
        with self._log("sidecar.log") as file:
            lines = Lines.of(loaded.settings.log, file.fileno())
            install(lines)
            try:
                async with running(self.config, loaded, issuer, lines, self._reloaded) as (sidecar, reload):
                    opened = await open_first(sidecar, issuer, loaded.policy, loaded.settings.resource)
                    self._write_secrets(opened)
                    self._introduce(loaded, issuer, opened)
                    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reload.set)
                    await asyncio.Event().wait()
            finally:
                lines.flush()

    def _log(self, name: str) -> Any:
        return (self.folder / name).open("a", encoding="utf-8")

    def _write_secrets(self, opened: Opened) -> None:
        for name, text in (
            (_TOKEN, opened.token),
            (_HEADERS, header_lines(opened.token, opened.version, opened.session)),
        ):
            path = self.folder / name
            path.unlink(missing_ok=True)
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
                file.write(text)

    # --- output --------------------------------------------------------------------------------

    def _reloaded(self, done: bool) -> None:
        said = "reloaded" if done else f"not reloaded; the reason is in {self.folder / 'sidecar.log'}"
        print(escaped(said), file=sys.stderr, flush=True)

    def _introduce(self, loaded: Loaded, issuer: TrialIssuer, opened: Opened) -> None:
        settings = loaded.settings
        allowed, refused = sample_calls(loaded.policy)
        headers, token = str(self.folder / _HEADERS), shlex.quote(str(self.folder / _TOKEN))
        client = f"claude mcp add --transport http {policy_name(settings)} {settings.resource}"
        another = f"{issuer.url.removesuffix(PATH)}{TOKEN}?account={issuer.person}&client={CLIENT}"

        def line(call: SampleCall) -> str:
            return curl_line(call, settings.resource, headers, opened.version)

        document = {
            "resource": settings.resource,
            "issuer": issuer.url,
            "backend": settings.backend.url,
            "config": str(self.config),
            "log": str(self.folder / "sidecar.log"),
            "pid": os.getpid(),
            "tools": len(loaded.policy.tools),
            "token": opened.token,
            "token_url": f"{another}&scope={'+'.join(issuer.scopes)}",
            "allowed": None if allowed is None else line(allowed),
            "refused": line(refused),
            "code": refused.outcome,
            "list": line(LISTING),
            "login": client,
            "client": f'{client} --header "Authorization: Bearer $(cat {token})"',
        }
        emit(self.arguments, document, self._text(document), partial(_painted, palette=palette_for(1)))
        sys.stdout.flush()

    def _text(self, made: dict[str, Any]) -> Iterator[str]:
        kept = "kept" if self.arguments.directory is not None else "removed at the end; --directory DIR keeps them"
        yield f"sidecar  {made['resource']}   in front of {made['backend']}, {plural(made['tools'], 'tool')}"
        yield f"issuer   {made['issuer']}   for trials, never for production"
        yield f"files    {made['config']} and policies/   ({kept})"
        yield f"log      {made['log']}"
        for about, each in (
            (f"a token of account ada for the client {CLIENT}, with all scopes, for 8 hours", made["token"]),
            ("an allowed call", made["allowed"] or "# no test of the policy has one"),
            (f"a refused call ({made['code']}): the server never sees it", made["refused"]),
            ("the tools that this token sees", made["list"]),
            ("an MCP client; without --header it logs in by itself", made["client"]),
            ("another token", f"curl -sSX POST {shlex.quote(made['token_url'])}"),
            ("after a change of the policy", f"kill -HUP {made['pid']}"),
        ):
            yield f"\n# {about}\n{each}"
        yield "\nCtrl-C ends everything."


def _painted(line: str, palette: Palette) -> str:
    """Paint the names at the start of lines and the comments."""
    line = re.sub(r"^(?:sidecar|issuer|files|log)\b", lambda found: palette.paint(found[0], Style.TITLE), line)
    return re.sub(r"^# .*$", lambda found: palette.paint(found[0], Style.FAINT), line, flags=re.MULTILINE)


def _free_port() -> int:
    """Return the default port, or any free one."""
    for wanted in (PORT, 0):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", wanted))
            found: int = probe.getsockname()[1]
            return found
    raise TrialError("no port of 127.0.0.1 is free")
