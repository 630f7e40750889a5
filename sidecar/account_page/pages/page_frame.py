"""Frame of every page: head, navigation, and the parts that pages share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sidecar.account_page.login.page_sessions import PageSession
from sidecar.account_page.web.markup import Markup, Node, shown, tag
from sidecar.policy.rules import Policy

_NAVIGATION: Final = (
    ("", "Overview"),
    ("clients", "Clients"),
    ("journal", "Journal"),
    ("confirm", "Confirmations"),
    ("connect", "Connect a client"),
)


@dataclass(frozen=True, slots=True)
class Site:
    """Addresses of the page.

    Attributes:
        path: its path, without a slash at the end.
        resource: the public URL of the MCP server.
        style: address of the style sheet.
    """

    path: str
    resource: str
    style: str

    def at(self, place: str) -> str:
        """Return the path of one of its pages."""
        return f"{self.path}/{place}" if place else self.path


@dataclass(frozen=True, slots=True)
class PageContext:
    """Values that every page of a holder needs.

    Attributes:
        site: addresses.
        session: of the holder.
        policy: in force.
        pending: number of the holder's pending confirmations.
        notice: sentence about the change that led to this page; None without one.
    """

    site: Site
    session: PageSession
    policy: Policy
    pending: int = 0
    notice: str | None = None


def framed(context: PageContext, place: str, title: str, *content: Node) -> Markup:
    """Return a page of a holder.

    Args:
        context: see there.
        place: of the navigation, which marks it as the current one.
        title: of the page, and its heading.
        content: below the heading.
    """
    holder = context.session.holder
    name = shown(holder.name or holder.subject, 64)
    leave = posting(context, "logout", tag("button", "Log out", type="submit", class_="plain"))
    bar = tag(
        "header",
        tag("nav", tag("ul", [_link(context, place, *each) for each in _NAVIGATION]), aria_label="Account"),
        tag("div", tag("span", "Logged in as ", tag("strong", name)), leave, class_="person"),
    )
    notice = None if context.notice is None else tag("p", context.notice, class_="notice", role="status")
    return document(context.site, title, bar, tag("main", tag("h1", title), notice, *content, id="content"))


def plain(site: Site, title: str, *content: Node) -> Markup:
    """Return a page without a holder: log in, logged out, an error."""
    return document(site, title, None, tag("main", tag("h1", title), *content, id="content"))


def document(site: Site, title: str, bar: Node, main: Markup) -> Markup:
    """Return the whole document."""
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("title", f"{title} - MCP account"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", name="robots", content="noindex"),
        tag("link", rel="stylesheet", href=site.style),
    )
    skip = None if bar is None else tag("a", "Skip to the content", href="#content", class_="skip")
    return tag("html", head, tag("body", skip, bar, main), lang="en")


def posting(context: PageContext, place: str, *content: Node) -> Markup:
    """Return a form that changes something: with the token of the session."""
    token = tag("input", type="hidden", name="token", value=context.session.token)
    return tag("form", token, *content, method="post", action=context.site.at(place))


def table(caption: str, heads: tuple[str, ...], rows: list[list[Node]]) -> Markup:
    """Return a table whose cells say the head of their column where the screen is narrow."""
    body = [tag("tr", [tag("td", cell, data_head=head) for head, cell in zip(heads, row, strict=True)]) for row in rows]
    return tag(
        "table",
        tag("caption", caption),
        tag("thead", tag("tr", [tag("th", head, scope="col") for head in heads])),
        tag("tbody", body),
    )


def _link(context: PageContext, current: str, place: str, words: str) -> Markup:
    count = context.pending if place == "confirm" else 0
    more = tag("span", f" ({count})", class_="count") if count else None
    is_current = place == current
    return tag(
        "li",
        tag("a", words, more, href=context.site.at(place), aria_current="page" if is_current else None),
    )


def empty(text: str) -> Markup:
    """Return the sentence in place of a table without rows."""
    return tag("p", text, class_="empty")
