"""Records that were edited by hand: the caller is refused clearly, the log names key and field, nothing is lost."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from sidecar.cli import main
from sidecar.store.commands.keys import account_keys
from tests.support import backend
from tests.support.backend import Turn
from tests.support.rig import Rig

KEYS = account_keys("main", "ada")
SECRET = "4711-secret"
REVEAL = {"contact_ids": ["a", "b"], "confirm_spend_credits": True}


def replace_by_list(client: Any, key: str) -> None:
    client.delete(key)
    client.rpush(key, SECRET)


@pytest.mark.parametrize(
    ("edit", "reported"),
    [
        (
            lambda client: client.hset(KEYS.ledger, "balance:contact", SECRET),
            "ledger balance:contact is not an integer from 0 to 9007199254740991",
        ),
        (
            lambda client: client.hset(KEYS.ledger, "quota:requests:day", SECRET),
            "ledger quota:requests:day is not a counter, WINDOW:USED",
        ),
        (lambda client: replace_by_list(client, KEYS.ledger), "ledger is a list, not a hash"),
        (lambda client: replace_by_list(client, KEYS.paid), "paid is a list, not a set"),
        (lambda client: replace_by_list(client, KEYS.usage), "usage is a list, not a stream"),
        (lambda client: replace_by_list(client, KEYS.leases), "leases is a list, not a zset"),
        (lambda client: replace_by_list(client, KEYS.account), "account is a list, not a hash"),
    ],
)
async def test_a_call_on_damage_is_refused_and_the_log_says_where_it_is(
    rig: Rig, edit: Callable[[Any], Any], reported: str
):
    with rig.redis() as client:
        edit(client)
        before = {key: client.dump(key) for key in client.scan_iter("mcp:{*")}
        reply = await rig.call("reveal_contacts", REVEAL)
        assert (reply.status, reply.headers["Retry-After"]) == (503, "1")
        assert {key: client.dump(key) for key in client.scan_iter("mcp:{*")} == before
    assert reported.partition(" ")[2] not in json.dumps(reply.json)
    (line,) = await rig.recorded()
    assert (line["code"], line["account"]) == ("store_unavailable", "ada")
    assert reported in line["notes"][0]
    assert SECRET not in rig.lines.read_text()
    assert rig.backend.executed == []
    assert (await rig.ready())[0] == 200  # the store is well, and so are other accounts


async def test_a_hold_that_was_edited_under_its_call_keeps_what_it_took(rig: Rig, capsys: pytest.CaptureFixture[str]):
    with rig.redis() as client:

        async def forge(turn: Turn) -> None:
            ((call, raw),) = client.hgetall(KEYS.holds).items()
            hold = json.loads(raw)
            for amount in hold["amounts"]:
                amount["reserved"] = "1e6"
            client.hset(KEYS.holds, call, json.dumps(hold))
            await backend.default()(turn)

        rig.backend.once(forge)
        assert (await rig.call("reveal_contacts", REVEAL)).code is None
        (line,) = await rig.recorded()
        assert any(note.startswith("holds ") and note.endswith("is not a hold") for note in line["notes"])
        assert client.hget(KEYS.ledger, "balance:contact") == "8"  # neither given back nor spent
        assert (await rig.call("reveal_contacts", REVEAL)).code is None  # the account goes on
        reported = await asyncio.to_thread(main, ["usage", "ada", "--verify", "--config", str(rig.config)])
    assert reported == 1
    assert "document: expected a hold" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("key", "field", "code"),
    [
        (KEYS.account, "plan", "plan_required"),
        (KEYS.account, "status", "account_disabled"),
        (KEYS.account, "quota:requests:day", "quota_exceeded"),
        (KEYS.consent("ada", "cli-1"), "scopes", "insufficient_scope"),
        (KEYS.consent("ada", "cli-1"), "status", "consent_revoked"),
    ],
)
@pytest.mark.parametrize("value", [b"\xff\xfe", b"\0", b"nan"])
async def test_a_record_that_other_programs_wrote_wrongly_denies(
    rig: Rig, key: str, field: str, code: str, value: bytes
):
    with rig.redis() as client:
        client.hset(key, field, value)
    assert (await rig.call("list_taxonomy")).code == code
    assert rig.backend.executed == []
