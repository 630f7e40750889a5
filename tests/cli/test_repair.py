"""Repairs of docs/repair.md, performed: afterwards balances verify and calls are admitted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sidecar.store.commands import changes
from tests.cli.support import Run
from tests.store.support import KEYS, LEASE, NOW, RealLedger, application, demand, reveal
from tests.support.store import StoreServer


@pytest.fixture(autouse=True)
def here(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(config.parent)


@pytest.fixture
def ledger(store_server: StoreServer) -> Iterator[RealLedger]:
    """An account with 40 credits, of which an open call holds 5."""
    with RealLedger.of_account(store_server) as real:
        real.run(changes.change_credits("main", "acme", "grant", "contact", 40, operation="o"))
        assert real.admit(application("spent", demand("contact", 4))).held  # what the plan includes
        assert real.admit(application("open", demand("contact", 5))).held
        yield real


def differences(run: Run) -> dict[str, Any]:
    output = run("usage", "acme", "--verify", "--format", "json").json
    return {each["where"]: each["expected"] for each in output["differences"]}


def works(run: Run, ledger: RealLedger) -> None:
    assert run("usage", "acme", "--verify").status == 0
    assert ledger.admit(application("next", demand("contact"), reveal("a"), demand("rows", fixed=True))).held
    assert run("usage", "acme").status == 0


def test_a_balance(run: Run, ledger: RealLedger) -> None:
    ledger.client.hset(KEYS.ledger, "balance:contact", "lots")
    ledger.client.hset(KEYS.ledger, "balance:contact", differences(run)["ledger balance:contact"])
    assert ledger.state().balances == {"contact": 35}
    works(run, ledger)


def test_a_balance_that_can_be_read_is_set(run: Run, ledger: RealLedger) -> None:
    ledger.client.hincrby(KEYS.ledger, "balance:contact", 95)
    assert differences(run) == {"ledger balance:contact": "40"}
    ledger.run(changes.change_credits("main", "acme", "set", "contact", 7, operation="s"))
    assert ledger.client.hmget(KEYS.ledger, "balance:contact", "total:contact") == ["7", "12"]  # 5 are held
    assert run("usage", "acme", "--verify").status == 0
    ledger.client.hincrby(KEYS.ledger, "balance:contact", 95)
    ledger.set_clock(NOW + LEASE + 1)  # what was held is resolved by the same script
    ledger.run(changes.change_credits("main", "acme", "set", "contact", 6, operation="t"))
    assert ledger.client.hmget(KEYS.ledger, "balance:contact", "total:contact") == ["6", "6"]
    works(run, ledger)


def test_a_total(run: Run, ledger: RealLedger) -> None:
    ledger.client.hset(KEYS.ledger, "total:contact", "")
    ledger.client.hset(KEYS.ledger, "total:contact", differences(run)["ledger total:contact"])
    works(run, ledger)


def test_a_hold(run: Run, ledger: RealLedger) -> None:
    ledger.client.hset(KEYS.holds, "open", '{"amounts": 1}')
    assert differences(run)["hold open"] == "a hold"
    ledger.set_clock(NOW + LEASE + 1)
    ledger.run(changes.inspect(KEYS))
    (entry,) = [fields for _, fields in ledger.client.xrange(KEYS.usage) if fields["event"] == "set_aside"]
    assert entry["call"] == "open"
    assert ledger.client.zscore(KEYS.leases, "open") == NOW + LEASE + 1 + 86_400_000
    ledger.client.hdel(KEYS.holds, "open")
    ledger.client.zrem(KEYS.leases, "open")
    ledger.client.hset(KEYS.ledger, "balance:contact", differences(run)["ledger balance:contact"])
    assert ledger.state().balances == {"contact": 40}
    works(run, ledger)


def test_a_hold_that_is_written_right_again_is_resolved_by_itself(run: Run, ledger: RealLedger) -> None:
    right = ledger.client.hget(KEYS.holds, "open")
    ledger.client.hset(KEYS.holds, "open", right.replace('"5"', '"5e0"'))
    ledger.set_clock(NOW + LEASE + 1)
    ledger.run(changes.inspect(KEYS))
    ledger.client.hset(KEYS.holds, "open", right)
    ledger.set_clock(NOW + LEASE + 2 + 86_400_000)
    ledger.run(changes.inspect(KEYS))
    assert ledger.client.hlen(KEYS.holds) == 0
    assert ledger.state().balances == {"contact": 40}
    assert run("usage", "acme", "--verify").status == 0


def test_a_hold_whose_balance_cannot_be_read_waits_for_it(run: Run, ledger: RealLedger) -> None:
    ledger.client.hset(KEYS.ledger, "balance:contact", "nan")
    ledger.set_clock(NOW + LEASE + 1)
    assert ledger.run(changes.audit(KEYS))
    assert ledger.admit(application("rows", demand("rows", fixed=True))).held  # what needs no credits goes on
    assert ledger.client.hexists(KEYS.holds, "open")
    ledger.client.hset(KEYS.ledger, "balance:contact", 35)
    ledger.set_clock(NOW + LEASE + 2 + 86_400_000)
    ledger.run(changes.inspect(KEYS))
    assert ledger.state().balances == {"contact": 40}
    assert run("usage", "acme", "--verify").status == 0


@pytest.mark.parametrize("field", ["quota:requests:day", "included:contact:month"])
def test_a_counter(run: Run, ledger: RealLedger, field: str) -> None:
    ledger.client.hset(KEYS.ledger, field, "lots")
    ledger.client.hdel(KEYS.ledger, field)
    works(run, ledger)


@pytest.mark.parametrize("key", [KEYS.leases, KEYS.requests])
def test_leases_and_requests(run: Run, ledger: RealLedger, key: str) -> None:
    ledger.client.delete(key)
    ledger.client.set(key, "x")
    ledger.client.delete(key, KEYS.holds)
    found = differences(run)
    ledger.client.hset(KEYS.ledger, "balance:contact", found["ledger balance:contact"])
    works(run, ledger)


def test_paid_items(run: Run, ledger: RealLedger) -> None:
    ledger.client.set(KEYS.paid, "x")
    ledger.client.delete(KEYS.paid)
    works(run, ledger)


def test_the_journal(run: Run, ledger: RealLedger) -> None:
    ledger.client.delete(KEYS.usage)
    ledger.client.set(KEYS.usage, "x")
    assert json.loads(run("usage", "acme", "--verify", "--format", "json").out)["ok"] is False
    ledger.client.delete(KEYS.usage)
    fields = [field for field in ledger.client.hkeys(KEYS.ledger) if field.startswith("journal:")]
    ledger.client.hdel(KEYS.ledger, *fields)
    total = ledger.client.hget(KEYS.ledger, "total:contact")
    ledger.client.hset(KEYS.ledger, "checkpoint:contact", f"{total}:{total}:0")
    works(run, ledger)
