"""Places of holders: each handler answers one page, or one form, of a session."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from sidecar.account_page.account_data import AccountData, seconds
from sidecar.account_page.login.page_sessions import PageSession, PageSessions, no_session_cookie
from sidecar.account_page.pages.clients_page import clients
from sidecar.account_page.pages.confirm_pages import confirmation, confirmations, no_confirmation
from sidecar.account_page.pages.connect_page import connect
from sidecar.account_page.pages.journal_page import JournalFilter, csv_rows, journal
from sidecar.account_page.pages.overview_page import overview
from sidecar.account_page.pages.page_frame import PageContext
from sidecar.account_page.visits import Visit
from sidecar.account_page.web.page_answers import PageAnswer, download, html, redirect

Handler = Callable[[Visit, PageSession], Awaitable[PageAnswer]]

_NOTICES: Final = {
    "revoked": "The client is revoked. Its next call is refused, and its open streams have ended.",
    "unchanged": "That client was not connected. Nothing was changed.",
}


class HolderPlaces:
    """Pages and forms of holders.

    Args:
        data: their accounts.
        sessions: their sessions.

    Attributes:
        pages: handlers by the first segment of their place.
        forms: the same of POST.
    """

    def __init__(self, data: AccountData, sessions: PageSessions) -> None:
        self._data = data
        self._sessions = sessions
        self.pages: dict[str, Handler] = {
            "": self._overview,
            "clients": self._clients,
            "journal": self._journal,
            "journal.csv": self._file,
            "confirm": self._confirm,
            "connect": self._connect,
        }
        self.forms: dict[str, Handler] = {
            "clients": self._revoke,
            "confirm": self._answer,
            "logout": self._log_out,
        }

    async def _context(self, visit: Visit, session: PageSession) -> PageContext:
        pending = len(await self._data.pending(session))
        notice = _NOTICES.get(visit.request.query.get("done", ""))
        return PageContext(visit.site, session, visit.policy, pending, notice)

    async def _overview(self, visit: Visit, session: PageSession) -> PageAnswer:
        usage, now = await self._data.usage(session, visit.policy)
        return html(overview(await self._context(visit, session), usage, now))

    async def _clients(self, visit: Visit, session: PageSession) -> PageAnswer:
        found, complete = await self._data.clients(session)
        # The login of this page is a client of the issuer, too, and an issuer may mirror its approval.
        others = [each for each in found if each.client_id != visit.page.settings.client_id]
        return html(clients(await self._context(visit, session), others, complete=complete))

    async def _journal(self, visit: Visit, session: PageSession) -> PageAnswer:
        asked = JournalFilter.of(visit.request.query)
        entries, older = await self._data.journal(session, asked)
        return html(journal(await self._context(visit, session), asked, entries, older))

    async def _file(self, visit: Visit, session: PageSession) -> PageAnswer:
        entries = await self._data.whole_journal(session, JournalFilter.of(visit.request.query))
        return download("journal.csv", "text/csv", csv_rows(entries))

    async def _confirm(self, visit: Visit, session: PageSession) -> PageAnswer:
        context = await self._context(visit, session)
        handle = visit.place.partition("/")[2]
        if not handle:
            return html(confirmations(context, await self._data.pending(session), seconds()))
        asked = await self._data.confirmation(session, handle)
        if asked is None:
            return html(no_confirmation(context), 404)
        return html(confirmation(context, asked, seconds()))

    async def _connect(self, visit: Visit, session: PageSession) -> PageAnswer:
        return html(connect(await self._context(visit, session)))

    # --- forms ---------------------------------------------------------------------------------

    async def _revoke(self, visit: Visit, session: PageSession) -> PageAnswer:
        revoked = await self._data.revoke(session, visit.form.get("client", ""))
        return redirect(f"{visit.site.at('clients')}?done={'revoked' if revoked else 'unchanged'}")

    async def _answer(self, visit: Visit, session: PageSession) -> PageAnswer:
        handle, answer = visit.place.partition("/")[2], visit.form.get("answer")
        if await self._data.confirmation(session, handle) is None:
            return html(no_confirmation(await self._context(visit, session)), 404)
        if answer in ("accept", "decline"):
            await self._data.answer(session, handle, accepted=answer == "accept")
        return redirect(visit.site.at(f"confirm/{handle}"))

    async def _log_out(self, visit: Visit, session: PageSession) -> PageAnswer:
        if visit.form.get("everywhere"):
            await self._sessions.end_all(session)
        else:
            await self._sessions.end(visit.request.cookies)
        return redirect(visit.site.at("logout"), cookie=no_session_cookie())
