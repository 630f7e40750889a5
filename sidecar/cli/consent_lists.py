"""Lists of the consents of one account, with client metadata documents grouped by their host."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import groupby
from typing import Any, Final
from urllib.parse import urlsplit

from sidecar.cli.common import emit, table
from sidecar.cli.operator_store import Session, Target, with_store
from sidecar.config.files import load_settings
from sidecar.ledger.accounts import Consent

EVERY_SUBJECT: Final = "every subject"

HEADS: Final = ("SUBJECT", "STATUS", "SINCE", "SCOPES")
"""Headings of `cells`."""


def of_account(arguments: argparse.Namespace) -> int:
    """Print the consents of the account, and the revocation of all its clients."""
    settings = load_settings(arguments.config)
    target = Target.of(arguments, settings)
    found = with_store(settings, lambda session: _consents(session, target, arguments.client, arguments.subject))
    emit(arguments, found, table(("CLIENT", *HEADS), _rows(found)))
    return 0


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


def by_host(clients: Iterable[str]) -> list[dict[str, Any]]:
    """Return clients grouped by the host of their metadata document; those without one come first."""
    ordered = sorted(clients, key=lambda client: (host_of(client) or "", client))
    return [{"host": host, "clients": list(group)} for host, group in groupby(ordered, host_of)]


def host_lines(clients: Iterable[str]) -> Iterator[str]:
    """Return one line per client, below a line for their host if they have one."""
    for group in by_host(clients):
        if group["host"] is not None:
            yield f"{group['host']}:"
        yield from (client if group["host"] is None else f"  {client}" for client in group["clients"])


def facts(fields: Mapping[str, str], consent: Consent) -> dict[str, Any]:
    """Return what every list shows of a record."""
    return {
        "client_id": fields.get("client_id"),
        "subject": fields.get("subject"),
        "status": "granted" if consent.granted else "revoked",
        "at": None if consent.at is None else _time(consent.at),
        "scopes": None if consent.scopes is None else sorted(consent.scopes),
    }


def cells(each: Mapping[str, Any]) -> tuple[str, ...]:
    """Return subject, status, time and scopes of a record for a table."""
    return (
        each["subject"] or f"({EVERY_SUBJECT})",
        each["status"],
        each["at"] or "-",
        "-" if each["scopes"] is None else " ".join(each["scopes"]),
    )


async def _consents(session: Session, target: Target, client: str | None, subject: str | None) -> list[dict[str, Any]]:
    found = []
    for fields, consent in (await session.consents(target)).values():
        if client not in (None, fields.get("client_id")) or subject not in (None, fields.get("subject")):
            continue
        host = host_of(fields.get("client_id"))
        found.append({**facts(fields, consent), "host": host, "all_clients": False})
    found.sort(key=lambda each: (each["host"] or "", each["client_id"] or "", each["subject"] or ""))
    revocation = await session.revocation(target)
    if revocation is not None:
        found.insert(0, {**facts({}, revocation), "host": None, "all_clients": True})
    return found


def _rows(found: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, ...]]:
    for host, group in groupby(found, lambda each: each["host"]):
        if host is not None:
            yield (f"{host}:", "", "", "", "")
        for each in group:
            name = "(every client)" if each["all_clients"] else each["client_id"] or "-"
            yield (name if host is None else f"  {name}", *cells(each))


def _time(milliseconds: int) -> str:
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="seconds")
    except (ValueError, OverflowError, OSError):
        return str(milliseconds)
