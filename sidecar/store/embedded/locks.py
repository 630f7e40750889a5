"""Locks that files carry and processes inherit, and what is left of a process.

No link is followed: whoever else may write to the directory, such as a volume's, could lead us to a file elsewhere.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path


def runs(pid: int) -> bool:
    """Whether a process has not ended; one that nobody has waited for yet has."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except ProcessLookupError:
        return False
    except OSError:
        return True  # another user's, or a system without /proc


def found_at(descriptor: int, path: Path) -> bool:
    """Whether a path still leads to the file that is open."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except OSError:
        return False


def open_lock(path: Path) -> int:
    """Open a file to be locked; it is made if there is none."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def open_anew(path: Path) -> int:
    """Open an empty file to be written to, whatever was in it."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def lock_file(descriptor: int, kind: int, timeout: float = 0.0) -> bool:
    """Lock an open file; False when somebody else holds it all that time.

    Args:
        descriptor: the file. The lock is that of its opening: whoever inherits it holds it, too.
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
