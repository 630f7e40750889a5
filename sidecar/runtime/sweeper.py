"""Slow sweep of the holds of dead processes, in accounts that no client calls any more."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from sidecar.errors import Refusal
from sidecar.observe.metrics import Metrics
from sidecar.store.commands import scripts
from sidecar.store.commands.keys import EVERY_LEASES_KEY, AccountKeys, keys_of
from sidecar.store.store import Store

SWEEP_EVERY: Final = 30.0
"""Seconds between sweeps. Every script resolves the expired holds of its account in any case."""

AGAIN_AFTER: Final = 1.0
"""Seconds until the retry of a sweep that found no store, such as the first one of a process."""

_log: Final = logging.getLogger(__name__)


async def sweep_forever(store: Store, metrics: Metrics, every: float = SWEEP_EVERY) -> None:
    """Resolve the holds of dead processes periodically, forever."""
    while True:
        pause = every
        try:
            await sweep(store, metrics)
        except Refusal:
            metrics.store_errors.inc()  # the store is unreachable; readiness reports it
            pause = min(every, AGAIN_AFTER)
        except Exception:  # noqa: BLE001 - after any fault the next sweep may succeed
            metrics.store_errors.inc()
            _log.exception("a sweep of the store failed")
        await asyncio.sleep(pause)


async def sweep(store: Store, metrics: Metrics) -> int:
    """Sweep every account with open holds once; an account that cannot be swept is counted and skipped.

    Returns:
        Number of holds that were resolved.

    Raises:
        Refusal: `store_unavailable`.
    """
    resolved = 0
    for key in await store.scan(EVERY_LEASES_KEY):
        try:
            resolved += await _swept(store, keys_of(key.decode()))
        except (Refusal, ValueError):  # records that belong to no account, or are corrupt
            if not store.up:
                raise
            metrics.store_errors.inc()
    return resolved


async def _swept(store: Store, keys: AccountKeys) -> int:
    """Resolve all expired holds of an account, a few at a time: until then it cannot spend the held amounts."""
    resolved = 0
    while found := await store.run(scripts.sweep(keys)):
        resolved += found
    return resolved
