"""Consents of one account: list, grant, revoke and remove them, for one client or for all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from sidecar.ledger.accounts import Consent
from sidecar.management.operator_store import OperatorStore
from sidecar.management.targets import Target
from sidecar.store.commands import changes
from sidecar.store.commands.changes import Revoke
from sidecar.store.commands.command import ChangeCode

BATCH: Final = 1000
"""Records that one script changes: other commands wait for it."""


@dataclass(frozen=True, slots=True)
class ConsentRecord:
    """Consent of a subject to a client, or the revocation of all clients.

    Attributes:
        client_id: client id; None when the record does not name it, and for all clients.
        subject: the subject; None for every subject.
        granted: False after a revocation.
        at: time of the last change, in milliseconds since the epoch; None when the record has none.
        scopes: scopes in the record, sorted; None when it lists none.
        client_name: name that a program wrote for lists; text of a stranger.
        all_clients: True for the revocation of all clients.
    """

    client_id: str | None
    subject: str | None
    granted: bool
    at: int | None
    scopes: tuple[str, ...] | None
    client_name: str | None = None
    all_clients: bool = False

    @property
    def host(self) -> str | None:
        """Host of a client metadata document's URL; None for any other client id."""
        return host_of(self.client_id)

    @classmethod
    def of(cls, fields: Mapping[str, str], consent: Consent, *, all_clients: bool = False) -> ConsentRecord:
        """Return the record of stored fields."""
        scopes = None if consent.scopes is None else tuple(sorted(consent.scopes))
        client, subject, name = fields.get("client_id"), fields.get("subject"), fields.get("client_name")
        return cls(client, subject, consent.granted, consent.at, scopes, name, all_clients)


def host_of(client_id: str | None) -> str | None:
    """Return the host of a client metadata document's URL; None for any other client id."""
    try:
        parts = urlsplit(client_id or "")
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    if parts.scheme != "https" or not host:
        return None
    return host if port is None else f"{host}:{port}"


async def list_consents(
    store: OperatorStore, target: Target, *, client: str | None = None, subject: str | None = None
) -> list[ConsentRecord]:
    """Return the consents of an account, by host, client and subject; the revocation of all clients comes first.

    Args:
        store: the store.
        target: the account.
        client: only of this client; None for all.
        subject: only of this subject; None for all.
    """
    found = [
        ConsentRecord.of(fields, consent)
        for fields, consent in (await store.consents(target)).values()
        if client in (None, fields.get("client_id")) and subject in (None, fields.get("subject"))
    ]
    found.sort(key=lambda each: (each.host or "", each.client_id or "", each.subject or ""))
    revocation = await store.revocation(target)
    return found if revocation is None else [ConsentRecord.of({}, revocation, all_clients=True), *found]


# --- one client ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ConsentChange:
    """Outcome of a change.

    Attributes:
        created: True for a new record.
        others: number of changed records of single subjects.
        blocked: True if all other clients stay revoked.
        clients: clients with a record before the change, sorted.
        known: True if the client was one of them.
    """

    created: bool
    others: int
    blocked: bool
    clients: tuple[str, ...]
    known: bool


async def grant_consent(
    store: OperatorStore,
    target: Target,
    client: str,
    *,
    subject: str | None = None,
    scopes: Sequence[str] | None = None,
    client_name: str = "",
    by: str,
) -> ConsentChange:
    """Grant a client the consent of one subject, or of every subject.

    Args:
        store: the store.
        target: the account.
        client: client id.
        subject: None for every subject: existing consents of single subjects are granted too.
        scopes: scopes of the record, which the caller has checked; None lists none.
        client_name: name of the client for lists; empty keeps the record's.
        by: author.
    """
    before, others = await _existing(store, target, client, subject)
    names = (target.issuer, target.account, subject, client)
    command = changes.grant(*names, scopes, others=others, by=by, client_name=client_name)
    created = ChangeCode(await store.run(command)) is ChangeCode.CREATED
    return await _changed(store, target, client, before, others, created)


async def revoke_consent(
    store: OperatorStore, target: Target, client: str, *, subject: str | None = None, by: str, brief: bool = False
) -> ConsentChange:
    """Revoke a client for one subject, or for every subject: its next call is refused and its open streams end.

    Args:
        store: the store.
        target: the account.
        client: client id.
        subject: None for every subject.
        by: author.
        brief: True leaves out `clients` and `known` for one subject, which take a search of the whole store.
    """
    before, others = await _existing(store, target, client, subject)
    command = changes.revoke(target.issuer, target.account, subject, client, others=others, by=by)
    created = ChangeCode(await store.run(command)) is ChangeCode.CREATED
    if subject is not None and not brief:
        before = await store.consents(target)
        if created:
            before.pop(target.keys.consent(subject, client), None)
    return await _changed(store, target, client, before, others, created)


async def ask_again(store: OperatorStore, target: Target, client: str, *, subject: str | None = None, by: str) -> bool:
    """Remove a client's consent, granted or revoked, of one subject or of every subject: it must be approved again.

    Under `first_use` the client's next call is an approval.

    Returns:
        False when there was no record.
    """
    _, others = await _existing(store, target, client, subject)
    command = changes.forget(target.issuer, target.account, subject, client, others=others, by=by)
    return ChangeCode(await store.run(command)) is ChangeCode.DONE


_Records = dict[str, tuple[dict[str, str], Consent]]


async def _existing(
    store: OperatorStore, target: Target, client: str, subject: str | None
) -> tuple[_Records, list[str]]:
    """Return the records before a change, and keys of the client's consents that a change for every subject covers."""
    keys = target.keys
    # One record needs no search, which takes long in a large store.
    before = await store.consents(target) if subject is None else {}
    return before, [
        key for key, (fields, _) in before.items() if key == keys.consent(fields.get("subject", ""), client)
    ]


async def _changed(
    store: OperatorStore, target: Target, client: str, before: _Records, others: Sequence[str], created: bool
) -> ConsentChange:
    clients = {fields["client_id"] for fields, _ in before.values() if "client_id" in fields}
    known = bool(others) or target.keys.client(client) in before or client in clients
    blocked = await store.revocation(target) is not None
    return ConsentChange(created, len(others), blocked, tuple(sorted(clients)), known)


# --- all clients ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AllClientsChange:
    """Outcome of a change for all clients.

    Attributes:
        changed: of a revocation: True for a new record; of lifting: True when there was a revocation.
        revoked: number of consents that are revoked now and were not before.
    """

    changed: bool
    revoked: int


async def revoke_all_clients(store: OperatorStore, target: Target, *, by: str) -> AllClientsChange:
    """Revoke every client of an account, also those that register later.

    The revocation is written first, which ends all access at once; then the records are revoked, so that lists show it.
    """
    code, _ = changes.revoked_all(await store.run(changes.revoke_all(target.issuer, target.account, by=by)))
    return AllClientsChange(code is ChangeCode.CREATED, await _revoke_records(store, target, Revoke.RECORDS))


async def lift_revocation(store: OperatorStore, target: Target, *, by: str) -> AllClientsChange:
    """Lift the revocation of all clients; clients that were revoked stay revoked."""
    revoked = await _revoke_records(store, target, Revoke.COVERED)
    code = ChangeCode(await store.run(changes.lift(target.issuer, target.account, by=by)))
    return AllClientsChange(code is ChangeCode.DONE, revoked)


async def _revoke_records(store: OperatorStore, target: Target, part: Revoke) -> int:
    records = [key for pattern in target.keys.every_record for key in await store.keys(pattern)]
    revoked = 0
    for first in range(0, len(records), BATCH):
        command = changes.revoke_all(target.issuer, target.account, records[first : first + BATCH], part)
        revoked += changes.revoked_all(await store.run(command))[1]
    return revoked
