"""Connected clients: those of one person, with last use and credits, and their revocation."""

from __future__ import annotations

from pathlib import Path

from sidecar.management.account_records import AccountChange, set_account
from sidecar.management.connections import list_connections, revoke_connection
from sidecar.management.consent_records import grant_consent, lift_revocation, revoke_all_clients, revoke_consent
from sidecar.management.credit_changes import CreditOrder, CreditVerb, change_credits
from sidecar.management.operator_store import OperatorStore
from sidecar.model import AdmissionCode
from sidecar.store.commands import changes
from tests.management.support import ACME, APP, call, entries, policy_of
from tests.support.store import StoreServer


async def test_a_person_sees_own_clients_with_last_use_and_credits(store: OperatorStore, tmp_path: Path):
    policy = policy_of(tmp_path)
    await set_account(store, ACME, AccountChange(plan="growth", create=True), policy=policy, by="command")
    await change_credits(store, ACME, CreditOrder(CreditVerb.GRANT, "contact", 9), policy=policy, by="command")
    await grant_consent(store, ACME, APP, subject="ann", scopes=["read", "reveal"], client_name="App", by="command")
    await grant_consent(store, ACME, "everyone", by="command")
    await grant_consent(store, ACME, "theirs", subject="bob", by="command")
    await grant_consent(store, ACME, APP, subject="bob", by="command")
    for number, tool in enumerate(("search", "reveal", "reveal", "search")):
        assert await call(store, policy, tool, number) is AdmissionCode.ADMITTED
    assert await call(store, policy, "reveal", 9, subject="bob") is AdmissionCode.ADMITTED
    app, everyone = await list_connections(store, ACME, "ann")
    assert (app.client_id, app.client_name, app.host, app.granted) == (APP, "App", "app.example", True)
    assert (app.scopes, app.last_tool, app.credits) == (("read", "reveal"), "search", {"contact": 2})
    assert app.last_used is not None
    assert app.since is not None
    assert app.since <= app.last_used
    assert (everyone.client_id, everyone.last_used, everyone.scopes) == ("everyone", None, None)
    assert [each.client_id for each in await list_connections(store, ACME, "bob")] == [APP, "everyone", "theirs"]
    assert [each.client_id for each in await list_connections(store, ACME, "eve")] == ["everyone"]


async def test_what_is_shown_as_granted_is_what_admission_grants(store: OperatorStore, tmp_path: Path):
    policy = policy_of(tmp_path)
    for client in ("a", "b", "c"):
        await grant_consent(store, ACME, client, subject="ann", by="command")
    await revoke_consent(store, ACME, "b", by="command")
    await revoke_all_clients(store, ACME, by="command")
    await grant_consent(store, ACME, "c", subject="ann", by="command")
    for number, lifts in enumerate((False, True)):
        shown = {each.client_id: each.granted for each in await list_connections(store, ACME, "ann")}
        assert shown == {"a": False, "b": False, "c": True}
        for client, granted in shown.items():
            code = await call(store, policy, "search", number, client=client)
            assert (code is not AdmissionCode.CONSENT_REVOKED) == granted
        if not lifts:
            await lift_revocation(store, ACME, by="command")


async def test_a_person_revokes_own_consent_only(store: OperatorStore):
    await grant_consent(store, ACME, APP, subject="ann", by="command")
    await grant_consent(store, ACME, APP, subject="bob", by="command")
    await grant_consent(store, ACME, "everyone", by="command")
    for client in (APP, "everyone"):
        before = await revoke_connection(store, ACME, "ann", client)
        assert before is not None
        assert before.granted
    assert await revoke_connection(store, ACME, "eve", APP) is None
    assert await revoke_connection(store, ACME, "ann", "unknown") is None
    assert {each.client_id: each.granted for each in await list_connections(store, ACME, "ann")} == {
        APP: False,
        "everyone": False,
    }
    assert all(each.granted for each in await list_connections(store, ACME, "bob"))
    revoked = [each for each in await entries(store) if each["event"] == "consent_revoked"]
    assert [(each["client"], each["subject"], each["by"]) for each in revoked] == [
        (APP, "ann", "holder"),
        ("everyone", "ann", "holder"),
    ]


async def test_a_consent_that_was_written_directly_is_found_by_the_client_s_calls(
    store: OperatorStore, store_server: StoreServer, tmp_path: Path
):
    policy = policy_of(tmp_path)
    with store_server.client() as client:
        client.hset(ACME.keys.consent("ann", APP), mapping={"status": "granted", "at": "1"})
    assert await list_connections(store, ACME, "ann") == []
    assert await call(store, policy, "search", 1) is AdmissionCode.ADMITTED
    (found,) = await list_connections(store, ACME, "ann")
    assert (found.client_id, found.granted, found.since) == (APP, True, 1000)
    assert await revoke_connection(store, ACME, "ann", APP) is not None
    assert await call(store, policy, "search", 2) is AdmissionCode.CONSENT_REVOKED


async def test_records_that_lie_about_their_client_or_subject_show_nothing(
    store: OperatorStore, store_server: StoreServer
):
    await grant_consent(store, ACME, APP, subject="bob", by="command")
    with store_server.client() as client:
        client.hset(ACME.keys.consent("bob", APP), "subject", "ann")
        client.hset(ACME.keys.client("a"), mapping={"status": "granted", "client_id": "b"})
        client.set(ACME.keys.client("text"), "no record")
        names = ["client:" + each.rpartition(":")[2] for each in (ACME.keys.client("a"), ACME.keys.client("text"))]
        client.zadd(ACME.keys.consents, {**dict.fromkeys(names, 1), "ledger": 2, "client:zz}:": 3})
    assert await list_connections(store, ACME, "ann") == []


async def test_many_consents_and_entries_are_read_in_pages(store: OperatorStore, tmp_path: Path):
    policy = policy_of(tmp_path)
    await set_account(store, ACME, AccountChange(plan="growth", create=True), policy=policy, by="command")
    await change_credits(store, ACME, CreditOrder(CreditVerb.GRANT, "contact", 900), policy=policy, by="command")
    for number in range(700):
        await store.run(changes.grant("main", "acme", "ann", f"client-{number}"))
        if number % 2:
            await call(store, policy, "reveal", number, client=f"client-{number % 10}")
    found = await list_connections(store, ACME, "ann")
    assert len(found) == 700
    latest = await list_connections(store, ACME, "ann", entries=500)
    assert len(latest) == 700
    assert 0 < sum((each.credits or {}).get("contact", 0) for each in latest) < 350
    assert {each.client_id: each.credits for each in found if each.credits} == {
        f"client-{number}": {"contact": 70} for number in (1, 3, 5, 7, 9)
    }
