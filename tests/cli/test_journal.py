"""`usage` shows the journal, follows it, and recomputes balances, counters and paid items from it."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sidecar.ledger.windows import window_at
from sidecar.store.commands import changes, scripts
from sidecar.store.commands.keys import account_keys
from tests.cli.support import Result, Run, write
from tests.store.support import CALLER, KEYS, RealLedger, application, demand, reveal
from tests.support.rig import rig
from tests.support.store import StoreServer

ROOT = Path(__file__).parents[2]
ALICE = account_keys("main", "alice")


@pytest.fixture(autouse=True)
def here(config: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(config.parent)
    return config.parent


@pytest.fixture
def store(store_server: StoreServer) -> Iterator[Any]:
    with store_server.client() as client:
        yield client


@pytest.fixture
def history(run: Run) -> None:
    """alice was granted 10, has spent 4, then 1; 5 are left."""
    run("consent", "grant", "alice", "app")
    assert run("credits", "grant", "alice", "contact", "10", "--create").status == 0
    for units in ("4", "1"):
        assert run("credits", "spend", "alice", "contact", units).status == 0


def differences(result: Result) -> list[tuple[str, str | None, str, str]]:
    assert result.status == 1
    output = result.json
    assert output["ok"] is False
    return [(each["where"], each["pool"], each["expected"], each["found"]) for each in output["differences"]]


def verify(run: Run, account: str = "alice") -> Result:
    return run("usage", account, "--verify", "--format", "json")


# --- showing -------------------------------------------------------------------------------------


def test_the_last_entries_are_shown(run: Run, history: None) -> None:
    entries = run("usage", "alice", "--format", "json").json["entries"]
    assert [each["event"] for each in entries] == ["consent_granted", "grant", "spend", "spend"]
    assert [each["total:contact"] for each in entries[1:]] == ["10", "6", "5"]
    (newest,) = run("usage", "alice", "--last", "1", "--format", "json").json["entries"]
    assert newest["change:contact"] == "-1"
    assert run("usage", "alice", "--last", "0", "--format", "json").json["entries"] == []
    shown = [line for line in run("usage", "alice", "--last", "2").out.splitlines() if line.startswith("  entry")]
    assert len(shown) == 2
    assert "spend" in shown[1]
    assert "total:contact=5" in shown[1]
    assert not any(word.endswith("=") for word in shown[1].split())  # what says nothing is left out


def test_consents_and_the_deletion_are_in_the_journal(run: Run, history: None) -> None:
    run("consent", "grant", "alice", "app", "--subject", "ann")
    run("consent", "revoke", "alice", "app")
    entries = run("usage", "alice", "--last", "2", "--format", "json").json["entries"]
    assert [(each["event"], each["client"], each.get("subject")) for each in entries] == [
        ("consent_granted", "app", "ann"),
        ("consent_revoked", "app", None),
    ]
    assert run("account", "delete", "alice").status == 0
    (entry,) = run("usage", "alice", "--format", "json").json["entries"]
    assert (entry["event"], entry["n"], entry["forfeited:contact"]) == ("account_deleted", "1", "5")
    assert verify(run).json["ok"] is True


def test_a_revocation_needs_no_memory_and_no_journal(run: Run, store: Any, history: None) -> None:
    record = ALICE.client("app")
    store.config_set("maxmemory", 1)
    try:
        assert run("consent", "grant", "alice", "app").status == 1
        assert run("consent", "revoke", "alice", "app").status == 0
    finally:
        store.config_set("maxmemory", 0)
    assert store.hget(record, "status") == "revoked"
    assert verify(run).json["ok"] is True
    assert run("consent", "grant", "alice", "app").status == 0
    store.set(ALICE.usage, "edited")
    assert run("consent", "grant", "alice", "app").status == 1
    assert run("consent", "revoke", "alice", "app").status == 0
    assert store.hget(record, "status") == "revoked"


# --- verifying -----------------------------------------------------------------------------------


def test_an_account_in_order_verifies(run: Run, history: None, here: Path) -> None:
    output = verify(run)
    assert (output.status, output.json["ok"], output.json["entries"], output.json["folded"]) == (0, True, 4, "0")
    assert "ok" in run("usage", "alice", "--verify").out
    (here / "policies" / "p.yaml").write_text("broken: [")
    assert verify(run).status == 0
    assert verify(run, "unknown").status == 1
    assert "has no data of account unknown" in verify(run, "unknown").err
    assert run("usage", "alice", "--verify", "--follow").status == 2


def test_a_balance_edited_by_hand_is_found(run: Run, store: Any, history: None) -> None:
    store.hincrby(ALICE.ledger, "balance:contact", 7)
    assert differences(verify(run)) == [("ledger balance:contact", "contact", "5", "12")]
    output = run("usage", "alice", "--verify")
    assert output.status == 1
    assert "ledger balance:contact: contact: balance and held: expected 5, found 12" in output.out
    store.hincrby(ALICE.ledger, "total:contact", 7)
    assert len(differences(verify(run))) == 2
    store.hset(ALICE.ledger, mapping={"balance:contact": 5, "total:contact": 5, "balance:email": 3})
    assert differences(verify(run)) == [("ledger balance:email", "email", "0", "3")]


def test_a_removed_entry_is_found(run: Run, store: Any, history: None) -> None:
    ids = [identifier for identifier, _ in store.xrange(ALICE.usage)]
    store.xdel(ALICE.usage, ids[2])
    assert differences(verify(run)) == [(ids[3], None, "3", "'4'"), (ids[3], "contact", "9", "5")]
    store.xdel(ALICE.usage, ids[3])
    assert ("ledger journal:written", None, "2", "'4'") in differences(verify(run))


def test_an_entry_that_moves_no_credits_is_missed_too(run: Run, store: Any, history: None) -> None:
    (first, _), (second, _), *_ = store.xrange(ALICE.usage)
    store.xdel(ALICE.usage, first)
    assert differences(verify(run)) == [(second, None, "1", "'2'")]


@pytest.mark.parametrize("key", ["ledger", "holds", "usage", "paid"])
def test_a_key_of_another_type_is_a_difference(run: Run, store: Any, history: None, key: str) -> None:
    store.delete(getattr(ALICE, key))
    store.set(getattr(ALICE, key), "x")
    kind = {"usage": "stream", "paid": "set"}.get(key, "hash")
    assert differences(verify(run)) == [(key, None, kind, "string")]


@pytest.mark.parametrize(
    ("field", "value", "where"),
    [
        ("balance:contact", "many", "ledger balance:contact"),
        ("total:contact", "", "ledger total:contact"),
        ("journal:written", "x", "ledger journal:written"),
        ("checkpoint:contact", "0:1", "ledger checkpoint:contact"),
        ("checkpoint:contact", "0:9:8", "ledger checkpoint:contact"),
    ],
)
def test_a_field_that_is_no_number_is_a_difference(
    run: Run, store: Any, history: None, field: str, value: str, where: str
) -> None:
    store.hset(ALICE.ledger, field, value)
    assert where in [each[0] for each in differences(verify(run))]


def test_entries_and_holds_that_cannot_be_read_are_differences(run: Run, store: Any, history: None) -> None:
    ((newest, _),) = store.xrevrange(ALICE.usage, count=1)
    forged = store.xadd(ALICE.usage, {"event": "grant", "total:contact": "lots"})
    store.hset(ALICE.holds, "c1", "[]")
    found = differences(verify(run))
    assert [each[0] for each in found] == [forged, forged, forged, "ledger journal:written", "hold c1"]
    assert newest not in [each[0] for each in found]


def test_open_holds_are_taken_into_account(run: Run, store: Any, store_server: StoreServer) -> None:
    with RealLedger.of_account(store_server) as real:
        assert run("credits", "grant", "acme", "contact", "10", "--create").status == 0
        assert real.admit(application("c", demand("contact", 6))).held
        assert store.hget(KEYS.ledger, "balance:contact") == "8"
        assert verify(run, "acme").json["ok"] is True
        hold = json.loads(store.hget(KEYS.holds, "c"))
        hold["amounts"][0]["balance"] = "1"
        store.hset(KEYS.holds, "c", json.dumps(hold))
        assert differences(verify(run, "acme")) == [("ledger balance:contact", "contact", "10", "9")]


def test_a_trimmed_journal_verifies_and_trimming_hides_nothing(run: Run, store_server: StoreServer) -> None:
    real = RealLedger(store_server, kept=(6, 3))
    try:
        real.client.hset(KEYS.account, "issuer", "main")

        def grant(first: int, last: int) -> None:
            for number in range(first, last):
                real.run(changes.change_credits("main", "acme", "grant", "contact", 2, operation=f"o{number}"))

        grant(0, 20)
        output = verify(run, "acme").json
        assert (output["ok"], output["entries"], output["folded"]) == (True, 5, "15")
        assert real.client.hget(KEYS.ledger, "checkpoint:contact") == "30:30:0"
        (_, _), (second, _), *_ = real.client.xrange(KEYS.usage)
        real.client.xdel(KEYS.usage, second)
        assert differences(verify(run, "acme"))
        grant(20, 40)
        found = differences(verify(run, "acme"))
        assert real.client.xrange(KEYS.usage, min=second, max=second) == []
        assert next(each[0] for each in found) == "ledger checkpoint:contact"
    finally:
        real.close()


def test_counters_and_paid_items_edited_by_hand_are_found(run: Run, store: Any, store_server: StoreServer) -> None:
    with RealLedger.of_account(store_server) as real:
        for call in (application("c", reveal("a", "b"), demand("requests")), application("open", demand("contact"))):
            assert real.admit(call).held
        real.run(scripts.settle(application("c"), None))
        assert verify(run, "acme").json["ok"] is True
        assert "balances, counters, paid items and holds" in run("usage", "acme", "--verify").out
        now = int(store.time()[0]) * 1000
        month, minute = "included:contact:month", "quota:requests:minute"
        edited = {month: f"{window_at('month', now)[0] + 1}:0", minute: f"{window_at('minute', now)[0] + 99}:7"}
        store.hset(KEYS.ledger, mapping=edited)
        store.sadd(KEYS.paid, "credit:contact:free")
        found = {where: (pool, found) for where, pool, _, found in differences(verify(run, "acme"))}
        assert found[f"ledger {month}"] == ("contact", edited[month])
        assert found["paid"] == (None, "3")
        assert found[f"ledger {minute}"] == (None, edited[minute])
        store.hset(KEYS.ledger, month, "many")
        assert (f"ledger {month}", "contact", "NUMBER:USED", "'many'") in differences(verify(run, "acme"))


def test_a_call_that_the_store_has_lost_is_found_until_the_balance_is_set(
    run: Run, store: Any, history: None, store_server: StoreServer
) -> None:
    real = RealLedger(store_server)
    lost = application("lost", caller=replace(CALLER, account="alice"))
    try:
        real.run(scripts.settle(lost, None))
    finally:
        real.close()
    ((late, _),) = store.xrevrange(ALICE.usage, count=1)
    assert differences(verify(run)) == [(late, None, "a reservation", "none: the store has lost it")]
    assert "call lost: expected a reservation" in run("usage", "alice", "--verify").out
    assert run("credits", "set", "alice", "contact", "5").status == 0
    assert verify(run).json["ok"] is True


def test_a_balance_is_not_set_while_a_hold_cannot_be_read(run: Run, store: Any, history: None) -> None:
    store.hset(ALICE.holds, "broken", "{}")
    before = store.hgetall(ALICE.ledger)
    refused = run("credits", "set", "alice", "contact", "5")
    assert refused.status == 1
    assert "holds broken is not a hold" in refused.err
    assert "docs/repair.md" in refused.err
    assert store.hgetall(ALICE.ledger) == before


def test_counters_of_an_earlier_version_are_not_compared_and_that_is_said(run: Run, store: Any, history: None) -> None:
    store.xadd(ALICE.usage, {"n": "5", "event": "settled", "call": "c", "client": "app", "quota:requests": "1"})
    store.hset(ALICE.ledger, mapping={"journal:written": 5, "quota:requests:month": f"{99_999}:7"})
    output = verify(run).json
    assert differences(verify(run)) == [("ledger quota:requests:month", None, "nothing", "99999:7")]
    month = window_at("month", int(store.time()[0]) * 1000)[0]
    store.hset(ALICE.ledger, "quota:requests:month", f"{month}:7")
    output = verify(run).json
    assert output["ok"] is True
    assert output["uncounted_until"].startswith("20")
    store.sadd(ALICE.paid, "credit:contact:old")
    assert verify(run).json["ok"] is True
    shown = run("usage", "alice", "--verify").out
    assert f"not compared: paid items, and counters of windows that began before {output['uncounted_until']}" in shown


# --- following -----------------------------------------------------------------------------------


@contextmanager
def following(folder: Path, *words: str) -> Iterator[subprocess.Popen[str]]:
    """`usage ... --follow` as a process."""
    process = subprocess.Popen(
        [sys.executable, "-m", "sidecar", "usage", *words, "--follow", "--format", "json"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def entry_of(process: "subprocess.Popen[str]") -> dict[str, str]:
    assert process.stdout is not None
    return dict(json.loads(process.stdout.readline()))


@pytest.mark.timeout(300)
def test_follow_survives_a_restart_of_the_store_and_ends_with_0(run: Run, here: Path) -> None:
    server = StoreServer(durable=True).start()
    try:
        write(here, store=server.url)
        assert run("credits", "grant", "alice", "contact", "10", "--create").status == 0
        with following(here, "alice") as process:
            assert entry_of(process)["event"] == "grant"
            assert run("credits", "spend", "alice", "contact", "1").status == 0
            assert entry_of(process)["total:contact"] == "9"
            assert process.stderr is not None
            server.kill()
            assert "waiting for the store" in process.stderr.readline()
            server.start()
            assert run("credits", "spend", "alice", "contact", "2").status == 0
            assert entry_of(process)["total:contact"] == "7"
            assert "reachable again" in process.stderr.readline()
            process.send_signal(signal.SIGINT)
            assert process.wait() == 0
    finally:
        server.close()


async def test_follow_sees_a_call_as_it_is_settled(tmp_path: Path, store_server: StoreServer) -> None:
    async with rig(tmp_path, store_server) as built:
        await built.account(credits=5)
        await built.grant()
        with following(built.config.parent, "ada", "--config", str(built.config), "--last", "1") as process:
            assert (await asyncio.to_thread(entry_of, process))["event"] == "consent_granted"
            answer = await built.call("reveal_contacts", {"contact_ids": ["a", "b"], "confirm_spend_credits": True})
            assert answer.status == 200, answer.body
            settled = await asyncio.to_thread(entry_of, process)
            assert settled["event"] == "settled"
            assert settled["client"] == "cli-1"
            assert not {"a", "b"} & {*settled.values()}


def test_follow_of_an_unknown_account_ends_with_1(run: Run) -> None:
    assert run("usage", "unknown", "--follow").status == 1
