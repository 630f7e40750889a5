"""Limits on the logins that one address, and all together, may begin; beginning one costs its client nothing."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from ipaddress import ip_address
from typing import Final

from sidecar.identity.opaque.request_limits import BusyError, TokenBucket

BURST: Final = 60
"""Logins of one address at once, and"""
RATE: Final = 2.0
"""more per second. People behind one proxy share an address."""
ALL_BURST: Final = 200
"""The same of all addresses together: together with the life of a pending login, it bounds their number."""
ALL_RATE: Final = 10.0
MAX_ADDRESSES: Final = 1024
"""Addresses that are known; the least recently used is forgotten."""


class LoginLimits:
    """Logins of this process.

    Args:
        monotonic: seconds of a clock that never jumps.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._all = TokenBucket(ALL_BURST, ALL_RATE, monotonic)
        self._addresses: OrderedDict[str, TokenBucket] = OrderedDict()

    def take(self, address: str) -> None:
        """Count one login.

        Raises:
            BusyError: the address, or all together, have begun too many.
        """
        network = _network(address)
        bucket = self._addresses.pop(network, None) or TokenBucket(BURST, RATE, self._monotonic)
        self._addresses[network] = bucket
        if len(self._addresses) > MAX_ADDRESSES:
            self._addresses.popitem(last=False)
        bucket.take()
        self._all.take()


def _network(address: str) -> str:
    """Return the part of an address that one client cannot change: 64 bits of IPv6."""
    try:
        found = ip_address(address)
    except ValueError:
        return address
    return str(found) if found.version == 4 else found.exploded[:19]


__all__ = ["BusyError", "LoginLimits"]
