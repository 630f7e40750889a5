"""Pure parts: the consent that applies to a client, its use, the journal's filter and file, spoken numbers."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.account_page.holder_clients import ClientUse, client_uses, holder_clients
from sidecar.account_page.pages.connect_page import server_name
from sidecar.account_page.pages.journal_page import JournalFilter, csv_rows
from sidecar.account_page.pages.spoken import counted, moment, span
from sidecar.ledger.journal.entries import Entry
from sidecar.management.consent_records import ConsentRecord

CLIENT = "cli-1"


def record(
    subject: str | None, *, granted: bool = True, at: int | None = 1, client: str | None = CLIENT
) -> ConsentRecord:
    return ConsentRecord(client, subject, granted, at, None)


ALL = ConsentRecord(None, None, False, 5, None, all_clients=True)


@pytest.mark.parametrize(
    ("records", "connected"),
    [
        ([record("ada")], True),
        ([record("ada", granted=False)], False),
        ([record(None)], True),
        ([record(None, granted=False)], False),
        ([record("ada", at=2), record(None, granted=False, at=1)], True),
        ([record("ada", at=1), record(None, granted=False, at=2)], False),
        ([record("ada", at=1), record(None, granted=False, at=1)], False),
        ([record("ada", at=None), record(None, granted=False, at=None)], False),
        ([record("ada", granted=False, at=1), record(None, at=2)], False),
        ([record("ada", at=4), ALL], False),
        ([record("ada", at=6), ALL], True),
        ([record("ada", at=None), ALL], False),
    ],
)
def test_the_consent_that_applies_is_that_of_an_admission(records: list[ConsentRecord], connected: bool):
    for each in (records, records[::-1]):
        [found] = holder_clients(each, "ada", {})
        assert found.connected is connected


def test_other_subjects_and_nameless_records_are_left_out():
    assert holder_clients([record("bob"), record("ada", client=None), ALL], "ada", {}) == []


def test_connected_clients_come_first_then_the_latest():
    records = [record("ada", client=name, at=at, granted=granted) for name, at, granted in
               (("old", 1, True), ("ended", 9, False), ("new", 5, True))]  # fmt: skip
    assert [each.client_id for each in holder_clients(records, "ada", {})] == ["new", "old", "ended"]


def entry(at: int, **fields: str) -> Entry:
    return Entry(f"{at}-0", {name.replace("__", ":"): value for name, value in fields.items()})


def test_uses_are_counted_per_client():
    entries = [
        entry(3, event="settled", client=CLIENT, credit__contact="2"),
        entry(9, event="released", client=CLIENT, credit__contact="0"),
        entry(10, event="consent_granted", client=CLIENT),
        entry(4, event="settled", client=CLIENT, credit__contact="3", credit__mail="junk"),
        entry(5, event="grant", credit__contact="100"),
    ]
    assert client_uses(entries) == {CLIENT: ClientUse(9, {"contact": 5})}


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
