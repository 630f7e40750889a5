"""Account of a holder as the store has it: usage, clients, journal and confirmations; each read is bounded."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any, Final

from sidecar.account_page.login.page_sessions import PageSession
from sidecar.account_page.pages.journal_page import PAGE_SIZE, JournalFilter
from sidecar.approval import ConfirmBy
from sidecar.config.settings.settings import StoreSettings
from sidecar.errors import ErrorCode, Refusal
from sidecar.ledger.approval_records import Approval
from sidecar.ledger.journal.entries import Entry
from sidecar.management.connections import Connection, list_connections, revoke_connection
from sidecar.management.consent_records import list_consents
from sidecar.management.failures import ManagementError, store_failures
from sidecar.management.journal_reading import PAGE, entries_before
from sidecar.management.operator_store import OperatorStore
from sidecar.management.targets import Target
from sidecar.management.usage_reading import usage_of
from sidecar.policy.rules import Policy
from sidecar.store.approval_store import ApprovalStore
from sidecar.store.commands import changes
from sidecar.store.commands.keys import client_digest
from sidecar.store.store import Store

MAX_READ: Final = 2_000
"""Entries of a journal that one page reads."""
MAX_SAVED: Final = 20_000
"""Entries of a journal that one file has."""
PLACES: Final = 4
"""Journals and lists of clients that this process reads at one time."""
WITHIN: Final = 20.0
"""Seconds for one of them, the wait for a place included."""
SEARCH_WITHIN: Final = 5.0
"""Seconds for a search of consents in the whole store."""
_CONNECT_WITHIN: Final = 2.0


class AccountData:
    """Accounts of all holders.

    Args:
        store: of calls; single records are read by it.
        settings: of the same store, for journals, which are read over connections of their own.
    """

    def __init__(self, store: Store, settings: StoreSettings) -> None:
        self._store = store
        self._settings = settings
        self._approvals = ApprovalStore(store)
        self._places = asyncio.Semaphore(PLACES)
        self._starting = asyncio.Lock()
        self._reader: OperatorStore | None = None

    async def close(self) -> None:
        """Disconnect."""
        if self._reader is not None:
            await self._reader.close()

    async def usage(self, session: PageSession, policy: Policy) -> tuple[dict[str, Any], int]:
        """Return `{plan, status, quotas, credits}`, and the time of the store's clock in milliseconds.

        Raises:
            Refusal: `store_unavailable`.
        """
        seen = changes.inspected(await self._store.run(changes.inspect(session.keys)))
        return usage_of(seen, policy), seen.now

    async def clients(self, session: PageSession) -> tuple[list[Connection], bool]:
        """Return the holder's clients, connected ones first, and whether they are surely all.

        Consents that other programs have written directly are found by a search, which a large store may not end in
        time.

        Raises:
            Refusal: `store_unavailable`.
        """
        target, found, complete = _target(session), set[str](), True
        async with self._opened() as store:
            try:
                async with asyncio.timeout(SEARCH_WITHIN):
                    found = {each.client_id for each in await list_consents(store, target) if each.client_id}
            except TimeoutError:
                complete = False
            return await list_connections(store, target, session.holder.subject, found), complete

    async def revoke(self, session: PageSession, reference: str) -> bool:
        """Revoke a connected client for the holder; return False when the holder has no such client.

        Args:
            session: of the holder.
            reference: digest of the client id: an id may have thousands of characters.

        Raises:
            Refusal: `store_unavailable`.
        """
        found, _ = await self.clients(session)
        client = next((each for each in found if each.granted and client_digest(each.client_id) == reference), None)
        if client is None:
            return False
        subject = session.holder.subject
        return await revoke_connection(self._store, _target(session), subject, client.client_id) is not None

    async def journal(self, session: PageSession, asked: JournalFilter) -> tuple[list[Entry], str | None]:
        """Return a page of matching entries, newest first, and the id after which older ones may follow.

        Raises:
            Refusal: `store_unavailable`.
        """
        found: list[Entry] = []
        read, last = 0, None
        async with self._opened() as store:
            async for entry in _newest_first(store, session, asked.before, MAX_READ):
                read, last = read + 1, entry.id
                if asked.matches(entry, session.holder.subject):
                    found.append(entry)
                if len(found) == PAGE_SIZE:
                    return found, last
        return found, last if read == MAX_READ else None

    async def whole_journal(self, session: PageSession, asked: JournalFilter) -> Iterable[Entry]:
        """Return all matching entries, newest first.

        Raises:
            Refusal: `store_unavailable`.
        """
        async with self._opened() as store:
            everything = _newest_first(store, session, None, MAX_SAVED)
            return [each async for each in everything if asked.matches(each, session.holder.subject)]

    async def pending(self, session: PageSession) -> list[Approval]:
        """Return the confirmations that wait for the holder on this page.

        Raises:
            Refusal: `store_unavailable`.
        """
        holder = session.holder
        found = await self._approvals.pending(holder.issuer_id, holder.account, holder.subject)
        return [each for each in found if each.by is ConfirmBy.PAGE]

    async def confirmation(self, session: PageSession, handle: str) -> Approval | None:
        """Return a confirmation of the holder; None for that of another person.

        Raises:
            Refusal: `store_unavailable`.
        """
        found = await self._approvals.find(session.holder.issuer_id, session.holder.account, handle)
        is_own = found is not None and found.subject == session.holder.subject and found.by is ConfirmBy.PAGE
        return found if is_own else None

    async def answer(self, session: PageSession, handle: str, *, accepted: bool) -> None:
        """Approve or decline a confirmation that the holder was asked for on this page; the first answer counts.

        Raises:
            Refusal: `store_unavailable`.
        """
        holder = session.holder
        await self._approvals.answer(holder.issuer_id, holder.account, handle, holder.subject, accepted=accepted)

    @asynccontextmanager
    async def _slot(self) -> AsyncIterator[None]:
        """Limit the reads of many records, in number and time.

        Raises:
            Refusal: `store_unavailable`.
        """
        try:
            async with asyncio.timeout(WITHIN), self._places:
                yield
        except TimeoutError:
            raise Refusal(ErrorCode.STORE_UNAVAILABLE, log="reading took too long", retry_after=5) from None

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[OperatorStore]:
        """Provide the store for reads of many records, within a slot.

        Raises:
            Refusal: `store_unavailable`.
        """
        try:
            async with self._slot():
                with store_failures():
                    yield await self._connected()
        except ManagementError as error:
            raise Refusal(ErrorCode.STORE_UNAVAILABLE, log=str(error), retry_after=1) from None

    async def _connected(self) -> OperatorStore:
        async with self._starting:
            if self._reader is None:
                made = OperatorStore(self._settings)
                try:
                    await made.start(_CONNECT_WITHIN)
                except BaseException:
                    with contextlib.suppress(OSError):
                        await made.close()
                    raise
                self._reader = made
            return self._reader


def _target(session: PageSession) -> Target:
    return Target(session.holder.issuer_id, session.holder.account)


async def _newest_first(
    store: OperatorStore, session: PageSession, before: str | None, most: int
) -> AsyncIterator[Entry]:
    """Yield entries of the journal, newest first, at most so many."""
    while most > 0:
        entries = await entries_before(store, session.keys, before, min(PAGE, most))
        for entry in entries:
            yield entry
        if not entries:
            return
        most -= len(entries)
        before = entries[-1].id


def seconds() -> int:
    """Return the time in seconds since the epoch."""
    return int(time.time())
