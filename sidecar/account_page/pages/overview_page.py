"""Overview: plan, status, quotas and credits of the account."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sidecar.account_page.pages.page_frame import PageContext, empty, framed, posting
from sidecar.account_page.pages.spoken import moment, number, span
from sidecar.account_page.web.markup import Markup, Node, shown, tag
from sidecar.store.commands.page_logins import SESSION_LIFE


def overview(context: PageContext, usage: Mapping[str, Any], now: int) -> Markup:
    """Return the page.

    Args:
        context: see there.
        usage: `{plan, status, quotas, credits}`, as `serve: usage` answers it.
        now: time of the store's clock, in milliseconds since the epoch.
    """
    holder = context.session.holder
    is_active = usage["status"] == "active"
    facts: list[tuple[str, Node]] = [
        ("Plan", shown(usage["plan"] or "none")),
        ("Status", tag("span", "Active" if is_active else "Disabled", class_="good" if is_active else "bad")),
        ("Account", shown(holder.account)),
    ]
    return framed(
        context,
        "",
        "Your account",
        tag("dl", [(tag("dt", name), tag("dd", value)) for name, value in facts], class_="facts"),
        None if is_active else tag("p", "Calls of this account are refused until the operator enables it again."),
        tag("h2", "Quotas"),
        _quotas(usage["quotas"], now),
        tag("h2", "Credits"),
        _credits(context, usage["credits"], now),
        tag("h2", "This page"),
        tag("p", f"You stay logged in for {SESSION_LIFE // 60} minutes."),
        posting(
            context,
            "logout",
            tag("input", type="hidden", name="everywhere", value="yes"),
            tag("button", "Log out of all browsers", type="submit", class_="plain"),
        ),
    )


def _quotas(quotas: Mapping[str, Mapping[str, Mapping[str, int]]], now: int) -> Markup:
    bars = [
        _bar(f"quota-{place}-{window}", f"{shown(name)} per {window}", entry, now)
        for place, (name, windows) in enumerate(quotas.items())
        for window, entry in windows.items()
    ]
    return tag("div", bars, class_="cards") if bars else empty("Your plan has no quotas.")


def _credits(context: PageContext, pools: Mapping[str, Mapping[str, Any]], now: int) -> Markup:
    cards = [_pool(place, context, pool, entry, now) for place, (pool, entry) in enumerate(pools.items())]
    return tag("div", cards, class_="cards") if cards else empty("This server has no credits.")


def _pool(place: int, context: PageContext, pool: str, entry: Mapping[str, Any], now: int) -> Markup:
    words = context.policy.credits.get(pool)
    held = entry["held"]
    included = entry.get("included")
    lines: list[Node] = [
        tag("p", tag("strong", number(entry["left"])), " left", class_="figure"),
        tag("p", f"{number(entry['balance'])} in your balance"),
        None if not held else tag("p", f"{number(held)} more held by calls in flight"),
    ]
    if included is not None:
        lines.append(_bar(f"included-{place}", f"Included per {included['window']}", included, now, inner=True))
    return tag(
        "section", tag("h3", shown(pool)), None if words is None else tag("p", shown(words)), lines, class_="card"
    )


def _bar(name: str, label: str, entry: Mapping[str, int], now: int, *, inner: bool = False) -> Markup:
    """Return a bar with its label, its numbers and its reset; `meter` says the same to a screen reader."""
    used, limit = entry["used"], entry["limit"]
    heading: Node = tag("h4" if inner else "h3", label, id=name)
    words = f"{number(used)} of {number(limit)} used"
    resets = entry["resets_in"]
    return tag(
        "section",
        heading,
        tag(
            "meter",
            words,
            min=0,
            max=max(1, limit),
            high=max(1, limit * 9 // 10),
            value=min(used, limit) if limit else 1,
            aria_labelledby=name,
            aria_valuetext=words,
        ),
        tag("p", words, f", {number(max(0, limit - used))} left"),
        tag("p", f"Resets in {span(resets)}, ", moment(now + 1000 * resets), class_="small"),
        class_="bar" if inner else "card",
    )
