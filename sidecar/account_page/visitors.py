"""Places for people without a session: log in, the callback of the issuer, logged out."""

from __future__ import annotations

from sidecar.account_page.login.login_flow import DeclinedLoginError, UnknownLoginError, allowed_place
from sidecar.account_page.login.login_limits import BusyError, LoginLimits
from sidecar.account_page.login.page_sessions import (
    SESSION_COOKIE,
    PageSessions,
    browser_cookie,
    no_session_cookie,
    session_cookie,
)
from sidecar.account_page.pages import login_pages
from sidecar.account_page.visits import Visit
from sidecar.account_page.web.page_answers import PageAnswer, html, redirect
from sidecar.identity.login.login_endpoints import LoginError, LoginFault
from sidecar.observe.redact import identifier, sentence
from sidecar.observe.repeats import Repeats


class Visitors:
    """Logins.

    Args:
        sessions: of holders.
        repeats: logs logins that fail, and those that succeed.
    """

    def __init__(self, sessions: PageSessions, repeats: Repeats) -> None:
        self._sessions = sessions
        self._repeats = repeats
        self._limits = LoginLimits()

    def welcome(self, visit: Visit) -> PageAnswer:
        """Answer a request for a page of holders without a session: by the link to log in."""
        place = allowed_place(visit.place)
        if visit.request.cookies.get(SESSION_COOKIE):
            ended = login_pages.session_ended(visit.site, place)
            return html(ended, 403, cookie=no_session_cookie())
        return html(login_pages.welcome(visit.site, visit.page.issuer.issuer, place))

    async def log_in(self, visit: Visit) -> PageAnswer:
        """Send the browser to the issuer."""
        try:
            self._limits.take(visit.request.peer)
        except BusyError:
            status, page = login_pages.login_failed(visit.site, LoginFault.BUSY, visit.reference)
            return html(page, status, headers=(("Retry-After", "5"),))
        try:
            to = visit.request.query.get("to", "")
            url, browser = await visit.page.flow.begin(visit.request.cookies, to)
        except LoginError as error:
            return self._failed(visit, error)
        return redirect(url, cookie=browser_cookie(browser))

    async def callback(self, visit: Visit) -> PageAnswer:
        """End a login, and begin a session: a new one for each login, so that no earlier cookie becomes one of it."""
        try:
            holder, place = await visit.page.flow.finish(visit.request.cookies, visit.request.query)
        except UnknownLoginError:
            if visit.session is not None:  # such as by the browser's back button
                return redirect(visit.site.at(""))
            return html(login_pages.login_unknown(visit.site), 400)
        except DeclinedLoginError as declined:
            return html(login_pages.login_declined(visit.site, declined.code), 403)
        except LoginError as error:
            return self._failed(visit, error)
        await self._sessions.end(visit.request.cookies)
        session = await self._sessions.begin(holder)
        account = identifier(holder.account)
        self._repeats.event("account_page_login", issuer=holder.issuer_id, account=account)
        return redirect(visit.site.at(place), cookie=session_cookie(session))

    async def logged_out(self, visit: Visit) -> PageAnswer:
        """Show that a session has ended."""
        return html(login_pages.logged_out(visit.site)) if visit.session is None else redirect(visit.site.at(""))

    def _failed(self, visit: Visit, error: LoginError) -> PageAnswer:
        self._repeats.event(
            "account_page_login_failed", "warning", fault=error.fault.value, problem=sentence(error.problem)
        )
        status, page = login_pages.login_failed(visit.site, error.fault, visit.reference)
        return html(page, status)
