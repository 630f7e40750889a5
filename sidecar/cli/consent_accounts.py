"""`consent list --client` and `consent revoke --client --all-accounts`: records of one client in all accounts."""

from __future__ import annotations

import argparse
import sys
from typing import Any, Final

from sidecar.cli.common import CommandError, emit, issuer_id, plural, shown, table
from sidecar.cli.consent_lists import HEADS, cells, facts
from sidecar.cli.store_access import AUTHOR, with_store
from sidecar.config.files import load_settings
from sidecar.management.client_search import ClientRevocation, ClientSearch, revoke_client
from sidecar.management.failures import FailureCode, ManagementError
from sidecar.management.operator_store import OperatorStore

_PROGRESS_EVERY: Final = 50_000  # records


class _Progress:
    """Reports of a long search, on stderr."""

    def __init__(self) -> None:
        self._reported = 0

    def __call__(self, read: int, found: int) -> None:
        if read // _PROGRESS_EVERY != self._reported // _PROGRESS_EVERY:
            print(f"{read} records read, {found} of this client", file=sys.stderr)
        self._reported = read


def _report(unreadable: set[str]) -> None:
    for key in sorted(unreadable):
        print(f"mcp-sidecar: record {shown(key)} does not name its issuer, account and client", file=sys.stderr)


def show(arguments: argparse.Namespace) -> int:
    """Print the records of a client in all accounts of an issuer."""
    settings = load_settings(arguments.config)
    issuer = issuer_id(arguments, settings)

    async def read(store: OperatorStore) -> tuple[list[dict[str, Any]], set[str]]:
        search = ClientSearch(store, issuer, arguments.id, _Progress())
        found = [
            {"issuer": issuer, "account": each.account, **facts(each.record)}
            async for batch in search.batches()
            for each in batch
            if arguments.subject in (None, each.record.subject)
        ]
        return sorted(found, key=lambda each: (each["account"], each["subject"] or "")), search.unreadable

    found, unreadable = with_store(settings, read)
    emit(arguments, found, table(("ACCOUNT", *HEADS), ((each["account"], *cells(each)) for each in found)))
    _report(unreadable)
    return 1 if unreadable else 0


def revoke(arguments: argparse.Namespace) -> int:
    """Revoke a client in every account of an issuer that has a record of it."""
    # A revocation reads no policy: it must work while the policy files are invalid.
    settings = load_settings(arguments.config)
    issuer, client = issuer_id(arguments, settings), arguments.id
    outcome, unreadable = with_store(settings, lambda store: _revoke_everywhere(store, issuer, client))
    already = sorted(outcome.already - outcome.revoked)
    document = {
        "done": "revoked",
        "issuer": issuer,
        "client_id": client,
        "accounts": sorted(outcome.revoked),
        "already_revoked": already,
        "failed": outcome.failed,
        "unreadable": sorted(unreadable),
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
    _report(unreadable)
    for account, reason in sorted(outcome.failed.items()):
        print(f"mcp-sidecar: account {shown(account)}: {shown(reason)}", file=sys.stderr)
    return 0 if known and not outcome.failed and not unreadable else 1


async def _revoke_everywhere(store: OperatorStore, issuer: str, client: str) -> tuple[ClientRevocation, set[str]]:
    search = ClientSearch(store, issuer, client, _Progress())
    try:
        return await revoke_client(search, by=AUTHOR), search.unreadable
    except ManagementError as error:
        if error.code is FailureCode.STORE_UNAVAILABLE:
            raise CommandError(f"{error}: run the command again") from error
        raise
