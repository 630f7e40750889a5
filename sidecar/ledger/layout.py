"""Which layout of keys and records the store holds: checked on every connection before anything is read or written.

The number is documented for other programs. It changes when what they write, or the scripts' KEYS and
ARGV, would be understood differently; new keys, fields and trailing arguments do not change it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from sidecar.ledger.wire import StoreError

LAYOUT_KEY: Final = "mcp:layout"
"""Where the version stands, in decimal digits; it is no account's, so it has no hash tag."""

LAYOUT_VERSION: Final = 1
"""The one version that this build reads and writes."""


async def check(send: Callable[..., asyncio.Future[Any]]) -> bool:
    """Refuse a store of another layout; nothing is written.

    Args:
        send: sends one command and gives its reply.

    Returns:
        Whether it is marked as one of this layout; an empty store is not.

    Raises:
        StoreError: the store holds another layout, or the mark cannot be read.
    """
    return _fits(await send("GET", LAYOUT_KEY))


async def claim(send: Callable[..., asyncio.Future[Any]]) -> None:
    """Mark an unmarked store as one of this layout, and refuse one of another.

    Args:
        send: as for `check`.

    Raises:
        StoreError: the store holds another layout, or the mark can be neither read nor written.
    """
    # Reading first: a store that is full takes no SET, and yet revocations must go on.
    if not await check(send):
        # Of two builds that meet an empty store at once, the second sees what the first has written.
        _fits(await send("SET", LAYOUT_KEY, LAYOUT_VERSION, "NX", "GET"))


def _fits(found: bytes | None) -> bool:
    if found is not None and found != b"%d" % LAYOUT_VERSION:
        stands = found.decode(errors="replace")[:20]
        raise StoreError(
            f"the store's layout ({LAYOUT_KEY}) is version {stands!a}, and this build "
            f"works with version {LAYOUT_VERSION} only: use the build that belongs to it, or another store"
        )
    return found is not None
