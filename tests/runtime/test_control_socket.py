"""The control socket: its file, its peers and their limits."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from sidecar.runtime.control.control_socket import PEERS, RELOAD, ControlSocket
from tests.cli.conftest import run
from tests.cli.support import CONFIG, Run, write
from tests.support.store import until

__all__ = ["run"]

pytestmark = pytest.mark.process


class Reloads:
    """Answers of a reload that a test may hold back."""

    def __init__(self) -> None:
        self.count = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self) -> dict[str, Any]:
        self.count += 1
        await self.gate.wait()
        return {"ok": True, "count": self.count}


@asynccontextmanager
async def opened(path: Path, reloads: Reloads | None = None, within: float = 10) -> AsyncIterator[ControlSocket]:
    control = ControlSocket(path, reloads or Reloads(), within)
    await control.open()
    try:
        yield control
    finally:
        await control.close()


async def asked(path: Path, request: bytes = RELOAD) -> bytes:
    """The whole answer of the socket."""
    reader, writer = await asyncio.open_unix_connection(path)
    try:
        writer.write(request)
        async with asyncio.timeout(60):
            return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.transport.abort()


async def test_only_its_user_may_connect_at_any_moment(tmp_path: Path):
    """Another thread looks at the file all the time while it is made."""
    path, modes, stop = tmp_path / "control.sock", set(), threading.Event()

    def look() -> None:
        while not stop.is_set():
            try:
                modes.add(path.stat().st_mode & 0o077)
            except FileNotFoundError:
                continue

    before = os.umask(0)
    looking = threading.Thread(target=look)
    looking.start()
    try:
        for _ in range(20):
            async with opened(path):
                assert path.stat().st_mode & 0o777 == 0o600
                await until(lambda: bool(modes))  # the thread has begun to look
            assert not path.exists()
    finally:
        stop.set()
        looking.join()
        assert os.umask(before) == 0
    assert modes == {0}


async def test_the_socket_of_a_dead_process_is_replaced(tmp_path: Path):
    path = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    async with opened(path):
        assert json.loads(await asked(path))["ok"] is True


async def test_the_socket_of_a_live_process_is_an_error_and_stays(tmp_path: Path):
    path = tmp_path / "control.sock"
    async with opened(path):
        with pytest.raises(OSError, match=r"control\.sock: another sidecar listens there"):
            await ControlSocket(path, Reloads()).open()
        assert json.loads(await asked(path))["ok"] is True


async def test_another_file_in_its_place_is_an_error_and_stays(tmp_path: Path):
    path = tmp_path / "control.sock"
    path.write_text("mine")
    with pytest.raises(OSError, match="no socket is in its place"):
        await ControlSocket(path, Reloads()).open()
    assert path.read_text() == "mine"


async def test_a_socket_that_another_process_has_put_there_stays_at_the_end(tmp_path: Path):
    path = tmp_path / "control.sock"
    async with opened(path):
        path.unlink()
        path.write_text("of another process")
    assert path.exists()


async def test_a_path_longer_than_an_address_works(tmp_path: Path, run: Run):
    folder = tmp_path / ("x" * 120)
    folder.mkdir()
    config = write(folder, config=CONFIG + "control: control.sock")
    async with opened(folder / "control.sock"):
        result = await asyncio.to_thread(run, "reload", "--config", config)
    assert (result.status, result.out.splitlines()[0]) == (0, "reloaded: revision None")


@pytest.mark.parametrize("request_", [b"stop\n", b"reload", b"x" * 100_000, b"\n", b"reload \n"])
async def test_another_request_reloads_nothing(tmp_path: Path, request_: bytes):
    path, reloads = tmp_path / "control.sock", Reloads()
    async with opened(path, reloads, 1.0):
        answer = await asked(path, request_)
        assert not answer or json.loads(answer)["ok"] is False
        assert reloads.count == 0
        assert json.loads(await asked(path))["ok"] is True


async def test_peers_beyond_the_limit_are_disconnected(tmp_path: Path):
    path, reloads = tmp_path / "control.sock", Reloads()
    async with opened(path, reloads):
        reloads.gate.clear()
        waiting = [asyncio.create_task(asked(path)) for _ in range(PEERS)]
        await until(lambda: reloads.count == PEERS)
        assert await asked(path) == b""
        reloads.gate.set()
        assert all(json.loads(answer)["ok"] for answer in await asyncio.gather(*waiting))


async def test_a_silent_peer_is_disconnected(tmp_path: Path):
    path = tmp_path / "control.sock"
    async with opened(path, within=0.05) as control:
        assert await asked(path, b"") == b""
        await until(lambda: not control._peers)


async def test_the_end_disconnects_a_peer_that_waits(tmp_path: Path):
    path, reloads = tmp_path / "control.sock", Reloads()
    async with opened(path, reloads):
        reloads.gate.clear()
        waiting = asyncio.create_task(asked(path))
        await until(lambda: bool(reloads.count))
    assert await waiting == b""


# --- the command ---------------------------------------------------------------------------------


def test_a_config_without_a_socket_is_named(tmp_path: Path, run: Run):
    result = run("reload", "--config", write(tmp_path))
    assert result.status == 1
    assert result.err.endswith("config.yaml has no `control`: add it and restart, or send the sidecar SIGHUP\n")


@pytest.mark.parametrize("dead", [False, True])
def test_a_socket_that_no_sidecar_listens_on_is_named(tmp_path: Path, run: Run, dead: bool):
    if dead:
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(str(tmp_path / "control.sock"))
    result = run("reload", "--config", write(tmp_path, config=CONFIG + "control: control.sock"))
    path = tmp_path / "control.sock"
    assert result.err == f"mcp-sidecar: no sidecar listens on {path}: is one running with this config?\n"
    assert (result.status, result.out) == (1, "")


def test_a_config_with_other_mistakes_still_names_its_socket(tmp_path: Path, run: Run):
    result = run("reload", "--config", write(tmp_path, config=CONFIG + "control: control.sock\nnonsense: 1"))
    assert "no sidecar listens on" in result.err


def test_a_sidecar_that_ends_without_an_answer_is_reported(tmp_path: Path, run: Run):
    config = write(tmp_path, config=CONFIG + "control: control.sock")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "control.sock"))
        server.listen(1)

        def serve() -> None:
            peer, _ = server.accept()
            with peer:
                peer.recv(100)

        thread = threading.Thread(target=serve)
        thread.start()
        result = run("reload", "--config", config)
        thread.join()
    assert (result.status, "was closed without an answer" in result.err) == (1, True)
