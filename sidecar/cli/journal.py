"""The journal of an account, as `usage` shows, follows and verifies it."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from sidecar.cli.common import CommandError, as_json, emit, escaped, plural, shown
from sidecar.cli.store import Session, Target, with_store
from sidecar.config.settings import Settings
from sidecar.ledger import changes
from sidecar.ledger.connection import RejectedError, StoreError
from sidecar.ledger.journal import forgotten, uncounted, verify
from sidecar.ledger.journal_entries import Difference, Entry, Snapshot

SHOWN: Final = 10
"""How many entries are shown when nobody says."""

_PAGE: Final = 500
_WAIT: Final = 3000  # milliseconds the store may keep a read waiting: well under the connection's timeout
_TRIES: Final = 10


# --- the last entries, and new ones as they come -------------------------------------------------


async def last(session: Session, target: Target, count: int) -> list[Entry]:
    """The newest entries, oldest first."""
    if not count:
        return []
    return _entries(await session.read("XREVRANGE", target.keys.usage, "+", "-", "COUNT", count))[::-1]


def follow(arguments: argparse.Namespace, settings: Settings, target: Target) -> int:
    """Print the last entries, and new ones as they come, until somebody interrupts it."""
    with contextlib.suppress(KeyboardInterrupt):  # that is how it ends
        with_store(settings, lambda session: _follow(arguments, session, target))
    return 0


async def _follow(arguments: argparse.Namespace, session: Session, target: Target) -> None:
    await known_to_journal(session, target)
    newest = (await last(session, target, 1) or [Entry("0-0", {})])[-1].id
    for entry in await last(session, target, arguments.last):
        _tell(arguments, entry)
        newest = entry.id
    away = False
    while True:
        try:
            reply = await session.read("XREAD", "COUNT", _PAGE, "BLOCK", _WAIT, "STREAMS", target.keys.usage, newest)
        except RejectedError:
            raise
        except StoreError as error:
            if not away:
                print(f"mcp-sidecar: store: {escaped(str(error))}; waiting for it", file=sys.stderr, flush=True)
            away = True
            continue
        if away:
            print("mcp-sidecar: store: it is back", file=sys.stderr, flush=True)
            away = False
        for entry in _entries(reply[0][1]) if reply else ():
            _tell(arguments, entry)
            newest = entry.id


def _tell(arguments: argparse.Namespace, entry: Entry) -> None:
    print(as_json(document(entry)) if arguments.format == "json" else escaped(line(entry)), flush=True)


def document(entry: Entry) -> dict[str, Any]:
    """One entry for programs."""
    return {"id": entry.id, "at": _at(entry), **entry.fields}


def line(entry: Entry) -> str:
    """One entry for people: when, what, and every field that says something of it."""
    words = (f"{name}={shown(value)}" for name, value in entry.fields.items() if value and name not in ("n", "event"))
    return "  ".join([_at(entry), shown(entry.fields.get("event", "?")), *map(shown, words)])


def _at(entry: Entry) -> str:
    try:
        return _iso(int(entry.id.partition("-")[0]))
    except (ValueError, OverflowError, OSError):
        return entry.id  # somebody has written an id that is no time


def _iso(at: int) -> str:
    return datetime.fromtimestamp(at / 1000, UTC).isoformat(timespec="milliseconds")


# --- recomputing -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Verified:
    snapshot: Snapshot
    entries: Sequence[Entry]
    found: Sequence[Difference]
    uncounted: str | None


def check(arguments: argparse.Namespace, settings: Settings, target: Target) -> int:
    """Recompute all of the account from its journal, and name what differs."""
    verified = with_store(settings, lambda session: _verified(session, target))
    told = {
        "ok": not verified.found,
        "issuer": target.issuer,
        "account": target.account,
        "entries": len(verified.entries),
        "folded": verified.snapshot.folded,
        "uncounted_until": verified.uncounted,
        "differences": [
            {"where": e.where, "pool": e.pool, "what": e.what, "expected": e.expected, "found": e.found}
            for e in verified.found
        ],
    }
    emit(arguments, told, _verdict(target, verified))
    return 1 if verified.found else 0


def _verdict(target: Target, verified: _Verified) -> Iterator[str]:
    seen = f"{len(verified.entries)} of the journal's entries and {shown(verified.snapshot.folded)} folded ones"
    if not verified.found:
        yield f"account {target}: ok: balances, counters, paid items and holds follow from {seen}"
    else:
        yield f"account {target}: {plural(len(verified.found), 'difference')} from {seen}"
    for difference in verified.found:
        yield f"  {shown(str(difference))}"
    if verified.uncounted is not None:
        yield (
            f"  not compared: paid items, and counters of windows that had begun by {verified.uncounted}: until then "
            "an earlier version has written entries, which do not say where they count"
        )


async def _verified(session: Session, target: Target) -> _Verified:
    for _ in range(_TRIES):
        snapshot = await known_to_journal(session, target)
        entries = await _up_to(session, target, snapshot) if snapshot.types["usage"] == "stream" else []
        # Entries may have been folded while they were read, page by page so that nobody waits for it.
        if (await _snapshot(session, target)).folded == snapshot.folded:
            found = [*verify(snapshot, entries), *forgotten(snapshot, entries)]
            until = uncounted(snapshot, entries)
            return _Verified(snapshot, entries, found, None if until is None else _iso(until))
    raise CommandError(f"the journal of account {target} changes faster than it can be read: try again")


async def known_to_journal(session: Session, target: Target) -> Snapshot:
    """What an account's entries are compared with.

    Raises:
        CommandError: nothing is known of the account.
    """
    snapshot = await _snapshot(session, target)
    if snapshot.empty:
        raise CommandError(f"the store knows nothing of account {target}")
    return snapshot


async def _snapshot(session: Session, target: Target) -> Snapshot:
    return changes.audited(await session.run(changes.audit(target.keys)))


async def _up_to(session: Session, target: Target, snapshot: Snapshot) -> list[Entry]:
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
