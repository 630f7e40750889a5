"""Amounts that are negative, fractional, huge or no numbers at all, wherever an operator may write one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.support import CONFIG, POLICY, Run, write
from tests.support.store import StoreServer

WORDS = [
    "-1",
    "-0",
    "1.5",
    "2.0",
    "1e3",
    "0x10",
    "9007199254740992",
    "9" * 400,
    "nan",
    "inf",
    " 7",
    "7 ",
    "+7",
    "1_000",
    "٣",
    "",
]
YAML = [
    "-1",
    "1.5",
    "2.0",
    "1e3",
    "9007199254740992",
    "9" * 400,
    ".nan",
    ".inf",
    "true",
    "'7'",
    "",
    "[7]",
    "010",
    "1_000",
]
ACCEPTED = "an amount must be an integer from 0 to 9007199254740991"


@pytest.fixture(autouse=True)
def here(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(config.parent)


@pytest.mark.parametrize("word", WORDS, ids=lambda word: ascii(word)[:20])
@pytest.mark.parametrize("verb", ["grant", "spend", "set"])
def test_no_command_takes_it_for_credits(run: Run, store_server: StoreServer, verb: str, word: str) -> None:
    refused = run("credits", verb, "ann", "contact", "--create", "--", word)
    assert (refused.status, refused.out) == (2, "")
    assert ACCEPTED in refused.err
    with store_server.client() as client:
        assert client.keys("mcp:{*") == []


@pytest.mark.parametrize("word", WORDS, ids=lambda word: ascii(word)[:20])
def test_no_command_takes_it_for_a_limit(run: Run, store_server: StoreServer, word: str) -> None:
    refused = run("account", "set", "ann", "--create", "--quota", f"rows.month={word}")
    assert (refused.status, refused.out) == (2, "")
    assert ACCEPTED in refused.err or "is not NAME.WINDOW=LIMIT" in refused.err
    with store_server.client() as client:
        assert client.keys("mcp:{*") == []


@pytest.mark.parametrize("value", YAML, ids=lambda value: value[:20])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("rows: {month: 100}", "rows: {month: %s}"),
        ("growth: {credits: {contact: {month: 3}}}", "growth: {credits: {contact: {month: %s}}}"),
        ("growth: {credits", "growth: {quotas: {rows: {month: %s}}, credits"),
        ("defaults: {uses: {requests: 1}}", "defaults: {uses: {requests: %s}}"),
        ("email: 0}", "email: %s}"),
        ("email: 0}", "email: {reserve: %s, settle: 1}}"),
        ("email: 0}", "email: {reserve: 1, settle: %s}}"),
        ("once: true}, email", "once: true, each: %s}, email"),
    ],
    ids=["quota", "included", "plan", "default", "fixed", "reserve", "settle", "each"],
)
def test_no_policy_takes_it(run: Run, tmp_path: Path, before: str, after: str, value: str) -> None:
    if not value and ("quotas: {rows" in after or after.endswith(("settle: %s}}", "each: %s}, email"))):
        pytest.skip("null is no amount here: it removes a limit, or says nothing")
    assert before in POLICY
    write(tmp_path, config=CONFIG, policy=POLICY.replace(before, after % value))
    refused = run("check")
    assert refused.status == 1
    assert "p.yaml:" in refused.err


@pytest.mark.parametrize("value", ["-1", "0", "1.5", "1e3", "true", "'7'", "9007199254740992", "5001"])
def test_no_config_takes_it_for_a_count(run: Run, tmp_path: Path, value: str) -> None:
    write(tmp_path, config=CONFIG + f"limits: {{items: {value}}}\n")
    refused = run("check")
    assert refused.status == 1
    assert "config.yaml:5:17: limits.items: " in refused.err


def test_the_largest_amounts_are_taken_and_one_more_is_too_much(run: Run) -> None:
    most = 2**53 - 1
    assert run("credits", "grant", "ann", "contact", most, "--create").status == 0
    refused = run("credits", "grant", "ann", "contact", 1)
    assert refused.status == 1
    assert "would exceed the largest amount" in refused.err
    assert f"balance {most}" in run("usage", "ann").out
    assert run("usage", "ann", "--verify").status == 0
