"""The private server when something goes wrong under it: processes killed anywhere, files deleted, paths too long."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from sidecar.cli import main
from sidecar.store.connection.store_connection import StoreConnection
from sidecar.store.connection.store_url import parse_url
from sidecar.store.embedded.embedded_server import EmbeddedError, EmbeddedStore
from sidecar.store.embedded.locks import open_files
from tests.support.embedded import alive, answers, client_of, other_user, servers_in, store_directory, wait_gone

CROWD = """
import os, random, signal, sys, threading
from pathlib import Path
import redis
from sidecar.store.embedded.embedded_server import EmbeddedStore
directory, users, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
told_in, told_out = os.pipe()

def visit(dice):
    store = EmbeddedStore(directory)
    if dice.random() < 0.4:
        threading.Timer(dice.random() * 0.2, os.kill, (os.getpid(), signal.SIGKILL)).start()
    store.enter()
    while True:
        store.ensure()
        try:
            redis.Redis(unix_socket_path=str(store.path), retry=None).incr("visits")
            os.write(told_out, b".")
            break
        except redis.ConnectionError:
            continue
    store.leave()

children = []
for number in range(users):
    pid = os.fork()
    if not pid:
        try:
            visit(random.Random(seed * 1000 + number))
        finally:
            os._exit(0)
    children.append(pid)
for pid in children:
    os.waitpid(pid, 0)
os.close(told_out)
received = b""
while chunk := os.read(told_in, 4096):
    received += chunk
print(len(received))
"""


@pytest.fixture
def directory() -> Iterator[Path]:
    with store_directory() as path:
        yield path


@pytest.fixture
def store(directory: Path) -> Iterator[EmbeddedStore]:
    """One that is in use and answers."""
    store = EmbeddedStore(directory)
    store.enter()
    answers(store)
    yield store
    store.leave()


# --- any process is killed at any time --------------------------------------------------------------


@pytest.mark.parametrize("seed", range(2))
def test_twenty_users_share_one_store_while_some_are_killed(directory: Path, seed: int):
    """Two servers on one directory would each count on their own, and overwrite what the other keeps."""
    said = subprocess.run(
        [sys.executable, "-c", CROWD, str(directory), "20", str(seed)], capture_output=True, text=True, check=True
    )
    store = EmbeddedStore(directory)
    store.enter()
    pid = answers(store)
    with client_of(store) as client:
        counted = int(client.get("visits") or 0)
    assert int(said.stdout) <= counted <= 20
    assert servers_in(directory) == [pid]
    store.leave()
    assert servers_in(directory) == []


def test_acknowledged_writes_survive_kills_under_load(store: EmbeddedStore):
    acknowledged, stopping = [0, 0, 0], threading.Event()

    def write(number: int) -> None:
        while not stopping.is_set():
            try:
                with client_of(store) as client:
                    while not stopping.is_set():
                        acknowledged[number] = int(client.incr(f"count:{number}"))
            except redis.RedisError:
                store.ensure()

    writers = [threading.Thread(target=write, args=(number,)) for number in range(3)]
    for writer in writers:
        writer.start()
    for _ in range(3):
        before = sum(acknowledged)
        while sum(acknowledged) < before + 50:
            time.sleep(0.001)
        os.kill(answers(store), signal.SIGKILL)
    stopping.set()
    for writer in writers:
        writer.join()
    answers(store)
    with client_of(store) as client:
        kept = [int(client.get(f"count:{number}") or 0) for number in range(3)]
    assert all(have >= known for have, known in zip(kept, acknowledged, strict=True))


def test_a_last_write_that_was_cut_off_is_repaired_and_damage_is_not_hidden(store: EmbeddedStore, directory: Path):
    with client_of(store) as client:
        client.set("kept", "1")
        client.set("cut", "x" * 100)
    pid = answers(store)
    os.kill(pid, signal.SIGKILL)
    wait_gone(pid)
    (log,) = directory.glob("appendonlydir/*.incr.aof")
    whole = log.read_bytes()
    log.write_bytes(whole[:-30])
    answers(store)
    with client_of(store) as client:
        assert client.mget("kept", "cut") == ["1", None]
    pid = answers(store)
    os.kill(pid, signal.SIGKILL)
    wait_gone(pid)
    log.write_bytes(b"what is this\r\n" + whole)
    with pytest.raises(EmbeddedError, match=r"ended with status 1: .*[Aa]ppend"):
        _until_it_fails(store)
    log.write_bytes(whole)
    answers(store)


def _until_it_fails(store: EmbeddedStore) -> None:
    """Ask for the server as a connection does: one that was killed may take a moment to end."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        store.ensure()
        time.sleep(0.01)


# --- files that others have deleted or put there ---------------------------------------------------


def test_a_stale_socket_is_replaced(directory: Path):
    directory.mkdir()
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(directory / "store.sock"))
    store = EmbeddedStore(directory)
    store.enter()
    assert answers(store) == store._child.pid if store._child else False
    store.leave()


def test_a_link_to_nowhere_is_replaced_and_a_folder_is_named(directory: Path):
    directory.mkdir()
    path = directory / "store.sock"
    path.symlink_to(directory / "nowhere")
    store = EmbeddedStore(directory)
    store.enter()
    answers(store)
    assert path.is_socket()
    assert not path.is_symlink()
    store.leave()
    path.mkdir()
    with pytest.raises(EmbeddedError, match=r"store\.sock is a folder"):
        store.enter()
    assert servers_in(directory) == []


def test_a_server_that_does_not_listen_yet_is_known_without_its_lock_file(directory: Path):
    directory.mkdir()
    lock = os.open(directory / "server.lock", os.O_RDWR | os.O_CREAT)
    starting = subprocess.Popen(["sleep", "60"], cwd=directory, pass_fds=(lock,))
    os.close(lock)
    (directory / "server.lock").unlink()
    (directory / "server.pid").write_text(str(starting.pid))
    store = EmbeddedStore(directory)
    store.enter()
    assert store._child is None
    starting.kill()
    starting.wait()
    store.ensure()
    assert store._child is not None
    answers(store)
    store.leave()


BUSY = """
import os, sys
others = [os.open(os.devnull, os.O_RDONLY) for _ in range(200)]
kept = open(sys.argv[1], "w")  # listed after them
print(flush=True)
while True:
    for one in others:
        os.close(one)
    others = [os.open(os.devnull, os.O_RDONLY) for _ in others]
"""


def test_a_file_that_a_process_keeps_open_is_found_while_it_closes_others(directory: Path):
    directory.mkdir()
    kept = directory / "kept"
    with subprocess.Popen([sys.executable, "-c", BUSY, str(kept)], stdout=subprocess.PIPE) as busy:
        assert busy.stdout is not None
        busy.stdout.readline()
        try:
            found = [os.path.realpath(kept) in open_files(Path(f"/proc/{busy.pid}")) for _ in range(200)]
        finally:
            busy.kill()
    assert all(found)


@pytest.mark.parametrize("mine", [True, False])
def test_a_reused_pid_neither_prevents_a_start_nor_is_killed(
    directory: Path, monkeypatch: pytest.MonkeyPatch, mine: bool
):
    directory.mkdir()
    monkeypatch.chdir(directory)
    other = subprocess.Popen(["sleep", "60"])
    (directory / "server.pid").write_text(str(os.getpid() if mine else other.pid))
    os.utime(directory / "server.pid", (1, 1))
    store = EmbeddedStore(directory)
    store.enter()
    answers(store)
    store.leave()
    assert other.poll() is None
    other.kill()
    other.wait()


def test_a_server_whose_socket_was_deleted_is_restarted_with_its_data(store: EmbeddedStore, directory: Path):
    pid = answers(store)
    with client_of(store) as client:
        client.set("kept", "1")
    store.path.unlink()
    store.ensure()
    assert alive(pid)  # it might just be starting
    long_ago = time.time() - 60
    os.utime(directory / "server.pid", (long_ago, long_ago))
    other = EmbeddedStore(directory)
    other.enter()
    assert answers(other) != pid
    with client_of(other) as client:
        assert client.get("kept") == "1"
    other.leave()


def test_a_user_that_enters_after_the_users_lock_was_deleted_keeps_its_server(store: EmbeddedStore, directory: Path):
    pid = answers(store)
    (directory / "users.lock").unlink()
    other = other_user(directory)
    store.leave()
    assert alive(pid)
    other.communicate("")
    wait_gone(pid)


def test_a_directory_that_was_deleted_is_named_and_its_server_does_not_stay(store: EmbeddedStore, directory: Path):
    pid = answers(store)
    shutil.rmtree(directory)
    with pytest.raises(EmbeddedError, match="No such file"):
        store.ensure()
    store.leave()
    wait_gone(pid)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user")
@pytest.mark.parametrize("locks", [False, True])
def test_a_directory_of_another_user_is_named(directory: Path, locks: bool):
    directory.parent.chmod(0o755)
    directory.mkdir(mode=0o755)
    if locks:
        for name in ("users.lock", "server.lock"):
            (directory / name).touch()
            (directory / name).chmod(0o666)
    code = (
        "import os, sys; from pathlib import Path; "
        "from sidecar.store.embedded.embedded_server import EmbeddedError, EmbeddedStore\n"
        "os.setgid(65534); os.setuid(65534)\n"
        "try: EmbeddedStore(Path(sys.argv[1])).enter()\n"
        "except EmbeddedError as error: print(error)"
    )
    said = subprocess.run([sys.executable, "-c", code, str(directory)], capture_output=True, text=True, check=True)
    assert said.stdout.startswith("store.directory cannot be used: [Errno 13] Permission denied")
    assert servers_in(directory) == []


# --- names -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["d" * 200, "a b%3F?#é'\"", "107", "108"])
async def test_a_directory_may_have_any_name(directory: Path, name: str):
    if name.isdigit():  # bytes of the socket's path: the longest that an address can hold, and one more
        name = "d" * (int(name) - len(str(directory)) - len("//store.sock"))
    store = EmbeddedStore(directory / name)
    await asyncio.to_thread(store.enter)
    connection = StoreConnection(parse_url(store.url), before_connect=lambda: asyncio.to_thread(store.ensure))
    await connection.start()
    assert await connection.call("PING") == b"PONG"
    await connection.close()
    await asyncio.to_thread(store.leave)
    assert servers_in(directory) == []


# --- commands ----------------------------------------------------------------------------------------


@pytest.fixture
def config(directory: Path) -> Path:
    """A config whose store's directory is far too long for a socket."""
    folder = directory / ("d" * 150)
    (folder / "policies").mkdir(parents=True)
    (folder / "policies" / "p.yaml").write_text("plans: {free: {}}\ntools: {t: {scopes: []}}\n")
    path = folder / "config.yaml"
    path.write_text(
        "resource: https://mcp.example.com/mcp\nbackend: {url: http://127.0.0.1:1/mcp}\n"
        "issuers: [{issuer: https://issuer.example.com}]\nstore: {url: embedded, directory: store}\n"
    )
    return path


def test_commands_leave_the_server_as_they_found_it(config: Path, capsys: pytest.CaptureFixture[str]):
    folder = config.parent / "store"
    words = ["--config", str(config)]
    assert main(["account", "set", "ann", "--plan", "free", "--create", *words]) == 0
    assert servers_in(folder) == []
    user = other_user(folder)
    (pid,) = _until_one(folder)
    assert main(["account", "show", "ann", *words]) == 0
    assert "plan      free" in capsys.readouterr().out
    assert servers_in(folder) == [pid]
    os.kill(pid, signal.SIGKILL)
    assert main(["account", "show", "ann", *words]) == 0  # starts it again, while another process uses it
    assert len(servers_in(folder)) == 1
    user.communicate("")
    assert servers_in(folder) == []


def _until_one(folder: Path) -> list[int]:
    end = time.monotonic() + 60
    while len(found := servers_in(folder)) != 1:
        assert time.monotonic() < end
        time.sleep(0.01)
    return found
