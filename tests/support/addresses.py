"""Addresses of loopback that are dead in one way or the other, and names that have them."""

from __future__ import annotations

import contextlib
import select
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sidecar.system.resolver import AddressInfo, Resolver

DEAD = "127.0.0.2"
LIVE = "127.0.0.1"
WAYS = ("refused", "silent")


@contextmanager
def dead(way: str, port: int) -> Iterator[None]:
    """Make a port of `DEAD` refuse connections, or never answer connections."""
    if way == "refused":
        yield
        return
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((DEAD, port))
        listener.listen(0)
        # The kernel answers as many as the queue holds, and nothing accepts them.
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex((DEAD, port))
        assert not select.select([], [waiting], [], 0.05)[1], "the queue is not full"
        yield


def both(port: int) -> list[AddressInfo]:
    """Return the name service's answer for a name with one dead and one live address."""
    return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port)) for host in (DEAD, LIVE)]


def resolver(asked: Callable[[str], None] = lambda name: None) -> Resolver:
    """Every name has the two addresses."""

    def look_up(host: str, port: int) -> list[AddressInfo]:
        asked(host)
        return both(port)

    return Resolver(look_up)
