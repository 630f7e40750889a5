"""Listening sockets: one for each address, or one for each worker and address (`SO_REUSEPORT`).

The kernel distributes connections among the sockets of an address. Connections that wait on one are reset when it is
closed, so the supervisor keeps those of each worker open.
"""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from sidecar.config.settings.addresses import Address
from sidecar.system.resolver import AddressInfo, Resolver

BACKLOG: Final = 1024
"""Connections that wait to be accepted, if the kernel lets them."""

_TRIES: Final = 8  # a port that the kernel has chosen for one address may be taken on the next
_ABSENT: Final = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})


@dataclass(frozen=True, slots=True)
class BoundAddress:
    """Bound address with its listening sockets.

    Attributes:
        address: as bound: port 0 has become a port.
        sockets: several where a name has several addresses.
        tls: the context; None for plain HTTP.
    """

    address: Address
    sockets: tuple[socket.socket, ...]
    tls: ssl.SSLContext | None = None

    def close(self) -> None:
        """Stop listening."""
        for each in self.sockets:
            each.close()

    def sibling(self) -> BoundAddress:
        """Listen on the same address with further sockets; it must have been bound as shared.

        Raises:
            OSError: that is not possible.
        """
        sockets: list[socket.socket] = []
        try:
            for each in self.sockets:
                only_6 = each.family != socket.AF_INET6 or bool(
                    each.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
                )
                sockets.append(_listening(each.family, each.getsockname(), only_6, shared=True))
        except BaseException:
            for made in sockets:
                made.close()
            raise
        return replace(self, sockets=tuple(sockets))


async def bind(
    addresses: Sequence[Address],
    tls: Sequence[ssl.SSLContext | None],
    resolver: Resolver | None = None,
    *,
    shared: bool = False,
) -> list[BoundAddress]:
    """Listen on every address.

    `[::]` takes IPv4 as well, unless an IPv4 address with the same port is among them.

    Args:
        addresses: to listen on.
        tls: the context of each; None for plain HTTP.
        resolver: looks up host names.
        shared: True if `sibling` is called later. An address on which another process listens is an error all the same.

    Raises:
        OSError: one of them cannot be listened on; then none is.
    """
    bound: list[BoundAddress] = []
    try:
        for address, context in zip(addresses, tls, strict=True):
            others = [each for each in addresses if each is not address and each.port == address.port != 0]
            found = await (resolver or Resolver()).addresses(address.host, address.port)
            only_6 = any(":" not in each.host for each in others)
            bound.append(_bind_any(address, found, context, only_6, shared))
    except BaseException:
        for each in bound:
            each.close()
        raise
    return bound


def _bind_any(
    address: Address, found: Sequence[AddressInfo], tls: ssl.SSLContext | None, only_6: bool, shared: bool
) -> BoundAddress:
    """Bind an address; with port 0, to a port that is free on all addresses of its name."""
    for _ in range(_TRIES if address.port == 0 else 1):
        try:
            return _bind(address, found, tls, only_6, shared)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            taken = error
    raise taken


def _bind(
    address: Address, found: Sequence[AddressInfo], tls: ssl.SSLContext | None, only_6: bool, shared: bool
) -> BoundAddress:
    sockets: list[socket.socket] = []
    port, absent = address.port, None
    try:
        for family, place in dict.fromkeys((each[0], each[4]) for each in found):
            try:
                only = only_6 or place[0] != "::"
                if shared and port:
                    # SO_REUSEPORT alone would share the port with another sidecar of this user.
                    _listening(family, (place[0], port, *place[2:]), only).close()
                sockets.append(_listening(family, (place[0], port, *place[2:]), only, shared))
            except OSError as error:
                if error.errno not in _ABSENT or len(found) == 1:
                    raise
                absent = error  # such as ::1 of localhost, on a machine without IPv6
                continue
            port = sockets[0].getsockname()[1]
        if not sockets and absent is not None:
            raise absent
    except OSError as error:
        for each in sockets:
            each.close()
        raise OSError(error.errno, f"cannot listen on {address}: {(error.strerror or str(error)).lower()}") from None
    return BoundAddress(Address(address.host, port), tuple(sockets), tls)


def _listening(family: int, place: tuple[object, ...], only_6: bool, shared: bool = False) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only_6)
        made.setblocking(False)
        made.bind(place)
        made.listen(BACKLOG)
    except BaseException:
        made.close()
        raise
    return made
