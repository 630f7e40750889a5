"""Accounts by the API: created, changed by one of several writers, listed in pages, deleted."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.admin_api.support import Api, account_path


async def test_the_life_of_an_account(api: Api):
    path = account_path("life")
    assert (await api.ask("GET", path)).code == "account_unknown"
    assert (await api.ask("PATCH", path, {"plan": "growth"})).code == "account_unknown"
    made = await api.ask("PATCH", path, {"plan": "growth", "quotas": {"search_rows.month": 10}}, create=True)
    assert made.status == 201
    assert made.json == {
        "issuer": "main",
        "account": "life",
        "plan": "growth",
        "status": "active",
        "quotas": {"search_rows.month": 10},
        "balances": {},
        "all_clients_revoked": False,
    }
    changed = await api.ask("PATCH", path, {"status": "disabled", "quotas": {"requests.day": "unlimited"}})
    assert (changed.status, changed.json["status"], changed.json["plan"]) == (200, "disabled", "growth")
    assert changed.json["quotas"] == {"search_rows.month": 10, "requests.day": "unlimited"}
    back = await api.ask("PATCH", path, {"quotas": {"search_rows.month": "plan", "requests.day": "plan"}})
    assert back.json["quotas"] == {}
    assert (await api.ask("DELETE", path)).json == {"issuer": "main", "account": "life"}
    assert (await api.ask("GET", path)).json["status"] == "deleted"
    assert (await api.ask("PATCH", path, {"plan": "growth"})).code == "account_unknown"
    assert (await api.ask("PATCH", path, {"plan": "free"}, create=True)).json["status"] == "active"


async def test_each_change_is_in_the_journal_with_its_author(api: Api):
    await api.account("authored", plan="growth")
    await api.ask("PATCH", account_path("authored"), {"status": "disabled"}, by="accounts")
    entries = (await api.ask("GET", account_path("authored", "journal"))).json["entries"]
    assert [(entry["event"], entry["by"]) for entry in entries] == [
        ("account_set", "admin:accounts"),
        ("account_set", "admin:all"),
    ]
    assert (entries[0]["status"], entries[1]["plan"]) == ("disabled", "growth")
    line = await api.logged("admin_api_change", account="authored", program="accounts")
    assert (line["operation"], line["changed"]) == ("changeAccount", "status")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({}, "body_malformed"),
        ({"plan": "golden"}, "name_unknown"),
        ({"plan": ""}, "body_malformed"),
        ({"plan": None}, "body_malformed"),
        ({"status": "deleted"}, "body_malformed"),
        ({"quotas": {"search_rows.month": -1}}, "body_malformed"),
        ({"quotas": {"search_rows.fortnight": 1}}, "body_malformed"),
        ({"quotas": {"search_rows": 1}}, "body_malformed"),
        ({"quotas": {"rows.month": 1}}, "name_unknown"),
        ({"quotas": {"rows.month": "plan"}}, "name_unknown"),
        ({"balance": 5}, "body_malformed"),
    ],
)
async def test_wrong_changes_change_nothing(api: Api, change: dict[str, object], code: str):
    await api.account("kept", plan="growth")
    before = await api.ask("GET", account_path("kept"))
    assert (await api.ask("PATCH", account_path("kept"), change)).code == code
    after = await api.ask("GET", account_path("kept"))
    assert (after.json, after.headers["ETag"]) == (before.json, before.headers["ETag"])


async def test_of_writers_with_one_version_one_wins(api: Api):
    await api.account("raced", plan="growth")
    path = account_path("raced")
    tag = (await api.ask("GET", path)).headers["ETag"]
    limits = range(1, 13)
    answers = await asyncio.gather(
        *(
            api.ask("PATCH", path, {"quotas": {"search_rows.month": limit}}, headers={"If-Match": tag})
            for limit in limits
        )
    )
    won = [limit for limit, answer in zip(limits, answers, strict=True) if answer.status == 200]
    assert len(won) == 1
    assert {answer.code for answer in answers if answer.status != 200} == {"version_conflict"}
    shown = await api.ask("GET", path)
    assert shown.json["quotas"] == {"search_rows.month": won[0]}
    assert shown.headers["ETag"] != tag
    later = await api.ask("PATCH", path, {"plan": "free"}, headers={"If-Match": shown.headers["ETag"]})
    assert later.status == 200


@pytest.mark.parametrize(
    ("tag", "code"),
    [
        ('W/"x"', "parameter_invalid"),
        ("x", "parameter_invalid"),
        ('""', "parameter_invalid"),
        ('"x"', "version_conflict"),
        ('"a", "b"', "parameter_invalid"),
    ],
)
async def test_other_tags_do_not_match(api: Api, tag: str, code: str):
    await api.account("tagged", plan="growth")
    said = await api.ask("PATCH", account_path("tagged"), {"plan": "free"}, headers={"If-Match": tag})
    assert said.code == code
    assert (await api.ask("PATCH", account_path("tagged"), {"plan": "free"}, headers={"If-Match": "*"})).status == 200


NAMES = (
    "a/b",
    "/",
    "a//b",
    "%2F",
    "a%2Fb",
    "é",
    "日本/組織",
    "x y",
    "a+b",
    "a&b=c",
    "a?b#c",
    "😀",
    "tenant/ada",
    ";a",
    "a.b",
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names=st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=30), min_size=1, max_size=2))
@example(names=NAMES)
async def test_a_name_reaches_its_own_account(api: Api, names: Sequence[str]):
    for each in names:
        path = account_path(each)
        said = await api.ask("PATCH", path, {"plan": "growth"}, create=True)
        printable = each.isprintable() and each.strip() == each
        if each in (".", ".."):  # these are parts of paths, also for clients
            assert said.code == "path_unknown"
        elif printable:
            assert (said.status in (200, 201), said.json["account"]) == (True, each)
            assert (await api.ask("GET", path)).json["account"] == each
        else:
            assert said.code == "parameter_invalid"


async def test_lists_are_read_in_pages(api: Api):
    names = {f"listed-{number}" for number in range(60)}
    for name in names:
        await api.account(name)
    found: list[str] = []
    cursor, pages = None, 0
    while True:
        query: dict[str, Any] = {"limit": 5} | ({} if cursor is None else {"cursor": cursor})
        page = (await api.ask("GET", "/v1/accounts", **query)).json
        assert len(page["accounts"]) < 250
        found += [each["account"] for each in page["accounts"]]
        cursor, pages = page["next"], pages + 1
        if cursor is None:
            break
    assert names <= set(found)
    assert pages > 1
    for wrong in ("9-0-0", "1-1-0", "1-0-x", "0-0-0"):
        assert (await api.ask("GET", "/v1/accounts", cursor=wrong)).code == "parameter_invalid"
