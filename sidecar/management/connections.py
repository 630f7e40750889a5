"""Connected clients of one subject: which have its consent, when each was last used, and what it has spent.

The account's list names the consents that scripts and sidecars have written, and the journal names the clients that
have called; no scan of the store is needed. A consent that another program has written directly, without listing it,
is missing until its client calls or begins a session.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

from sidecar.ledger.accounts import Consent
from sidecar.ledger.admission import applying_consent
from sidecar.ledger.decoding import parse_consent
from sidecar.ledger.journal.entries import parse_entry_id
from sidecar.management.consent_records import host_of
from sidecar.management.targets import Target
from sidecar.model import MAX_AMOUNT
from sidecar.store.commands import changes, connection_commands
from sidecar.store.commands.command import Command
from sidecar.store.commands.connection_commands import ClientUsage
from sidecar.store.commands.keys import place_of

HOLDER: Final = "holder"
"""Author of changes that an account holder makes."""

MAX_READ: Final = 10_000
"""Most consents, and most entries of the journal, that a list reads."""

_PAGE: Final = 500  # records or entries of one script


class Runner(Protocol):
    """Store as these operations use it: that of calls, or `OperatorStore`."""

    async def run(self, command: Command) -> Any:
        """Run a script and return its reply."""


@dataclass(frozen=True, slots=True)
class Connection:
    """Client that has, or had, the consent of a subject.

    Attributes:
        client_id: client id; it may be a URL.
        granted: False after a revocation.
        since: time of the consent or revocation that applies, in milliseconds since the epoch; None when unknown.
        scopes: scopes of the consent, sorted; None when it lists none: those of the token count.
        client_name: name that a program wrote for lists; text of a stranger.
        last_used: time of the client's latest entry in the journal; None when the journal has none.
        last_tool: tool of that entry.
        credits: credits spent per pool, as far as the journal reaches.
    """

    client_id: str
    granted: bool
    since: int | None
    scopes: tuple[str, ...] | None
    client_name: str | None = None
    last_used: int | None = None
    last_tool: str | None = None
    credits: Mapping[str, int] | None = None

    @property
    def host(self) -> str | None:
        """Host of a client metadata document's URL; None for any other client id."""
        return host_of(self.client_id)


async def list_connections(
    store: Runner, target: Target, subject: str, also: Iterable[str] = (), *, entries: int = MAX_READ
) -> list[Connection]:
    """Return the clients of a subject: those with its consent first, then by the latest use or change.

    Args:
        store: the store.
        target: the account.
        subject: the subject, whose own consents and those for every subject are returned.
        also: client ids that a search has found, of which the list and the journal need not know.
        entries: most entries of the journal to read, the latest ones.
    """
    usage = await _usage(store, target, subject, entries)
    revocation, records = await _records(store, target, subject, {*usage, *also})
    found = [
        replace(each, last_used=_time(used), last_tool=used.tool, credits=used.credits) if used else each
        for each, used in ((each, usage.get(each.client_id)) for each in _connections(records, revocation))
    ]
    latest = {each.client_id: max(each.last_used or 0, each.since or 0) for each in found}
    return sorted(found, key=lambda each: (not each.granted, -latest[each.client_id], each.client_id))


async def revoke_connection(store: Runner, target: Target, subject: str, client_id: str) -> Connection | None:
    """Revoke a client for one subject: its next call is refused, and its open streams end at once.

    Returns:
        The connection as it was before; None, without a change, when the subject has no consent to this client.
    """
    names = _names(target, subject, [client_id])
    reply = connection_commands.consents(
        await store.run(connection_commands.connections(target.keys, subject, 0, 0, names))
    )
    found = _connections(_named(reply.records, target, subject, [client_id]), reply.revocation)
    if not found:
        return None
    await store.run(changes.revoke(target.issuer, target.account, subject, client_id, by=HOLDER))
    return found[0]


# --- reading -----------------------------------------------------------------------------------


async def _usage(store: Runner, target: Target, subject: str, entries: int) -> dict[str, ClientUsage]:
    """Return the use of each client, from the latest entries of the journal."""
    found: dict[str, ClientUsage] = {}
    before: str | None = None
    for _ in range(0, entries, _PAGE):
        command = connection_commands.client_usage(target.issuer, target.account, subject, before, _PAGE)
        before, page = connection_commands.client_usages(await store.run(command))
        for each in page:
            known = found.get(each.client_id)
            found[each.client_id] = each if known is None else replace(known, credits=_sum(known, each))
        if before is None:
            break
    return found


def _sum(one: ClientUsage, other: ClientUsage) -> dict[str, int]:
    pools = dict.fromkeys([*one.credits, *other.credits])
    return {pool: min(MAX_AMOUNT, one.credits.get(pool, 0) + other.credits.get(pool, 0)) for pool in pools}


_Records = dict[str, Mapping[str, str]]


async def _records(
    store: Runner, target: Target, subject: str, clients: Iterable[str]
) -> tuple[Mapping[str, str], _Records]:
    """Return the revocation of all clients, and the records of the account's list and of the clients."""
    records: _Records = {}
    clients = list(clients)
    names = _names(target, subject, clients)
    for first in range(0, MAX_READ, _PAGE):
        command = connection_commands.connections(target.keys, subject, first, _PAGE, names[first : first + _PAGE])
        reply = connection_commands.consents(await store.run(command))
        records |= reply.records
        if first + _PAGE >= max(reply.listed, len(names)):
            break
    return reply.revocation, _named(records, target, subject, clients)


def _names(target: Target, subject: str, clients: Iterable[str]) -> list[str]:
    """Return the names of the records of clients."""
    keys = target.keys
    return [place_of(key) for client in clients for key in (keys.consent(subject, client), keys.client(client))]


def _named(records: Mapping[str, Mapping[str, str]], target: Target, subject: str, clients: Iterable[str]) -> _Records:
    """Return the records with their client ids, also where another program has not written it; drop the others."""
    named: _Records = {}
    by_name = {name: client for client in clients for name in _names(target, subject, [client])}
    for name, fields in records.items():
        client = by_name.get(name) or fields.get("client_id", "")
        # Nothing that a record says makes it that of another client.
        if client and name in _names(target, subject, [client]):
            named[name] = {**fields, "client_id": client}
    return named


# --- meaning -----------------------------------------------------------------------------------


def _connections(records: _Records, revocation: Mapping[str, str]) -> list[Connection]:
    by_client: dict[str, dict[str, Mapping[str, str]]] = {}
    for name, fields in records.items():
        by_client.setdefault(fields["client_id"], {})[name.partition(":")[0]] = fields
    all_clients = parse_consent(revocation)
    found = (_connection(client, parts, all_clients) for client, parts in by_client.items())
    return [each for each in found if each is not None]


def _connection(client: str, parts: Mapping[str, Mapping[str, str]], all_clients: Consent | None) -> Connection | None:
    own, every = parts.get("consent", {}), parts.get("client", {})
    applies = applying_consent(parse_consent(own), parse_consent(every), all_clients)
    if applies is None:
        return None
    scopes = None if applies.scopes is None else tuple(sorted(applies.scopes))
    name = own.get("client_name") or every.get("client_name")
    return Connection(client, applies.granted, applies.at, scopes, name)


def _time(used: ClientUsage) -> int | None:
    return parse_entry_id(used.last)[0] or None
