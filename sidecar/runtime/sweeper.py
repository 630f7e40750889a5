"""The slow sweep: holds whose owner died, in accounts that nobody calls any more."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from sidecar.errors import Refusal
from sidecar.ledger import scripts
from sidecar.ledger.keys import EVERY_LEASES_KEY, AccountKeys, keys_of
from sidecar.ledger.store import Store
from sidecar.observe.metrics import Metrics

SWEEP_EVERY: Final = 30.0
"""Seconds between sweeps. Every script of an account resolves what it finds there anyhow."""

AGAIN_AFTER: Final = 1.0
"""Seconds until a sweep is tried again that found no store, such as the first one of a process."""

_log: Final = logging.getLogger(__name__)


async def sweep_forever(store: Store, metrics: Metrics, every: float = SWEEP_EVERY) -> None:
    """Resolve what dead owners left, again and again; never returns."""
    while True:
        pause = every
        try:
            await sweep(store, metrics)
        except Refusal:
            metrics.store_errors.inc()  # the store is away; readiness says so
            pause = min(every, AGAIN_AFTER)
        except Exception:  # noqa: BLE001 - whatever it was, the next sweep may do better, and nobody else would do it
            metrics.store_errors.inc()
            _log.exception("a sweep of the store failed")
        await asyncio.sleep(pause)


async def sweep(store: Store, metrics: Metrics) -> int:
    """Look once at every account that has open holds; one that cannot be swept is counted and passed over.

    Returns:
        How many holds were resolved.

    Raises:
        Refusal: `store_unavailable`.
    """
    resolved = 0
    for key in await store.scan(EVERY_LEASES_KEY):
        try:
            resolved += await _swept(store, keys_of(key.decode()))
        except (Refusal, ValueError):  # records that are no account's, or that hold what they should not
            if not store.up:
                raise
            metrics.store_errors.inc()
    return resolved


async def _swept(store: Store, keys: AccountKeys) -> int:
    """Resolve all of an account, a few at a time: until then it cannot spend what they hold."""
    resolved = 0
    while found := await store.run(scripts.sweep(keys)):
        resolved += found
    return resolved
