"""Lists of the consents of one account, with client metadata documents grouped by their host."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import groupby
from typing import Any, Final

from sidecar.cli.common import emit, table
from sidecar.cli.store_access import target_of, with_store
from sidecar.config.files import load_settings
from sidecar.management.consent_records import ConsentRecord, host_of, list_consents

EVERY_SUBJECT: Final = "every subject"

HEADS: Final = ("SUBJECT", "STATUS", "SINCE", "SCOPES")
"""Headings of `cells`."""


def of_account(arguments: argparse.Namespace) -> int:
    """Print the consents of the account, and the revocation of all its clients."""
    settings = load_settings(arguments.config)
    target, client, subject = target_of(arguments, settings), arguments.client, arguments.subject
    found = with_store(settings, lambda store: list_consents(store, target, client=client, subject=subject))
    documents = [{**facts(each), "host": each.host, "all_clients": each.all_clients} for each in found]
    emit(arguments, documents, table(("CLIENT", *HEADS), _rows(documents)))
    return 0


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


def facts(record: ConsentRecord) -> dict[str, Any]:
    """Return what every list shows of a record."""
    return {
        "client_id": record.client_id,
        "subject": record.subject,
        "status": "granted" if record.granted else "revoked",
        "at": None if record.at is None else _time(record.at),
        "scopes": None if record.scopes is None else list(record.scopes),
    }


def cells(each: Mapping[str, Any]) -> tuple[str, ...]:
    """Return subject, status, time and scopes of a record for a table."""
    return (
        each["subject"] or f"({EVERY_SUBJECT})",
        each["status"],
        each["at"] or "-",
        "-" if each["scopes"] is None else " ".join(each["scopes"]),
    )


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
