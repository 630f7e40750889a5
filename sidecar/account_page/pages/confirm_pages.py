"""Confirmations: what clients have asked for, and the page of one of them, where the holder approves or declines."""

from __future__ import annotations

from collections.abc import Sequence

from sidecar.account_page.pages.clients_page import client_title
from sidecar.account_page.pages.page_frame import PageContext, empty, framed, posting
from sidecar.account_page.pages.spoken import counted, number, span
from sidecar.account_page.web.markup import Markup, Node, shown, tag
from sidecar.approval import ApprovalStatus
from sidecar.ledger.approval_records import Approval
from sidecar.model import AmountKind, Price

_OUTCOMES = {
    ApprovalStatus.ACCEPTED: ("Approved", "Return to the client: its next identical call runs."),
    ApprovalStatus.DECLINED: ("Declined", "The call does not run, and nothing is charged."),
    ApprovalStatus.USED: ("Approved and used", "The call has run. Its cost is in the journal."),
}


def confirmations(context: PageContext, pending: Sequence[Approval], now: int) -> Markup:
    """Return the list of pending confirmations.

    Args:
        context: see there.
        pending: those of the holder.
        now: seconds since the epoch.
    """
    cards = [_card(context, each, now) for each in pending]
    return framed(
        context,
        "confirm",
        "Confirmations",
        tag("p", "Calls that wait for your approval. A confirmation ends after five minutes."),
        tag("div", cards, class_="stack") if cards else empty("Nothing waits for you."),
    )


def confirmation(context: PageContext, asked: Approval, now: int) -> Markup:
    """Return the page of one confirmation of the holder."""
    if asked.status is not ApprovalStatus.PENDING:
        title, advice = _OUTCOMES[asked.status]
        return framed(context, "confirm", title, tag("p", shown(asked.title)), tag("p", advice))
    place = f"confirm/{asked.handle}"
    answers = [
        tag("button", "Approve", type="submit", name="answer", value="accept"),
        tag("button", "Decline", type="submit", name="answer", value="decline", class_="danger"),
    ]
    return framed(
        context,
        "confirm",
        f"Approve “{shown(asked.title, 80)}”?",
        _facts(asked, now),
        tag("pre", asked.message, class_="words", tabindex=0, role="region", aria_label="What the client asks for"),
        posting(context, place, tag("div", answers, class_="actions")),
    )


def no_confirmation(context: PageContext) -> Markup:
    """Return the page for a link without a confirmation of this holder."""
    return framed(
        context,
        "confirm",
        "Nothing to confirm",
        tag("p", "This confirmation has ended, was never made, or belongs to another person."),
    )


def _card(context: PageContext, asked: Approval, now: int) -> Markup:
    link = tag("a", shown(asked.title), href=context.site.at(f"confirm/{asked.handle}"))
    return tag("section", tag("h2", link), _facts(asked, now), class_="card")


def _facts(asked: Approval, now: int) -> Markup:
    costs = [_price(each) for each in asked.prices if each.kind is AmountKind.CREDIT]
    facts: list[tuple[str, Node]] = [
        ("Client", client_title(asked.client_id)),
        ("Tool", tag("code", shown(asked.tool))),
        ("Costs at most", ", ".join(costs) or "no credits"),
        ("Ends in", span(asked.expires_at // 1000 - now)),
    ]
    return tag("dl", [(tag("dt", name), tag("dd", value)) for name, value in facts], class_="facts")


def _price(price: Price) -> str:
    left = "" if price.left is None else f" (you have {number(price.left)})"
    return f"{counted(price.needed, f'{shown(price.name)} credit')}{left}"
