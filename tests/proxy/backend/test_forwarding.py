"""Forwarding: the backend gets what was judged, and the client a part of its answer."""

from __future__ import annotations

import json
from email.utils import formatdate
from typing import Any

import pytest

from sidecar.outcome import Event
from tests.proxy.support import ALLOWED, Launch, contacts, policy
from tests.support import backend as scripted
from tests.support.backend import Received
from tests.support.rig import LEGACY, MODERN, Json, Reply, Rig
from tests.support.store import free_port


def names(received: Received) -> list[str]:
    return [name for name, _ in received.headers]


# --- headers to the backend ----------------------------------------------------------------------


@pytest.mark.parametrize("revision", [MODERN, LEGACY])
async def test_no_inbound_header_but_those_named_reaches_the_backend(rig: Rig, revision: str):
    inbound = {
        "Cookie": "session=canary",
        "Proxy-Authorization": "Basic canary",
        "X-Api-Key": "canary",
        "X-Forwarded-For": "canary",
        "X-Forwarded-User": "canary",
        "Forwarded": "for=canary",
        "X-Real-IP": "canary",
        "X_MCP_Account": "canary",
        "X-MCP_Account": "canary",
        "X-MCP-Account": "canary",
        "X-MCP-Scopes": "canary",
        "X-MCP-Admin": "canary",
        "X-Request-Id": "canary",
        "Mcp_Session_Id": "canary",
        "X-HTTP-Method-Override": "DELETE",
        "X-Original-URL": "/canary",
        "Range": "bytes=0-canary",
        "TE": "trailers",
        "Keep-Alive": "canary",
        "Connection": "keep-alive, X-Api-Key",
        "User-Agent": "canary",
        "Last-Event-ID": "canary",
        "tracestate": "canary=1",
        "baggage": "canary=1",
        "Accept-Language": "canary",
        "If-None-Match": "canary",
    }
    reply = await rig.call("list_taxonomy", revision=revision, headers=inbound)
    assert reply.code is None
    received = rig.backend.last
    assert set(names(received)) <= ALLOWED
    assert len(set(names(received))) == len(received.headers)
    assert b"canary" not in received.raw
    assert b"bearer" not in received.raw.lower()


async def test_the_identity_headers_are_the_tokens(rig: Rig):
    await rig.call("list_taxonomy", token=rig.issuer.mint(scopes=["stores:read", "openid"]))
    received = rig.backend.last
    assert received.header("x-mcp-issuer") == rig.issuer.url
    assert received.header("x-mcp-account") == "ada"
    assert received.header("x-mcp-client") == "cli-1"
    assert received.header("x-mcp-scopes") == "openid stores:read"


async def test_identities_are_percent_encoded(rig: Rig):
    account, client = "Ada Lovelace ünïcode%41;x", "https://app.example/client?a=b&c"
    await rig.account(account)
    await rig.grant(account, client)
    reply = await rig.call("list_taxonomy", token=rig.issuer.mint(subject=account, client_id=client))
    assert reply.code is None
    assert rig.backend.last.header("x-mcp-account") == "Ada%20Lovelace%20%C3%BCn%C3%AFcode%2541;x"
    assert rig.backend.last.header("x-mcp-client") == client


async def test_the_host_is_the_backends_own(rig: Rig):
    await rig.call("list_taxonomy")
    assert rig.backend.last.header("host") == f"127.0.0.1:{rig.backend.port}"
    assert rig.backend.last.header("host") != rig.url.split("/")[2]


async def test_the_target_is_constant(rig: Rig):
    message = rig.message("tools/call", {"name": "list_taxonomy", "arguments": {}})
    reply = await rig.request(
        "POST", rig.url + "?admin=1", json.dumps(message).encode(), rig.request_headers(message, MODERN, "")
    )
    assert reply.code is None
    assert (rig.backend.last.method, rig.backend.last.target) == ("POST", "/mcp")


async def test_mirrored_headers_are_made_from_the_body(rig: Rig):
    await rig.call("list_taxonomy")
    received = rig.backend.last
    assert received.header("mcp-protocol-version") == MODERN
    assert received.header("mcp-method") == "tools/call"
    assert received.header("mcp-name") == "list_taxonomy"
    await rig.call("list_taxonomy", revision=LEGACY, headers={"Mcp-Name": "list_taxonomy"})
    received = rig.backend.last
    assert received.header("mcp-protocol-version") == LEGACY
    assert "mcp-name" not in names(received)
    assert "mcp-method" not in names(received)


async def test_mcp_param_headers_are_carried_over_once_and_only_in_the_revision_that_has_them(rig: Rig):
    await rig.call("list_taxonomy", headers={"Mcp-Param-Region": "eu west"})
    assert rig.backend.last.all("mcp-param-region") == ["eu west"]
    await rig.call("list_taxonomy", revision=LEGACY, headers={"Mcp-Param-Region": "eu"})
    assert rig.backend.last.all("mcp-param-region") == []


async def test_a_trace_is_continued_with_a_parent_of_our_own(rig: Rig):
    trace, parent = "a" * 32, "b" * 16
    await rig.call("list_taxonomy", headers={"traceparent": f"00-{trace}-{parent}-01"})
    version, trace_id, parent_id, flags = (rig.backend.last.header("traceparent") or "").split("-")
    assert (version, trace_id, flags) == ("00", trace, "01")
    assert parent_id != parent
    assert (await rig.recorded())[0]["trace_id"] == trace


async def test_a_malformed_trace_is_replaced(rig: Rig):
    await rig.call("list_taxonomy", headers={"traceparent": "00-canary-x-01"})
    assert b"canary" not in rig.backend.last.raw


async def test_the_request_id_is_the_answers_and_the_logs(rig: Rig):
    reply = await rig.call("list_taxonomy", headers={"X-Request-Id": "mine"})
    line = (await rig.recorded())[0]
    assert reply.headers["X-Request-Id"] == rig.backend.last.header("x-request-id") == line["request_id"] != "mine"


# --- the body ------------------------------------------------------------------------------------


async def sent(rig: Rig, body: str, **headers: Any) -> Received:
    """Send a legacy message byte for byte; what the backend got of it."""
    made = rig.request_headers({"method": "tools/call"}, LEGACY, "", headers)
    reply = await rig.send(body.encode(), made)
    assert reply.code is None, reply
    return rig.backend.last


async def test_the_body_is_serialised_from_what_was_read(rig: Rig):
    body = """ { "method" : "tools/call",\t"id":1, "jsonrpc": "2.0",
        "params": {"\\u006eame": "list_taxonomy", "arguments": {"q": "\\u00e9\\/"}} } """
    received = await sent(rig, body)
    assert b" " not in received.body
    assert b"\\" not in received.body
    assert received.message["params"] == {"name": "list_taxonomy", "arguments": {"q": "é/"}}
    assert received.header("content-length") == str(len(received.body))
    assert received.header("content-type") == "application/json"


async def test_number_literals_are_kept(rig: Rig):
    literals = '{"a":1.10,"b":12345678901234567890123,"c":1E5,"d":-0.0,"e":0.1000000000000000055511151231257827}'
    start = '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"list_taxonomy","arguments":'
    received = await sent(rig, f"{start}{literals}}}}}")
    assert literals.encode() in received.body


async def test_defaults_are_applied_and_forwarded(rig: Rig):
    await rig.call("search_shopify_stores", {"query": "shoes"})
    assert rig.backend.last.message["params"]["arguments"] == {"query": "shoes", "limit": 25}
    assert rig.backend.executed[-1].arguments["limit"] == 25
    await rig.post("tools/call", {"name": "search_shopify_stores"})
    assert rig.backend.last.message["params"]["arguments"] == {"limit": 25}


async def test_a_default_does_not_replace_null(rig: Rig):
    assert (await rig.call("search_shopify_stores", {"limit": None})).code == "arguments_refused"


async def test_an_injected_confirmation_is_judged_and_removed(rig: Rig):
    refused = await rig.call("get_shopify_store", {"domain": "a.example"})
    assert refused.code == "confirmation_required"
    assert refused.detail["confirm"] == {"argument": "sure"}
    assert not rig.backend.received
    reply = await rig.call("get_shopify_store", {"domain": "a.example", "sure": True})
    assert reply.code is None
    assert rig.backend.last.message["params"]["arguments"] == {"domain": "a.example"}


async def test_a_declared_confirmation_is_forwarded(rig: Rig):
    await rig.call("reveal_contacts", contacts("a"))
    assert rig.backend.executed[-1].arguments == contacts("a")


async def test_the_wish_for_a_task_is_removed(rig: Rig):
    params = {"name": "list_taxonomy", "arguments": {}, "task": {"ttl": 60_000}}
    for revision in (LEGACY, MODERN):
        reply = await rig.post("tools/call", params, revision=revision)
        assert reply.code is None
        assert "task" not in rig.backend.last.message["params"]


async def test_the_task_extension_is_removed_from_the_clients_capabilities(rig: Rig):
    extensions: Json = {"io.modelcontextprotocol/tasks": {}, "io.example/other": {}}
    key = "io.modelcontextprotocol/clientCapabilities"
    meta = {key: {"extensions": extensions, "tasks": {}, "elicitation": {}}}
    reply = await rig.post("tools/call", {"name": "list_taxonomy", "arguments": {}, "_meta": meta})
    assert reply.code is None
    assert rig.backend.last.message["params"]["_meta"][key] == {
        "extensions": {"io.example/other": {}},
        "elicitation": {},
    }


LOOKALIKES = [
    {"Contact_ids": ["x"], "confirm_spend_credits": True},
    {"contact_\uff49ds": ["x"], "confirm_spend_credits": True},
    {"contact_id\u017f": ["x"], "confirm_spend_credits": True},
    {"contact_ids": ["x"], "CONFIRM_SPEND_CREDITS": True},
    {"__proto__": {"contact_ids": ["x"]}, "confirm_spend_credits": True},
]


@pytest.mark.parametrize("arguments", LOOKALIKES, ids=range(len(LOOKALIKES)))
async def test_arguments_that_look_like_priced_ones_never_reach_the_backend(launch: Launch, arguments: Json):
    rig = await launch(policy=policy(tools={"reveal_contacts": {"arguments": OPEN_ARGUMENTS}}))
    assert (await rig.call("reveal_contacts", arguments)).code == "arguments_refused"
    reply = await rig.call("reveal_contacts", {**arguments, **contacts("a")})
    assert reply.code in ("arguments_refused", "message_unparsable")
    assert not rig.backend.received


OPEN_ARGUMENTS = {
    "properties": {
        "contact_ids": {"type": "array", "items": {"type": "string"}},
        "confirm_spend_credits": {"type": "boolean"},
    }
}


# --- answers -------------------------------------------------------------------------------------

SECRETIVE = (
    ("Set-Cookie", "session=canary"),
    ("Server", "canary"),
    ("X-Powered-By", "canary"),
    ("WWW-Authenticate", "Bearer canary"),
    ("Location", "https://canary.example"),
    ("Access-Control-Allow-Origin", "*"),
    ("Mcp-Session-Id", "canary"),
    ("X-Request-Id", "canary"),
    ("Connection", "X-Powered-By"),
    ("Via", "canary"),
)


async def test_response_headers_pass_an_allow_list(rig: Rig):
    kept = (("Cache-Control", "private, max-age=1"), ("MCP-Protocol-Version", MODERN))
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "result": {"content": []}}).encode()
    rig.backend.once(scripted.http(200, body, *SECRETIVE, *kept))
    reply = await rig.call("list_taxonomy", id_=1)
    assert reply.status == 200
    assert not any("canary" in value for value in reply.headers.values())
    assert "Access-Control-Allow-Origin" not in reply.headers
    assert reply.headers["Cache-Control"] == "no-store"  # whatever the backend thinks: it is one caller's own
    assert reply.headers["Mcp-Protocol-Version"] == MODERN
    assert {name.lower() for name in reply.headers} == {
        *("content-type", "content-length", "date", "server", "vary", "x-request-id"),
        *("cache-control", "mcp-protocol-version"),
    }


async def test_stream_headers_are_our_own(rig: Rig):
    async def behave(turn: scripted.Turn) -> None:
        await turn.open_stream(SECRETIVE[:-2])
        await turn.event(turn.response({"result": {"content": []}}))
        await turn.end_stream()

    rig.backend.once(behave)
    reply = await rig.call("list_taxonomy")
    assert reply.headers["Content-Type"] == "text/event-stream"
    assert reply.headers["Cache-Control"] == "no-store"
    assert reply.headers["X-Accel-Buffering"] == "no"
    assert not any("canary" in value for value in reply.headers.values())


async def test_a_cookie_of_the_backend_is_never_sent_back(rig: Rig):
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "result": {}}).encode()
    rig.backend.once(scripted.http(200, body, ("Set-Cookie", "canary=1; Path=/")))
    await rig.call("list_taxonomy", id_=1)
    await rig.call("list_taxonomy")
    assert "cookie" not in names(rig.backend.last)


async def test_an_answer_that_needs_no_change_is_relayed_byte_for_byte(launch: Launch):
    rig = await launch(policy=policy(defaults=None))  # without a price there is no receipt
    body = b'{ "id": 1, "jsonrpc":"2.0", "result": {"content": [], "n": 1.10, "s": "\\u00e9"} }\n'
    rig.backend.once(scripted.http(200, body))
    assert (await rig.call("list_taxonomy", id_=1)).body == body


@pytest.mark.parametrize("status", [400, 404, 405, 408, 409, 422, 429, 499])
async def test_a_refusal_of_the_backend_is_relayed_byte_for_byte(rig: Rig, status: int):
    body = b'{ "jsonrpc":"2.0","id":1, "error":{"code":-32022,"message":"canary","data":{"supported":["x"]}}}\r\n'
    rig.backend.once(scripted.http(status, body, ("Retry-After", "7"), ("Set-Cookie", "a=b"), ("Allow", "POST")))
    reply = await rig.call("search_shopify_contacts")
    assert (reply.status, reply.body) == (status, body)
    assert reply.headers["Retry-After"] == "7"
    assert reply.headers["Content-Type"] == "application/json"
    assert "Set-Cookie" not in reply.headers
    books = await rig.books()
    assert (books.left(), books.holds, books.used) == (10, 0, {"requests": 1})
    event = Event.HTTP_FAILED if status in (408, 409, 499) else Event.HTTP_REFUSED
    assert (await rig.recorded())[0]["code"] == event.value


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308, 304, 401, 403, 407])
async def test_statuses_that_would_mislead_a_client_become_502(rig: Rig, status: int):
    rig.backend.once(
        scripted.http(
            status, b"" if status == 304 else b"canary", ("Location", "/other"), ("WWW-Authenticate", "Bearer")
        )
    )
    reply = await rig.call("search_shopify_contacts")
    check_unavailable(reply)
    assert len(rig.backend.received) == 1  # no redirect was followed
    books = await rig.books()
    assert (books.left(), books.holds) == (10, 0)


@pytest.mark.parametrize(
    ("sent", "relayed"),
    [
        ("7", 7),
        ("0", 0),
        ("9" * 30, 30 * 86_400),
        (formatdate(0, usegmt=True), 0),
        (formatdate(2**33, usegmt=True), 30 * 86_400),
        ("soon", None),
        ("-1", None),
        ("7" * 65, None),
        ("7, 8", None),
    ],
)
async def test_a_503_of_the_backend_keeps_its_retry_after(rig: Rig, sent: str, relayed: int | None):
    rig.backend.once(scripted.http(503, b"", ("Retry-After", sent)))
    reply = await rig.call("search_shopify_contacts")
    check_unavailable(reply)
    assert reply.headers.get("Retry-After") == (None if relayed is None else str(relayed))
    assert reply.json["error"]["data"].get("retry_after") == relayed


@pytest.mark.parametrize("status", [500, 501, 502, 503, 504, 599])
async def test_failures_of_the_backend_become_502(rig: Rig, status: int):
    rig.backend.once(scripted.http(status, b"Traceback: canary", ("Retry-After", "99")))
    reply = await rig.call("list_taxonomy")
    check_unavailable(reply)
    assert ("Retry-After" in reply.headers) is (status == 503)


UNUSABLE = {
    "no json": b"canary",
    "array": b'[{"jsonrpc":"2.0","id":1,"result":{}}]',
    "other id": b'{"jsonrpc":"2.0","id":2,"result":{}}',
    "other id type": b'{"jsonrpc":"2.0","id":"1","result":{}}',
    "no id": b'{"jsonrpc":"2.0","result":{}}',
    "both": b'{"jsonrpc":"2.0","id":1,"result":{},"error":{}}',
    "neither": b'{"jsonrpc":"2.0","id":1}',
    "a request": b'{"jsonrpc":"2.0","id":1,"method":"ping"}',
    "empty": b"",
}


@pytest.mark.parametrize("body", UNUSABLE.values(), ids=UNUSABLE.keys())
async def test_an_answer_that_is_no_response_is_502(rig: Rig, body: bytes):
    rig.backend.once(scripted.http(200, body))
    check_unavailable(await rig.call("list_taxonomy", id_=1))


@pytest.mark.parametrize(
    "behaviour",
    [
        scripted.http(202),
        scripted.http(204, media=None),
        scripted.http(200, b"<html>canary</html>", media="text/html"),
        scripted.http(200, b"{}", ("Content-Encoding", "gzip")),
        scripted.raw(b"canary\r\n\r\n"),
        scripted.reset(),
        scripted.hang_up(),
        scripted.truncated(),
    ],
    ids=["202", "204", "html", "gzip", "no http", "reset", "hang up", "truncated"],
)
async def test_what_is_no_answer_is_502(rig: Rig, behaviour: scripted.Behaviour):
    rig.backend.once(behaviour)
    check_unavailable(await rig.call("list_taxonomy", id_=1))


def check_unavailable(reply: Reply) -> None:
    assert (reply.status, reply.code) == (502, "backend_unavailable")
    assert reply.json["error"]["code"] == 5020
    assert reply.json["id"] is not None
    assert b"canary" not in reply.body
    assert not {"Location", "WWW-Authenticate", "Set-Cookie"} & set(reply.headers)


@pytest.mark.parametrize("chunked", [False, True])
async def test_an_answer_beyond_the_limit_is_refused(launch: Launch, chunked: bool):
    rig = await launch(limits={"response": "4KiB"})
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "result": {"padding": "x" * 5000}}).encode()

    async def behave(turn: scripted.Turn) -> None:
        await turn.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
        await turn.chunk(body)
        await turn.end_stream()

    rig.backend.once(behave if chunked else scripted.http(200, body))
    reply = await rig.call("list_taxonomy", id_=1)
    assert (reply.status, reply.code, reply.json["id"]) == (502, "response_too_large", 1)


async def test_a_tools_own_timeout_comes_before_the_backends(launch: Launch):
    rig = await launch(policy=policy(tools={"list_taxonomy": {"timeout": "20ms"}}))
    rig.backend.once(scripted.silent())
    reply = await rig.call("list_taxonomy", id_="mine")
    assert (reply.status, reply.code, reply.json["id"]) == (504, "backend_timeout", "mine")
    assert reply.json["error"]["code"] == 5040


async def test_a_backend_that_refuses_connections_charges_nothing(launch: Launch):
    rig = await launch(backend_url=f"http://127.0.0.1:{free_port()}/mcp", ready=False)
    reply = await rig.call("reveal_contacts", contacts("a"))
    check_unavailable(reply)
    books = await rig.books()
    assert (books.left(), books.holds, books.used.get("requests", 0)) == (10, 0, 0)
    assert await rig.paid() == set()


@pytest.mark.parametrize("status", [200, 201, 202, 204, 206])
async def test_what_a_client_only_posts_is_answered_202_whatever_2xx_the_backend_says(rig: Rig, status: int):
    posted = scripted.http(status, b"" if status == 204 else b"canary", media="text/plain")
    rig.backend.once(posted, posted)
    replies = [
        await rig.post("notifications/progress", {"progressToken": 1, "progress": 1}, revision=LEGACY),
        await rig.respond(),
    ]
    assert [(reply.status, reply.body) for reply in replies] == [(202, b"")] * 2
    assert len(rig.backend.received) == 2


async def test_a_notification_is_forwarded_and_acknowledged(rig: Rig):
    for revision in (MODERN, LEGACY):
        reply = await rig.post("notifications/progress", {"progressToken": 1, "progress": 1}, revision=revision)
        assert (reply.status, reply.body) == (202, b"")
        assert rig.backend.last.message["method"] == "notifications/progress"
    assert [line["code"] for line in await rig.recorded(2)] == ["ok", "ok"]


async def test_a_cancellation_of_nothing_in_flight_is_acknowledged_and_not_forwarded(rig: Rig):
    reply = await rig.post("notifications/cancelled", {"requestId": 1}, revision=LEGACY)
    assert (reply.status, reply.body) == (202, b"")
    assert not rig.backend.received
    assert (await rig.recorded())[0]["code"] == "ok"


@pytest.mark.parametrize("asked", [7.0, True, None, [7]])
async def test_a_cancellation_names_an_id_that_every_reader_reads_alike(rig: Rig, asked: object):
    reply = await rig.post("notifications/cancelled", {"requestId": asked}, revision=LEGACY)
    assert reply.status == 400
    assert not rig.backend.received


async def test_a_posted_response_is_forwarded(rig: Rig):
    reply = await rig.respond()
    assert reply.status == 202
    assert rig.backend.last.message == {"jsonrpc": "2.0", "id": 1, "result": {}}
    assert (await rig.recorded())[0]["code"] == "ok"
