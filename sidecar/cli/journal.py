"""Journal of an account for `usage`: print the last entries, follow new ones (`--follow`), verify it (`--verify`)."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from sidecar.cli.common import CommandError, as_json, emit, escaped, plural, shown
from sidecar.cli.operator_store import Session, Target, with_store
from sidecar.config.settings.settings import Settings
from sidecar.ledger.journal.entries import Difference, Entry, JournalSnapshot
from sidecar.ledger.journal.verification import last_without_windows, lost_holds, verify
from sidecar.store.commands import changes
from sidecar.store.commands.keys import AccountKeys
from sidecar.store.connection.store_connection import RejectedError, StoreError

DEFAULT_COUNT: Final = 10
"""Entries that `usage` prints by default."""

_PAGE: Final = 500  # entries of one read
_WAIT: Final = 3000  # milliseconds that a read may block in the store: well below the connection's timeout
_ATTEMPTS: Final = 10  # to read all entries before some are folded


# --- last entries and new ones ------------------------------------------------------------------


async def last(session: Session, target: Target, count: int) -> list[Entry]:
    """Return the `count` newest entries, oldest first."""
    if not count:
        return []
    return _entries(await session.read("XREVRANGE", target.keys.usage, "+", "-", "COUNT", count))[::-1]


def follow(arguments: argparse.Namespace, settings: Settings, target: Target) -> int:
    """Print the last entries, then new ones as they arrive, until the user interrupts."""
    with contextlib.suppress(KeyboardInterrupt):
        with_store(settings, lambda session: _follow(arguments, session, target))
    return 0


async def _follow(arguments: argparse.Namespace, session: Session, target: Target) -> None:
    await _existing_snapshot(session, target)
    # `arguments.last` may be 0: then only entries after the newest one are printed.
    newest = (await last(session, target, 1) or [Entry("0-0", {})])[-1].id
    for entry in await last(session, target, arguments.last):
        _print(arguments, entry)
        newest = entry.id
    unreachable = False
    while True:
        try:
            reply = await session.read("XREAD", "COUNT", _PAGE, "BLOCK", _WAIT, "STREAMS", target.keys.usage, newest)
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
        for entry in _entries(reply[0][1]) if reply else ():
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


class Verifiable(Protocol):
    """Account with its keys; None for a name that no record of the account says."""

    @property
    def issuer(self) -> str | None:
        """Id of its issuer."""

    @property
    def account(self) -> str | None:
        """Name of the account."""

    @property
    def keys(self) -> AccountKeys:
        """Keys of the account in the store."""


@dataclass(frozen=True, slots=True)
class Verified:
    """Result of a verification; `uncounted` is the time up to which entries have no windows, None without any."""

    snapshot: JournalSnapshot
    entries: Sequence[Entry]
    found: Sequence[Difference]
    uncounted: str | None


def print_verification(arguments: argparse.Namespace, settings: Settings, target: Target) -> int:
    """Recompute the account from its journal and print the differences; return 1 if there are any."""
    verified = with_store(settings, lambda session: verification(session, target))
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
        "uncounted_until": verified.uncounted,
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
            f"  not compared: paid items, and counters of windows that began before {verified.uncounted}: an earlier "
            "version wrote the entries until then, without their windows"
        )


async def verification(session: Session, target: Verifiable) -> Verified:
    """Recompute an account from its journal.

    Raises:
        CommandError: the store has no data of it, or its journal changes too fast.
    """
    for _ in range(_ATTEMPTS):
        snapshot = await _existing_snapshot(session, target)
        entries = await _entries_of(session, target, snapshot) if snapshot.types["usage"] == "stream" else []
        # One long read would block calls. Between two pages the store may fold entries: then read all of them again.
        if (await _snapshot(session, target)).folded == snapshot.folded:
            found = [*verify(snapshot, entries), *lost_holds(snapshot, entries)]
            until = last_without_windows(snapshot, entries)
            return Verified(snapshot, entries, found, None if until is None else _iso(until))
    raise CommandError(f"the journal of account {target} changes faster than it can be read: try again")


async def _existing_snapshot(session: Session, target: Verifiable) -> JournalSnapshot:
    """Read the stored state of an account, which its entries are compared with.

    Raises:
        CommandError: the store has no data of the account.
    """
    snapshot = await _snapshot(session, target)
    if snapshot.empty:
        raise CommandError(f"the store has no data of account {target}")
    return snapshot


async def _snapshot(session: Session, target: Verifiable) -> JournalSnapshot:
    return changes.audited(await session.run(changes.audit(target.keys)))


async def _entries_of(session: Session, target: Verifiable, snapshot: JournalSnapshot) -> list[Entry]:
    found: list[Entry] = []
    start = "-"
    while page := _entries(await session.read("XRANGE", target.keys.usage, start, snapshot.newest, "COUNT", _PAGE)):
        found += page
        start = f"({page[-1].id}"
    return found


def _entries(reply: Any) -> list[Entry]:
    found = []
    for identifier, flat in reply or ():
        words = [word.decode(errors="replace") for word in flat]
        found.append(Entry(identifier.decode(), dict(zip(words[::2], words[1::2], strict=True))))
    return found
