"""First connection to the store, and the reason while it is unreachable."""

from __future__ import annotations

import asyncio

from sidecar.observe.redact import sentence
from sidecar.observe.repeats import Repeats
from sidecar.store.connection.store_connection import StoreError
from sidecar.store.store import Store


class StoreWatch:
    """Connect to the store at start; the connection itself reconnects.

    Args:
        store: the store.
        repeats: the log.
        embedded: True if the sidecar runs the server.
    """

    def __init__(self, store: Store, repeats: Repeats, *, embedded: bool) -> None:
        self._store = store
        self._repeats = repeats
        self._embedded = embedded
        self._problem: str | None = None

    async def connect(self) -> None:
        """Connect; retry when a private server fails to start at all."""
        while True:
            try:
                await self._store.start()
            except StoreError as error:
                self._problem = sentence(str(error))
                problem = self.unavailable_reason or self._problem
                self._repeats.event("store_unavailable", "error", plain=True, problem=problem)
                await asyncio.sleep(1)
            else:
                self._problem = None
                return

    @property
    def unavailable_reason(self) -> str | None:
        """Reason why the store is unreachable; None while it is reachable."""
        if self._store.up:
            return None
        if self._embedded and self._problem is not None:
            return self._problem
        return f"{self._store.location}: {sentence(self._store.error or 'not connected')}"
