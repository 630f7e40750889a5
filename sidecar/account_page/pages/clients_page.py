"""Clients: which may act for the holder, since when, with what, and how to end it."""

from __future__ import annotations

from collections.abc import Sequence

from sidecar.account_page.pages.page_frame import PageContext, empty, framed, posting
from sidecar.account_page.pages.spoken import counted, moment
from sidecar.account_page.web.markup import Markup, Node, fragment, shown, tag
from sidecar.management.connections import Connection
from sidecar.policy.scopes import ScopeTree
from sidecar.store.commands.keys import client_digest

MAX_SHOWN = 200
"""Clients on the page; connected ones come first."""


def clients(context: PageContext, found: Sequence[Connection], *, complete: bool = True) -> Markup:
    """Return the page.

    Args:
        context: see there.
        found: clients of the holder.
        complete: False when there may be more, which have not called yet.
    """
    connected = [each for each in found if each.granted]
    ended = [each for each in found if not each.granted]
    return framed(
        context,
        "clients",
        "Connected clients",
        tag("p", "These programs may call this server for you. Revoking ends the next call and all open streams."),
        tag("p", "Last use and credits are counted as far as this account's journal reaches.", class_="small"),
        _cards(context, connected, "h2") if connected else empty("No client is connected."),
        None if complete else empty("A client that has not called yet may be missing: the search took too long."),
        (tag("h2", "Revoked"), _cards(context, ended, "h3")) if ended else None,
    )


def client_title(client_id: str, host: str | None = None, name: str | None = None) -> Markup:
    """Return the words for a client: a name is what another program says, so its id or host stands with it."""
    said = shown(name, 64) if name else None
    known = shown(host or client_id, 96)
    return fragment(tag("bdi", said), " - ", tag("bdi", known)) if said else tag("bdi", known)


def _cards(context: PageContext, found: Sequence[Connection], level: str) -> Node:
    cards = tag("div", [_card(context, each, level) for each in found[:MAX_SHOWN]], class_="stack")
    rest = len(found) - MAX_SHOWN
    return cards, empty(f"{counted(rest, 'more client')} not shown.") if rest > 0 else None


def _card(context: PageContext, client: Connection, level: str) -> Markup:
    reference = client_digest(client.client_id)
    heading = f"client-{reference}"
    facts: list[tuple[str, Node]] = [
        ("Client id", tag("code", tag("bdi", shown(client.client_id)))),
        ("Connected since" if client.granted else "Revoked at", moment(client.since)),
        ("May", _scopes(context.policy.scopes, client.scopes)),
        ("Last use", _last_use(client)),
        ("Spent", _spent(client)),
    ]
    shown_facts = facts if client.granted else [each for each in facts if each[0] != "May"]
    revoke: Node = None
    if client.granted:
        named = tag("input", type="hidden", name="client", value=reference)
        button = tag(
            "button", "Revoke", type="submit", class_="danger", id=f"{heading}-end",
            aria_labelledby=f"{heading}-end {heading}",
        )  # fmt: skip
        revoke = tag("div", posting(context, "clients", named, button), class_="actions")
    return tag(
        "section",
        tag(level, client_title(client.client_id, client.host, client.client_name), id=heading),
        tag("dl", [(tag("dt", name), tag("dd", value)) for name, value in shown_facts], class_="facts"),
        revoke,
        class_="card",
        aria_labelledby=heading,
    )


def _scopes(declared: ScopeTree, scopes: Sequence[str] | None) -> Node:
    """Return scopes in the policy's words; those that it does not declare allow nothing here."""
    if scopes is None:
        return "everything that its login allowed"
    words = [declared.rules[name].description or name for name in scopes if name in declared.rules]
    return tag("ul", [tag("li", shown(each)) for each in words]) if words else "nothing"


def _last_use(client: Connection) -> Node:
    if client.last_used is None:
        return "none in the journal"
    tool: Node = None if client.last_tool is None else (", ", tag("code", tag("bdi", shown(client.last_tool, 96))))
    return moment(client.last_used), tool


def _spent(client: Connection) -> str:
    pools = [
        counted(amount, f"{shown(pool)} credit") for pool, amount in sorted((client.credits or {}).items()) if amount
    ]
    return ", ".join(pools) or "no credits"
