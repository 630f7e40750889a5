"""Pure parts: the journal's filter and file, spoken numbers, names of servers."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.account_page.pages.connect_page import server_name
from sidecar.account_page.pages.journal_page import JournalFilter, csv_rows
from sidecar.account_page.pages.spoken import counted, moment, span
from sidecar.ledger.journal.entries import Entry

CLIENT = "cli-1"


def entry(at: int, **fields: str) -> Entry:
    return Entry(f"{at}-0", {name.replace("__", ":"): value for name, value in fields.items()})


@pytest.mark.parametrize(
    ("asked", "shown"),
    [
        ({}, "abcd"),
        ({"client": "CLI"}, "ab"),
        ({"tool": "reveal"}, "a"),
        ({"kind": "calls"}, "ab"),
        ({"kind": "changes"}, "cd"),
        ({"kind": "anything"}, "abcd"),
        ({"client": "cli", "kind": "changes"}, ""),
    ],
    ids=str,
)
def test_the_filter(asked: dict[str, str], shown: str):
    entries = {
        "a": entry(1, event="settled", client=CLIENT, tool="reveal_contacts"),
        "b": entry(2, event="released", client=CLIENT),
        "c": entry(3, event="grant"),
        "d": entry(4, event="consent_granted", client="other", subject="ada"),
        "e": entry(5, event="consent_granted", client=CLIENT, subject="bob"),  # another person's is never shown
        "f": entry(6, event="settled", client=CLIENT, subject="bob"),
    }
    found = JournalFilter.of(asked)
    assert "".join(name for name, each in entries.items() if found.matches(each, "ada")) == shown


@pytest.mark.parametrize("before", ["", "0-0", "x", "-", "+", "1-2-3", "1-0 COUNT", "9" * 30 + "-0"])
def test_only_ids_continue_a_page(before: str):
    assert JournalFilter.of({"before": before}).before is None
    assert JournalFilter.of({"before": "17-3"}).before == "17-3"


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_file_has_one_row_an_entry_and_no_formula(client: str):
    text = "".join(csv_rows([entry(1000, event="settled", client=client)]))
    _, row = csv.reader(io.StringIO(text, newline=""), strict=True)
    is_formula = client.startswith(("=", "+", "-", "@", "\t", "\r"))
    assert row == ["1970-01-01T00:00:01Z", "settled", f"'{client}" if is_formula else client, "", "", "", ""]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "now"),
        (59, "59 s"),
        (60, "1 min"),
        (3725, "1 h 2 min"),
        (86_400, "1 day"),
        (2 * 86_400 + 3600, "2 days 1 h"),
    ],
)
def test_durations(seconds: int, words: str):
    assert span(seconds) == words


def test_numbers_and_times():
    assert (counted(1, "credit"), counted(1200, "credit")) == ("1 credit", "1,200 credits")
    assert moment(None).text == "unknown"
    assert moment(10**20).text == "unknown"


@pytest.mark.parametrize(("url", "name"), [("https://MCP.example.com/mcp", "mcp-example-com"), ("http://[::1]/x", "1")])
def test_names_of_servers(url: str, name: str):
    assert server_name(url) == name
