"""File locks, which child processes inherit, and a check for live processes.

Links are not followed: other users with write access to the directory could point one at a file elsewhere.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from pathlib import Path


def is_alive(pid: int) -> bool:
    """Return whether a process is alive; a zombie is not."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except ProcessLookupError:
        return False
    except OSError:
        return True  # owned by another user, or a system without /proc


def open_files(process: Path) -> set[str]:
    """Return the paths of the files that a process has open, deleted or not; its folder in /proc is given.

    A file may be closed while they are read: that says nothing of the others.

    Raises:
        OSError: the process has ended, or is another user's.
    """
    found = set()
    for each in (process / "fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.add(os.readlink(each).removesuffix(" (deleted)"))
    return found


def is_same_file(descriptor: int, path: Path) -> bool:
    """Return whether a path still leads to an open file."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except OSError:
        return False


def open_lock(path: Path) -> int:
    """Open a lock file; create it if it is missing."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def open_truncated(path: Path) -> int:
    """Open a file for writing and empty it."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def lock_file(descriptor: int, kind: int, timeout: float = 0.0) -> bool:
    """Lock an open file; False if another process holds the lock until the timeout.

    Args:
        descriptor: descriptor of the file. The lock belongs to the open file: processes that inherit it hold it too.
        kind: `fcntl.LOCK_SH` or `fcntl.LOCK_EX`.
        timeout: seconds to wait.
    """
    end = time.monotonic() + timeout
    while True:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= end:
                return False
            time.sleep(0.01)
