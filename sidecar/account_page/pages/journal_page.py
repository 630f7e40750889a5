"""Journal: what was spent, on which tool, by which client; with a filter, and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

from sidecar.account_page.pages.page_frame import PageContext, empty, framed, table
from sidecar.account_page.pages.spoken import counted, moment, number
from sidecar.account_page.web.markup import Markup, Node, shown, tag
from sidecar.ledger.journal.entries import Entry, parse_entry_id, parse_whole

PAGE_SIZE: Final = 50
"""Entries of one page."""
MAX_WORD: Final = 200
"""Characters of a filter's text."""

_EVENTS: Final = {
    "settled": "Call",
    "released": "Call, not charged",
    "late": "Late result, not charged",
    "set_aside": "Call, amounts set aside",
    "grant": "Credits added",
    "spend": "Credits spent",
    "set": "Balance set",
    "consent_granted": "Client connected",
    "consent_revoked": "Client revoked",
    "account_set": "Account changed",
    "account_deleted": "Account deleted",
}
_KINDS: Final = {"": "everything", "calls": "calls", "changes": "changes"}
_CALLS: Final = ("settled", "released", "late", "set_aside")
_CREDIT: Final = "credit:"
_QUOTA: Final = "quota:"
# First characters of a cell that a spreadsheet would run (CWE-1236).
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
_COLUMNS: Final = ("time", "event", "client", "tool", "credits", "quotas", "by")


@dataclass(frozen=True, slots=True)
class JournalFilter:
    """Entries to show.

    Attributes:
        client: part of the client id, in any case.
        tool: part of the tool's name, in any case.
        kind: `calls`, `changes`, or empty for both.
        before: id of the last entry of the page before; None for the first page.
    """

    client: str = ""
    tool: str = ""
    kind: str = ""
    before: str | None = None

    @classmethod
    def of(cls, query: Mapping[str, str]) -> JournalFilter:
        """Read the parameters of a request; malformed ones filter nothing."""
        before = query.get("before", "")
        kind = query.get("kind", "")
        return cls(
            query.get("client", "")[:MAX_WORD].strip(),
            query.get("tool", "")[:MAX_WORD].strip(),
            kind if kind in _KINDS else "",
            before if parse_entry_id(before) != (0, 0) else None,
        )

    def matches(self, entry: Entry, subject: str) -> bool:
        """Return whether to show an entry to a holder; calls and consents of another subject are never shown."""
        fields = entry.fields
        if fields.get("subject", subject) != subject:
            return False
        is_call = fields.get("event") in _CALLS
        if self.kind and is_call is not (self.kind == "calls"):
            return False
        return all(
            asked.casefold() in fields.get(name, "").casefold()
            for name, asked in (("client", self.client), ("tool", self.tool))
        )

    def query(self, before: str | None = None) -> str:
        """Return the query of a link with this filter."""
        given = {"client": self.client, "tool": self.tool, "kind": self.kind, "before": before or ""}
        return urlencode({name: value for name, value in given.items() if value})


def journal(context: PageContext, asked: JournalFilter, entries: Sequence[Entry], older: str | None) -> Markup:
    """Return the page.

    Args:
        context: see there.
        asked: the filter.
        entries: those to show, newest first.
        older: id after which older entries follow; None when there are none.
    """
    rows: list[list[Node]] = [
        [moment(each.at), _event(each), _cell(each, "client"), _cell(each, "tool"), _cost(each)] for each in entries
    ]
    listed = (
        table("Newest first", ("Time", "What", "Client", "Tool", "Cost"), rows)
        if rows
        else empty("No entry matches." if older is None else "None of the newest entries matches.")
    )
    csv_query = asked.query()
    links = [
        tag("a", "Older entries", href=f"{context.site.at('journal')}?{asked.query(older)}", rel="next")
        if older
        else None,
        tag("a", "Download as CSV", href=f"{context.site.at('journal.csv')}{'?' if csv_query else ''}{csv_query}"),
    ]
    return framed(
        context,
        "journal",
        "Journal",
        tag("p", "Every call that used an amount, and every change of this account."),
        _form(context, asked),
        listed,
        tag("p", links, class_="actions"),
    )


def _form(context: PageContext, asked: JournalFilter) -> Markup:
    options = [tag("option", words, value=kind, selected=kind == asked.kind) for kind, words in _KINDS.items()]
    return tag(
        "form",
        tag("div", tag("label", "Client", for_="client"), _word("client", asked.client)),
        tag("div", tag("label", "Tool", for_="tool"), _word("tool", asked.tool)),
        tag("div", tag("label", "Show", for_="kind"), tag("select", options, id="kind", name="kind")),
        tag("button", "Filter", type="submit"),
        method="get",
        action=context.site.at("journal"),
        class_="filter",
    )


def _word(name: str, value: str) -> Markup:
    return tag("input", id=name, name=name, value=value, maxlength=MAX_WORD, autocomplete="off", spellcheck="false")


def _event(entry: Entry) -> Node:
    event, by = entry.fields.get("event", ""), entry.fields.get("by")
    words = _EVENTS.get(event) or shown(event, 64)
    return words if by is None else (words, tag("span", f" by {_author(by)}", class_="small"))


def _author(by: str) -> str:
    if by == "holder":
        return "a person of this account"
    return "the operator" if by == "command" or by.startswith("admin:") else shown(by, 64)


def _cell(entry: Entry, name: str) -> Node:
    value = entry.fields.get(name)
    return "-" if value is None else tag("bdi", shown(value, 96))


def _cost(entry: Entry) -> str:
    costs = [f"{counted(amount, f'{shown(pool)} credit')}" for pool, amount in _credits(entry).items()]
    costs += [f"{shown(name)} {number(units)}" for name, units in _quotas(entry).items()]
    return ", ".join(costs) or "-"


def _credits(entry: Entry) -> dict[str, int]:
    return _named_amounts(entry, _CREDIT)


def _quotas(entry: Entry) -> dict[str, int]:
    return _named_amounts(entry, _QUOTA)


def _named_amounts(entry: Entry, prefix: str) -> dict[str, int]:
    named = ((name.removeprefix(prefix), value) for name, value in entry.fields.items() if name.startswith(prefix))
    amounts = ((name, parse_whole(value)) for name, value in named)
    return {name: amount for name, amount in amounts if amount}


def csv_rows(entries: Iterable[Entry]) -> Iterator[str]:
    """Yield the lines of a file, the names of the columns first."""
    yield _line(_COLUMNS)
    for entry in entries:
        fields = entry.fields
        amounts = (_amounts(_credits(entry)), _amounts(_quotas(entry)))
        yield _line(
            (
                _iso(entry),
                fields.get("event", ""),
                fields.get("client", ""),
                fields.get("tool", ""),
                *amounts,
                fields.get("by", ""),
            )
        )


def _iso(entry: Entry) -> str:
    return moment(entry.at).text.partition('datetime="')[2].partition('"')[0] or entry.id


def _amounts(named: Mapping[str, int]) -> str:
    return " ".join(f"{name}={amount}" for name, amount in named.items())


def _line(cells: Iterable[str]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer).writerow([f"'{cell}" if cell.startswith(_FORMULA) else cell for cell in cells])
    return buffer.getvalue()
