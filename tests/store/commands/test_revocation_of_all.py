"""The revocation of all clients on a real server: by script and written directly, and through every fault."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import redis

from sidecar.model import AdmissionCode
from sidecar.store.commands import changes, keys, scripts, stream_commands
from sidecar.store.commands.changes import Revoke
from sidecar.store.commands.command import ChangeCode
from sidecar.terms import ConsentMode
from tests.store.support import CALLER, GROWTH, KEYS, NOW, TERMS, RealLedger, application
from tests.support.store import StoreServer

CLIENT = CALLER.client_id
OWN = KEYS.consent("ann", CLIENT)
REVOKED, ADMITTED = AdmissionCode.CONSENT_REVOKED, AdmissionCode.ADMITTED


@pytest.fixture
def ledger(store_server: StoreServer) -> Iterator[RealLedger]:
    with RealLedger.of_account(store_server) as real:
        yield real


def code(ledger: RealLedger, client: str = CLIENT, mode: ConsentMode = ConsentMode.FIRST_USE) -> AdmissionCode:
    """Admit a call of a client; a look and the check of open streams say the same."""
    caller = replace(CALLER, client_id=client)
    asked = [application(dry_run=look, caller=caller, terms=replace(TERMS, consent=mode)) for look in (True, False)]
    reply = ledger.run(stream_commands.standing(KEYS, [(caller.subject, client)], mode))
    open_, _ = stream_commands.standings(reply)
    look, call = (ledger.admit(each).code for each in asked)
    assert [look, call] == [*open_, *open_]
    return call


def test_a_program_that_registers_again_stays_out_until_it_is_granted_or_all_is_lifted(ledger: RealLedger):
    assert code(ledger, "first") is ADMITTED
    assert changes.revoked_all(ledger.run(changes.revoke_all("main", "acme"))) == (ChangeCode.CREATED, 0)
    assert [code(ledger, client) for client in ("first", "again", CLIENT)] == [REVOKED] * 3
    assert code(ledger, "again", ConsentMode.REQUIRED) is REVOKED
    ledger.run(changes.grant("main", "acme", None, "again"))
    assert [code(ledger, client) for client in ("again", "third", "first")] == [ADMITTED, REVOKED, REVOKED]
    records = [key for pattern in KEYS.every_record for key in ledger.client.scan_iter(pattern)]
    covered = changes.revoke_all("main", "acme", records, Revoke.COVERED)
    assert changes.revoked_all(ledger.run(covered)) == (ChangeCode.DONE, 2)
    assert ledger.run(changes.lift("main", "acme")) == ChangeCode.DONE
    assert [code(ledger, client) for client in ("again", "third", "first")] == [ADMITTED, ADMITTED, REVOKED]
    assert ledger.run(changes.lift("main", "acme")) == ChangeCode.UNKNOWN


@pytest.mark.parametrize(("record", "applies"), [
    ({"status": "revoked", "at": str(NOW // 1000)}, True),
    ({"status": "revoked"}, True),
    ({"status": "revoked", "at": "soon"}, True),
    ({"status": "paused"}, True),
    ({"status": "Granted", "at": str(NOW // 1000)}, True),
    ({"note": "x"}, True),
    ({"status": "revoked", "at": "1"}, False),
    ({"status": "granted", "at": str(NOW)}, False),
], ids=str)  # fmt: skip
def test_a_record_written_directly_ends_consents_that_are_not_newer(
    ledger: RealLedger, record: dict[str, str], applies: bool
):
    ledger.client.hset(KEYS.revocation, mapping=record)
    assert code(ledger) is (REVOKED if applies else ADMITTED)
    assert code(ledger, "new") is (ADMITTED if record.get("status") == "granted" else REVOKED)


@pytest.mark.parametrize("at", [None, "soon", str(NOW // 1000), "1"])
def test_a_consent_that_does_not_say_when_is_never_newer(ledger: RealLedger, at: str | None):
    ledger.run(changes.revoke_all("main", "acme"))
    ledger.client.hdel(OWN, "at")
    if at is not None:
        ledger.client.hset(OWN, "at", at)
    assert code(ledger) is REVOKED


@pytest.mark.parametrize("subject", ["ann", None])
def test_a_grant_is_newer_than_the_revocation_even_on_a_clock_that_went_back(ledger: RealLedger, subject: str | None):
    ledger.run(changes.revoke_all("main", "acme", [OWN]))
    ledger.set_clock(NOW - 60_000)
    ledger.run(changes.grant("main", "acme", subject, CLIENT, others=[OWN] if subject is None else []))
    assert code(ledger) is ADMITTED
    ledger.run(changes.revoke_all("main", "acme"))
    assert code(ledger) is REVOKED


def test_records_with_a_time_in_the_future_are_revoked_as_well(ledger: RealLedger):
    ledger.client.hset(OWN, "at", NOW // 1000 + 3600)
    ledger.run(changes.revoke_all("main", "acme"))
    assert code(ledger) is ADMITTED, "it is newer than the revocation"
    assert changes.revoked_all(ledger.run(changes.revoke_all("main", "acme", [OWN], Revoke.COVERED)))[1] == 0
    assert changes.revoked_all(ledger.run(changes.revoke_all("main", "acme", [OWN], Revoke.RECORDS)))[1] == 1
    assert code(ledger) is REVOKED


def test_a_key_of_another_type_denies_until_the_revocation_replaces_it(ledger: RealLedger):
    ledger.client.rpush(KEYS.revocation, "x")
    with pytest.raises(redis.exceptions.ResponseError, match="WRONGTYPE"):
        code(ledger)
    with pytest.raises(redis.exceptions.ResponseError, match="WRONGTYPE"):
        ledger.run(changes.grant("main", "acme", "ann", CLIENT))
    ledger.client.set(KEYS.client("list"), "x")
    ledger.run(changes.revoke_all("main", "acme", [OWN, KEYS.client("list")]))
    assert code(ledger) is REVOKED


def test_it_is_written_when_memory_is_short_and_when_the_journal_is_corrupt(own_server: StoreServer):
    real = RealLedger(own_server)
    real.client.hset(KEYS.account, mapping=GROWTH)
    real.run_unpatched(changes.grant("main", "acme", "ann", CLIENT))
    real.client.delete(KEYS.usage)
    real.client.set(KEYS.usage, "x")
    real.client.config_set("maxmemory", 1)
    with pytest.raises(redis.exceptions.OutOfMemoryError):
        real.run_unpatched(changes.lift("main", "acme"))
    command = changes.revoke_all("main", "acme", [OWN])
    assert changes.revoked_all(real.run_unpatched(command)) == (ChangeCode.CREATED, 1)
    real.client.config_set("maxmemory", 0)
    real.client.delete(KEYS.usage)
    asked = application(terms=replace(TERMS, consent=ConsentMode.FIRST_USE))
    assert scripts.admitted(asked, real.run_unpatched(scripts.admit(asked))).code is REVOKED
    real.close()


def test_it_survives_the_deletion_of_the_account(ledger: RealLedger):
    ledger.run(changes.revoke_all("main", "acme"))
    others = [OWN, KEYS.revocation]
    assert ledger.run(changes.delete_account("main", "acme", others=others)) == ChangeCode.DONE
    ledger.run(changes.set_account("main", "acme", plan="growth", create=True))
    assert not ledger.client.exists(OWN)
    assert code(ledger, "new") is REVOKED


def test_it_is_published_to_every_sidecar_and_journaled_without_a_client(ledger: RealLedger):
    ledger.client.delete(KEYS.usage, KEYS.ledger)
    with ledger.client.pubsub(ignore_subscribe_messages=True) as listener:
        listener.subscribe(keys.REVOKED_CHANNEL)
        listener.get_message(timeout=60)
        ledger.run(changes.revoke_all("main", "acme"))
        ledger.run(changes.revoke_all("main", "acme", [OWN], Revoke.RECORDS))
        ledger.run(changes.lift("main", "acme"))
        message = None
        while message is None:
            message = listener.get_message(timeout=60)
    assert message["data"] == f"{KEYS.digest} *"
    entries = [entry for _, entry in ledger.client.xrange(KEYS.usage)]
    assert entries == [{"n": "1", "event": "consent_revoked"}, {"n": "2", "event": "consent_granted"}]
