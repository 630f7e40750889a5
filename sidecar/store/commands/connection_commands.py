"""Commands that read which clients a subject has let in, and what they have used, and the readers of their replies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sidecar.store.commands.command import Command, text
from sidecar.store.commands.keys import AccountKeys, account_keys
from sidecar.store.commands.shipped import CLIENT_USAGE, CONNECTIONS


@dataclass(frozen=True, slots=True)
class SubjectConsents:
    """Consents that one subject may see.

    Attributes:
        listed: length of the account's list.
        revocation: fields of the revocation of all clients; none without one.
        records: fields of each record, by its name: `consent:C` of the subject, `client:K` of every subject.
    """

    listed: int
    revocation: Mapping[str, str]
    records: Mapping[str, Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class ClientUsage:
    """Use of one client by one subject in a part of the journal.

    Attributes:
        client_id: client id.
        last: id of its latest entry.
        tool: tool of that entry; None when the entry names none.
        credits: credits spent per pool.
    """

    client_id: str
    last: str
    tool: str | None
    credits: Mapping[str, int]


def connections(keys: AccountKeys, subject: str, first: int, count: int, names: Sequence[str] = ()) -> Command:
    """Read consents of a subject: some of the account's list, and some by name; `consents` reads the reply.

    Args:
        keys: keys of the account.
        subject: the subject.
        first: place in the list to begin with, from 0, the latest first.
        count: number of places; the script reads as many records, while other commands wait.
        names: names of further records, without the account's prefix.
    """
    return Command(CONNECTIONS, (keys.consents, keys.revocation), (subject, first, count, *names))


def consents(reply: Any) -> SubjectConsents:
    """Read the reply of `connections`."""
    listed, revocation, *flat = reply
    names = map(text, flat[::2])
    return SubjectConsents(int(listed), _pairs(revocation), dict(zip(names, map(_pairs, flat[1::2]), strict=True)))


def client_usage(issuer_id: str, account: str, subject: str, before: str | None, count: int) -> Command:
    """Sum the use of a subject's clients over a page of the journal; `client_usages` reads the reply.

    Args:
        issuer_id: issuer of the account.
        account: the account.
        subject: the subject.
        before: id of the last entry of the page before; None begins with the latest entry.
        count: most entries; other commands wait while the script reads them.
    """
    start = "+" if before is None else f"({before}"
    return Command(CLIENT_USAGE, (account_keys(issuer_id, account).usage,), (subject, account, start, count))


def client_usages(reply: Any) -> tuple[str | None, list[ClientUsage]]:
    """Return the id of the page's last entry, None when it was empty, and the use of each client."""
    last, *clients = reply
    return text(last) or None, [_usage(list(map(text, words))) for words in clients]


def _usage(words: list[str]) -> ClientUsage:
    client, last, tool, *spent = words
    return ClientUsage(client, last, tool or None, dict(zip(spent[::2], map(int, spent[1::2]), strict=True)))


def _pairs(flat: Sequence[Any]) -> dict[str, str]:
    words = list(map(text, flat))
    return dict(zip(words[::2], words[1::2], strict=True))
