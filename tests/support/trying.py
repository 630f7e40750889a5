"""`mcp-sidecar try` as a process with nothing on PATH, and the lines that it prints.

async with trying(tmp_path, backend.url) as trial:
    answer = await trial.curl(trial.document["allowed"])
"""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from tests.support.rig import Reply
from tests.support.store import free_port

Json = dict[str, Any]


@dataclass(slots=True)
class Trying:
    """A running trial.

    Attributes:
        document: everything that it printed.
        status: exit status, when it has ended.
        errors: its stderr, when it has ended.
    """

    process: asyncio.subprocess.Process
    document: Json = field(default_factory=dict)
    status: int | None = None
    errors: str = ""

    async def curl(self, line: str, token: str | None = None) -> Reply:
        """Send the request of a printed line as curl does; with another token, if one is given."""
        command, *words = shlex.split(line)
        assert command == "curl"
        found: dict[str, str] = {}
        url, data = "", None
        while words:
            word = words.pop(0)
            if word == "-H":
                value = words.pop(0)
                found |= headers_of(value)
            elif word == "-d":
                data = words.pop(0)
            elif not word.startswith("-"):
                url = word
        found |= {} if token is None else {"Authorization": f"Bearer {token}"}
        async with aiohttp.ClientSession() as http, http.post(url, data=data, headers=found) as answer:
            return Reply(answer.status, answer.headers, await answer.read())

    async def token(self, scope: str) -> str:
        """Get another token by its URL."""
        url = f"{self.document['token_url'].partition('&scope=')[0]}&scope={scope}"
        async with aiohttp.ClientSession() as http, http.post(url) as answer:
            return (await answer.text()).strip()

    async def said(self, text: str) -> str:
        """Wait for a line on stderr."""
        assert self.process.stderr is not None
        async with asyncio.timeout(60):
            while line := (await self.process.stderr.readline()).decode():
                self.errors += line
                if text in line:
                    return line
        raise AssertionError(self.errors)

    async def end(self, number: int = signal.SIGINT) -> None:
        """End it as Ctrl-C does."""
        if self.process.returncode is None:
            self.process.send_signal(number)
        _, errors = await self.process.communicate()
        self.errors += errors.decode()
        self.status = self.process.returncode


@asynccontextmanager
async def trying(folder: Path, backend: str, *words: str) -> AsyncIterator[Trying]:
    """Run it in a folder until the context is left; `document` is empty when it could not start.

    A trial of its own folder gets a port of this worker: of two that start at once, only one gets the default port.
    """
    if not {"--port", "--directory"} & set(words):
        words = (*words, "--port", str(free_port()))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sidecar", "try", "--backend", backend, "--format", "json", *words),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=folder,
        env={"PATH": "/nonexistent", "PYTHONPATH": str(Path(__file__).parents[2]), "TMPDIR": _temporary()},
    )
    trial = Trying(process)
    try:
        assert process.stdout is not None
        printed = ""
        async with asyncio.timeout(120):
            while line := (await process.stdout.readline()).decode():
                printed += line
                if line == "}\n":
                    trial.document = json.loads(printed)
                    break
        yield trial
    finally:
        await trial.end()


def headers_of(value: str) -> dict[str, str]:
    """The headers of one `-H`: one header, or a file of them."""
    lines = Path(value[1:]).read_text().splitlines() if value.startswith("@") else [value]
    return {name: text.strip() for name, _, text in (each.partition(":") for each in lines)}


def _temporary() -> str:
    return os.environ.get("TMPDIR", "/tmp")


def running_in(folder: Path) -> list[str]:
    """Command lines of processes that name a folder, or work in it."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            line = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            inside = (place / "cwd").readlink().is_relative_to(folder)
        except OSError:
            continue
        found += [line] if inside or str(folder) in line else []
    return found
