"""Run the example programs as they are printed."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import shutil
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import pytest

from sidecar.cli import main
from tests.support import node

ROOT: Final = Path(__file__).parents[2]
PYTHON: Final = ROOT / "examples" / "python" / "spend.py"
TYPESCRIPT: Final = ROOT / "examples" / "typescript"

LANGUAGES: Final = ("python", pytest.param("typescript", marks=pytest.mark.node))

Json = dict[str, Any]
Program = Callable[..., Awaitable[tuple[int, Json]]]


def program(language: str, folder: Path, store: str) -> Program:
    """Runs the example for account `ada` in a folder, and gives exit status and what it printed."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        assert main(["script", "credits"]) == 0
    (folder / "credits.lua").write_text(printed.getvalue())
    if language == "typescript":
        shutil.copy(TYPESCRIPT / "spend.ts", folder)
        shutil.copy(TYPESCRIPT / "package.json", folder)
        (folder / "node_modules").symlink_to(node.MODULES)
    start = _python if language == "python" else _typescript

    async def run(*words: object) -> tuple[int, Json]:
        status, out, err = await start(folder, ["--store", store, "--account", "ada", *map(str, words)])
        assert out, err
        return status, json.loads(out)

    return run


async def _python(folder: Path, words: list[str]) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        PYTHON,
        *words,
        cwd=folder,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def _typescript(folder: Path, words: list[str]) -> tuple[int, str, str]:
    # Where Node is older than 22.18, types have to be asked to go.
    ended = await node.run_script("--experimental-strip-types", folder / "spend.ts", *words, cwd=folder)
    return ended.status, ended.stdout, ended.stderr
