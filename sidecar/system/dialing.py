"""TCP and TLS connections to the first address of a name that answers (RFC 8305).

uvloop tries the addresses one by one: a silent one uses up the whole timeout, although the next one would
answer.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import Any, Final, TypeVar

from aiohappyeyeballs import start_connection

from sidecar.system.resolver import AddressInfo, Resolver

P = TypeVar("P", bound=asyncio.Protocol)

ATTEMPT_DELAY: Final = 0.25
"""Seconds between the attempts for two addresses (RFC 8305 section 5)."""


async def dial(
    factory: Callable[[], P],
    host: str,
    port: int,
    *,
    tls: ssl.SSLContext | None = None,
    resolver: Resolver,
) -> P:
    """Connect, and return the protocol.

    Args:
        factory: creates the protocol.
        host: a name or an address.
        port: the port.
        tls: for a connection with TLS, which verifies the server by `host`.
        resolver: returns the addresses of the name.

    Raises:
        OSError: no address answers, or TLS fails (`ssl.SSLError`).
    """
    addresses = await resolver.addresses(host, port)
    try:
        sock = await _race(addresses)
    except OSError:
        later = await resolver.addresses(host, port, fresh=True)
        if {each[4] for each in later} <= {each[4] for each in addresses}:
            raise
        addresses, sock = later, await _race(later)
    resolver.demote(host, port, _slower(addresses, sock))
    loop = asyncio.get_running_loop()
    try:
        name = host if tls is not None else None
        return (await loop.create_connection(factory, sock=sock, ssl=tls, server_hostname=name))[1]
    except BaseException:
        sock.close()
        raise


async def _race(addresses: tuple[AddressInfo, ...]) -> socket.socket:
    loop = asyncio.get_running_loop()
    try:
        return await start_connection(
            addresses,
            loop=loop,
            happy_eyeballs_delay=ATTEMPT_DELAY,
            interleave=1,
        )
    except RuntimeError as error:  # uvloop's, for a socket that fails during the wait
        raise OSError(str(error)) from error


def _slower(addresses: tuple[AddressInfo, ...], winner: socket.socket) -> list[tuple[Any, ...]]:
    """Return the addresses that were tried before the winner."""
    try:
        peer = winner.getpeername()
    except OSError:
        return []
    tried = [each[4] for each in addresses]
    return tried[: tried.index(peer)] if peer in tried else []
