"""Journal of an account for `usage`: print the last entries, follow new ones (`--follow`), verify it (`--verify`)."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

from sidecar.cli.common import as_json, emit, escaped, plural, shown
from sidecar.cli.store_access import with_store
from sidecar.config.settings.settings import Settings
from sidecar.ledger.journal.entries import Entry
from sidecar.management.journal_audit import Verifiable, Verified, read_snapshot, verify_account
from sidecar.management.journal_reading import BEFORE_FIRST, last_entries, wait_for_entries
from sidecar.management.operator_store import OperatorStore
from sidecar.management.targets import Target
from sidecar.store.connection.store_connection import RejectedError, StoreError

DEFAULT_COUNT: Final = 10
"""Entries that `usage` prints by default."""


# --- last entries and new ones ------------------------------------------------------------------


def follow(arguments: argparse.Namespace, settings: Settings, target: Target) -> int:
    """Print the last entries, then new ones as they arrive, until the user interrupts."""
    with contextlib.suppress(KeyboardInterrupt):
        with_store(settings, lambda store: _follow(arguments, store, target))
    return 0


async def _follow(arguments: argparse.Namespace, store: OperatorStore, target: Target) -> None:
    await read_snapshot(store, target)
    # `arguments.last` may be 0: then only entries after the newest one are printed.
    newest = (await last_entries(store, target.keys, 1) or [Entry(BEFORE_FIRST, {})])[-1].id
    for entry in await last_entries(store, target.keys, arguments.last):
        _print(arguments, entry)
        newest = entry.id
    unreachable = False
    while True:
        try:
            entries = await wait_for_entries(store, target.keys, newest)
        except RejectedError:
            raise
        except StoreError as error:
            if not unreachable:
                print(f"mcp-sidecar: store: {escaped(str(error))}; waiting for the store", file=sys.stderr, flush=True)
            unreachable = True
            continue
        if unreachable:
            print("mcp-sidecar: store: reachable again", file=sys.stderr, flush=True)
            unreachable = False
        for entry in entries:
            _print(arguments, entry)
            newest = entry.id


def _print(arguments: argparse.Namespace, entry: Entry) -> None:
    print(as_json(document(entry)) if arguments.format == "json" else escaped(line(entry)), flush=True)


def document(entry: Entry) -> dict[str, Any]:
    """Return one entry as plain values, for JSON."""
    return {"id": entry.id, "at": _at(entry), **entry.fields}


def line(entry: Entry) -> str:
    """Format one entry as text: time, event, and every field with a value."""
    words = (f"{name}={shown(value)}" for name, value in entry.fields.items() if value and name not in ("n", "event"))
    return "  ".join([_at(entry), shown(entry.fields.get("event", "?")), *map(shown, words)])


def _at(entry: Entry) -> str:
    try:
        return _iso(int(entry.id.partition("-")[0]))
    except (ValueError, OverflowError, OSError):
        return entry.id  # not a time in milliseconds: another program wrote the id


def _iso(at: int) -> str:
    return datetime.fromtimestamp(at / 1000, UTC).isoformat(timespec="milliseconds")


# --- verification ------------------------------------------------------------------------------


def print_verification(arguments: argparse.Namespace, settings: Settings, target: Target) -> int:
    """Recompute the account from its journal and print the differences; return 1 if there are any."""
    verified = with_store(settings, lambda store: verify_account(store, target))
    emit(arguments, verified_document(target, verified), verdict(target, verified))
    return 1 if verified.found else 0


def verified_document(target: Verifiable, verified: Verified) -> dict[str, Any]:
    """Return a verification as plain values, for JSON."""
    return {
        "ok": not verified.found,
        "issuer": target.issuer,
        "account": target.account,
        "entries": len(verified.entries),
        "folded": verified.snapshot.folded,
        "uncounted_until": None if verified.uncounted is None else _iso(verified.uncounted),
        "differences": [
            {"where": each.where, "pool": each.pool, "what": each.what, "expected": each.expected, "found": each.found}
            for each in verified.found
        ],
    }


def verdict(target: Verifiable, verified: Verified) -> Iterator[str]:
    """Format a verification as text."""
    seen = f"{len(verified.entries)} of the journal's entries and {shown(verified.snapshot.folded)} folded ones"
    if not verified.found:
        yield f"account {target}: ok: balances, counters, paid items and holds follow from {seen}"
    else:
        yield f"account {target}: {plural(len(verified.found), 'difference')} from {seen}"
    for difference in verified.found:
        yield f"  {shown(str(difference))}"
    if verified.uncounted is not None:
        yield (
            f"  not compared: paid items, and counters of windows that began before {_iso(verified.uncounted)}: an "
            "earlier version wrote the entries until then, without their windows"
        )
