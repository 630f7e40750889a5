"""Secret key that marks the ids of sessions' requests and events; all sidecars on a store share it."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from typing import Final

from sidecar.errors import Refusal
from sidecar.store.commands.command import Command, text
from sidecar.store.commands.shipped import STREAM_KEY
from sidecar.store.store import Store

STREAM_KEY_KEY: Final = "mcp:stream-key"
"""Its key in the store; no account owns it, so it has no hash tag."""

READ_INTERVAL: Final = 5.0
"""Seconds between two reads: a lost key is written again, and a replaced one is adopted."""


class StreamKey:
    """Stream key of this process. The first process creates it; if several do at once, the store keeps one.

    Args:
        store: store that keeps it.

    Attributes:
        current: the key; None until the first read.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._proposed = secrets.token_hex(32)
        self.current: str | None = None

    async def read(self) -> str:
        """Read the key from the store, and write it there if it is missing.

        Raises:
            Refusal: `store_unavailable`.
        """
        proposed = self.current or self._proposed
        reply = await self._store.run(Command(STREAM_KEY, (STREAM_KEY_KEY,), (proposed,)))
        self.current = found = text(reply)
        return found

    async def watch(self) -> None:
        """Read the key at intervals, forever."""
        while True:
            with contextlib.suppress(Refusal):  # the next request that needs it reports the failure
                await self.read()
            await asyncio.sleep(READ_INTERVAL)
