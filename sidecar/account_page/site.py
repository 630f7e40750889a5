"""Account page as the public listener serves it: find the place of a request, and answer every failure as a page."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from sidecar.account_page.account_data import AccountData
from sidecar.account_page.holder_places import HolderPlaces
from sidecar.account_page.login.page_sessions import PageSessions
from sidecar.account_page.pages import login_pages
from sidecar.account_page.visitors import Visitors
from sidecar.account_page.visits import STYLE, STYLE_PLACE, ServedPage, Visit
from sidecar.account_page.web.browser_request import (
    MAX_FORM,
    BadRequestError,
    BrowserRequest,
    ForeignFormError,
    check_form_type,
    pairs,
)
from sidecar.account_page.web.page_answers import PageAnswer, html, stylesheet
from sidecar.config.settings.settings import Settings, StoreSettings
from sidecar.errors import ErrorCode, Refusal
from sidecar.identity.issuers import IssuerRegistry
from sidecar.observe.repeats import Repeats
from sidecar.proxy.calls.steps import Received
from sidecar.proxy.listener.body import read_body
from sidecar.proxy.memory import MemoryBudget
from sidecar.store.store import Store

MAX_VISITS: Final = 64
"""Requests to the page that this process serves at one time; further ones are refused."""
PATIENCE: Final = 10.0
"""Seconds that a form may take to arrive."""

_READING: Final = ("GET", "HEAD")
_OWNER: Final = "account page"  # of the memory that forms and answers take


class AccountPage:
    """The page.

    Args:
        store: of calls.
        settings: of the same store.
        issuers: keys of the issuer, and the way to it.
        memory: budget of the process.
        repeats: logs an event.
    """

    def __init__(
        self, store: Store, settings: StoreSettings, issuers: IssuerRegistry, memory: MemoryBudget, repeats: Repeats
    ) -> None:
        self._store = store
        self._issuers = issuers
        self._memory = memory
        self._repeats = repeats
        self._data = AccountData(store, settings)
        self._sessions = PageSessions(store)
        self._visitors = Visitors(self._sessions, repeats)
        self._holders = HolderPlaces(self._data, self._sessions)
        self._served: ServedPage | None = None
        self._visits = asyncio.Semaphore(MAX_VISITS)

    async def close(self) -> None:
        """Disconnect from the store."""
        await self._data.close()

    async def answer(self, received: Received) -> None:
        """Answer a request to the page; every expected failure is a page, too."""
        page = self._page(received.snapshot.settings)
        if page is None:
            raise Refusal(ErrorCode.PATH_UNKNOWN)
        busy = Refusal(ErrorCode.OVERLOADED, retry_after=1)
        lease = self._memory.lease(_OWNER, received.snapshot.settings.limits.memory)
        try:
            if self._visits.locked():
                answer = self._refused(page, busy)
            else:
                async with self._visits:
                    answer = await self._answer(received, page)
            if not lease.grow(len(answer.body)):  # such as files that slow clients do not read
                answer = self._refused(page, busy)
            received.reply.answer(answer.status, answer.head, answer.body)
            await received.reply.deliver()
        finally:
            lease.close()

    def _page(self, config: Settings) -> ServedPage | None:
        """Return the page of a request's config, made again after a reload has changed it."""
        if config.account_page is None:
            return None
        if self._served is None or not self._served.serves(config):
            self._served = ServedPage.of(config, config.account_page, self._issuers, self._store)
        return self._served

    async def _answer(self, received: Received, page: ServedPage) -> PageAnswer:
        site = page.site
        try:
            request = BrowserRequest.of(received.request, site.path)
            visit = Visit(page, request, received.snapshot.policy, received.id)
            if request.method in _READING:
                return await self._read(visit)
            if request.method == "POST":
                return await self._change(received, visit)
            return _wrong_method(visit, "GET, HEAD, POST")
        except BadRequestError as error:
            return html(login_pages.problem(site, "This request is malformed", str(error), login_pages.NOTHING), 400)
        except ForeignFormError:
            says = "This form came from another site, or your browser did not say where it came from."
            back = login_pages.back_link(site, "", "Back to your account")
            return html(login_pages.problem(site, "Not accepted", says, login_pages.NOTHING, back), 403)
        except Refusal as refusal:
            return self._refused(page, refusal)

    async def _read(self, visit: Visit) -> PageAnswer:
        name = visit.place.partition("/")[0]
        if visit.place == STYLE_PLACE:
            return stylesheet(STYLE)
        if visit.place == "login":
            return await self._visitors.log_in(visit)
        found = await self._sessions.find(visit.request.cookies, visit.page.issuer.id)
        visit = replace(visit, session=found)
        if visit.place == "callback":
            return await self._visitors.callback(visit)
        if visit.place == "logout":
            return await self._visitors.logged_out(visit)
        handler = self._holders.pages.get(name)
        if handler is None or (name != "confirm" and name != visit.place):
            return _unknown(visit)
        return self._visitors.welcome(visit) if found is None else await handler(visit, found)

    async def _change(self, received: Received, visit: Visit) -> PageAnswer:
        """Serve a form: of this page, of a session, and with the session's token; nothing else changes anything."""
        visit.request.check_own_form(visit.site.resource)
        handler = self._holders.forms.get(visit.place.partition("/")[0])
        if handler is None:
            return _wrong_method(visit, "GET, HEAD")
        form = await self._form(received)
        session = await self._sessions.find(visit.request.cookies, visit.page.issuer.id)
        if session is None:
            return html(login_pages.session_ended(visit.site, ""), 403)
        if not session.owns(form.get("token", "")):
            says = "This form belongs to another login of this browser, perhaps in another tab."
            back = login_pages.back_link(visit.site, "", "Back to your account")
            page = login_pages.problem(visit.site, "This form is out of date", says, login_pages.NOTHING, back)
            return html(page, 403)
        return await handler(replace(visit, form=form, session=session), session)

    async def _form(self, received: Received) -> Mapping[str, str]:
        request = received.request
        check_form_type(request.headers.getall("Content-Type", ()))
        if request.headers.getall("Content-Encoding", ()):
            raise BadRequestError("Forms must not be compressed.")
        lease = self._memory.lease(_OWNER, received.snapshot.settings.limits.memory)
        try:
            body = await read_body(request, MAX_FORM, lease, PATIENCE)
        finally:
            lease.close()
        return pairs(body.decode("utf-8", "replace"), MAX_FORM)

    def _refused(self, page: ServedPage, refusal: Refusal) -> PageAnswer:
        """Answer a failure behind the page; the operator's log has the reason."""
        code = refusal.code
        if code is ErrorCode.STORE_UNAVAILABLE:
            self._repeats.event("account_page_failed", "warning", code=code.id, problem=refusal.log or code.id)
            title, says = "Your account cannot be read just now", "Nothing is lost. Try again in a minute."
        else:
            title, says = "Not accepted", refusal.detail
        again = login_pages.back_link(page.site, "", "Try again")
        retry = () if refusal.retry_after is None else (("Retry-After", str(refusal.retry_after)),)
        return html(login_pages.problem(page.site, title, says, again), refusal.status, headers=retry)


def _unknown(visit: Visit) -> PageAnswer:
    back = login_pages.back_link(visit.site, "", "Your account")
    return html(login_pages.problem(visit.site, "No such page", back), 404)


def _wrong_method(visit: Visit, allowed: str) -> PageAnswer:
    page = login_pages.problem(visit.site, "Not accepted", "This page does not take such a request.")
    return html(page, 405, headers=(("Allow", allowed),))
