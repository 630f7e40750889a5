"""The unit: what systemd says of it, and the process that it starts under what can be set without systemd."""

from __future__ import annotations

import asyncio
import configparser
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.system.test_service_manager import CONFIG, POLICY, received

pytestmark = pytest.mark.process

UNIT = Path(__file__).parents[2] / "deploy" / "systemd" / "mcp-sidecar.service"
PROGRAM = "/opt/mcp-sidecar/bin/mcp-sidecar"
SIDECAR = Path(sys.executable).with_name("mcp-sidecar")
WORST = 2.0
"""Exposure that `systemd-analyze security` may find, of 10; 0 is best."""
REFUSE_EXEC_GAIN = (
    "import ctypes,os,sys; assert ctypes.CDLL(None).prctl(65,1,0,0,0) == 0; os.execv(sys.argv[1],sys.argv[1:])"
)


def unit(folder: Path) -> Path:
    """The unit with a program that this machine has."""
    made = folder / UNIT.name
    made.write_text(UNIT.read_text().replace(PROGRAM, str(SIDECAR)))
    return made


def analyzed(*words: str | Path) -> subprocess.CompletedProcess[str]:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not on this machine")
    return subprocess.run(["systemd-analyze", *words], capture_output=True, text=True, timeout=50)


def test_systemd_accepts_the_unit(tmp_path: Path):
    done = analyzed("verify", "--man=no", unit(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")


def test_a_wrong_line_is_found(tmp_path: Path):
    made = unit(tmp_path)
    made.write_text(made.read_text().replace("Type=notify", "Type=notifies"))
    assert "notifies" in analyzed("verify", "--man=no", made).stderr


def test_little_is_exposed():
    done = analyzed("security", "--offline=true", "--no-pager", f"--threshold={int(WORST * 10)}", UNIT)
    assert done.returncode == 0, done.stdout[-2000:]


def test_the_unit_waits_longer_than_the_sidecar_takes_to_stop():
    read = configparser.RawConfigParser(strict=False, interpolation=None)
    read.read(UNIT)
    assert read["Service"]["Type"] == "notify"
    assert int(read["Service"]["TimeoutStopSec"]) >= 30 + 5 + 2  # shutdown_grace, settles, the log's last lines
    assert re.fullmatch(r"\d+", read["Service"]["WatchdogSec"])
    assert read["Service"]["KillMode"] == "mixed"


async def test_it_starts_without_memory_that_is_writable_and_executable(tmp_path: Path):
    """MemoryDenyWriteExecute=yes, as the kernel enforces it: libraries that make code at run time would fail."""
    (tmp_path / "policy.yaml").write_text(POLICY)
    (tmp_path / "config.yaml").write_text(str({**CONFIG, "store": {"url": "embedded", "directory": "store"}}))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager, (tmp_path / "log").open("wb") as log:
        manager.bind(str(tmp_path / "notify"))
        manager.setblocking(False)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", REFUSE_EXEC_GAIN, str(SIDECAR), "serve", "--config", str(tmp_path / "config.yaml")),
            stdout=log,
            stderr=log,
            env={**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "30000000"},
        )
        try:
            ended, ready = asyncio.create_task(process.wait()), asyncio.create_task(received(manager))
            await asyncio.wait({ended, ready}, return_when=asyncio.FIRST_COMPLETED)
            said = (tmp_path / "log").read_text()
            if "assert" in said:
                pytest.skip("this kernel cannot refuse it")
            assert ready.done(), said
            assert ready.result()["READY"] == "1"
            process.terminate()
            assert await ended == 0
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
