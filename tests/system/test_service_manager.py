"""Notifications to systemd, received on a real datagram socket as systemd has one."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import yaml

from sidecar.system.service_manager import ServiceManager

pytestmark = pytest.mark.process

CONFIG = {
    "resource": "http://127.0.0.1:1/mcp",
    "listen": "127.0.0.1:0",
    "admin": "127.0.0.1:0",
    "backend": {"url": "http://127.0.0.1:9/mcp"},
    "issuers": [{"issuer": "http://127.0.0.1:9", "insecure_http": True}],
    "store": {"url": "unix:///nowhere/valkey.sock"},
    "policies": ["policy.yaml"],
}
POLICY = "scopes: {}\nconsent: first_use\ntools: {ping_store: {scopes: []}}\n"


@pytest.fixture
def manager_socket(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bound:
        bound.bind(str(tmp_path / "notify"))
        bound.setblocking(False)
        yield bound


async def received(bound: socket.socket) -> dict[str, str]:
    """The next notification that is none of the watchdog."""
    while True:
        async with asyncio.timeout(30):
            text = (await asyncio.get_running_loop().sock_recv(bound, 4096)).decode()
        fields = dict(line.split("=", 1) for line in text.splitlines())
        if "WATCHDOG" not in fields:
            return fields


@asynccontextmanager
async def serving(folder: Path, workers: int = 1, **variables: str) -> AsyncIterator[asyncio.subprocess.Process]:
    (folder / "policy.yaml").write_text(POLICY)
    (folder / "config.yaml").write_text(yaml.safe_dump({**CONFIG, "workers": workers}))
    command = (sys.executable, "-m", "sidecar", "serve", "--config", str(folder / "config.yaml"))
    with (folder / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *command, stdout=log, stderr=log, env={**os.environ, **variables}
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_start_a_reload_a_refused_reload_and_a_stop_are_reported(
    tmp_path: Path, manager_socket: socket.socket, workers: int
):
    """Dependencies are unreachable: they are waited for, and a manager must not restart the process for that."""
    async with serving(tmp_path, workers, NOTIFY_SOCKET=str(tmp_path / "notify")) as process:
        ready = await received(manager_socket)
        assert ready["READY"] == "1"
        process.send_signal(signal.SIGHUP)
        reloading, served = await received(manager_socket), await received(manager_socket)
        assert reloading["RELOADING"] == "1"
        assert int(reloading["MONOTONIC_USEC"]) > 0
        assert served == ready
        (tmp_path / "policy.yaml").write_text("nonsense: 1\n")
        process.send_signal(signal.SIGHUP)
        reloading, refused = await received(manager_socket), await received(manager_socket)
        assert reloading["RELOADING"] == refused["READY"] == "1"
        assert "refused" in refused["STATUS"]
        process.send_signal(signal.SIGTERM)
        assert (await received(manager_socket))["STOPPING"] == "1"
        assert await process.wait() == 0


async def test_the_watchdog_is_notified_while_the_loop_runs(tmp_path: Path, manager_socket: socket.socket):
    manager = ServiceManager(str(tmp_path / "notify"), 0.02)
    async with manager.watched(), asyncio.timeout(30):
        for _ in range(3):
            assert await asyncio.get_running_loop().sock_recv(manager_socket, 100) == b"WATCHDOG=1"


async def test_a_process_reads_the_watchdog_from_its_variables(tmp_path: Path, manager_socket: socket.socket):
    variables = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "20000"}
    async with serving(tmp_path, 1, **variables), asyncio.timeout(60):
        while await asyncio.get_running_loop().sock_recv(manager_socket, 100) != b"WATCHDOG=1":
            pass


async def test_names_of_the_abstract_namespace_are_reached(tmp_path: Path):
    name = f"@mcp-sidecar-{os.getpid()}-{tmp_path.name}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bound:
        bound.bind(f"\0{name[1:]}")
        bound.setblocking(False)
        await ServiceManager(name).stopping()
        assert (await received(bound))["STOPPING"] == "1"


async def test_a_manager_that_is_gone_or_absent_is_no_error(tmp_path: Path):
    for address in (None, str(tmp_path / "nothing")):
        await ServiceManager(address).ready("up")


async def test_a_manager_that_does_not_read_delays_for_a_second_at_most(tmp_path: Path, manager_socket: socket.socket):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as filling, contextlib.suppress(BlockingIOError):
        filling.setblocking(False)
        while True:
            filling.sendto(b"x", str(tmp_path / "notify"))
    async with asyncio.timeout(30):
        await ServiceManager(str(tmp_path / "notify")).ready("up")


@pytest.mark.parametrize(
    ("variables", "watched"),
    [
        ({"WATCHDOG_USEC": "1000000"}, 1.0),
        ({"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": str(os.getpid())}, 1.0),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_the_variables_are_removed_and_a_watchdog_of_another_process_is_ignored(
    variables: dict[str, str], watched: float | None
):
    environment = {"NOTIFY_SOCKET": "/run/systemd/notify", "HOME": "/", **variables}
    assert ServiceManager.of(environment)._watchdog == watched
    assert environment == {"HOME": "/"}
