"""Pages of records of all accounts, by the cursors of SCAN: no page reads the whole store.

A page has about as many records as were asked for, or fewer, also none. Records that change while pages are read may be
missing or come twice, as SCAN has it; those that stay are on a page.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from sidecar.ledger.decoding import parse_consent
from sidecar.management.account_records import AccountRecord, read_account
from sidecar.management.consent_records import ConsentRecord
from sidecar.management.failures import FailureCode, ManagementError
from sidecar.management.operator_store import OperatorStore
from sidecar.management.targets import Target
from sidecar.store.commands.keys import EVERY_ACCOUNT_KEY, account_keys, keys_of, place_of
from sidecar.store.health.corruption import CorruptionError

MAX_STEPS: Final = 50
"""Steps of a scan for one page."""
LEAST: Final = 100
"""Keys that one step reads at least, where fewer records are asked for."""

_EVERY_APPROVAL: Final = "mcp:{*}:c*:*"
_APPROVALS: Final = ("consent", "client")  # kinds of keys, of one subject and of every subject

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Page(Generic[R]):
    """Page of records.

    Attributes:
        records: of this page.
        next: cursor of the next page; None at the end.
    """

    records: list[R]
    next: str | None


@dataclass(frozen=True, slots=True)
class AccountConsent:
    """Consent with its account."""

    target: Target
    record: ConsentRecord


async def page_of_account_records(
    store: OperatorStore, issuer: str, cursor: str | None, count: int
) -> Page[AccountRecord]:
    """Return accounts of an issuer, in no order; records that name no issuer are among them.

    Args:
        store: the store.
        issuer: issuer id.
        cursor: `next` of the page before; None begins.
        count: records, about.

    Raises:
        ManagementError: `invalid`: the cursor is not of this store.
    """

    async def read(key: str) -> AccountRecord | None:
        found = await read_account(store, keys_of(key))
        return found if found is not None and found.issuer in (issuer, None) else None

    return await _page(store, EVERY_ACCOUNT_KEY, cursor, count, read)


async def page_of_consents(
    store: OperatorStore, issuer: str, client: str | None, cursor: str | None, count: int
) -> Page[AccountConsent]:
    """Return consents of all accounts of an issuer, in no order; records that do not name their account are left out.

    Args:
        store: the store.
        issuer: issuer id.
        client: only of this client; None for all.
        cursor: `next` of the page before; None begins.
        count: records, about.

    Raises:
        ManagementError: `invalid`: the cursor is not of this store.
    """

    async def read(key: str) -> AccountConsent | None:
        if place_of(key).partition(":")[0] not in _APPROVALS:
            return None
        try:
            found = _consent(key, await store.record(key))
        except CorruptionError:
            return None  # it grants nothing
        if found is None or found.target.issuer != issuer or client not in (None, found.record.client_id):
            return None
        return found

    return await _page(store, _EVERY_APPROVAL, cursor, count, read)


def _consent(key: str, fields: Mapping[str, str]) -> AccountConsent | None:
    consent = parse_consent(fields)
    issuer, account = fields.get("issuer"), fields.get("account")
    if consent is None or issuer is None or account is None or account_keys(issuer, account) != keys_of(key):
        return None
    return AccountConsent(Target(issuer, account), ConsentRecord.of(fields, consent))


async def _page(
    store: OperatorStore, pattern: str, cursor: str | None, count: int, read: Callable[[str], Awaitable[R | None]]
) -> Page[R]:
    found: list[R] = []
    for _ in range(MAX_STEPS):
        keys, cursor = await _step(store, pattern, cursor, max(count, LEAST))
        records = await asyncio.gather(*map(read, sorted(keys)))
        found += [each for each in records if each is not None]
        if cursor is None or len(found) >= count:
            break
    return Page(found, cursor)


async def _step(store: OperatorStore, pattern: str, cursor: str | None, count: int) -> tuple[set[str], str | None]:
    """Return some keys of one server, and the cursor of the next step: servers, place among them, cursor there."""
    nodes = store.nodes
    total, place, scan = _parsed(cursor) if cursor is not None else (len(nodes), 0, 0)
    if total != len(nodes) or place >= total:
        raise ManagementError(FailureCode.INVALID, "the cursor is not of this store: begin with the first page")
    after, keys = await store.scan_step(nodes[place], scan, pattern, count)
    if after == 0:
        place += 1
    return keys, None if place == total else f"{total}-{place}-{after}"


def _parsed(cursor: str) -> tuple[int, int, int]:
    parts = cursor.split("-")
    if len(parts) != 3 or not all(part.isascii() and part.isdecimal() and len(part) <= 20 for part in parts):
        raise ManagementError(FailureCode.INVALID, "this is no cursor of a page: begin with the first page")
    total, place, scan = map(int, parts)
    return total, place, scan
