"""Resources, prompts and methods through the sidecar: what is refused, what reaches the backend, what it costs."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.proxy.support import Launch, policy
from tests.support import backend as scripted
from tests.support.rig import LEGACY, MODERN, Json, Reply, Rig
from tests.support.store import until

ERAS = pytest.mark.parametrize("revision", [MODERN, LEGACY])

SECTIONS: Json = {
    "resources": {
        "docs://*": {"scopes": ["stores:read"], "uses": {"requests": 1}},
        "docs://contacts/*": {
            "scopes": ["contacts:reveal"],
            "uses": {"search_rows": {"reserve": 20, "settle": "length(result.contents)"}},
            "spends": {"contact": {"reserve": 5, "settle": "length(result.contents)"}},
        },
        "docs://slow": {"scopes": [], "timeout": "200ms"},
        "docs://growth": {"scopes": []},
    },
    "prompts": {
        "outreach": {"scopes": ["stores:read"], "spends": {"contact": {"reserve": 3, "settle": 2}}},
        "free": {"scopes": []},
    },
    "methods": {
        "completion/complete": {"scopes": [], "uses": {"requests": 1}},
        "subscriptions/listen": {"scopes": ["usage:read"]},
        "logging/setLevel": {"scopes": []},
        "acme/reindex": {"scopes": ["contacts:reveal"], "spends": {"contact": 4}, "on_unknown": "settle"},
        "acme/count": {"scopes": [], "spends": {"contact": 1}},
        "notifications/acme": {"scopes": [], "uses": {"requests": 1}},
    },
    "plans": {
        "free": {"tools": [], "resources": ["docs://*"], "prompts": ["free"]},
        "growth": {},
        "plus": {"quotas": {"requests": {"day": 1}}},
    },
}
POLICY = policy(**SECTIONS)
CONTENTS = {"contents": [{"uri": "docs://contacts/a", "text": "one"}, {"uri": "docs://contacts/a", "text": "two"}]}
MESSAGES = {"messages": [{"role": "user", "content": {"type": "text", "text": "Write."}}]}
LIMITED = ("usage:read",)


@pytest.fixture
async def rig(launch: Launch) -> Rig:
    """Ada is on the growth plan with ten credits; the backend has resources, prompts and methods of its own."""
    return await started(launch)


async def started(launch: Launch, **options: Any) -> Rig:
    rig = await launch(policy=POLICY, **options)
    rig.backend.on("resources/read", scripted.result(CONTENTS))
    rig.backend.on("prompts/get", scripted.result(MESSAGES))
    for method in ("completion/complete", "acme/reindex", "acme/count", "logging/setLevel", "resources/subscribe"):
        rig.backend.on(method, scripted.result({}))
    return rig


async def read(rig: Rig, uri: str, **options: Any) -> Reply:
    return await rig.post("resources/read", {"uri": uri}, **options)


def refused(reply: Reply) -> tuple[int, str | None, int]:
    return reply.status, reply.code, reply.json["error"]["code"]


# --- what reaches the backend --------------------------------------------------------------------


@ERAS
async def test_a_declared_resource_is_read_and_costs_what_the_result_says(rig: Rig, revision: str):
    reply = await read(rig, "docs://contacts/a", revision=revision)
    assert (reply.status, reply.json["result"]["contents"]) == (200, CONTENTS["contents"])
    books = await rig.books()
    assert (books.left(), books.used, books.holds) == (8, {"search_rows": 2}, 0)
    (seen,) = rig.backend.received
    assert seen.message["params"]["uri"] == "docs://contacts/a"
    assert seen.header("mcp-name") == ("docs://contacts/a" if revision == MODERN else None)
    (line,) = await rig.recorded()
    assert (line["method"], line["tool"], line["code"], line["credits"]) == (
        "resources/read",
        None,
        "ok",
        {"contact": 2},
    )
    assert line["rule"].endswith(":1")
    assert "docs://" not in str({**line, "rule": ""})


@ERAS
async def test_a_declared_prompt_is_got_and_paid(rig: Rig, revision: str):
    params = {"name": "outreach", "arguments": {"who": "founders"}}
    reply = await rig.post("prompts/get", params, revision=revision)
    assert reply.json["result"]["messages"] == MESSAGES["messages"]
    assert (await rig.books()).left() == 8
    assert rig.backend.last.message["params"]["arguments"] == {"who": "founders"}


@ERAS
async def test_a_vendors_method_is_forwarded_as_sent(rig: Rig, revision: str):
    reply = await rig.post("acme/reindex", {"deep": True}, revision=revision)
    assert reply.status == 200
    assert rig.backend.last.message["params"]["deep"] is True
    assert (await rig.books()).left() == 6


@ERAS
async def test_a_vendors_notification_is_forwarded_and_counted(rig: Rig, revision: str):
    reply = await rig.post("notifications/acme", revision=revision)
    assert (reply.status, reply.body) == (202, b"")
    assert rig.backend.last.message["method"] == "notifications/acme"
    assert (await rig.books()).used == {"requests": 1}
    other = await rig.post("notifications/other", revision=revision)
    assert (other.status, other.code) == (404 if revision == MODERN else 403, "method_not_allowed")
    assert len(rig.backend.received) == 1


async def test_methods_of_other_revisions_are_refused_although_declared(rig: Rig):
    assert refused(await rig.post("logging/setLevel", {"level": "info"})) == (404, "method_not_allowed", -32601)
    legacy = await rig.post("subscriptions/listen", {"notifications": {}}, revision=LEGACY)
    assert refused(legacy) == (200, "method_not_allowed", -32601)
    assert (await rig.post("logging/setLevel", {"level": "info"}, revision=LEGACY)).status == 200
    assert [seen.message["method"] for seen in rig.backend.received] == ["logging/setLevel"]


async def test_subscribing_costs_nothing_but_what_is_fixed(rig: Rig):
    for uri in ("docs://a", "docs://contacts/a"):
        assert (await rig.post("resources/subscribe", {"uri": uri}, revision=LEGACY)).status == 200
    books = await rig.books()
    assert (books.used, books.left()) == ({"requests": 1}, 10)


@ERAS
async def test_completions_are_forwarded_for_what_is_declared(rig: Rig, revision: str):
    for ref in ({"type": "ref/prompt", "name": "free"}, {"type": "ref/resource", "uri": "docs://open/{id}"}):
        params = {"ref": ref, "argument": {"name": "a", "value": "b"}, "context": {"arguments": {"x": "y"}}}
        assert (await rig.post("completion/complete", params, revision=revision)).status == 200
        sent = rig.backend.last.message["params"]
        assert {name: sent[name] for name in params} == params


async def test_a_subscription_to_declared_resources_is_forwarded(rig: Rig):
    rig.backend.on("subscriptions/listen", scripted.result({}))
    wanted = {"toolsListChanged": True, "resourceSubscriptions": ["docs://a", "docs://growth"]}
    assert (await rig.post("subscriptions/listen", {"notifications": wanted})).status == 200
    assert rig.backend.last.message["params"]["notifications"] == wanted


# --- what does not -------------------------------------------------------------------------------

URIS = {
    "file:///etc/passwd": "resource_unknown",
    "DOCS://a": "resource_unknown",
    "docs://a/../contacts/a": "params_malformed",
    "docs://a/%2e%2e/contacts/a": "params_malformed",
    "docs://contacts%2Fa": "params_malformed",
    "docs://contacts%252Fa": "params_malformed",
    "docs://a\\..\\contacts\\a": "params_malformed",
    "docs://CONTACTS/a": "params_malformed",
    "docs://%63ontacts/a": "params_malformed",
    "docs:////contacts/a": "params_malformed",
    "docs://growth?x=1": "params_malformed",
    "docs://a#b": "params_malformed",
    "docs://u@a": "params_malformed",
    "docs://a\u0000": "params_malformed",
    "docs://\uff0e\uff0e/a": "params_malformed",
    "": "params_malformed",
}


@ERAS
@pytest.mark.parametrize("uri", URIS, ids=ascii)
async def test_no_spelling_of_a_uri_reaches_the_backend_past_its_rule(rig: Rig, uri: str, revision: str):
    completion: Json = {"ref": {"type": "ref/resource", "uri": uri}, "argument": {"name": "a", "value": ""}}
    asked: list[tuple[str, Json]] = [("resources/read", {"uri": uri}), ("completion/complete", completion)]
    if revision == LEGACY:
        asked += [("resources/subscribe", {"uri": uri}), ("resources/unsubscribe", {"uri": uri})]
    else:
        asked += [("subscriptions/listen", {"notifications": {"resourceSubscriptions": ["docs://a", uri]}})]
    unknown = (200, "resource_unknown", -32602 if revision == MODERN else -32002)
    for method, params in asked:
        reply = await rig.post(method, params, revision=revision)
        malformed = URIS[uri] == "params_malformed"
        assert refused(reply) == ((400, "params_malformed", -32602) if malformed else unknown), method
        assert not uri or uri.encode() not in reply.body
    assert rig.backend.received == []
    lines = await rig.recorded(len(asked))
    assert not any("docs:" in str(line) or "passwd" in str(line) for line in lines)


UNDECLARED: dict[str, tuple[str, Json, str, int]] = {
    "prompt": ("prompts/get", {"name": "secret"}, "prompt_unknown", -32602),
    "completed prompt": (
        "completion/complete",
        {"ref": {"type": "ref/prompt", "name": "secret"}},
        "prompt_unknown",
        -32602,
    ),
    "method": ("acme/delete", {}, "method_not_allowed", -32601),
    "case": ("Acme/count", {}, "method_not_allowed", -32601),
    "tasks": ("tasks/get", {"taskId": "1"}, "method_not_allowed", -32601),
}


@ERAS
@pytest.mark.parametrize("what", UNDECLARED)
async def test_what_is_not_declared_is_not_there(rig: Rig, what: str, revision: str):
    method, params, code, number = UNDECLARED[what]
    headers = {"Mcp-Name": "1"} if what == "tasks" else {}
    status = 404 if revision == MODERN and code == "method_not_allowed" else 200
    reply = await rig.post(method, params, revision=revision, headers=headers)
    assert refused(reply) == (status, code, number)
    assert rig.backend.received == []


@ERAS
@pytest.mark.parametrize("scope", ["consent", "status"])
async def test_consent_and_status_come_before_what_is_there(rig: Rig, scope: str, revision: str):
    token = rig.issuer.mint(client_id="cli-2") if scope == "consent" else ""
    if scope == "status":
        await rig.account(active=False)
    expected = (200, "consent_missing", 4033) if scope == "consent" else (200, "account_disabled", 4036)
    for uri in ("docs://a", "file:///x", "docs://a/../b"):
        assert refused(await read(rig, uri, revision=revision, token=token)) == expected
    for method, params in (("prompts/get", {"name": "x"}), ("acme/count", {}), ("acme/delete", {})):
        assert refused(await rig.post(method, params, revision=revision, token=token)) == expected
    assert rig.backend.received == []


# --- the gates -----------------------------------------------------------------------------------


@ERAS
async def test_a_missing_scope_is_a_challenge_for_all_that_is_named(rig: Rig, revision: str):
    token = rig.issuer.mint(scopes=["usage:read"])
    reply = await read(rig, "docs://contacts/a", revision=revision, token=token)
    assert (reply.status, reply.code) == (403, "insufficient_scope")
    assert 'scope="contacts:reveal usage:read"' in reply.headers["WWW-Authenticate"]
    params = {"ref": {"type": "ref/resource", "uri": "docs://{path}"}, "argument": {"name": "a", "value": ""}}
    reply = await rig.post("completion/complete", params, revision=revision, token=token)
    assert reply.status == 403
    assert 'scope="stores:read contacts:reveal usage:read"' in reply.headers["WWW-Authenticate"]
    assert rig.backend.received == []


@ERAS
async def test_what_a_plan_does_not_include_is_refused(launch: Launch, revision: str):
    rig = await started(launch, plan="free")
    assert (await read(rig, "docs://a", revision=revision)).status == 200
    plan = (200, "plan_required", 4021)
    assert refused(await read(rig, "docs://contacts/a", revision=revision)) == plan
    assert refused(await rig.post("prompts/get", {"name": "outreach"}, revision=revision)) == plan
    assert (await rig.post("prompts/get", {"name": "free"}, revision=revision)).status == 200
    for ref in ({"type": "ref/prompt", "name": "outreach"}, {"type": "ref/resource", "uri": "docs://{path}"}):
        assert refused(await rig.post("completion/complete", {"ref": ref}, revision=revision)) == plan
    if revision == MODERN:
        wanted = {"notifications": {"resourceSubscriptions": ["docs://a", "docs://growth"]}}
        assert refused(await rig.post("subscriptions/listen", wanted)) == plan
    assert len(rig.backend.received) == 2


async def test_a_scope_that_the_consent_leaves_out_is_refused(rig: Rig):
    await rig.grant(scopes=["stores:read"])
    assert (await read(rig, "docs://a")).status == 200
    assert (await read(rig, "docs://contacts/a")).code == "insufficient_scope"
    params = {"ref": {"type": "ref/resource", "uri": "docs://{path}"}}
    assert (await rig.post("completion/complete", params)).code == "insufficient_scope"
    assert len(rig.backend.received) == 1


@ERAS
async def test_budgets_are_refused_as_errors_with_their_detail(launch: Launch, revision: str):
    rig = await started(launch, credits=4)
    reply = await read(rig, "docs://contacts/a", revision=revision)
    assert refused(reply) == (200, "insufficient_credits", 4020)
    assert (reply.detail["price"], reply.detail["balance"]) == (5, 4)
    rig = await started(launch, plan="plus")
    assert (await read(rig, "docs://a", revision=revision)).status == 200
    reply = await read(rig, "docs://a", revision=revision)
    assert refused(reply) == (200, "quota_exceeded", 4290)
    assert reply.detail["quota"] == "requests"
    assert reply.detail["retry_after"] > 0


# --- what becomes of the price -------------------------------------------------------------------


@pytest.mark.parametrize(("method", "left"), [("acme/reindex", 6), ("acme/count", 10)])
async def test_an_unknown_outcome_is_resolved_as_declared(rig: Rig, method: str, left: int):
    rig.backend.once(scripted.reset())
    reply = await rig.post(method)
    assert (reply.status, reply.code) == (502, "backend_unavailable")
    assert ((await rig.books()).left(), (await rig.books()).holds) == (left, 0)


@ERAS
async def test_an_error_of_the_backend_costs_nothing(rig: Rig, revision: str):
    rig.backend.once(scripted.rpc_error(-32602, "no such resource"))
    reply = await read(rig, "docs://contacts/x", revision=revision)
    assert reply.json["error"]["message"] == "no such resource"
    books = await rig.books()
    assert (books.left(), books.used) == (10, {"search_rows": 0})


async def test_a_wish_for_input_costs_nothing_and_its_retry_is_priced_again(rig: Rig):
    rig.backend.once(scripted.input_required())
    assert (await read(rig, "docs://contacts/a")).json["result"]["resultType"] == "input_required"
    assert (await rig.books()).left() == 10
    retry = {"uri": "docs://contacts/a", "inputResponses": {"a": {}}, "requestState": "opaque"}
    assert (await rig.post("resources/read", retry)).status == 200
    assert (await rig.books()).left() == 8


async def test_an_entry_has_its_own_timeout(rig: Rig):
    rig.backend.once(scripted.silent())
    reply = await read(rig, "docs://slow")
    assert (reply.status, reply.code) == (504, "backend_timeout")


async def test_a_hold_is_open_while_a_resource_is_read(rig: Rig):
    gate = asyncio.Event()
    rig.backend.once(scripted.after(gate, scripted.result(MESSAGES)))
    asked = asyncio.create_task(rig.post("prompts/get", {"name": "outreach"}))
    await until(lambda: bool(rig.backend.received))
    books = await rig.books()
    assert (books.left(), books.holds) == (7, 1)
    gate.set()
    await asked
    books = await rig.books()
    assert (books.left(), books.holds) == (8, 0)


# --- what is left behind -------------------------------------------------------------------------


async def test_declared_methods_are_labels_and_others_are_not(rig: Rig):
    await rig.post("acme/count")
    await rig.post("acme/delete")
    await rig.post("prompts/get", {"name": "hunter2"})
    lines = await rig.recorded(3)  # one that is settled is written when the store has said what it cost
    assert sorted(str(line["method"]) for line in lines) == ["None", "acme/count", "prompts/get"]
    metrics = await rig.metrics()
    assert 'method="acme/count",status="ok",tool=""' in metrics
    assert 'method="_other",status="refused",tool=""' in metrics
    assert "acme/delete" not in metrics + str(lines)
    assert "hunter2" not in metrics + str(lines)
