"""Programs of PyPI that need other versions than this project, each in an environment of its own.

    @pytest.mark.pypi(FASTMCP)               # installs before the first test's clock starts
    async def test_something():
        async with launched(program(FASTMCP, "python"), "server.py"):
            ...

They are installed once per checkout. Where pip reaches no index, what is marked `pypi` is skipped with what pip said.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import functools
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest

FOLDER: Final = Path(__file__).parents[1] / ".pypi"
FASTMCP: Final = "fastmcp==4.2.3"
MCP_PROXY: Final = "mcp-proxy==0.13.0"
INSTALL_SECONDS: Final = 600


class UnavailableError(Exception):
    """The program cannot be installed here; the text says why."""


def program(requirement: str, name: str) -> Path:
    """Return a program of the environment that has this requirement; skip the test without it."""
    try:
        return prepare(requirement) / "bin" / name
    except UnavailableError as missing:
        pytest.skip(str(missing))


def prepare(requirement: str) -> Path:
    """Install what is not installed yet.

    Returns:
        The environment.

    Raises:
        UnavailableError: it cannot be installed.
    """
    found = _prepared(requirement)
    if isinstance(found, UnavailableError):
        raise found
    return found


@functools.cache
def _prepared(requirement: str) -> Path | UnavailableError:
    """Remember a failed installation, so that not every test tries again."""
    folder = FOLDER / requirement.replace("==", "-")
    FOLDER.mkdir(exist_ok=True)
    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several processes of tests, one installation
        if (folder / ".installed").exists():
            return folder
        shutil.rmtree(folder, ignore_errors=True)
        try:
            _run(requirement, sys.executable, "-m", "venv", folder)
            pip = (folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
            _run(requirement, *pip, requirement)
        except UnavailableError as missing:
            return missing
        (folder / ".installed").touch()
    return folder


def _run(requirement: str, *command: str | Path) -> None:
    try:
        ended = subprocess.run(
            command, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        raise UnavailableError(f"the installation of {requirement} took more than {INSTALL_SECONDS} s") from None
    if ended.returncode:
        said = " ".join((ended.stderr or ended.stdout).split())
        raise UnavailableError(f"{requirement} cannot be installed: {said[:500]}")


@asynccontextmanager
async def launched(*command: str | Path, log: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a program with its output in a file; it and its children are killed on leaving."""
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *(str(word) for word in command),
            env={**os.environ, "NO_COLOR": "1"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # a group of its own, so that its children end with it
        )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
