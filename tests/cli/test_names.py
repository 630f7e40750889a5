"""Names on the command line and in the store: whatever is in them steers neither keys nor the terminal."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sidecar.model import Caller
from sidecar.outcome import Bound
from sidecar.store.commands import bindings
from sidecar.store.commands.keys import account_keys
from tests.cli.support import Run
from tests.support.loaded import load_scripts
from tests.support.store import StoreServer

STRANGE = [
    "a{b}c",
    "{}",
    "}:ledger",
    "a:b:c",
    "mcp:{x}:account",
    'it\'s "so"',
    "שלום",
    "\N{PILE OF POO}",
    "*?[a]",
    "\\n",
]
REFUSED = [
    "",
    " a",
    "a ",
    "a\nb",
    "a\tb",
    "a\x1b[31mb",
    "a\x07",
    "a\x7f",
    "a\x9bb",
    "a\N{RIGHT-TO-LEFT OVERRIDE}b",
    "a\udcffb",
]
EVIL = "\x1b[2J\x9b31m\N{RIGHT-TO-LEFT OVERRIDE}\x07\r\n\x7f{}"


@pytest.fixture(autouse=True)
def here(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(config.parent)


@pytest.mark.parametrize("account", STRANGE)
def test_an_account_of_any_printable_name_is_that_account_and_no_other(
    run: Run, store_server: StoreServer, account: str
) -> None:
    assert run("account", "set", account, "--plan", "growth", "--create").status == 0
    assert run("credits", "grant", account, "contact", 5).status == 0
    assert run("consent", "grant", account, "app").status == 0
    assert [each["account"] for each in run("account", "list", "--format", "json").json] == [account]
    assert account in run("account", "list").out
    assert run("usage", account, "--verify").status == 0
    with store_server.client() as client:
        digest = account_keys("main", account).digest
        assert all(key.startswith(f"mcp:{{{digest}}}:") for key in client.scan_iter("mcp:{*"))
    assert run("account", "delete", account).status == 0


def test_a_deleted_account_leaves_no_claim_of_a_session_or_task(run: Run, store_server: StoreServer) -> None:
    """An id that it had may be given to another account."""
    assert run("account", "set", "ann", "--plan", "growth", "--create").status == 0
    caller = Caller("main", "https://issuer", "sub", "ann", "app", frozenset(), 0, 0)
    other = bindings.claim(Bound.TASK, replace(caller, account="bob"), "bobs")
    with store_server.client() as client:
        load_scripts(client)
        for command in (
            bindings.claim(Bound.SESSION, caller, "s"),
            bindings.bind_session(caller, "s"),
            bindings.claim(Bound.TASK, caller, "t"),
            bindings.bind_tasks(caller, ["t"], 0),
            other,
        ):
            client.execute_command(*command.words())
        assert run("account", "delete", "ann").status == 0
        prefix = account_keys("main", "ann").prefix
        kept = {f"{prefix}{name}" for name in ("account", "ledger", "usage")}
        assert {*client.scan_iter("mcp:{*")} == {*kept, *other.keys}


@pytest.mark.parametrize("account", REFUSED, ids=ascii)
@pytest.mark.parametrize("words", [("account", "show"), ("credits", "show"), ("usage",), ("consent", "list")])
def test_names_that_tokens_cannot_contain_are_refused(run: Run, words: tuple[str, ...], account: str) -> None:
    refused = run(*words, account)
    assert (refused.status, refused.out) == (2, "")
    assert "a name must be printable and not empty, without blanks around it" in refused.err
    assert "\x1b" not in refused.err


def test_a_name_longer_than_in_any_token_is_refused(run: Run) -> None:
    for words in (("account", "show", "a" * 10_000), ("account", "show", "a" * 2121)):
        refused = run(*words)
        assert refused.status == 2
        assert "a name must have at most 2120 characters, as in a token" in refused.err
    refused = run("consent", "revoke", "ann", "c" * 2049)
    assert refused.status == 2
    assert "a name must have at most 2048 characters" in refused.err


@pytest.mark.parametrize("words", [
    ("account", "list"),
    ("account", "show", "ann"),
    ("consent", "list", "ann"),
    ("credits", "show", "ann"),
    ("usage", "ann"),
    ("usage", "ann", "--verify"),
], ids=" ".join)  # fmt: skip
@pytest.mark.parametrize("form", ["text", "json"])
def test_text_of_other_programs_in_the_store_cannot_steer_a_terminal(
    run: Run, store_server: StoreServer, words: tuple[str, ...], form: str
) -> None:
    _fill(store_server)
    shown = run(*words, "--format", form)
    assert "u001b" in shown.out + shown.err or "x1b" in shown.out + shown.err
    assert _harmless(shown.out), ascii(shown.out)
    assert _harmless(shown.err), ascii(shown.err)
    if form == "json":
        json.loads(shown.out)


@pytest.mark.parametrize("words", [
    ("account", "show", "ann"),
    ("credits", "show", "ann"),
    ("usage", "ann"),
    ("credits", "grant", "ann", "contact", "1"),
])  # fmt: skip
def test_corrupt_records_are_named_by_key_and_field(
    run: Run, store_server: StoreServer, words: tuple[str, ...]
) -> None:
    assert run("account", "set", "ann", "--plan", "growth", "--create").status == 0
    with store_server.client() as client:
        client.hset(account_keys("main", "ann").ledger, "balance:contact", f"1e3{EVIL}")
        refused = run(*words)
        assert (refused.status, refused.out) == (1, "")
        assert "ledger balance:contact is not an integer from 0 to 9007199254740991" in refused.err
        assert "1e3" not in refused.err
        client.delete(account_keys("main", "ann").ledger)
        client.rpush(account_keys("main", "ann").ledger, "x")
        assert "ledger is a list, not a hash" in run(*words).err
    assert run("consent", "revoke", "ann", "app").status == 0  # whatever else is broken


def test_a_key_of_another_type_is_in_no_other_s_way(run: Run, store_server: StoreServer) -> None:
    for account in ("ann", "bob"):
        assert run("account", "set", account, "--plan", "growth", "--create").status == 0
    assert run("consent", "grant", "ann", "app", "--subject", "s1").status == 0
    keys = account_keys("main", "ann")
    with store_server.client() as client:
        for key in (keys.account, keys.consent("s2", "app"), keys.client("app")):
            client.delete(key)
            client.rpush(key, "x")
        listed = run("account", "list", "--format", "json").json
        assert [(each["account"], each["status"]) for each in listed] == [(None, "damaged"), ("bob", "active")]
        assert [each["subject"] for each in run("consent", "list", "ann", "--format", "json").json] == ["s1"]
        refused = run("account", "show", "ann")
        assert (refused.status, "account is not a hash" in refused.err) == (1, True)
        assert run("consent", "revoke", "ann", "app").status == 0
        assert client.hget(keys.client("app"), "status") == "revoked"
        assert client.hget(keys.consent("s1", "app"), "status") == "revoked"
        assert run("account", "delete", "ann").status == 0
        assert client.hget(keys.account, "status") == "disabled"


def test_a_hold_that_cannot_be_read_is_shown_as_such(run: Run, store_server: StoreServer) -> None:
    assert run("account", "set", "ann", "--plan", "growth", "--create").status == 0
    with store_server.client() as client:
        client.hset(account_keys("main", "ann").holds, f"c1{EVIL}", "[]")
    shown = run("usage", "ann")
    assert shown.status == 0
    assert "cannot be read: it keeps its amounts until it is repaired" in shown.out
    assert "holds    none" not in shown.out
    assert _harmless(shown.out)


def _fill(server: StoreServer) -> None:
    keys = account_keys("main", "ann")
    record: Any = {"issuer": "main", "account": f"ann{EVIL}", "plan": f"growth{EVIL}", f"quota:{EVIL}:month": "7"}
    with server.client() as client:
        client.hset(keys.account, mapping=record)
        client.hset(keys.ledger, mapping={f"balance:{EVIL}": "5", f"quota:{EVIL}:month": "1:2"})
        client.hset(
            keys.consent("s", "c"), mapping={"subject": EVIL, "client_id": EVIL, "status": "granted", "scopes": EVIL}
        )
        client.xadd(keys.usage, {"event": EVIL, EVIL: EVIL, f"change:{EVIL}": EVIL})
        client.hset(keys.holds, EVIL, EVIL)
        client.zadd(keys.leases, {EVIL: 9e15})


def _harmless(text: str) -> bool:
    return all(each.isprintable() or each == "\n" for each in text)
