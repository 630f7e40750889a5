"""Store part of `check`: it connects once, reads, and writes nothing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, Final

from sidecar.cli.common import CommandError
from sidecar.config.settings.settings import Settings
from sidecar.store.connection import layout
from sidecar.store.connection.diagnosis import is_permanent
from sidecar.store.connection.store_connection import UnsentError
from sidecar.store.connection.store_url import parse_url
from sidecar.store.connection.topology import servers
from sidecar.store.health.durability import DurabilityWarning
from sidecar.store.health.examination import examine
from sidecar.workbench.lint import Notice

_WITHIN: Final = 3.0  # seconds for one attempt to connect, sentinels included


def store_notices(settings: Settings) -> tuple[Notice, ...]:
    """Return notices about the configured store; none about an embedded one, which is not started.

    An unreachable store is a notice only: policies are often checked without one.

    Raises:
        CommandError: the store is reachable and cannot or must not be used.
    """
    if settings.store.embedded:
        return ()
    return tuple(Notice("", f"store: {each}") for each in asyncio.run(_looked(settings.store.url)))


async def _looked(url: str) -> tuple[str, ...]:
    endpoint = parse_url(url)
    found: list[DurabilityWarning] = []

    async def prepare(send: Callable[..., asyncio.Future[Any]]) -> None:
        found.extend(await examine(send, managed=bool(endpoint.service)))
        await layout.check(send)

    connection = servers(endpoint, prepare=prepare)
    try:
        with contextlib.suppress(UnsentError):
            await connection.start(within=0)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_WITHIN):
                while not connection.up and connection.fault is None:  # noqa: ASYNC110 - the connection signals neither
                    await asyncio.sleep(0.01)
        if connection.up:
            return tuple(dict.fromkeys(map(str, found)))  # most nodes of a cluster give the same warnings
        if is_permanent(connection.fault):
            raise CommandError(f"store: {connection.error}")
        return (f"it is unreachable, so it was not examined: {connection.error}",)
    finally:
        await connection.close()
