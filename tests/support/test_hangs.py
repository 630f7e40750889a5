"""A hung test fails alone: the others run, its fixtures are torn down and its child processes ended."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest

from tests.support.hangs import WORKER_VARIABLES, descendants, orphans
from tests.support.store import until

ROOT = Path(__file__).parents[2]
SCRATCH = """
import asyncio, subprocess, sys, time
import pytest

@pytest.fixture
async def child():
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", "import time; time.sleep(600)")
    with open({pids!r}, "a") as file:
        print(child.pid, file=file)
    yield child
    child.kill()
    await child.wait()

async def test_waits(child):
    await asyncio.Event().wait()

def test_sleeps(child):
    time.sleep(600)

async def test_spins(child):
    while True:
        pass

async def test_passes():
    pass

def test_passes_too():
    pass
"""


def runs(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


@pytest.mark.timeout(300)
async def test_a_hung_test_fails_alone_and_its_children_end(tmp_path: Path):
    pids = tmp_path / "pids"
    (tmp_path / "conftest.py").write_text("from tests.conftest import *\n")
    (tmp_path / "test_scratch.py").write_text(SCRATCH.format(pids=str(pids)))
    words = ("-n", "2", "--timeout", "8", "-c", str(ROOT / "pyproject.toml"), "--rootdir", str(tmp_path))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pytest", *words, "-p", "no:cacheprovider", "--tb=no", "-rA", str(tmp_path)),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output = (await process.communicate())[0].decode()
    outcomes = {line.split("::")[1].split()[0]: line.split()[0] for line in output.splitlines() if "::test_" in line}
    assert outcomes == {
        **dict.fromkeys(("test_waits", "test_sleeps", "test_spins"), "FAILED"),
        **dict.fromkeys(("test_passes", "test_passes_too"), "PASSED"),
    }, output
    children = [int(pid) for pid in pids.read_text().split()]
    assert len(children) == 3
    assert not [pid for pid in children if runs(pid)]


async def test_descendants_are_found_however_deep():
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'input()'])"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdin=asyncio.subprocess.PIPE)
    try:
        await until(lambda: len(descendants(process.pid)) == 1)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()


def test_processes_whose_parents_have_ended_are_found(monkeypatch: pytest.MonkeyPatch):
    for name in WORKER_VARIABLES:
        monkeypatch.setenv(name, uuid4().hex)
    shell = ("sh", "-c", "sleep 600 >/dev/null 2>&1 & echo $!")
    pid = int(subprocess.run(shell, stdout=subprocess.PIPE, check=True).stdout)
    try:
        assert pid not in descendants(os.getpid())
        assert orphans() == [pid]
    finally:
        os.kill(pid, signal.SIGKILL)
