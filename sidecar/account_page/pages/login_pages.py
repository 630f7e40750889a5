"""Pages of people that are not logged in, and errors: what happened, whether something changed, what to do next."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote, urlsplit

from sidecar.account_page.pages.page_frame import Site, plain
from sidecar.account_page.web.markup import Markup, Node, tag
from sidecar.identity.login.login_endpoints import LoginFault

NOTHING: Final = "Nothing was changed."

_FAULTS: Final = {
    LoginFault.ISSUER: (502, "The login server does not answer", "Wait a minute, then log in again."),
    LoginFault.CLIENT: (
        502,
        "The login is not set up",
        "The login server does not accept this page. The operator finds the reason in the log.",
    ),
    LoginFault.CODE: (400, "This login was used or has expired", "Log in again."),
    LoginFault.TOKEN: (502, "The login could not be verified", "Log in again; if that fails, ask the operator."),
    LoginFault.ACCOUNT: (
        403,
        "This login names no account",
        "The login server says who you are, but not which account you belong to, so this page cannot show it. "
        "The operator can change which claims the login has.",
    ),
    LoginFault.BUSY: (503, "Too many people log in just now", "Wait a minute, then log in again."),
}


def welcome(site: Site, issuer: str, place: str) -> Markup:
    """Return the page with the link to log in.

    Args:
        site: addresses.
        issuer: identifier of the issuer.
        place: page to return to.
    """
    host = urlsplit(issuer).hostname or issuer
    return plain(
        site,
        "MCP account",
        tag("p", "Here you see your plan, quotas, credits and connected clients, and confirm what clients ask for."),
        tag("p", _login_link(site, place, f"Log in at {host}")),
    )


def logged_out(site: Site) -> Markup:
    """Return the page after the end of a session."""
    return plain(
        site,
        "You are logged out",
        tag("p", "The session of this page has ended. You may still be logged in at the login server."),
        tag("p", _login_link(site, "", "Log in again")),
    )


def session_ended(site: Site, place: str) -> Markup:
    """Return the page for a form or a file without a session."""
    return problem(
        site,
        "Your session has ended",
        "A session lasts 30 minutes, and ends when you log out.",
        NOTHING,
        _login_link(site, place, "Log in again"),
    )


def login_failed(site: Site, fault: LoginFault, reference: str) -> tuple[int, Markup]:
    """Return the status and the page of a failed login."""
    status, title, advice = _FAULTS[fault]
    return status, problem(site, title, advice, _login_link(site, "", "Log in again"), _reference(reference))


def login_declined(site: Site, code: str) -> Markup:
    """Return the page for a login that the issuer has declined, with its error code."""
    said = f"The login server has answered {code}." if code else "The login server has declined the login."
    return problem(site, "You are not logged in", said, _login_link(site, "", "Log in again"))


def login_unknown(site: Site) -> Markup:
    """Return the page for a callback without a pending login."""
    return problem(
        site,
        "This login is over",
        "It was used already, took more than ten minutes, or was begun in another browser.",
        _login_link(site, "", "Log in again"),
    )


def problem(site: Site, title: str, *sentences: Node) -> Markup:
    """Return an error page."""
    return plain(site, title, [tag("p", each) for each in sentences])


def back_link(site: Site, place: str, words: str) -> Markup:
    """Return a link to another page."""
    return tag("a", words, href=site.at(place))


def _login_link(site: Site, place: str, words: str) -> Markup:
    query = f"?to={quote(place, safe='')}" if place else ""
    return tag("a", words, href=f"{site.at('login')}{query}", class_="button")


def _reference(request_id: str) -> Markup:
    return tag("span", "Reference for the operator: ", tag("code", request_id))
