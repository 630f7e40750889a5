"""Debian's Redis, for what the Valkey of the wheel cannot do: TLS of its own, and the oldest version that is served.

It is taken from the packages without being installed, once per checkout. Where there is no apt, or it
reaches no mirror, tests that need it are skipped with what it said.
"""

from __future__ import annotations

import fcntl
import functools
import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

FOLDER: Final = Path(__file__).parents[1] / ".redis"
PACKAGES: Final = ("redis-server", "redis-tools", "liblzf1", "libjemalloc2")  # the first has a link into the second
SECONDS: Final = 120


class UnavailableError(Exception):
    """There is no Redis here; the text says why."""


def redis_server() -> tuple[Path, dict[str, str]]:
    """The server, and the environment that it needs; skips the test without it."""
    found = _prepared()
    if isinstance(found, UnavailableError):
        pytest.skip(str(found))
    libraries = ":".join(str(each.parent) for each in FOLDER.glob("root/usr/lib/*/liblzf.so.1"))
    return found, {**os.environ, "LD_LIBRARY_PATH": libraries}


@functools.cache
def _prepared() -> Path | UnavailableError:
    server = FOLDER / "root/usr/bin/redis-server"
    try:
        with FOLDER.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # several processes of tests, one download
            if not server.exists():
                _unpack()
    except UnavailableError as missing:
        return missing
    return server


def _unpack() -> None:
    apt, dpkg = shutil.which("apt-get"), shutil.which("dpkg-deb")
    if apt is None or dpkg is None:
        raise UnavailableError("there is no Debian here to take Redis from")
    shutil.rmtree(FOLDER, ignore_errors=True)
    unpacked = FOLDER / "new"
    unpacked.mkdir(parents=True)
    try:
        _run(apt, "download", *PACKAGES)
    except UnavailableError:
        if os.geteuid() != 0:
            raise
        _run(apt, "update")  # images come without lists of packages
        _run(apt, "download", *PACKAGES)
    for package in FOLDER.glob("*.deb"):
        _run(dpkg, "-x", str(package), str(unpacked))
    unpacked.rename(FOLDER / "root")


def _run(*command: str) -> None:
    try:
        done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, timeout=SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UnavailableError(f"Redis cannot be had: {error}") from None
    if done.returncode:
        raise UnavailableError(f"Redis cannot be had: {done.stderr.strip()[-300:]}")
