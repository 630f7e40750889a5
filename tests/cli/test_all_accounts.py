"""`usage --verify --all-accounts` recomputes every account of the store, with or without a record that names it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sidecar.store.commands.keys import account_keys
from tests.cli.support import Run
from tests.support.store import StoreServer

ALICE, BOB = account_keys("main", "alice"), account_keys("main", "bob")


@pytest.fixture(autouse=True)
def here(config: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(config.parent)
    return config.parent


@pytest.fixture
def store(store_server: StoreServer) -> Iterator[Any]:
    with store_server.client() as client:
        yield client


@pytest.fixture
def accounts(run: Run) -> None:
    for account in ("alice", "bob", "carol"):
        assert run("credits", "grant", account, "contact", "10", "--create").status == 0


def verify(run: Run, *more: str) -> Any:
    return run("usage", "--verify", "--all-accounts", *more)


def test_accounts_in_order_are_counted(run: Run, accounts: None):
    found = verify(run)
    assert (found.status, found.out) == (0, "3 accounts verified: 0 with differences, 0 not readable\n")
    assert verify(run, "--format", "json").json == {"ok": True, "accounts": 3, "wrong": [], "failed": []}


def test_every_account_with_a_difference_is_printed(run: Run, accounts: None, store: Any):
    store.hincrby(ALICE.ledger, "balance:contact", 7)
    store.hdel(BOB.ledger, "balance:contact", "total:contact")
    found = verify(run)
    assert found.status == 1
    assert "account alice (main): 1 difference" in found.out
    assert "account bob (main):" in found.out
    assert found.out.endswith("3 accounts verified: 2 with differences, 0 not readable\n")
    wrong = verify(run, "--format", "json").json["wrong"]
    assert sorted(each["account"] for each in wrong) == ["alice", "bob"]


def test_an_account_without_a_record_is_named_by_a_consent_or_its_digest(run: Run, accounts: None, store: Any):
    run("consent", "grant", "alice", "app")
    for keys in (ALICE, BOB):
        store.delete(keys.account)
        store.hincrby(keys.ledger, "balance:contact", 1)
    found = verify(run)
    assert "account alice (main): 1 difference" in found.out
    assert f"account ({BOB.digest}): 1 difference" in found.out


def test_a_journal_without_its_balances_is_found(run: Run, accounts: None, store: Any):
    """As when a ledger is deleted, or restored from another time than its journal."""
    store.delete(ALICE.ledger)
    assert "account alice (main):" in verify(run).out


def test_one_damaged_record_does_not_hide_other_accounts(run: Run, accounts: None, store: Any):
    store.set(ALICE.account, "edited")
    store.set(BOB.ledger, "edited")
    found = verify(run)
    assert found.status == 1
    assert BOB.digest in found.out or "bob (main)" in found.out
    assert "accounts verified: " in found.out


def test_only_accounts_of_the_named_issuer_are_verified(run: Run, accounts: None, store: Any):
    other = account_keys("other", "alice")
    store.hset(other.account, mapping={"issuer": "other", "account": "alice"})
    store.hset(other.ledger, "balance:contact", "5")
    assert verify(run).status == 1
    assert verify(run, "--issuer", "main").status == 0
    assert verify(run, "--issuer", "unknown").status == 2


def test_an_empty_store_has_no_account(run: Run):
    assert verify(run).out == "0 accounts verified: 0 with differences, 0 not readable\n"


@pytest.mark.parametrize(
    "words",
    [
        ("usage",),
        ("usage", "alice", "--verify", "--all-accounts"),
        ("usage", "--all-accounts"),
        ("usage", "--all-accounts", "--follow"),
        ("usage", "--verify"),
    ],
)
def test_either_one_account_or_all(run: Run, words: tuple[str, ...]):
    assert run(*words).status == 2
