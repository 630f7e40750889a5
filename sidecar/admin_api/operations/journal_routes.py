"""Journal of an account: pages of entries with a filter, and new entries as server-sent events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from sidecar.admin_api.api_problems import ApiCode
from sidecar.admin_api.api_requests import ApiAnswer, ApiRequest
from sidecar.admin_api.api_schemas import (
    CLIENT_FILTER,
    ENTRY_CURSOR,
    EVENT_FILTER,
    IN_PATH,
    ISSUER,
    LAST_EVENT,
    LIMIT,
    ORDER,
    TOOL_FILTER,
)
from sidecar.admin_api.route_table import Route
from sidecar.ledger.journal.entries import Entry
from sidecar.management.journal_audit import read_snapshot
from sidecar.management.journal_reading import BEFORE_FIRST, PAGE, entries_after, entries_before

LOOK_EVERY: Final = 1.0
"""Seconds between two reads of a followed journal."""
MAX_READ: Final = 2_000
"""Entries that one request reads to fill its page."""

_FIELDS: Final = {"event": "event", "client_id": "client", "tool": "tool"}  # of an entry, by parameter


async def _page(request: ApiRequest) -> ApiAnswer:
    asked, target = request.parameters, request.target
    await read_snapshot(request.store, target)
    read = entries_before if asked["order"] == "newest" else entries_after
    cursor, limit = asked["cursor"], asked["limit"]
    filtered = any(asked[name] is not None for name in _FIELDS)
    size = PAGE if filtered else limit
    found: list[dict[str, Any]] = []
    for _ in range(MAX_READ // PAGE):
        entries = await read(request.store, target.keys, cursor, size)
        for entry in entries:
            cursor = entry.id
            if _matches(entry, asked):
                found.append(entry_document(entry))
                if len(found) == limit:
                    return ApiAnswer({"entries": found, "next": cursor})
        if len(entries) < size:
            return ApiAnswer({"entries": found, "next": None})
    return ApiAnswer({"entries": found, "next": cursor})


async def _beginning(request: ApiRequest) -> ApiAnswer:
    """Return the id after which the stream begins: the newest entry's, unless the program names one."""
    target, after = request.target, request.parameters["Last-Event-ID"]
    snapshot = await read_snapshot(request.store, target)
    return ApiAnswer(after or snapshot.newest or BEFORE_FIRST)


async def follow(request: ApiRequest, after: str) -> AsyncGenerator[Entry | None]:
    """Yield each matching entry after an id, forever; None where a second passes without one."""
    keys = request.target.keys
    while True:
        entries = await entries_after(request.store, keys, after, PAGE)
        for entry in entries:
            after = entry.id
            if _matches(entry, request.parameters):
                yield entry
        if len(entries) < PAGE:
            yield None
            await asyncio.sleep(LOOK_EVERY)


def _matches(entry: Entry, asked: Mapping[str, Any]) -> bool:
    return all(asked[name] in (None, entry.fields.get(field)) for name, field in _FIELDS.items())


def entry_document(entry: Entry) -> dict[str, Any]:
    """Return an entry as JSON."""
    return {**entry.fields, "id": entry.id, "at": _moment(entry)}


def _moment(entry: Entry) -> str:
    try:
        return datetime.fromtimestamp(entry.at / 1000, UTC).isoformat(timespec="milliseconds")
    except (ValueError, OverflowError, OSError):
        return entry.id  # not a time in milliseconds: another program wrote the id


_PATH: Final = "/v1/accounts/{account}/journal"
_FILTERS: Final = (EVENT_FILTER, CLIENT_FILTER, TOOL_FILTER)
_PROBLEMS: Final = (ApiCode.ACCOUNT_UNKNOWN, ApiCode.RECORD_CORRUPT)
ROUTES: Final = (
    Route(
        *("GET", _PATH, "readJournal", "read", "Read entries of the journal, newest first.", "Journal", _page),
        parameters=(IN_PATH, ISSUER, ORDER, *_FILTERS, LIMIT, ENTRY_CURSOR),
        problems=_PROBLEMS,
    ),
    Route(
        *("GET", f"{_PATH}/events", "followJournal", "read"),
        "Follow the journal: each new entry is a server-sent event `entry` with its id.",
        *("Entry", _beginning),
        parameters=(IN_PATH, ISSUER, *_FILTERS, LAST_EVENT),
        problems=_PROBLEMS,
        events=follow,
    ),
)
