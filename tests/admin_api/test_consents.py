"""Consents by the API, as calls of the MCP endpoint feel them."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest

from tests.admin_api.support import Api, account_path, section
from tests.proxy.support import POLICY
from tests.support.backend import Backend
from tests.support.rig import Json, Reply, rig
from tests.support.store import until


@pytest.fixture
async def api(tmp_path, store_server):
    with store_server.client() as client:
        client.flushall()
    async with rig(
        tmp_path, store_server, policy=POLICY, scripted=Backend(sessions=True), admin_api=section()
    ) as running:
        made = Api.of(running)
        await made.account("ada", plan="growth")
        yield made


async def decide(api: Api, status: str, **more: Any) -> Reply:
    body = {"account": "ada", "subject": "ada", "client_id": "cli-1", "status": status, **more}
    given = {name: value for name, value in body.items() if value is not None}
    return await api.ask("POST", "/v1/consents", given, by="consents")


async def code(api: Api, tool: str = "list_taxonomy") -> str | None:
    return (await api.rig.call(tool)).code


async def test_a_decision_counts_from_the_next_call(api: Api):
    assert await code(api) == "consent_missing"
    granted = await decide(api, "granted")
    assert (granted.status, granted.json) == (
        201,
        {
            "issuer": "main",
            "account": "ada",
            "client_id": "cli-1",
            "subject": "ada",
            "status": "granted",
            "scopes": None,
            "created": True,
            "others": 0,
        },
    )
    assert await code(api) is None
    assert (await decide(api, "revoked")).status == 200
    assert await code(api) == "consent_revoked"
    removed = await decide(api, "none")
    assert (removed.status, removed.json["removed"]) == (200, True)
    assert await code(api) == "consent_missing"
    assert (await decide(api, "none")).json["removed"] is False


async def test_scopes_narrow_a_consent_and_unknown_ones_grant_nothing(api: Api):
    await decide(api, "granted", scopes=["usage:read", "openid", "offline_access"])
    assert (await api.rig.call("list_taxonomy")).status == 403 or await code(api) == "insufficient_scope"
    await decide(api, "granted", scopes=["stores:read", "usage:read"])
    assert await code(api) is None
    shown = (await api.ask("GET", account_path("ada", "consents"))).json["consents"]
    assert shown[0]["scopes"] == ["stores:read", "usage:read"]


async def test_without_a_subject_it_is_for_every_one(api: Api):
    await decide(api, "granted")
    everyone = await decide(api, "revoked", subject=None)
    assert (everyone.json["subject"], everyone.json["others"]) == (None, 1)
    assert await code(api) == "consent_revoked"
    assert (await decide(api, "granted", subject=None)).json["others"] == 1
    assert await code(api) is None
    assert (await decide(api, "none", subject=None)).json["removed"] is True
    assert await code(api) == "consent_missing"


async def test_a_revocation_ends_open_streams(api: Api):
    await decide(api, "granted")
    for status in ("revoked", "none"):
        await decide(api, "granted")
        async with api.rig.stream() as stream:
            await until(lambda: bool(api.rig.backend.streams))
            await decide(api, status)
            while await stream.event() is not None:
                pass
        await until(lambda: not api.rig.backend.streams)


async def test_all_clients_of_an_account(api: Api):
    await decide(api, "granted")
    path = account_path("ada", "revocation")
    done = await api.ask("PUT", path, by="consents")
    assert (done.status, done.json["changed"]) == (201, 1)
    assert await code(api) == "consent_revoked"
    assert (await api.ask("GET", account_path("ada"))).json["all_clients_revoked"] is True
    assert (await api.ask("GET", account_path("ada", "consents"))).json["all_clients_revoked"] is True
    assert (await api.ask("DELETE", path, by="consents")).json["status"] == "lifted"
    assert await code(api) == "consent_revoked", "lifting grants nothing"
    assert (await api.ask("GET", account_path("ada"))).json["all_clients_revoked"] is False


async def test_one_client_everywhere(api: Api):
    client = "https://client.example/app.json"
    accounts = [f"org/{number}" for number in range(5)]
    for account in accounts:
        await decide(api, "granted", account=account, subject="ada", client_id=client)
    await decide(api, "granted")
    done = await api.ask("PUT", f"/v1/clients/{quote(client, safe='')}/revocation", by="consents")
    assert (done.json["changed"], done.json["already"], done.json["failed"]) == (5, 0, 0)
    assert await code(api) is None, "of another client"
    for account in accounts:
        shown = (await api.ask("GET", account_path(account, "consents"), client_id=client)).json["consents"]
        assert {each["status"] for each in shown} == {"revoked"}
    again = await api.ask("PUT", f"/v1/clients/{quote(client, safe='')}/revocation", by="consents")
    assert (again.json["changed"], again.json["already"]) == (0, 5)


async def every(api: Api, **query: Any) -> list[Json]:
    """Read all pages."""
    found: list[Json] = []
    cursor: Json = {}
    while True:
        page = (await api.ask("GET", "/v1/consents", limit=3, **query, **cursor)).json
        found += page["consents"]
        if page["next"] is None:
            return found
        cursor = {"cursor": page["next"]}


async def test_lists_of_all_and_of_one_client(api: Api):
    for number in range(20):
        await decide(api, "granted", account=f"acc/{number}", subject="s", client_id="cli-a", client_name="<b>App")
        await decide(api, "revoked", account=f"acc/{number}", subject=None, client_id="cli-b")
    found = await every(api)
    names = {(each["account"], each["subject"], each["client_id"], each["status"]) for each in found}
    assert names == {
        *((f"acc/{number}", "s", "cli-a", "granted") for number in range(20)),
        *((f"acc/{number}", None, "cli-b", "revoked") for number in range(20)),
    }
    only = await every(api, client_id="cli-a")
    assert {(each["client_id"], each["client_name"]) for each in only} == {("cli-a", "<b>App")}
    assert len({each["account"] for each in only}) == 20
    assert await every(api, client_id="cli-c") == []


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"status": "maybe"}, "body_malformed"),
        ({"client_id": ""}, "body_malformed"),
        ({"client_id": "c" * 2049}, "body_malformed"),
        ({"account": " ada"}, "parameter_invalid"),
        ({"subject": "a\u202eb"}, "parameter_invalid"),
        ({"scopes": ["a b"]}, "body_malformed"),
        ({"scopes": ["a", "a"]}, "body_malformed"),
        ({"scopes": [f"s{number}" for number in range(201)]}, "body_malformed"),
        ({"status": "revoked", "scopes": ["a"]}, "body_malformed"),
        ({"status": "none", "client_name": "x"}, "body_malformed"),
        ({"by": "admin:other"}, "body_malformed"),
        ({"at": 5}, "body_malformed"),
    ],
)
async def test_wrong_decisions_write_nothing(api: Api, change: Json, expected: str):
    assert (await decide(api, **{"status": "granted", **change})).code == expected
    assert await every(api) == []


async def test_the_journal_names_the_program(api: Api):
    for status in ("granted", "revoked", "none"):
        await decide(api, status)
    entries = (await api.ask("GET", account_path("ada", "journal"), client_id="cli-1")).json["entries"]
    assert [(each["event"], each["by"], each["subject"]) for each in entries] == [
        (f"consent_{word}", "admin:consents", "ada") for word in ("removed", "revoked", "granted")
    ]
    assert (await api.ask("GET", account_path("ada", "verification"))).json["ok"] is True
