"""Consents: their authors in the journal, the name of a client, and asking again."""

from __future__ import annotations

import asyncio

from sidecar.management.consent_records import (
    ask_again,
    grant_consent,
    lift_revocation,
    list_consents,
    revoke_all_clients,
    revoke_consent,
)
from sidecar.management.operator_store import OperatorStore
from sidecar.store.commands.keys import REVOKED_CHANNEL, consent_digest
from tests.management.support import ACME, APP, entries
from tests.support.store import StoreServer


async def test_every_change_names_its_author(store: OperatorStore):
    await grant_consent(store, ACME, APP, subject="ann", scopes=["read"], by="admin:shop")
    await revoke_consent(store, ACME, APP, subject="ann", by="holder")
    await revoke_all_clients(store, ACME, by="command")
    await lift_revocation(store, ACME, by="admin:desk")
    await ask_again(store, ACME, APP, subject="ann", by="admin:shop")
    assert await entries(store) == [
        {"event": "consent_granted", "client": APP, "subject": "ann", "by": "admin:shop"},
        {"event": "consent_revoked", "client": APP, "subject": "ann", "by": "holder"},
        {"event": "consent_revoked", "by": "command"},
        {"event": "consent_granted", "by": "admin:desk"},
        {"event": "consent_removed", "client": APP, "subject": "ann", "by": "admin:shop"},
    ]


async def test_a_name_is_kept_until_another_is_written(store: OperatorStore):
    await grant_consent(store, ACME, APP, subject="ann", scopes=["read"], client_name="<b>App</b>", by="admin:shop")
    await revoke_consent(store, ACME, APP, subject="ann", by="holder")
    await grant_consent(store, ACME, APP, subject="ann", by="admin:shop")
    (record,) = await list_consents(store, ACME)
    assert (record.client_name, record.scopes, record.granted) == ("<b>App</b>", None, True)
    await grant_consent(store, ACME, APP, subject="ann", scopes=[], client_name="App", by="admin:shop")
    (record,) = await list_consents(store, ACME)
    assert (record.client_name, record.scopes) == ("App", ())


async def test_a_removed_consent_is_none_and_the_sidecars_hear_of_it(store: OperatorStore, store_server: StoreServer):
    await grant_consent(store, ACME, APP, subject="ann", by="command")
    await revoke_consent(store, ACME, APP, subject="bob", by="command")
    with store_server.client() as client, client.pubsub() as channel:
        channel.subscribe(REVOKED_CHANNEL)
        assert (await asyncio.to_thread(channel.get_message, timeout=60))["type"] == "subscribe"
        assert await ask_again(store, ACME, APP, subject="bob", by="command")
        message = await asyncio.to_thread(channel.get_message, timeout=60)
        assert message["data"] == f"{ACME.keys.digest} {consent_digest('bob', APP)}"
        assert not await ask_again(store, ACME, APP, subject="bob", by="command")
        assert [each.subject for each in await list_consents(store, ACME)] == ["ann"]
        assert await ask_again(store, ACME, APP, by="command"), "for every subject, ann is asked again too"
        assert await list_consents(store, ACME) == []
        assert client.zcard(ACME.keys.consents) == 0
