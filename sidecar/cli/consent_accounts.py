"""`consent list --client` and `consent revoke --client --all-accounts`: records of one client in all accounts.

No index of clients exists: every consent record of the store is read, in batches, on every server.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from sidecar.cli.common import CommandError, emit, issuer_id, plural, shown, table
from sidecar.cli.consent_lists import HEADS, cells, facts
from sidecar.cli.operator_store import Session, with_store
from sidecar.config.files import load_settings
from sidecar.ledger.accounts import Consent
from sidecar.ledger.decoding import parse_consent
from sidecar.store.commands import changes
from sidecar.store.commands.keys import EVERY_CONSENT_KEY, account_keys, every_client_key, keys_of
from sidecar.store.connection.store_connection import RejectedError, StoreError
from sidecar.store.health.corruption import CorruptionError

_PROGRESS_EVERY: Final = 50_000  # records


@dataclass(frozen=True, slots=True)
class _Record:
    """Record of the client, with the account that it names."""

    key: str
    account: str
    fields: Mapping[str, str]
    consent: Consent


@dataclass(slots=True)
class _Search:
    """Search for the records of one client in all accounts of an issuer.

    Attributes:
        read: number of records read.
        unreadable: keys of records that do not say which client or account they are for.
    """

    session: Session
    issuer: str
    client: str
    read: int = 0
    unreadable: set[str] = field(default_factory=set)

    async def batches(self) -> AsyncIterator[list[_Record]]:
        """Return the records in batches, each record once, and report progress on stderr."""
        seen: set[str] = set()
        for pattern in (every_client_key(self.client), EVERY_CONSENT_KEY):
            async for keys in self.session.scan(pattern):
                before = self.read
                self.read += len(keys)
                if before // _PROGRESS_EVERY != self.read // _PROGRESS_EVERY:
                    print(f"{self.read} records read, {len(seen)} of this client", file=sys.stderr)
                found = await asyncio.gather(*map(self._match, sorted(keys - seen)))
                records = [each for each in found if each is not None]
                seen.update(each.key for each in records)
                yield records

    async def _match(self, key: str) -> _Record | None:
        try:
            fields = await self.session.record(key)
            account = keys_of(key)
        except (CorruptionError, ValueError):
            return None  # a key of another type, or of no account, grants nothing
        consent = parse_consent(fields)
        if consent is None or not self._is_mine(key, fields):
            return None
        issuer, name = fields.get("issuer"), fields.get("account")
        if issuer is None or name is None or account_keys(issuer, name) != account:
            self.unreadable.add(key)
            return None
        return _Record(key, name, fields, consent) if issuer == self.issuer else None

    def _is_mine(self, key: str, fields: Mapping[str, str]) -> bool:
        """Return True for a record of the client: by its key, or by its name in a record with the wrong key."""
        keys, client_id, subject = keys_of(key), fields.get("client_id"), fields.get("subject")
        if client_id is None and subject is None and key != keys.client(self.client):
            self.unreadable.add(key)
            return False
        keys_of_client = (keys.client(self.client), keys.consent(subject or "", self.client))
        return client_id == self.client or key in keys_of_client


def _report(unreadable: set[str]) -> None:
    for key in sorted(unreadable):
        print(f"mcp-sidecar: record {shown(key)} does not name its issuer, account and client", file=sys.stderr)


# --- reading -----------------------------------------------------------------------------------


def show(arguments: argparse.Namespace) -> int:
    """Print the records of a client in all accounts of an issuer."""
    settings = load_settings(arguments.config)
    issuer = issuer_id(arguments, settings)

    async def read(session: Session) -> tuple[list[dict[str, Any]], set[str]]:
        search = _Search(session, issuer, arguments.id)
        found = [
            {"issuer": issuer, "account": each.account, **facts(each.fields, each.consent)}
            async for batch in search.batches()
            for each in batch
            if arguments.subject in (None, each.fields.get("subject"))
        ]
        return sorted(found, key=lambda each: (each["account"], each["subject"] or "")), search.unreadable

    found, unreadable = with_store(settings, read)
    emit(arguments, found, table(("ACCOUNT", *HEADS), ((each["account"], *cells(each)) for each in found)))
    _report(unreadable)
    return 1 if unreadable else 0


# --- revoking ----------------------------------------------------------------------------------


@dataclass(slots=True)
class _Outcome:
    """Accounts by what was done.

    Attributes:
        revoked: accounts in which the client was revoked now.
        already: accounts in which it was revoked before.
        failed: accounts whose records the store rejects to change, with the reason.
    """

    revoked: set[str] = field(default_factory=set)
    already: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)


def revoke(arguments: argparse.Namespace) -> int:
    """Revoke a client in every account of an issuer that has a record of it."""
    # A revocation reads no policy: it must work while the policy files are invalid.
    settings = load_settings(arguments.config)
    issuer, client = issuer_id(arguments, settings), arguments.id
    outcome, search = with_store(settings, lambda session: _revoke_everywhere(session, issuer, client))
    already = sorted(outcome.already - outcome.revoked)
    document = {
        "done": "revoked",
        "issuer": issuer,
        "client_id": client,
        "accounts": sorted(outcome.revoked),
        "already_revoked": already,
        "failed": outcome.failed,
        "unreadable": sorted(search.unreadable),
    }
    lines = [f"revoked: client {client} in account {account} ({issuer})" for account in sorted(outcome.revoked)]
    lines.append(
        f"{plural(len(outcome.revoked), 'account')} changed, {len(already)} had it revoked already, "
        f"{len(outcome.failed)} failed; accounts without a record of the client are not changed"
    )
    known = outcome.revoked or outcome.already or outcome.failed
    if not known:
        lines = [f"no account of issuer {issuer} has a record of client {client}: nothing was changed"]
    emit(arguments, document, lines)
    _report(search.unreadable)
    for account, reason in sorted(outcome.failed.items()):
        print(f"mcp-sidecar: account {shown(account)}: {shown(reason)}", file=sys.stderr)
    return 0 if known and not outcome.failed and not search.unreadable else 1


async def _revoke_everywhere(session: Session, issuer: str, client: str) -> tuple[_Outcome, _Search]:
    search, outcome = _Search(session, issuer, client), _Outcome()
    try:
        async for batch in search.batches():
            accounts = defaultdict[str, list[_Record]](list)
            for record in batch:
                accounts[record.account].append(record)
            for account, records in accounts.items():
                await _revoke_in(session, search, account, records, outcome)
    except StoreError as error:
        done = plural(len(outcome.revoked), "account")
        raise CommandError(f"store: {error}; the client is revoked in {done} so far: run the command again") from error
    return outcome, search


async def _revoke_in(
    session: Session, search: _Search, account: str, records: list[_Record], outcome: _Outcome
) -> None:
    """Revoke the client for every subject of an account, unless all of that is revoked already."""
    every = account_keys(search.issuer, account).client(search.client)
    granted = [each.key for each in records if each.consent.granted and each.key != every]
    try:
        if not granted and await _is_revoked(session, every):
            outcome.already.add(account)
            return
        await session.run(changes.revoke(search.issuer, account, None, search.client, others=granted))
    except RejectedError as error:  # of this account only
        outcome.failed[account] = str(error)
    else:
        outcome.revoked.add(account)


async def _is_revoked(session: Session, key: str) -> bool:
    try:
        fields = await session.record(key)
    except CorruptionError:
        return False
    return fields.get("status") == "revoked"
