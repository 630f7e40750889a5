"""File descriptors: the limit of this process, and the number of them for clients."""

from __future__ import annotations

import contextlib
import resource
from dataclasses import dataclass
from typing import Final

_MOST: Final = 1 << 18  # never raised beyond: each costs the kernel memory
_RESERVE: Final = 64  # for the store, issuers, files, listeners and threads
_ADMIN: Final = 32


@dataclass(frozen=True, slots=True)
class Descriptors:
    """Distribution of this process's descriptors.

    Every call of a client may need one more connection, to the backend. So clients get half of what the reserve leaves:
    every accepted call can then proceed.

    Attributes:
        limit: descriptors that this process may open.
        clients: maximum of connections on the public listeners.
        admin: maximum of connections on the admin listeners; taken from the reserve.
    """

    limit: int
    clients: int
    admin: int

    @classmethod
    def of(cls, limit: int) -> Descriptors:
        """Distribute this number of descriptors."""
        reserve = max(8, min(_RESERVE, limit // 4))
        return cls(limit, max(1, (limit - reserve) // 2), max(2, min(_ADMIN, reserve // 4)))

    @classmethod
    def available(cls) -> Descriptors:
        """Raise the soft limit as far as the hard limit permits, and distribute the descriptors."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = _MOST if hard == resource.RLIM_INFINITY else min(hard, _MOST)
        if soft != resource.RLIM_INFINITY and soft < wanted:
            with contextlib.suppress(OSError, ValueError):
                resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
                soft = wanted
        return cls.of(_MOST if soft == resource.RLIM_INFINITY else soft)
