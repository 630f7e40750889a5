"""Store access of operations: the shipped scripts, reads, and SCAN over all servers to find records.

It has connections of its own, with a longer timeout than those of calls: a scan never delays a call.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final, TypeVar

from sidecar.config.settings.settings import StoreSettings
from sidecar.ledger.accounts import Consent
from sidecar.ledger.decoding import parse_consent
from sidecar.management.targets import Target
from sidecar.store.commands import changes
from sidecar.store.commands.changes import Inspection
from sidecar.store.commands.command import Command, Script
from sidecar.store.commands.keys import kind_of, place_of
from sidecar.store.commands.shipped import ALL_SCRIPTS
from sidecar.store.connection.layout import check, claim
from sidecar.store.connection.resp import Rewrite
from sidecar.store.connection.store_connection import (
    Argument,
    RejectedError,
    Send,
    StoreConnection,
    UnansweredError,
    UnsentError,
)
from sidecar.store.connection.store_url import parse_url
from sidecar.store.connection.topology import follow_redirects, servers
from sidecar.store.embedded.embedded_server import EmbeddedStore
from sidecar.store.health.corruption import CORRUPTION_CODES, CorruptionError, describe_corruption
from sidecar.store.health.examination import check_capabilities
from sidecar.store.script_loading import load_scripts
from sidecar.system.threads import LimitedThreads

CONNECT_WITHIN: Final = 5.0
"""Seconds for the first connection."""

_ATTEMPTS: Final = 3
_TIMEOUT: Final = 10.0  # SCAN and long scripts may take longer than the timeout of calls
_COUNT: Final = 1000

T = TypeVar("T")


class OperatorStore:
    """Store as operations use it; it reconnects by itself.

    Args:
        settings: the configured store.
        read_only: True does not mark an empty store with the layout's version; operations must not write either.
    """

    def __init__(self, settings: StoreSettings, *, read_only: bool = False) -> None:
        self._threads = LimitedThreads("operator store")
        self._computing = LimitedThreads("verification")
        self._embedded = EmbeddedStore(settings.directory) if settings.embedded else None
        self._servers = servers(
            parse_url(settings.url if self._embedded is None else self._embedded.url),
            prepare=prepare_reading if read_only else prepare,
            # The server found by `start` may be about to end, or may be killed before the connection is made.
            before_connect=None if self._embedded is None else self._ensure,
            timeout=_TIMEOUT,
        )

    async def start(self, within: float = CONNECT_WITHIN) -> None:
        """Connect; the embedded store is started if it does not run. `close` must follow, also after a failure.

        Args:
            within: seconds for the first connection; attempts continue after it failed.

        Raises:
            StoreError: the store is unreachable or unusable.
            OSError: the embedded store cannot be started.
        """
        if self._embedded is not None:
            await self._threads.run(self._embedded.enter)
        await self._servers.start(within)

    async def close(self) -> None:
        """Disconnect, and stop the embedded store if nothing else uses it."""
        await self._servers.close()
        if self._embedded is not None:
            await self._threads.run(self._embedded.leave)

    async def run(self, command: Command) -> Any:
        """Run a script, with retries: scripts of changes are idempotent or name their operation.

        Raises:
            StoreError: the script did not run, or its outcome is unknown.
        """
        try:
            return await self._call(command.key, command.words(), command.script)
        except RejectedError as error:
            raise await describe_corruption(self._servers.at(command.key).send, command, error) from error

    async def compute(self, function: Callable[..., T], *arguments: Any) -> T:
        """Run a long computation in a thread: a journal takes a tenth of a second, in which calls would wait."""
        return await self._computing.run(function, *arguments)

    async def inspect(self, target: Target) -> Inspection:
        """Read the current state of an account."""
        return changes.inspected(await self.run(changes.inspect(target.keys)))

    @property
    def nodes(self) -> Sequence[StoreConnection]:
        """Servers with keys, for `scan_step`.

        Raises:
            UnsentError: some keys have no server.
        """
        return self._servers.nodes

    async def scan_step(self, node: StoreConnection, cursor: int, pattern: str, count: int) -> tuple[int, set[str]]:
        """Run one step of a scan on one server; return the cursor of the next one, 0 at the end, and the keys."""
        reply = await _with_retries(partial(node.call, "SCAN", cursor, "MATCH", pattern, "COUNT", count))
        return int(reply[0]), {key.decode(errors="replace") for key in reply[1]}

    async def keys(self, pattern: str) -> list[str]:
        """Return all keys of a pattern, sorted."""
        found: set[str] = set()
        async for batch in self.scan(pattern):
            found |= batch
        return sorted(found)

    async def scan(self, pattern: str) -> AsyncIterator[set[str]]:
        """Return the keys of a pattern in batches; a key may be in several."""
        # A pattern of one account needs that account's server only: a revocation works while others are unreachable.
        all_accounts = "{*}" in pattern
        for node in self._servers.nodes if all_accounts else [self._servers.at(pattern)]:
            cursor, batch = await self.scan_step(node, 0, pattern, _COUNT)
            yield batch
            while cursor:
                cursor, batch = await self.scan_step(node, cursor, pattern, _COUNT)
                yield batch

    async def fields(self, key: str) -> dict[bytes, bytes]:
        """Return the fields of a hash as they are stored; none when the key does not exist.

        Raises:
            CorruptionError: the key has another type.
        """
        try:
            reply = await self.read("HGETALL", key)
        except RejectedError as error:
            if error.code not in CORRUPTION_CODES:
                raise
            raise CorruptionError(f"{place_of(key)} is not a {kind_of(key)}") from error
        return dict(zip(reply[::2], reply[1::2], strict=True))

    async def record(self, key: str) -> dict[str, str]:
        """Return the fields of a hash as text; none when the key does not exist.

        Raises:
            CorruptionError: the key has another type.
        """
        return texts(await self.fields(key))

    async def read(self, *words: Argument) -> Any:
        """Run a command that only reads one key, with retries."""
        key = words[words.index("STREAMS") + 1 if "STREAMS" in words else 1]
        return await self._call(str(key), words)

    async def consents(self, target: Target) -> dict[str, tuple[dict[str, str], Consent]]:
        """Read every consent record of an account by key: its fields and its meaning.

        Records for every subject are included. A key of another type is skipped: it grants nothing, and must
        not prevent a revocation.
        """
        found = {}
        for key in [key for pattern in target.keys.every_record for key in await self.keys(pattern)]:
            try:
                fields = await self.record(key)
            except CorruptionError:
                continue
            consent = parse_consent(fields)
            if consent is not None:
                found[key] = fields, consent
        return found

    async def revocation(self, target: Target) -> Consent | None:
        """Read the revocation of all clients; None when new clients are let in, or when the key has another type."""
        try:
            found = parse_consent(await self.record(target.keys.revocation))
        except CorruptionError:
            return None
        return None if found is None or found.granted else found

    async def _call(self, key: str, words: Sequence[Argument], script: Script | None = None) -> Any:
        async def once() -> Any:
            try:
                return await self._servers.at(key).call(*words)
            except RejectedError as refused:
                return await follow_redirects(self._servers, refused, key, words, script)

        return await _with_retries(once)

    async def _ensure(self) -> None:
        if self._embedded is not None:
            await self._threads.run(self._embedded.ensure)


def texts(fields: dict[bytes, bytes]) -> dict[str, str]:
    """Return the fields of a record as text; invalid UTF-8 of other programs is replaced."""
    return {name.decode(errors="replace"): value.decode(errors="replace") for name, value in fields.items()}


async def _with_retries(ask: Callable[[], Awaitable[T]]) -> T:
    for _ in range(_ATTEMPTS - 1):
        try:
            return await ask()
        except (UnsentError, UnansweredError):
            await asyncio.sleep(0.1)
    return await ask()


async def prepare(send: Send) -> Rewrite:
    """Prepare a new connection: check the server, mark an empty store with the layout's version, load the scripts."""
    await check_capabilities(send)
    await claim(send)
    return await load_scripts(send, ALL_SCRIPTS)


async def prepare_reading(send: Send) -> Rewrite:
    """Prepare a new connection that only reads: check the server and the layout's version, load the scripts.

    It loads no functions: they are a part of what the store keeps.
    """
    await check_capabilities(send)
    await check(send)
    return await load_scripts(send, ALL_SCRIPTS)
