"""Accounts of any name that a token may bring: their own keys, one log line, one header; others get a challenge."""

from __future__ import annotations

import json
from urllib.parse import unquote

import pytest

from sidecar.observe.logs import MAX_LINE
from sidecar.store.commands import changes
from sidecar.store.commands.keys import account_keys
from tests.proxy.support import Launch

STRANGE = ["a{b}c", "}:ledger", "{}", 'it\'s "so"', "a%00b\\u0000", "שלום", "*?[a]", "\N{PILE OF POO}" * 255]


@pytest.mark.parametrize("account", STRANGE, ids=lambda name: ascii(name)[:20])
async def test_an_account_of_any_name_is_served_and_logged_in_one_line(launch: Launch, account: str):
    rig = await launch(issuer={"claims": {"account": "org"}})
    client = f"https://client.example/{account}"
    await rig.account(account, credits=3)
    await rig.run(changes.grant("main", account, "ada", client))
    token = rig.issuer.mint(org=account, client_id=client)
    reply = await rig.call("search_shopify_contacts", {"limit": 3}, token=token)
    assert (reply.status, reply.code) == (200, None)
    header = rig.backend.last.header("x-mcp-account")
    assert header is not None
    assert header.isascii()
    assert unquote(header) == account
    (line,) = await rig.recorded()
    assert line["account"] in (account, None)
    lines = rig.lines.read_bytes().splitlines(keepends=True)
    assert all(each.isascii() and len(each) <= MAX_LINE for each in lines)
    with rig.redis() as store:
        digest = account_keys("main", account).digest
        ada = account_keys("main", "ada").digest
        assert {key.partition("}")[0] for key in store.scan_iter("mcp:{*")} == {f"mcp:{{{digest}", f"mcp:{{{ada}"}


@pytest.mark.parametrize(
    ("account", "reason"),
    [
        ("x" * 10_000, "its account claim has more than 255 characters"),
        ("x" * 256, "its account claim has more than 255 characters"),
        *(
            (name, "its account claim has unprintable characters or blanks at its ends")
            for name in (" a", "a\n", "a\x1b[31m", "a\0b", "a\x9b", "a\N{RIGHT-TO-LEFT OVERRIDE}")
        ),
        *((name, "its account claim is not a text with characters") for name in ("", 7, ["a"])),
        (None, "its account claim is missing"),
    ],
    ids=lambda value: ascii(value)[:20],
)
async def test_a_name_that_could_be_taken_for_another_is_401_and_the_log_says_why(
    launch: Launch, account: object, reason: str
):
    rig = await launch(issuer={"claims": {"account": "org"}})
    reply = await rig.call("list_taxonomy", token=rig.issuer.mint(org=account))
    assert (reply.status, reply.code) == (401, "token_invalid")
    (line,) = await rig.recorded()
    assert (line["code"], line["account"]) == ("token_invalid", None)
    (note,) = line["notes"]
    assert note.startswith(f"{reason} (")
    assert note.isprintable()
    assert json.dumps(line).isascii()
