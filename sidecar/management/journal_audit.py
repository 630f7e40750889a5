"""Verification of accounts: recompute balances, counters and paid items from the journal."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from sidecar.ledger.journal.entries import Difference, Entry, JournalSnapshot
from sidecar.ledger.journal.verification import last_without_windows, lost_holds, verify
from sidecar.management.failures import FailureCode, ManagementError
from sidecar.management.journal_reading import PAGE, entries_after
from sidecar.management.operator_store import OperatorStore
from sidecar.store.commands import changes
from sidecar.store.commands.keys import EVERY_ACCOUNTS_KEY, AccountKeys, keys_of
from sidecar.store.connection.store_connection import RejectedError
from sidecar.store.health.corruption import CorruptionError

_ATTEMPTS: Final = 10  # to read all entries before some are folded
_AT_ONCE: Final = 16  # accounts read at one time, so that calls do not wait behind all of them
_VERIFIED: Final = re.compile(r"mcp:\{[0-9a-f]{32}\}:(?:ledger|holds|leases|paid|usage)")
_NAMING: Final = re.compile(r"mcp:\{[0-9a-f]{32}\}:(?:account|revocation|consent:.+|client:.+)")


class Verifiable(Protocol):
    """Account with its keys; None for a name that no record of the account says."""

    @property
    def issuer(self) -> str | None:
        """Id of its issuer."""

    @property
    def account(self) -> str | None:
        """Name of the account."""

    @property
    def keys(self) -> AccountKeys:
        """Keys of the account in the store."""


@dataclass(frozen=True, slots=True)
class Verified:
    """Result of a verification.

    Attributes:
        snapshot: stored state.
        entries: the journal's entries.
        found: differences; none when the account is correct.
        uncounted: time in milliseconds up to which entries have no windows, so that counters and paid items were not
            compared; None without any.
    """

    snapshot: JournalSnapshot
    entries: Sequence[Entry]
    found: Sequence[Difference]
    uncounted: int | None


async def read_snapshot(store: OperatorStore, target: Verifiable) -> JournalSnapshot:
    """Read the stored state of an account, which its entries are compared with.

    Raises:
        ManagementError: `account_unknown`: the store has no data of the account.
    """
    snapshot = await _snapshot(store, target)
    if snapshot.empty:
        raise ManagementError(FailureCode.ACCOUNT_UNKNOWN, f"the store has no data of account {target}")
    return snapshot


async def verify_account(store: OperatorStore, target: Verifiable) -> Verified:
    """Recompute an account from its journal.

    Raises:
        ManagementError: `account_unknown`; `busy`: its journal changes too fast.
    """
    for _ in range(_ATTEMPTS):
        snapshot = await read_snapshot(store, target)
        entries = await _entries_of(store, target, snapshot) if snapshot.types["usage"] == "stream" else []
        # One long read would block calls. Between two pages the store may fold entries: then read all of them again.
        if (await _snapshot(store, target)).folded == snapshot.folded:
            found = await store.compute(_differences, snapshot, entries)
            return Verified(snapshot, entries, found, last_without_windows(snapshot, entries))
    text = f"the journal of account {target} changes faster than it can be read: try again"
    raise ManagementError(FailureCode.BUSY, text)


def _differences(snapshot: JournalSnapshot, entries: Sequence[Entry]) -> list[Difference]:
    return [*verify(snapshot, entries), *lost_holds(snapshot, entries)]


async def _snapshot(store: OperatorStore, target: Verifiable) -> JournalSnapshot:
    return changes.audited(await store.run(changes.audit(target.keys)))


async def _entries_of(store: OperatorStore, target: Verifiable, snapshot: JournalSnapshot) -> list[Entry]:
    found: list[Entry] = []
    after = None
    while page := await entries_after(store, target.keys, after, PAGE, until=snapshot.newest):
        found += page
        after = page[-1].id
    return found


# --- all accounts ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FoundAccount:
    """Account that the store has amounts of."""

    keys: AccountKeys
    issuer: str | None
    account: str | None

    def __str__(self) -> str:
        return f"({self.keys.digest})" if self.account is None else f"{self.account} ({self.issuer})"


@dataclass(slots=True)
class Audit:
    """Verified accounts.

    Attributes:
        verified: number of them.
        wrong: those with differences.
        failed: those that cannot be read, with the reason.
    """

    verified: int = 0
    wrong: list[tuple[FoundAccount, Verified]] = field(default_factory=list)
    failed: list[tuple[FoundAccount, str]] = field(default_factory=list)


async def verify_all(
    store: OperatorStore, issuer: str | None = None, progress: Callable[[int, int], None] = lambda _read, _of: None
) -> Audit:
    """Verify every account that the store has amounts of.

    Args:
        store: the store.
        issuer: only accounts of this issuer, and those that no record names; None for all.
        progress: called now and then with the number of accounts read, and of all.
    """
    audit = Audit()
    accounts = sorted((await _accounts(store)).items())
    for first in range(0, len(accounts), _AT_ONCE):
        several = accounts[first : first + _AT_ONCE]
        await asyncio.gather(*(_verify(store, keys_of(key), names, issuer, audit) for key, names in several))
        progress(first, len(accounts))
    return audit


async def _accounts(store: OperatorStore) -> dict[str, list[str]]:
    """Return the prefix of every account with amounts, with keys of records that may name it."""
    amounts, naming = set[str](), dict[str, list[str]]()
    async for batch in store.scan(EVERY_ACCOUNTS_KEY):
        for key in batch:
            prefix = key[: key.find("}") + 2]
            if _VERIFIED.fullmatch(key):
                amounts.add(prefix)
            elif _NAMING.fullmatch(key):
                _keep(naming.setdefault(prefix, []), key)
    return {prefix: naming.get(prefix, []) for prefix in amounts}


def _keep(keys: list[str], key: str) -> None:
    """Keep the account's own record first, and one other."""
    if key.endswith(":account"):
        keys.insert(0, key)
    elif all(each.endswith(":account") for each in keys):
        keys.append(key)


async def _verify(
    store: OperatorStore, keys: AccountKeys, naming: Iterable[str], issuer: str | None, audit: Audit
) -> None:
    found = await _named(store, keys, naming)
    if issuer is not None and found.issuer not in (issuer, None):
        return
    try:
        verified = await verify_account(store, found)
    except (ManagementError, RejectedError, CorruptionError) as error:  # of this account only
        audit.failed.append((found, str(error)))
        return
    audit.verified += 1
    if verified.found:
        audit.wrong.append((found, verified))


async def _named(store: OperatorStore, keys: AccountKeys, naming: Iterable[str]) -> FoundAccount:
    for key in naming:
        try:
            fields = await store.record(key)
        except CorruptionError:
            continue
        if {"issuer", "account"} <= fields.keys():
            return FoundAccount(keys, fields["issuer"], fields["account"])
    return FoundAccount(keys, None, None)
