"""Clients: which may act for the holder, since when, with what, and how to end it."""

from __future__ import annotations

from collections.abc import Sequence

from sidecar.account_page.holder_clients import HolderClient
from sidecar.account_page.pages.page_frame import PageContext, empty, framed, posting
from sidecar.account_page.pages.spoken import counted, moment
from sidecar.account_page.web.markup import Markup, Node, fragment, shown, tag
from sidecar.policy.scopes import ScopeTree

MAX_SHOWN = 200
"""Clients on the page; connected ones come first."""


def clients(context: PageContext, found: Sequence[HolderClient], reaches: int | None) -> Markup:
    """Return the page.

    Args:
        context: see there.
        found: clients of the holder.
        reaches: time of the oldest entry that uses were counted from, in milliseconds since the epoch; None without
            entries.
    """
    connected = [each for each in found if each.connected]
    ended = [each for each in found if not each.connected]
    note: Node = None
    if reaches is not None:
        note = tag("p", "Use is counted in this account's journal since ", moment(reaches), ".", class_="small")
    return framed(
        context,
        "clients",
        "Connected clients",
        tag("p", "These programs may call this server for you. Revoking ends the next call and all open streams."),
        note,
        _cards(context, connected, "h2") if connected else empty("No client is connected."),
        (tag("h2", "Revoked"), _cards(context, ended, "h3")) if ended else None,
    )


def client_title(client_id: str, host: str | None = None, name: str | None = None) -> Markup:
    """Return the words for a client: a name is what another program says, so its id or host stands with it."""
    said = shown(name, 64) if name else None
    known = shown(host or client_id, 96)
    return fragment(tag("bdi", said), " - ", tag("bdi", known)) if said else tag("bdi", known)


def _cards(context: PageContext, found: Sequence[HolderClient], level: str) -> Node:
    cards = tag("div", [_card(context, each, level) for each in found[:MAX_SHOWN]], class_="stack")
    rest = len(found) - MAX_SHOWN
    return cards, empty(f"{counted(rest, 'more client')} not shown.") if rest > 0 else None


def _card(context: PageContext, client: HolderClient, level: str) -> Markup:
    heading = f"client-{client.reference}"
    facts: list[tuple[str, Node]] = [
        ("Client id", tag("code", tag("bdi", shown(client.client_id)))),
        ("Connected since" if client.connected else "Revoked at", moment(client.since)),
        ("May", _scopes(context.policy.scopes, client.scopes)),
        ("Last use", moment(client.use.last) if client.use.last else "none in the journal"),
        ("Spent", _spent(client)),
    ]
    shown_facts = facts if client.connected else [each for each in facts if each[0] != "May"]
    revoke: Node = None
    if client.connected:
        reference = tag("input", type="hidden", name="client", value=client.reference)
        button = tag(
            "button", "Revoke", type="submit", class_="danger", id=f"{heading}-end",
            aria_labelledby=f"{heading}-end {heading}",
        )  # fmt: skip
        revoke = tag("div", posting(context, "clients", reference, button), class_="actions")
    return tag(
        "section",
        tag(level, client_title(client.client_id, client.host, client.name), id=heading),
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


def _spent(client: HolderClient) -> str:
    pools = [counted(amount, f"{shown(pool)} credit") for pool, amount in sorted(client.use.credits.items())]
    return ", ".join(pools) or "no credits"
