"""Unix sockets to listen on: a stale one is replaced, that of another process is not, and only its own is removed."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sidecar.config.settings.admin_api_settings import UnixAddress
from sidecar.store.connection.unix_sockets import connectable

_LOCK_TRIES: Final = 50
_LOCK_PAUSE: Final = 0.1  # seconds between two tries


@dataclass(frozen=True, slots=True)
class BoundSocket:
    """Listening socket, without TLS.

    Attributes:
        path: of its file.
        listening: the socket.
        identity: device and inode of the file, so that no file of another process is removed.
    """

    path: Path
    listening: socket.socket
    identity: tuple[int, int]
    tls: None = None

    @property
    def address(self) -> UnixAddress:
        """Address of the listener."""
        return UnixAddress(self.path)

    @property
    def sockets(self) -> tuple[socket.socket, ...]:
        """The socket."""
        return (self.listening,)

    def close(self) -> None:
        """Stop listening; `remove_socket` removes the file."""
        self.listening.close()


def bind_unix(path: Path, name: str, mode: int, backlog: int) -> BoundSocket:
    """Listen on a unix socket; replace a stale one. Reads and writes the disk: not for the event loop.

    Args:
        path: of the socket; its folder is created, for this user only, when it does not exist.
        name: of the socket in messages.
        mode: of its file.
        backlog: connections that wait to be accepted.

    Raises:
        OSError: another process listens there, the path is taken by another file, or it cannot be created.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _locked(path.parent):
            _clear(path)
            return _listening(path, mode, backlog)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise OSError(error.errno, f"cannot listen on {name} {path}: {reason}") from None


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock: of two processes that find a stale socket, the second finds the new one of the first."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _lock(descriptor)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> None:
    for _ in range(_LOCK_TRIES):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_LOCK_PAUSE)
        else:
            return
    raise OSError(errno.EAGAIN, "another process keeps its folder locked")


def _clear(path: Path) -> None:
    """Remove a stale socket.

    Raises:
        OSError: another process listens there, or the file is no socket.
    """
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise OSError(errno.EEXIST, "a file that is no socket is in its place")
    with socket.socket(socket.AF_UNIX) as probe, connectable(str(path)) as name:
        probe.setblocking(False)
        try:
            probe.connect(name)
        except ConnectionRefusedError:
            path.unlink()
            return
        except BlockingIOError:
            pass  # its queue is full, so a process has it
    raise OSError(errno.EADDRINUSE, "another sidecar listens there")


def _listening(path: Path, mode: int, backlog: int) -> BoundSocket:
    made = socket.socket(socket.AF_UNIX)
    try:
        made.setblocking(False)
        mask = os.umask(0o077)  # from its first moment on only those may connect that `mode` lets in
        try:
            with connectable(str(path)) as name:
                made.bind(name)
                os.chmod(name, mode)
        finally:
            os.umask(mask)
        made.listen(backlog)
        found = path.lstat()
    except BaseException:
        made.close()
        raise
    return BoundSocket(path, made, (found.st_dev, found.st_ino))


def remove_socket(bound: BoundSocket | None) -> None:
    """Remove the file of a socket, unless it is another process's by now; nothing for None."""
    if bound is None:
        return
    with contextlib.suppress(OSError):
        found = bound.path.lstat()
        if (found.st_dev, found.st_ino) == bound.identity:
            bound.path.unlink()
