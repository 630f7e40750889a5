"""Store access of commands: the shipped scripts, reads, and SCAN over all servers to find records."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeVar

from sidecar.cli.common import CommandError, issuer_id
from sidecar.config.settings.settings import Settings, StoreSettings
from sidecar.ledger.accounts import Consent
from sidecar.ledger.decoding import UnreadableError, parse_consent
from sidecar.store.commands import changes, scripts
from sidecar.store.commands.changes import Inspection
from sidecar.store.commands.command import Command
from sidecar.store.commands.keys import AccountKeys, account_keys, kind_of, place_of
from sidecar.store.connection.layout import check, claim
from sidecar.store.connection.store_connection import (
    Argument,
    RejectedError,
    StoreConnection,
    StoreError,
    UnansweredError,
    UnsentError,
)
from sidecar.store.connection.store_url import parse_url
from sidecar.store.connection.topology import Servers, follow_redirects, servers
from sidecar.store.embedded.embedded_server import EmbeddedStore
from sidecar.store.health.corruption import CORRUPTION_CODES, CorruptionError, describe_corruption
from sidecar.store.health.examination import check_capabilities

_CONNECT_WITHIN: Final = 5.0
_ATTEMPTS: Final = 3
_TIMEOUT: Final = 10.0  # SCAN and long scripts may take longer than the timeout of calls
_COUNT: Final = 1000

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Target:
    """Account that a command reads or changes."""

    issuer: str
    account: str

    @classmethod
    def of(cls, arguments: argparse.Namespace, settings: Settings) -> Target:
        """Return the account that the command line names."""
        return cls(issuer_id(arguments, settings), arguments.account)

    @property
    def keys(self) -> AccountKeys:
        """Keys of the account in the store."""
        return account_keys(self.issuer, self.account)

    def __str__(self) -> str:
        return f"{self.account} ({self.issuer})"


class Session:
    """Session of one command with the store."""

    def __init__(self, asked: Servers) -> None:
        self._servers = asked

    async def run(self, command: Command) -> Any:
        """Run a script, with retries: scripts of commands are idempotent or name their operation.

        Raises:
            StoreError: the script did not run, or its outcome is unknown.
        """
        try:
            return await self._call(command.key, command.words(), command.script.source)
        except RejectedError as error:
            raise await describe_corruption(self._servers.at(command.key).send, command, error) from error

    async def inspect(self, target: Target) -> Inspection:
        """Read the current state of an account."""
        return changes.inspected(await self.run(changes.inspect(target.keys)))

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
            async for batch in _scan(node, pattern):
                yield batch

    async def record(self, key: str) -> dict[str, str]:
        """Return the fields of a hash; none when the key does not exist.

        Raises:
            CorruptionError: the key has another type.
        """
        try:
            reply = await self.read("HGETALL", key)
        except RejectedError as error:
            if error.code not in CORRUPTION_CODES:
                raise
            raise CorruptionError(f"{place_of(key)} is not a {kind_of(key)}") from error
        flat = [each.decode(errors="replace") for each in reply]
        return dict(zip(flat[::2], flat[1::2], strict=True))

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

    async def _call(self, key: str, words: Sequence[Argument], source: str | None = None) -> Any:
        async def once() -> Any:
            try:
                return await self._servers.at(key).call(*words)
            except RejectedError as refused:
                return await follow_redirects(self._servers, refused, key, words, source)

        return await _with_retries(once)


async def _with_retries(ask: Callable[[], Awaitable[T]]) -> T:
    for _ in range(_ATTEMPTS - 1):
        try:
            return await ask()
        except (UnsentError, UnansweredError):
            await asyncio.sleep(0.1)
    return await ask()


async def _scan(node: StoreConnection, pattern: str) -> AsyncIterator[set[str]]:
    cursor = b"0"
    while True:
        words = ("SCAN", cursor, "MATCH", pattern, "COUNT", _COUNT)
        cursor, batch = await _with_retries(partial(node.call, *words))
        yield {key.decode(errors="replace") for key in batch}
        if cursor == b"0":
            return


def with_store(
    settings: Settings,
    work: Callable[[Session], Awaitable[T]],
    *,
    read_only: bool = False,
    connect_within: float = _CONNECT_WITHIN,
) -> T:
    """Connect to the configured store, run `work`, and disconnect; the embedded store is started if it does not run.

    Args:
        settings: the config.
        work: runs with the session.
        read_only: True does not mark an empty store with the layout's version; `work` must not write either.
        connect_within: seconds for the connection.

    Raises:
        CommandError: the store is unreachable or rejects a command; the message is for the operator.
    """
    return asyncio.run(_with_store(settings.store, work, _prepare_reading if read_only else _prepare, connect_within))


async def _with_store(
    store: StoreSettings,
    work: Callable[[Session], Awaitable[T]],
    prepare: Callable[[Callable[..., asyncio.Future[Any]]], Awaitable[None]],
    within: float,
) -> T:
    embedded = EmbeddedStore(store.directory) if store.embedded else None
    try:
        if embedded is not None:
            embedded.enter()
        asked = servers(
            parse_url(store.url if embedded is None else embedded.url),
            prepare=prepare,
            # The server found by enter() may be about to end, or may be killed before the connection is made.
            before_connect=None if embedded is None else partial(asyncio.to_thread, embedded.ensure),
            timeout=_TIMEOUT,
        )
        try:
            await asked.start(within)
            return await work(Session(asked))
        finally:
            await asked.close()
    except (CorruptionError, UnreadableError) as error:
        raise CommandError(f"store: {error}; to repair it, see docs/repair.md") from error
    except RejectedError as error:
        raise CommandError(f"store: it rejects the command: {error}") from error
    except (StoreError, OSError, ValueError) as error:
        raise CommandError(f"store: {error}") from error
    finally:
        if embedded is not None:
            embedded.leave()


async def _prepare(send: Callable[..., asyncio.Future[Any]]) -> None:
    await check_capabilities(send)
    await claim(send)
    await _load_scripts(send)


async def _prepare_reading(send: Callable[..., asyncio.Future[Any]]) -> None:
    await check_capabilities(send)
    await check(send)
    await _load_scripts(send)


async def _load_scripts(send: Callable[..., asyncio.Future[Any]]) -> None:
    loads = [send("SCRIPT", "LOAD", script.source) for script in scripts.scripts]
    for load in loads:
        await load
