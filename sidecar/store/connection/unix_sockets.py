"""Unix sockets with a path that is longer than an address can hold."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

LONGEST: Final = 107 if sys.platform == "linux" else 103
"""Most bytes of a path in an address (`sun_path`, without its final NUL)."""


def unix_socket(path: str) -> socket.socket:
    """Return a connected socket. It may wait for a mount, so it must not run on the event loop.

    Raises:
        OSError: no server listens on the path.
    """
    made = socket.socket(socket.AF_UNIX)
    try:
        made.setblocking(False)  # a server with a full queue counts as unreachable
        with connectable(path) as name:
            made.connect(name)
    except BaseException:
        made.close()
        raise
    return made


@contextmanager
def connectable(path: str) -> Iterator[str]:
    """Provide, within the context, a name short enough to connect to.

    A path that is too long is named through a descriptor of its folder.

    Raises:
        OSError: the folder cannot be opened, or the system has no such names.
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
