"""Users of a private server, in this process and in others, for the tests of it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

from sidecar.store.embedded.embedded_server import EmbeddedStore


@contextmanager
def store_directory() -> Iterator[Path]:
    """A directory that a store may be in; whatever server a failed test leaves there is killed."""
    path = Path(tempfile.mkdtemp(prefix="emb-"))
    try:
        yield path / "store"
    finally:
        kill_servers_in(path)
        shutil.rmtree(path, ignore_errors=True)


def kill_servers_in(path: Path) -> None:
    """Kill the servers of a directory whose users were killed: they stay for the next user."""
    for pid in servers_in(path):
        os.kill(pid, signal.SIGKILL)
        wait_gone(pid)


def servers_in(path: Path) -> list[int]:
    """The servers that run in a directory or below it."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                words = (process / "cmdline").read_bytes().split(b"\0")
                where = os.readlink(process / "cwd")
            except OSError:
                continue
            if b"server" in words[0] and where.startswith(str(path)) and alive(int(process.name)):
                found.append(int(process.name))
    return found


def client_of(store: EmbeddedStore) -> redis.Redis:
    return redis.Redis(unix_socket_path=str(store.path), decode_responses=True)


def answers(store: EmbeddedStore) -> int:
    """Wait for an answer as a connection does; the pid of the process that gave it."""
    end = time.monotonic() + 60
    while True:
        if store._use is not None:
            store.ensure()
        try:
            with client_of(store) as client:
                return int(client.info("server")["process_id"])
        except redis.RedisError:
            if time.monotonic() > end:
                raise
            time.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


def wait_gone(pid: int) -> None:
    end = time.monotonic() + 60
    while alive(pid):
        assert time.monotonic() < end, "the process did not end"
        time.sleep(0.01)


def other_user(directory: Path) -> subprocess.Popen[str]:
    """Another process that uses the store until its stdin closes."""
    code = (
        "import sys; from pathlib import Path; from sidecar.store.embedded.embedded_server import EmbeddedStore;"
        "s = EmbeddedStore(Path(sys.argv[1])); s.enter(); print('in', flush=True); sys.stdin.read(); s.leave()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(directory)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "in\n"
    return process
