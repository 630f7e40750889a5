"""Journal of an account, in pages and as a stream of new entries."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

from sidecar.ledger.journal.entries import Entry
from sidecar.management.operator_store import OperatorStore
from sidecar.store.commands.keys import AccountKeys

PAGE: Final = 500
"""Most entries of one read: calls wait for it."""

BEFORE_FIRST: Final = "0-0"
"""Id before every entry."""

_WAIT: Final = 3000  # milliseconds that a read may block in the store: well below the connection's timeout


async def last_entries(store: OperatorStore, keys: AccountKeys, count: int) -> list[Entry]:
    """Return the `count` newest entries, oldest first."""
    found: list[Entry] = []
    before: str | None = None
    while len(found) < count:
        page = await entries_before(store, keys, before, min(PAGE, count - len(found)))
        if not page:
            break
        found += page
        before = page[-1].id
    return found[::-1]


async def entries_before(
    store: OperatorStore, keys: AccountKeys, before: str | None = None, count: int = 100
) -> list[Entry]:
    """Return a page of entries, newest first.

    Args:
        store: the store.
        keys: keys of the account.
        before: id of the last entry of the page before; None begins with the newest.
        count: most entries, up to `PAGE`.
    """
    end = "+" if before is None else f"({before}"
    reply = await store.read("XREVRANGE", keys.usage, end, "-", "COUNT", min(count, PAGE))
    return parse_entries(reply)


async def entries_after(
    store: OperatorStore, keys: AccountKeys, after: str | None = None, count: int = 100, *, until: str = "+"
) -> list[Entry]:
    """Return a page of entries, oldest first.

    Args:
        store: the store.
        keys: keys of the account.
        after: id of the last entry of the page before; None begins with the oldest.
        count: most entries, up to `PAGE`.
        until: id of the last entry to return.
    """
    start = "-" if after is None else f"({after}"
    reply = await store.read("XRANGE", keys.usage, start, until, "COUNT", min(count, PAGE))
    return parse_entries(reply)


async def wait_for_entries(store: OperatorStore, keys: AccountKeys, after: str) -> list[Entry]:
    """Return entries after an id, up to `PAGE`; wait some seconds for the first one, else return none.

    It blocks the connection: nothing else may use `store` meanwhile, so it is for processes that only follow.
    """
    words = ("XREAD", "COUNT", PAGE, "BLOCK", _WAIT, "STREAMS", keys.usage, after)
    reply = await store.read(*words)
    return parse_entries(reply[0][1]) if reply else []


async def follow_entries(
    store: OperatorStore, keys: AccountKeys, after: str, every: float = 1.0
) -> AsyncIterator[list[Entry]]:
    """Yield new entries after an id, in batches, forever; an empty batch after each look that found none.

    Args:
        store: the store, which other operations may use meanwhile.
        keys: keys of the account.
        after: id of the last known entry, or `BEFORE_FIRST`.
        every: seconds between two looks when there was nothing new.
    """
    while True:
        entries = await entries_after(store, keys, after, PAGE)
        yield entries
        if entries:
            after = entries[-1].id
        else:
            await asyncio.sleep(every)


def parse_entries(reply: Any) -> list[Entry]:
    """Read the entries of a reply."""
    found = []
    for identifier, flat in reply or ():
        words = [word.decode(errors="replace") for word in flat]
        found.append(Entry(identifier.decode(), dict(zip(words[::2], words[1::2], strict=True))))
    return found
