"""Unix sockets whose path is longer than an address can hold."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

LONGEST: Final = 107 if sys.platform == "linux" else 103
"""Bytes of a path in an address (`sun_path`, less its final NUL)."""


@contextmanager
def connectable(path: str) -> Iterator[str]:
    """A name under which a socket can be connected to, while the context lasts.

    A path that is too long is named by way of its folder, which is opened for that.

    Raises:
        OSError: the folder cannot be opened, or this system has no such names.
    """
    if len(os.fsencode(path)) <= LONGEST:
        yield path
        return
    folder, name = os.path.split(path)
    if sys.platform != "linux":
        raise OSError(f"the path of a socket has {LONGEST} bytes at most on this system: {path}")
    descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}/{name}"
    finally:
        os.close(descriptor)
