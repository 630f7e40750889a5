"""Node and the packages of `tests/package.json`, for tests that run other people's clients and servers.

    pytestmark = pytest.mark.node          # installs before the first test's clock starts

    async def test_something():
        ended = await run_script(Path(__file__).with_name("client.mjs"), url, env={"TOKEN": token})
        assert ended.json == {...}

Scripts may stand anywhere under `tests/`: that is where Node looks for the packages. They are installed
once per checkout and again when `package.json` changes. Where there is no npm or it reaches no registry,
what is marked `node` is skipped with what npm said.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import functools
import hashlib
import json
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

TESTS: Final = Path(__file__).parents[1]
MANIFEST: Final = TESTS / "package.json"
MODULES: Final = TESTS / "node_modules"
OLDEST: Final = 22
"""The oldest major version that the conformance suite runs on."""

INSTALL: Final = (
    *("install", "--no-package-lock", "--no-audit", "--no-fund", "--no-progress", "--no-update-notifier"),
    *("--loglevel=error", "--fetch-retries=2", "--fetch-timeout=60000"),
    *("--fetch-retry-mintimeout=1000", "--fetch-retry-maxtimeout=5000"),
)
INSTALL_SECONDS: Final = 900


class UnavailableError(Exception):
    """Node or the packages cannot be had here; the text says why."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A script that has ended: exit status and all that it wrote."""

    status: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        """The one document it printed.

        Raises:
            AssertionError: it failed; with what it said.
        """
        assert self.status == 0, f"exit status {self.status}\n{self.stdout}\n{self.stderr}"
        return json.loads(self.stdout)


def node() -> Path:
    """Return a Node of version 22 or later that has the packages; skip the test if there is none."""
    try:
        return prepare()
    except UnavailableError as missing:
        pytest.skip(str(missing))


@functools.cache
def _prepared() -> Path | UnavailableError:
    """Remember a failed installation, so that not every test tries again."""
    try:
        return _install()
    except UnavailableError as missing:
        return missing


def prepare() -> Path:
    """Install what is not installed yet; minutes at worst.

    Returns:
        The Node to run.

    Raises:
        UnavailableError: it cannot be had.
    """
    found = _prepared()
    if isinstance(found, UnavailableError):
        raise found
    return found


@asynccontextmanager
async def started(
    *command: str | Path, env: Mapping[str, str] | None = None, cwd: Path | None = None, stdin: int | None = None
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Node with these arguments, its output piped; it and its children are killed on leaving.

    Args:
        command: a script and its arguments.
        env: variables in addition to those of this process.
        cwd: where it runs; here when omitted.
        stdin: as for `subprocess`; nothing to read when omitted.
    """
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("NODE_OPTIONS", "npm_"))}
    process = await asyncio.create_subprocess_exec(
        *(str(word) for word in (node(), *command)),
        env={**variables, "NO_COLOR": "1", **(env or {})},
        cwd=cwd,
        stdin=subprocess.DEVNULL if stdin is None else stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        limit=2**24,  # a line may be a whole document
        start_new_session=True,  # a group of its own, so that its children end with it
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


async def run_script(
    script: Path | str,
    *args: str | Path,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: bytes | None = None,
    seconds: float = 150,
) -> Ended:
    """Run a script to its end.

    Args:
        script: the script, or a package's (see `package`).
        args: its arguments.
        env: variables in addition to those of this process.
        cwd: where it runs; here when omitted.
        stdin: what it can read.
        seconds: a script that takes longer is killed and fails the test with what it had written.

    Raises:
        AssertionError: it took longer.
    """
    piped = None if stdin is None else subprocess.PIPE
    async with started(script, *args, env=env, cwd=cwd, stdin=piped) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        out, err = bytearray(), bytearray()
        try:
            async with asyncio.timeout(seconds):
                await asyncio.gather(_drain(process.stdout, out), _drain(process.stderr, err), _feed(process, stdin))
                status = await process.wait()
        except TimeoutError:
            raise AssertionError(f"{script} ran longer than {seconds} s\n{_text(out)}\n{_text(err)}") from None
    return Ended(status, _text(out), _text(err))


def package(name: str, *parts: str) -> Path:
    """A file of an installed package."""
    return MODULES.joinpath(*name.split("/"), *parts)


# --- installing ----------------------------------------------------------------------------------


def _install() -> Path:
    npm = shutil.which("npm")
    if npm is None:
        raise UnavailableError("npm is not installed")
    own = _new_enough(shutil.which("node"))
    wanted = hashlib.sha256(MANIFEST.read_bytes() + (b"" if own else b"with node")).hexdigest()
    stamp = MODULES / ".installed"
    with _locked(TESTS / ".npm.lock"):
        if not stamp.exists() or stamp.read_text() != wanted:
            shutil.rmtree(MODULES, ignore_errors=True)  # half an installation is none
            _run_npm(npm, ["--omit=optional"] if own else [])
            stamp.write_text(wanted)
    found = own or _new_enough(str(MODULES / ".bin" / "node"))
    if found is None:
        raise UnavailableError(f"no Node of at least version {OLDEST}: neither on PATH nor from npm for this platform")
    return found


def _run_npm(npm: str, options: list[str]) -> None:
    try:
        ended = subprocess.run(
            [npm, *INSTALL, *options],
            cwd=TESTS,
            capture_output=True,
            text=True,
            timeout=INSTALL_SECONDS,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        raise UnavailableError(f"npm install took more than {INSTALL_SECONDS} s") from None
    if ended.returncode:
        said = " ".join((ended.stderr or ended.stdout).split())
        raise UnavailableError(f"npm install failed: {said[:500]}")


def _new_enough(path: str | None) -> Path | None:
    if path is None:
        return None
    try:
        said = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=60, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    major = said.strip().removeprefix("v").partition(".")[0]
    return Path(path) if major.isdigit() and int(major) >= OLDEST else None


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One process at a time: several workers of one test run want the packages at once."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


# --- running -------------------------------------------------------------------------------------


async def _drain(stream: asyncio.StreamReader, into: bytearray) -> None:
    while data := await stream.read(65536):
        into += data


async def _feed(process: asyncio.subprocess.Process, data: bytes | None) -> None:
    if data is None or process.stdin is None:
        return
    with contextlib.suppress(ConnectionError):  # it may end without reading
        process.stdin.write(data)
        await process.stdin.drain()
    process.stdin.close()


def _text(data: bytearray) -> str:
    return data.decode(errors="replace")
