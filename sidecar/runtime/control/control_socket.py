"""Unix socket for `mcp-sidecar reload`: one line in, one line of JSON out, then the end.

Only the user of the process can connect (mode 0600). A peer that is slow, silent or hostile holds one of a few places,
for a few seconds, and delays no call.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import socket
import stat
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, Final

import orjson

from sidecar.store.connection.unix_sockets import connectable
from sidecar.system.threads import LimitedThreads

RELOAD: Final = b"reload\n"
"""The one request."""
REQUEST_WITHIN: Final = 5.0
"""Seconds for a peer's request, and for a peer to read the answer."""
PEERS: Final = 8
"""Peers at one time; others are disconnected."""

_MAX_REQUEST: Final = 256  # bytes
_LOCK_TRIES: Final = 50
_LOCK_PAUSE: Final = 0.1  # seconds between two tries

Answer = dict[str, Any]


class ControlSocket:
    """Listen for reloads.

    Args:
        path: of the socket.
        reload: reloads, and returns the answer.
        within: seconds; see `REQUEST_WITHIN`.
    """

    def __init__(self, path: Path, reload: Callable[[], Awaitable[Answer]], within: float = REQUEST_WITHIN) -> None:
        self._path = path
        self._reload = reload
        self._within = within
        self._disk = LimitedThreads("control")
        self._peers: set[asyncio.Task[Any]] = set()
        self._server: asyncio.Server | None = None
        self._own: tuple[int, int] | None = None

    async def open(self) -> None:
        """Listen.

        Raises:
            OSError: another process listens there, the path is taken by another file, or it cannot be created.
        """
        made, self._own = await self._disk.run(_bound, self._path)
        self._server = await asyncio.start_unix_server(self._serve, sock=made, limit=_MAX_REQUEST)

    async def close(self) -> None:
        """Stop listening, disconnect all peers and remove the socket."""
        if self._server is not None:
            self._server.close()
        for peer in list(self._peers):
            peer.cancel()
        await asyncio.gather(*self._peers, return_exceptions=True)
        await self._disk.run(_remove, self._path, self._own)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or len(self._peers) >= PEERS:
            writer.transport.abort()
            return
        self._peers.add(task)
        try:
            await self._answer(reader, writer)
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # the peer has disconnected, is silent, or sends something else
        finally:
            self._peers.discard(task)
            writer.transport.abort()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(self._within):
            request = await reader.readuntil(b"\n")
        known = request == RELOAD
        answer = await self._reload() if known else {"ok": False, "problems": ["the request is not `reload`"]}
        writer.write(orjson.dumps(answer) + b"\n")
        async with asyncio.timeout(self._within):
            await writer.drain()
            writer.close()
            await writer.wait_closed()


def _bound(path: Path) -> tuple[socket.socket, tuple[int, int]]:
    """Return a listening socket at the path with the identity of its file; replace a stale one."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _locked(path.parent):
            _clear(path)
            return _listening(path)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise OSError(error.errno, f"cannot listen on the control socket {path}: {reason}") from None


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


def _listening(path: Path) -> tuple[socket.socket, tuple[int, int]]:
    made = socket.socket(socket.AF_UNIX)
    try:
        made.setblocking(False)
        mask = os.umask(0o077)  # from its first moment on only this user may connect
        try:
            with connectable(str(path)) as name:
                made.bind(name)
                os.chmod(name, 0o600)
        finally:
            os.umask(mask)
        made.listen(PEERS)
        found = path.lstat()
    except BaseException:
        made.close()
        raise
    return made, (found.st_dev, found.st_ino)


def _remove(path: Path, own: tuple[int, int] | None) -> None:
    """Remove the socket, unless the path is another process's by now."""
    with contextlib.suppress(OSError):
        found = path.lstat()
        if (found.st_dev, found.st_ino) == own:
            path.unlink()
