"""The backend behind every peer: prepared answers, served by a C program, or by asyncio where there is no compiler."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from bench.machine import LOAD_CORE, Started, free_port, started
from bench.programs import CACHE

_SOURCE = Path(__file__).with_name("server.c")


def command() -> list[str | Path]:
    """Return how the backend is run, built if that is possible."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        return [sys.executable, "-m", "bench.backend.fallback"]
    built = CACHE / "backend"
    if not built.exists() or built.stat().st_mtime < _SOURCE.stat().st_mtime:
        CACHE.mkdir(exist_ok=True)
        subprocess.run([compiler, "-O2", "-o", str(built), str(_SOURCE)], check=True)
    return [built]


@contextlib.contextmanager
def serving(answers: Mapping[str, bytes], port: int | None = None) -> Iterator[Started]:
    """Serve answers by file name (see server.c) until the block ends."""
    with tempfile.TemporaryDirectory(prefix="bench-answers-") as name:
        for file, text in answers.items():
            (Path(name) / file).write_bytes(text)
        chosen = port or free_port()
        with started([*command(), str(chosen), name], chosen, core=LOAD_CORE) as backend:
            yield backend
