"""Consents of one client in all accounts of an issuer.

No index of clients exists: every consent record of the store is read, in batches, on every server.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field

from sidecar.ledger.accounts import Consent
from sidecar.ledger.decoding import parse_consent
from sidecar.management.consent_records import ConsentRecord
from sidecar.management.failures import FailureCode, ManagementError
from sidecar.management.operator_store import OperatorStore
from sidecar.store.commands import changes
from sidecar.store.commands.keys import EVERY_CONSENT_KEY, account_keys, every_client_key, keys_of
from sidecar.store.connection.store_connection import RejectedError, StoreError
from sidecar.store.health.corruption import CorruptionError

Progress = Callable[[int, int], None]
"""Called after each batch with the number of records read, and of those of the client."""


@dataclass(frozen=True, slots=True)
class FoundConsent:
    """Consent to the client, with the account that its record names."""

    key: str
    account: str
    record: ConsentRecord


@dataclass(slots=True)
class ClientSearch:
    """Search for the records of one client in all accounts of an issuer.

    Attributes:
        read: number of records read.
        unreadable: keys of records that do not say which client or account they are for.
    """

    store: OperatorStore
    issuer: str
    client: str
    progress: Progress = lambda _read, _found: None
    read: int = 0
    unreadable: set[str] = field(default_factory=set)

    async def batches(self) -> AsyncIterator[list[FoundConsent]]:
        """Return the records in batches, each record once."""
        seen: set[str] = set()
        for pattern in (every_client_key(self.client), EVERY_CONSENT_KEY):
            async for keys in self.store.scan(pattern):
                self.read += len(keys)
                self.progress(self.read, len(seen))
                found = await asyncio.gather(*map(self._match, sorted(keys - seen)))
                records = [each for each in found if each is not None]
                seen.update(each.key for each in records)
                yield records

    async def _match(self, key: str) -> FoundConsent | None:
        try:
            fields = await self.store.record(key)
            account = keys_of(key)
        except (CorruptionError, ValueError):
            return None  # a key of another type, or of no account, grants nothing
        consent: Consent | None = parse_consent(fields)
        if consent is None or not self._is_mine(key, fields):
            return None
        issuer, name = fields.get("issuer"), fields.get("account")
        if issuer is None or name is None or account_keys(issuer, name) != account:
            self.unreadable.add(key)
            return None
        return FoundConsent(key, name, ConsentRecord.of(fields, consent)) if issuer == self.issuer else None

    def _is_mine(self, key: str, fields: Mapping[str, str]) -> bool:
        """Return True for a record of the client: by its key, or by its name in a record with the wrong key."""
        keys, client_id, subject = keys_of(key), fields.get("client_id"), fields.get("subject")
        if client_id is None and subject is None and key != keys.client(self.client):
            self.unreadable.add(key)
            return False
        keys_of_client = (keys.client(self.client), keys.consent(subject or "", self.client))
        return client_id == self.client or key in keys_of_client


@dataclass(slots=True)
class ClientRevocation:
    """Accounts by the effect of a revocation.

    Attributes:
        revoked: accounts in which the client was revoked now.
        already: accounts in which it was revoked before.
        failed: accounts whose records the store rejects to change, with the reason.
    """

    revoked: set[str] = field(default_factory=set)
    already: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)


async def revoke_client(search: ClientSearch, *, by: str) -> ClientRevocation:
    """Revoke a client in every account of an issuer that has a record of it; a repetition goes on.

    Raises:
        ManagementError: `store_unavailable`; the message gives the number of accounts done.
    """
    outcome = ClientRevocation()
    try:
        async for batch in search.batches():
            accounts = defaultdict[str, list[FoundConsent]](list)
            for found in batch:
                accounts[found.account].append(found)
            for account, several in accounts.items():
                await _revoke_in(search, account, several, outcome, by)
    except StoreError as error:
        done = len(outcome.revoked)
        accounts_done = f"{done} account" if done == 1 else f"{done} accounts"
        text = f"store: {error}; the client is revoked in {accounts_done} so far"
        raise ManagementError(FailureCode.STORE_UNAVAILABLE, text) from error
    return outcome


async def _revoke_in(
    search: ClientSearch, account: str, several: list[FoundConsent], outcome: ClientRevocation, by: str
) -> None:
    """Revoke the client for every subject of an account, unless all of that is revoked already."""
    every = account_keys(search.issuer, account).client(search.client)
    granted = [each.key for each in several if each.record.granted and each.key != every]
    try:
        if not granted and await _is_revoked(search.store, every):
            outcome.already.add(account)
            return
        await search.store.run(changes.revoke(search.issuer, account, None, search.client, others=granted, by=by))
    except RejectedError as error:  # of this account only
        outcome.failed[account] = str(error)
    else:
        outcome.revoked.add(account)


async def _is_revoked(store: OperatorStore, key: str) -> bool:
    try:
        fields = await store.record(key)
    except CorruptionError:
        return False
    return fields.get("status") == "revoked"
