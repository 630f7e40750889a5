"""Clients of one holder: the consent that applies to each, and its use as far as the journal reaches. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from sidecar.ledger.journal.entries import Entry, parse_whole
from sidecar.management.consent_records import ConsentRecord
from sidecar.store.commands.keys import client_digest

_CREDIT = "credit:"


@dataclass(slots=True)
class ClientUse:
    """Calls of a client in the entries that were read.

    Attributes:
        last: time of the latest one, in milliseconds since the epoch; None without one.
        credits: credits spent per pool.
    """

    last: int | None = None
    credits: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HolderClient:
    """Client that may act for a holder, or did.

    Attributes:
        client_id: as the token names it; hostile text.
        name: name in the consent record; hostile text, None without one.
        host: host of a client id that is a URL; None for any other.
        connected: False after a revocation.
        since: time of the consent or revocation, in milliseconds since the epoch; None when the record has none.
        scopes: scopes in the record; None when it lists none.
        use: its use.
    """

    client_id: str
    name: str | None
    host: str | None
    connected: bool
    since: int | None
    scopes: tuple[str, ...] | None
    use: ClientUse

    @property
    def reference(self) -> str:
        """Digest that names the client in forms: ids may have thousands of characters."""
        return client_digest(self.client_id)


def holder_clients(records: Iterable[ConsentRecord], subject: str, uses: Mapping[str, ClientUse]) -> list[HolderClient]:
    """Return the clients of a holder: connected ones first, then the latest.

    Args:
        records: those of the account; records of other subjects are left out.
        subject: the holder.
        uses: use per client id.
    """
    own: dict[str, ConsentRecord] = {}
    every: dict[str, ConsentRecord] = {}
    revocation: ConsentRecord | None = None
    for record in records:
        if record.all_clients:
            revocation = record
        elif record.client_id is not None and record.subject in (subject, None):
            (every if record.subject is None else own)[record.client_id] = record
    found = []
    for client in own.keys() | every.keys():
        if client in own and client in every:
            applies = _applying(own[client], every[client])
        else:
            applies = own[client] if client in own else every[client]
        name = applies.client_name or next((each[client].client_name for each in (own, every) if client in each), None)
        connected = applies.granted and (revocation is None or _is_newer(applies, revocation))
        use = uses.get(client) or ClientUse()
        found.append(HolderClient(client, name, applies.host, connected, applies.at, applies.scopes, use))
    return sorted(found, key=lambda each: (not each.connected, -(each.since or 0), each.client_id))


def client_uses(entries: Iterable[Entry]) -> dict[str, ClientUse]:
    """Return the use of each client in entries of the journal, in any order."""
    found: dict[str, ClientUse] = {}
    for entry in entries:
        client = entry.fields.get("client")
        if client is None or entry.fields.get("event", "").startswith("consent_"):
            continue
        use = found.setdefault(client, ClientUse())
        use.last = max(use.last or 0, entry.at)
        for pool, spent in spent_credits(entry).items():
            use.credits[pool] = use.credits.get(pool, 0) + spent
    return found


def spent_credits(entry: Entry) -> dict[str, int]:
    """Return the credits of an entry per pool."""
    named = ((name.removeprefix(_CREDIT), value) for name, value in entry.fields.items() if name.startswith(_CREDIT))
    amounts = ((pool, parse_whole(value)) for pool, value in named)
    return {pool: amount for pool, amount in amounts if amount}


def _applying(own: ConsentRecord, every: ConsentRecord) -> ConsentRecord:
    """Return the record that decides, by the rule of `lua/consents.lua`.

    A revocation for one subject stands; one for every subject is overridden by a newer consent of that subject.
    """
    if not own.granted or every.granted or _is_newer(own, every):
        return own
    return every


def _is_newer(one: ConsentRecord, other: ConsentRecord) -> bool:
    return one.at is not None and other.at is not None and one.at > other.at
