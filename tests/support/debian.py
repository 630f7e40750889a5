"""Programs of Debian: Redis, for what the Valkey of the wheel cannot do, and Prometheus' tool for its rules.

They are taken from the packages without being installed, once per checkout. Where there is no apt, or it
reaches no mirror, tests that need them are skipped with what it said.
"""

from __future__ import annotations

import fcntl
import functools
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

SECONDS: Final = 120


@dataclass(frozen=True, slots=True)
class Program:
    """One program.

    Attributes:
        name: in messages.
        folder: what is unpacked for it.
        packages: what it needs.
        path: of the program, within what is unpacked.
    """

    name: str
    folder: Path
    packages: tuple[str, ...]
    path: str


_TESTS: Final = Path(__file__).parents[1]
# The first package has a link into the second.
REDIS: Final = Program(
    "Redis",
    _TESTS / ".redis",
    ("redis-server", "redis-tools", "liblzf1", "libjemalloc2"),
    "usr/bin/redis-server",
)
PROMTOOL: Final = Program("promtool", _TESTS / ".prometheus", ("prometheus",), "usr/bin/promtool")


class UnavailableError(Exception):
    """The program is not here; the text says why."""


def redis_server() -> tuple[Path, dict[str, str]]:
    """The server, and the environment that it needs; skips the test without it."""
    found = _found(REDIS)
    libraries = ":".join(str(each.parent) for each in REDIS.folder.glob("root/usr/lib/*/liblzf.so.1"))
    return found, {**os.environ, "LD_LIBRARY_PATH": libraries}


def promtool() -> Path:
    """The tool; skips the test without it."""
    return _found(PROMTOOL)


def _found(program: Program) -> Path:
    found = prepared(program)
    if isinstance(found, UnavailableError):
        pytest.skip(str(found))
    return found


@functools.cache
def prepared(program: Program) -> Path | UnavailableError:
    """Return the program, unpacked if it was not, or why it cannot be had."""
    path = program.folder / "root" / program.path
    try:
        with program.folder.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # several processes of tests, one download
            if not path.exists():
                _unpack(program)
    except UnavailableError as missing:
        return missing
    return path


def _unpack(program: Program) -> None:
    apt, dpkg = shutil.which("apt-get"), shutil.which("dpkg-deb")
    if apt is None or dpkg is None:
        raise UnavailableError(f"there is no Debian here to take {program.name} from")
    shutil.rmtree(program.folder, ignore_errors=True)
    unpacked = program.folder / "new"
    unpacked.mkdir(parents=True)
    try:
        _run(program, apt, "download", *program.packages)
    except UnavailableError:
        if os.geteuid() != 0:
            raise
        _run(program, apt, "update")  # images come without lists of packages
        _run(program, apt, "download", *program.packages)
    for package in program.folder.glob("*.deb"):
        _run(program, dpkg, "-x", str(package), str(unpacked))
    unpacked.rename(program.folder / "root")


def _run(program: Program, *command: str) -> None:
    try:
        done = subprocess.run(command, cwd=program.folder, capture_output=True, text=True, timeout=SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UnavailableError(f"{program.name} cannot be had: {error}") from None
    if done.returncode:
        raise UnavailableError(f"{program.name} cannot be had: {done.stderr.strip()[-300:]}")
