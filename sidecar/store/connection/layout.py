"""Layout version of keys and records, checked on every connection before anything is read or written.

The number is documented for other programs. It changes when existing records, or the scripts' KEYS and ARGV, change
their meaning; new keys, fields and trailing arguments do not change it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from sidecar.store.connection.resp import StoreError

LAYOUT_KEY: Final = "mcp:layout"
"""Key of the version, in decimal digits; no account owns it, so it has no hash tag."""

LAYOUT_VERSION: Final = 1
"""Version that this build reads and writes."""


async def check(send: Callable[..., asyncio.Future[Any]]) -> bool:
    """Reject a store of another layout; write nothing.

    Args:
        send: sends one command and returns its reply.

    Returns:
        True if the store has this version; False if it has none, as an empty store.

    Raises:
        StoreError: the store has another layout, or the version cannot be read.
    """
    return _check_version(await send("GET", LAYOUT_KEY))


async def claim(send: Callable[..., asyncio.Future[Any]]) -> None:
    """Write the version to a store without one, and reject a store of another layout.

    Args:
        send: as for `check`.

    Raises:
        StoreError: the store has another layout, or the version can be neither read nor written.
    """
    # Read first: a full store rejects SET, and revocations must still work.
    if not await check(send):
        # Of two builds that find an empty store at once, the second reads the version of the first.
        _check_version(await send("SET", LAYOUT_KEY, LAYOUT_VERSION, "NX", "GET"))


def _check_version(found: bytes | None) -> bool:
    if found is not None and found != b"%d" % LAYOUT_VERSION:
        version = found.decode(errors="replace")[:20]
        raise StoreError(
            f"the store's layout ({LAYOUT_KEY}) is version {version!a}, and this build "
            f"works with version {LAYOUT_VERSION} only: use the build that belongs to it, or another store"
        )
    return found is not None
