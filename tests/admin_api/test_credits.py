"""Credits by the API: changed once for each idempotency key, however often and at whatever time a request arrives."""

from __future__ import annotations

import asyncio

import pytest

from tests.admin_api.support import Api, account_path


async def balance(api: Api, name: str) -> int:
    return int((await api.ask("GET", account_path(name))).json["balances"].get("contact", 0))


async def test_grant_spend_and_set(api: Api):
    await api.account("credits", plan="free")
    granted = await api.credits("credits", "grant", 10, "one")
    assert granted.json == {
        "issuer": "main",
        "account": "credits",
        "pool": "contact",
        "change": "grant",
        "amount": 10,
        "included": 0,
        "balance": 10,
        "created": False,
    }
    assert (await api.credits("credits", "spend", 3, "two")).json["balance"] == 7
    assert (await api.credits("credits", "set", 100, "three")).json["balance"] == 100
    shown = await api.ask("GET", account_path("credits", "credits"))
    assert shown.json["credits"]["contact"]["balance"] == 100
    entries = (await api.ask("GET", account_path("credits", "journal"))).json["entries"]
    assert [(each["event"], each["by"]) for each in entries[:3]] == [
        *(("set", "admin:all"), ("spend", "admin:all"), ("grant", "admin:all"))
    ]
    assert (await api.ask("GET", account_path("credits", "verification"))).json["ok"] is True


async def test_requests_with_one_key_change_once(api: Api):
    await api.account("once")
    answers = await asyncio.gather(*(api.credits("once", "grant", 5, "invoice-1") for _ in range(12)))
    assert {(each.status, each.body) for each in answers} == {(200, answers[0].body)}
    assert await balance(api, "once") == 5
    assert (await api.credits("once", "grant", 5, "invoice-2")).json["balance"] == 10
    assert (await api.credits("once", "grant", 5, "invoice-1")).json["balance"] == 5, "the answer of then"
    assert await balance(api, "once") == 10


async def test_another_request_with_that_key_is_refused(api: Api):
    await api.account("reused")
    await api.credits("reused", "grant", 5, "k")
    for change, amount in (("grant", 6), ("spend", 5), ("set", 5)):
        said = await api.credits("reused", change, amount, "k")
        assert (said.status, said.code) == (422, "idempotency_key_reused")
    assert await balance(api, "reused") == 5


async def test_racing_requests_with_one_key_and_other_amounts_make_one_change(api: Api):
    await api.account("mixed")
    answers = await asyncio.gather(*(api.credits("mixed", "grant", amount, "k") for amount in range(1, 11)))
    done = [each for each in answers if each.status == 200]
    assert len(done) == 1
    assert {each.code for each in answers if each.status != 200} == {"idempotency_key_reused"}
    assert await balance(api, "mixed") == done[0].json["amount"]


async def test_keys_are_of_one_program_and_one_account(api: Api):
    for name in ("mine", "yours"):
        await api.account(name)
        for by in ("all", "credits"):
            assert (await api.credits(name, "grant", 5, "k", by=by)).status == 200
        assert await balance(api, name) == 10


@pytest.mark.parametrize("key", [None, "", "a" * 129, "a b", "ä"])
async def test_a_key_is_required(api: Api, key: str | None):
    await api.account("keyless")
    body = {"pool": "contact", "change": "grant", "amount": 5}
    headers = {} if key is None else {"Idempotency-Key": key}
    said = await api.ask("POST", account_path("keyless", "credits"), body, headers=headers)
    assert said.code == "parameter_invalid"
    assert await balance(api, "keyless") == 0


async def test_impossible_changes(api: Api):
    await api.account("poor", plan="free")
    assert (await api.credits("poor", "spend", 1, "a")).code == "insufficient_credits"
    assert (await api.credits("poor", "grant", 2**53 - 1, "b")).status == 200
    assert (await api.credits("poor", "grant", 1, "c")).code == "excessive_credits"
    assert (await api.credits("unknown", "grant", 1, "d")).code == "account_unknown"
    other = {"pool": "gold", "change": "grant", "amount": 1}
    headers = {"Idempotency-Key": "e"}
    said = await api.ask("POST", account_path("poor", "credits"), other, headers=headers)
    assert said.code == "name_unknown"


async def test_an_unknown_account_is_created_where_the_program_says_so(api: Api):
    made = await api.credits("newcomer", "grant", 5, "k", create=True)
    assert (made.status, made.json["created"]) == (201, True)
    again = await api.credits("newcomer", "grant", 5, "k", create=True)
    assert again.json["balance"] == 5
