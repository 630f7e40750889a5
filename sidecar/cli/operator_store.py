"""The store, as a command uses it: the shipped scripts, reads, and SCAN over all servers to find records."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeVar

from sidecar.cli.common import CommandError, issuer_id
from sidecar.config.settings import Settings, Store
from sidecar.ledger import changes, scripts
from sidecar.ledger.accounts import Consent
from sidecar.ledger.changes import Inspection
from sidecar.ledger.command import Command
from sidecar.ledger.connection import Argument, Connection, RejectedError, StoreError, UnansweredError, UnsentError
from sidecar.ledger.damage import DAMAGED, DamagedError, explained
from sidecar.ledger.embedded import EmbeddedStore
from sidecar.ledger.endpoint import parse_url
from sidecar.ledger.examination import capable
from sidecar.ledger.keys import AccountKeys, account_keys, kind_of, place_of
from sidecar.ledger.layout import claim
from sidecar.ledger.stored import UnreadableError, parse_consent
from sidecar.ledger.topology import Servers, ask_again, servers

_CONNECT_WITHIN: Final = 5.0
_ATTEMPTS: Final = 3
_TIMEOUT: Final = 10.0  # SCAN and long scripts may take longer than a call may wait
_COUNT: Final = 1000

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Target:
    """The account that a command is about."""

    issuer: str
    account: str

    @classmethod
    def of(cls, arguments: argparse.Namespace, settings: Settings) -> Target:
        """The account that the command line names."""
        return cls(issuer_id(arguments, settings), arguments.account)

    @property
    def keys(self) -> AccountKeys:
        """Where it is kept."""
        return account_keys(self.issuer, self.account)

    def __str__(self) -> str:
        return f"{self.account} ({self.issuer})"


class Session:
    """What one command asks the store."""

    def __init__(self, asked: Servers) -> None:
        self._servers = asked

    async def run(self, command: Command) -> Any:
        """Run a script. All that commands run may run twice: each is idempotent or names its operation.

        Raises:
            StoreError: it did not run, or nobody knows.
        """
        try:
            return await self._call(command.key, command.words(), command.script.source)
        except RejectedError as error:
            raise await explained(self._servers.at(command.key).send, command, error) from error

    async def inspect(self, target: Target) -> Inspection:
        """An account as it stands now."""
        return changes.inspected(await self.run(changes.inspect(target.keys)))

    async def keys(self, pattern: str) -> list[str]:
        """All keys of a pattern, sorted."""
        found: set[str] = set()
        everybody = "{*}" in pattern  # else it is about one account, and a revocation needs no other's server
        for node in self._servers.nodes if everybody else [self._servers.at(pattern)]:
            found |= await _scan(node, pattern)
        return sorted(found)

    async def record(self, key: str) -> dict[str, str]:
        """The fields of a hash; none when there is no such key.

        Raises:
            DamagedError: the key is something else.
        """
        try:
            reply = await self.read("HGETALL", key)
        except RejectedError as error:
            if error.code not in DAMAGED:
                raise
            raise DamagedError(f"{place_of(key)} is not a {kind_of(key)}") from error
        flat = [each.decode(errors="replace") for each in reply]
        return dict(zip(flat[::2], flat[1::2], strict=True))

    async def read(self, *words: Argument) -> Any:
        """Any command that only reads one key: it may be asked twice."""
        key = words[words.index("STREAMS") + 1 if "STREAMS" in words else 1]
        return await self._call(str(key), words)

    async def consents(self, target: Target) -> dict[str, tuple[dict[str, str], Consent]]:
        """Key, fields and meaning of every consent record of an account, those for every subject included.

        A key that is no record is none: it grants nothing, and must be in no revocation's way.
        """
        found = {}
        for key in [*await self.keys(target.keys.every_client), *await self.keys(target.keys.every_consent)]:
            try:
                fields = await self.record(key)
            except DamagedError:
                continue
            consent = parse_consent(fields)
            if consent is not None:
                found[key] = fields, consent
        return found

    async def _call(self, key: str, words: Sequence[Argument], source: str | None = None) -> Any:
        async def once() -> Any:
            try:
                return await self._servers.at(key).call(*words)
            except RejectedError as refused:
                return await ask_again(self._servers, refused, key, words, source)

        return await _patiently(once)


async def _patiently(ask: Callable[[], Awaitable[T]]) -> T:
    for _ in range(_ATTEMPTS - 1):
        try:
            return await ask()
        except (UnsentError, UnansweredError):
            await asyncio.sleep(0.1)
    return await ask()


async def _scan(node: Connection, pattern: str) -> set[str]:
    found: set[str] = set()
    cursor = b"0"
    while True:
        words = ("SCAN", cursor, "MATCH", pattern, "COUNT", _COUNT)
        cursor, batch = await _patiently(partial(node.call, *words))
        found.update(key.decode(errors="replace") for key in batch)
        if cursor == b"0":
            return found


def with_store(settings: Settings, work: Callable[[Session], Awaitable[T]]) -> T:
    """Connect to the configured store (starting the embedded one if nobody has), work, and leave.

    Raises:
        CommandError: the store cannot be reached or refuses; the message is for the operator.
    """
    return asyncio.run(_with_store(settings.store, work))


async def _with_store(store: Store, work: Callable[[Session], Awaitable[T]]) -> T:
    embedded = EmbeddedStore(store.directory) if store.embedded else None
    try:
        if embedded is not None:
            embedded.enter()
        asked = servers(
            parse_url(store.url if embedded is None else embedded.url),
            prepare=_prepare,
            # The server met on entering may just have been ending, or be killed meanwhile.
            before=None if embedded is None else partial(asyncio.to_thread, embedded.ensure),
            timeout=_TIMEOUT,
        )
        try:
            await asked.start(_CONNECT_WITHIN)
            return await work(Session(asked))
        finally:
            await asked.close()
    except (DamagedError, UnreadableError) as error:
        raise CommandError(f"store: {error}; how to repair it: docs/repair.md") from error
    except RejectedError as error:
        raise CommandError(f"store: it refuses: {error}") from error
    except (StoreError, OSError, ValueError) as error:
        raise CommandError(f"store: {error}") from error
    finally:
        if embedded is not None:
            embedded.leave()


async def _prepare(send: Callable[..., asyncio.Future[Any]]) -> None:
    await capable(send)
    await claim(send)
    loads = [send("SCRIPT", "LOAD", script.source) for script in scripts.scripts]
    for load in loads:
        await load
