"""Name look-ups in their own threads, one at a time per name, with a cache.

glibc waits for a silent name server for ten seconds and more. So a caller never waits for a look-up beyond its
timeout, later callers share its answer, and while name servers do not answer, the last addresses stay in use
(RFC 8767).
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any, Final

from aiohttp.abc import AbstractResolver, ResolveResult

from sidecar.system.threads import LimitedThreads

AddressInfo = tuple[int, int, int, str, tuple[Any, ...]]
"""Address as `socket.getaddrinfo` returns it."""
Lookup = Callable[[str, int], list[AddressInfo]]

FRESH: Final = 5.0
"""Seconds that an answer is used without a new look-up; the pods of a service change faster than its TTL."""
PATIENCE: Final = 0.25
"""Seconds to wait for a look-up while an older answer exists."""
STALE: Final = 3600.0
"""Seconds that an older answer stays in use while name servers do not answer."""
LOOKUPS: Final = 8
"""Concurrent look-ups; a stalled name blocks one of these threads for as long as glibc waits."""
_NAMES: Final = 256  # cached
_JUST_NOW: Final = 0.5  # seconds for which an answer counts as new


def look_up(host: str, port: int) -> list[AddressInfo]:
    """Look up a name with the system's resolver."""
    return list(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))


@dataclass(slots=True)
class _Name:
    """State of one name and port."""

    addresses: tuple[AddressInfo, ...] = ()
    at: float = 0.0
    turn: int = 0
    asking: asyncio.Task[None] | None = None
    asked: float = 0.0
    failed: OSError | None = None
    demoted: dict[tuple[Any, ...], float] = field(default_factory=dict)


class Resolver(AbstractResolver):
    """Addresses of names; also the resolver of aiohttp's clients.

    Args:
        look_up: the system's look-up, called in a thread.
        clock: seconds of a clock that never jumps.
    """

    def __init__(self, look_up: Lookup = look_up, clock: Callable[[], float] = time.monotonic) -> None:
        self._look_up = look_up
        self._clock = clock
        self._threads = LimitedThreads("name look-up", LOOKUPS)
        self._names: dict[tuple[str, int], _Name] = {}

    async def addresses(self, host: str, port: int, *, fresh: bool = False) -> tuple[AddressInfo, ...]:
        """Return the addresses of a name, in the order to try them.

        Args:
            host: a name, or an address, which needs no look-up.
            port: the port.
            fresh: whether to wait for a new answer, because all addresses of the last one failed.

        Raises:
            OSError: the name has no address, or name servers do not answer.
        """
        if _literal(host):  # needs no name server
            return tuple(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST))
        name = self._named(host, port)
        age = self._clock() - name.at if name.addresses else STALE
        if age >= (_JUST_NOW if fresh else FRESH):
            await self._ask(name, host, port, hurry=not fresh and age < STALE)
            if not name.addresses:
                raise name.failed or OSError(f"{host} has no address")
        return self._ordered(name)

    def demote(self, host: str, port: int, addresses: list[tuple[Any, ...]]) -> None:
        """Put failed addresses behind the others for a while, so that not every caller waits for them."""
        name = self._names.get((host, port))
        if name is not None:
            name.demoted.update(dict.fromkeys(addresses, self._clock() + 30.0))

    def _named(self, host: str, port: int) -> _Name:
        name = self._names.get((host, port))
        if name is None:
            if len(self._names) >= _NAMES:
                self._names.pop(next(iter(self._names)))
            name = self._names[host, port] = _Name()
        return name

    async def _ask(self, name: _Name, host: str, port: int, *, hurry: bool) -> None:
        """Wait for the name's look-up; in a hurry, for at most `PATIENCE`."""
        if name.asking is None:
            name.asking, name.asked = asyncio.create_task(self._answer(name, host, port)), self._clock()
        # The look-up continues when its caller stops waiting: the next caller uses its answer.
        patience = max(0.0, name.asked + PATIENCE - self._clock()) if hurry else None
        await asyncio.wait([name.asking], timeout=patience)

    async def _answer(self, name: _Name, host: str, port: int) -> None:
        try:
            found = await self._threads.run(self._look_up, host, port)
        except (OSError, UnicodeError) as error:
            gone = isinstance(error, socket.gaierror) and error.errno in (socket.EAI_NONAME, socket.EAI_NODATA)
            name.failed = error if isinstance(error, OSError) else OSError("not a name that can be looked up")
            if gone or self._clock() - name.at >= STALE:
                name.addresses = ()
        else:
            name.addresses, name.at, name.failed = tuple(found), self._clock(), None
            name.demoted = {each: until for each, until in name.demoted.items() if until > self._clock()}
        finally:
            name.asking = None

    def _ordered(self, name: _Name) -> tuple[AddressInfo, ...]:
        """Rotate the addresses, so that connections spread over them; failed ones come last."""
        name.turn += 1
        shift = name.turn % len(name.addresses)
        turned = name.addresses[shift:] + name.addresses[:shift]
        now = self._clock()
        return tuple(sorted(turned, key=lambda each: name.demoted.get(each[4], 0.0) > now))

    # --- aiohttp ---------------------------------------------------------------------------------

    async def resolve(self, host: str, port: int = 0, family: int = socket.AF_UNSPEC) -> list[ResolveResult]:
        """Return the addresses in the form of aiohttp's clients."""
        found = await self.addresses(host, port)
        return [
            ResolveResult(
                hostname=host,
                host=socket.getnameinfo(address[:4], socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)[0],
                port=port,
                family=each,
                proto=proto,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for each, _, proto, _, address in found
            if family in (socket.AF_UNSPEC, each)
        ]

    async def close(self) -> None:
        """Do nothing: the resolver belongs to the process, not to one client."""


def _literal(host: str) -> bool:
    try:
        ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True
