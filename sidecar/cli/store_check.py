"""What `check` says of the store: it connects once, reads, and writes nothing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, Final

from sidecar.cli.common import CommandError
from sidecar.config.settings import Settings
from sidecar.ledger import layout
from sidecar.ledger.connection import UnsentError
from sidecar.ledger.diagnosis import refuses
from sidecar.ledger.durability import Warned
from sidecar.ledger.endpoint import parse_url
from sidecar.ledger.examination import examine
from sidecar.ledger.topology import servers
from sidecar.workbench.lint import Notice

_WITHIN: Final = 3.0  # seconds; one attempt to connect takes no longer, sentinels included


def store_notices(settings: Settings) -> tuple[Notice, ...]:
    """What an operator should know of the configured store; nothing of an embedded one, which is not started.

    A store that cannot be reached is a notice, too: policies are checked where there is none.

    Raises:
        CommandError: it is there, and cannot or must not be used.
    """
    if settings.store.embedded:
        return ()
    return tuple(Notice("", f"store: {each}") for each in asyncio.run(_looked(settings.store.url)))


async def _looked(url: str) -> tuple[str, ...]:
    endpoint = parse_url(url)
    found: list[Warned] = []

    async def prepare(send: Callable[..., asyncio.Future[Any]]) -> None:
        found.extend(await examine(send, managed=bool(endpoint.service)))
        await layout.check(send)

    connection = servers(endpoint, prepare=prepare)
    try:
        with contextlib.suppress(UnsentError):
            await connection.start(within=0)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_WITHIN):
                while not connection.up and connection.fault is None:  # noqa: ASYNC110 - looks from outside
                    await asyncio.sleep(0.01)
        if connection.up:
            return tuple(dict.fromkeys(map(str, found)))  # nodes of a cluster mostly say the same
        if refuses(connection.fault):
            raise CommandError(f"store: {connection.error}")
        return (f"it cannot be reached, so nothing is known of it: {connection.error}",)
    finally:
        await connection.close()
