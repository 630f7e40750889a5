"""Gate 1 over raw sockets: where requests may go and in what they may come, and what is never echoed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable

import pytest

from tests.proxy.support import Launch, policy
from tests.support import backend as scripted
from tests.support.rig import ACCEPT, LEGACY, Json, Reply, Rig

CALL: Json = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "list_taxonomy", "arguments": {}}}
BODY = json.dumps(CALL).encode()
CANARY = "canary.canary.canary"

Fields = list[tuple[str, str]]


def fields(rig: Rig, *more: tuple[str, str], without: Iterable[str] = (), body: bytes = BODY) -> Fields:
    """The headers of a good call of 2025-11-25; those of `more` come after, whatever is there already."""
    usual = [
        ("Host", rig.url.split("/")[2]),
        ("Authorization", f"Bearer {rig.issuer.mint()}"),
        ("Accept", ACCEPT),
        ("Content-Type", "application/json"),
        ("MCP-Protocol-Version", LEGACY),
        ("Content-Length", str(len(body))),
        ("Connection", "close"),
    ]
    return [(name, value) for name, value in usual if name not in without] + list(more)


async def ask(rig: Rig, first: str, sent: Fields, body: bytes = BODY) -> Reply:
    """Send a request as it stands; the first answer on the connection."""
    lines = [first, *(f"{name}: {value}" for name, value in sent)]
    return parsed(await rig.raw("\r\n".join([*lines, "", ""]).encode("latin-1") + body))


def parsed(data: bytes) -> Reply:
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    assert first.startswith("HTTP/"), data
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return Reply(int(first.split()[1]), headers, body)


async def post(rig: Rig, *more: tuple[str, str], without: Iterable[str] = (), body: bytes = BODY) -> Reply:
    return await ask(rig, "POST /mcp HTTP/1.1", fields(rig, *more, without=without, body=body), body)


async def test_the_good_request_that_the_others_differ_from(rig: Rig):
    reply = await post(rig)
    assert reply.status == 200
    assert len(rig.backend.executed) == 1


# --- where to ------------------------------------------------------------------------------------

GOOD_HOSTS = ["127.0.0.1", "127.0.0.1:80", "127.0.0.1:1", "mcp.example.com", "MCP.example.COM:8443"]
BAD_HOSTS = [
    *("evil.example", "localhost", "127.0.0.1.evil.example", "127.0.0.1@evil.example", "[::1]", "127.0.0.2"),
    *("evil.example:80", "mcp.example.com.", "xmcp.example.com", ""),
]


@pytest.mark.parametrize("host", GOOD_HOSTS)
async def test_hosts_of_the_resource_and_of_the_config_are_served(launch: Launch, host: str):
    rig = await launch(hosts=["mcp.example.com"])
    assert (await post(rig, ("Host", host), without=["Host"])).status == 200


@pytest.mark.parametrize("host", BAD_HOSTS)
async def test_other_hosts_are_refused(launch: Launch, host: str):
    rig = await launch(hosts=["mcp.example.com"])
    reply = await post(rig, ("Host", host), without=["Host"])
    assert reply.status in (400, 403)
    assert not rig.backend.received
    reply = await ask(
        rig, "GET /.well-known/oauth-protected-resource HTTP/1.1", [("Host", host), ("Connection", "close")], b""
    )
    assert reply.status in (400, 403)


# --- in what -------------------------------------------------------------------------------------

GOOD_ACCEPTS = [
    ACCEPT,
    "text/event-stream, application/json;q=0.5",
    "*/*",
    "application/*, text/*",
    "Text/Event-Stream,Application/JSON",
]
BAD_ACCEPTS = ["application/json", "text/event-stream", "text/html", "", "application/json;q=0, text/event-stream"]


@pytest.mark.parametrize("value", GOOD_ACCEPTS)
async def test_clients_that_can_read_both_are_served(rig: Rig, value: str):
    assert (await post(rig, ("Accept", value), without=["Accept"])).status == 200
    assert rig.backend.last.header("accept") == ACCEPT


@pytest.mark.parametrize("value", BAD_ACCEPTS)
async def test_clients_that_cannot_read_both_are_406(rig: Rig, value: str):
    reply = await post(rig, ("Accept", value), without=["Accept"])
    assert (reply.status, reply.code) == (406, "not_acceptable")
    assert not rig.backend.received


async def _without_token(rig: Rig, verb: str, path: str, *more: tuple[str, str], without: Iterable[str] = ()) -> Reply:
    body = BODY if verb == "POST" else b""
    left_out = {"Authorization", *without, *(() if body else ("Content-Type", "Content-Length"))}
    return await ask(rig, f"{verb} {path} HTTP/1.1", fields(rig, *more, without=left_out, body=body), body)


@pytest.mark.parametrize("authorization", [(), ("Authorization", "Basic YTpi"), ("Authorization", "Bearer ")])
@pytest.mark.parametrize(
    ("verb", "more"),
    [
        ("POST", ("Accept", "text/html")),
        ("POST", ("Content-Type", "text/plain")),
        ("POST", ("Content-Encoding", "gzip")),
        ("GET", ("Accept", "application/json")),
        ("DELETE", ("Accept", "text/html")),
        ("POST", ("X-Usual", "1")),
        ("GET", ("X-Usual", "1")),
        ("DELETE", ("X-Usual", "1")),
    ],
)
async def test_a_request_without_a_token_meets_the_challenge_before_its_media_types(
    rig: Rig, authorization: tuple[str, ...], verb: str, more: tuple[str, str]
):
    sent = [more] if not authorization else [more, (authorization[0], authorization[1])]
    reply = await _without_token(rig, verb, "/mcp", *sent, without=[more[0]])
    assert (reply.status, reply.code) == (401, "token_missing")
    assert 'scope="usage:read stores:read"' in reply.headers["www-authenticate"]
    assert "error=" not in reply.headers["www-authenticate"]


@pytest.mark.parametrize(
    ("verb", "path", "more", "status"),
    [
        ("PUT", "/mcp", ("X-Usual", "1"), 405),
        ("POST", "/other", ("X-Usual", "1"), 404),
        ("POST", "/mcp", ("Host", "evil.example"), 403),
        ("POST", "/mcp", ("Origin", "https://evil.example"), 403),
    ],
)
async def test_a_request_that_is_not_for_this_server_meets_no_challenge(
    rig: Rig, verb: str, path: str, more: tuple[str, str], status: int
):
    reply = await _without_token(rig, verb, path, more, without=[more[0]])
    assert reply.status == status
    assert "www-authenticate" not in reply.headers


async def test_a_token_that_is_not_valid_does_not_hide_the_media_types(rig: Rig):
    reply = await post(rig, ("Authorization", "Bearer x"), ("Accept", "text/html"), without=["Authorization", "Accept"])
    assert reply.status == 406


# --- bodies --------------------------------------------------------------------------------------


async def test_a_chunked_body_beyond_the_limit_is_413(launch: Launch):
    rig = await launch(limits={"body": "1KiB"})
    sent = fields(rig, ("Transfer-Encoding", "chunked"), without=["Content-Length"])
    reply = await ask(rig, "POST /mcp HTTP/1.1", sent, b"1000\r\n" + b" " * 0x1000 + b"\r\n0\r\n\r\n")
    assert (reply.status, reply.code) == (413, "body_too_large")


async def test_a_body_is_not_waited_for_without_a_token(rig: Rig):
    sent = fields(rig, ("Content-Length", "1000"), without=["Content-Length", "Authorization"])
    reader, writer = await connected(rig, "POST /mcp HTTP/1.1", sent)
    assert (await reader.readline()).startswith(b"HTTP/1.1 401 ")
    writer.close()


async def test_a_body_is_asked_for_only_behind_the_token(rig: Rig):
    expect = ("Expect", "100-continue")
    reader, writer = await connected(rig, "POST /mcp HTTP/1.1", fields(rig, expect))
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(BODY)
    assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
    writer.close()
    assert rig.backend.last.all("expect") == []
    reader, writer = await connected(rig, "POST /mcp HTTP/1.1", fields(rig, expect, without=["Authorization"]))
    assert (await reader.readline()).startswith(b"HTTP/1.1 401 ")
    writer.close()


async def test_a_client_that_leaves_in_the_middle_of_its_body_costs_nothing(rig: Rig):
    sent = fields(rig, ("Content-Length", "1000"), ("Expect", "100-continue"), without=["Content-Length"])
    reader, writer = await connected(rig, "POST /mcp HTTP/1.1", sent)
    assert b" 100 " in await reader.readline()  # now it reads the body
    writer.write(BODY[:10])
    writer.transport.abort()
    assert (await rig.recorded())[0]["code"] == "client_gone"
    assert not rig.backend.received
    assert (await rig.books()).used == {}


async def connected(rig: Rig, first: str, sent: Fields) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    address = rig.sidecar.addresses["listen"]
    reader, writer = await asyncio.open_connection(address.host, address.port)
    writer.write("\r\n".join([first, *(f"{name}: {value}" for name, value in sent), "", ""]).encode())
    return reader, writer


# --- secrets -------------------------------------------------------------------------------------

MALFORMED = {
    "nul in the token": f"POST /mcp HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {CANARY}\0\r\n\r\n",
    "huge token": f"POST /mcp HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {CANARY * 5000}\r\n\r\n",
    "bad line": f"POST /mcp?token={CANARY} HTTP/9\r\nAuthorization: Bearer {CANARY}\r\n\r\n",
    "no http": f"{CANARY}\r\n\r\n",
    "bad method": f"{CANARY.upper()} /mcp HTTP/1.1\r\nHost: a\r\n\r\n",
    "bad header": f"GET / HTTP/1.1\r\nHost: a\r\n{CANARY}\r\n\r\n",
    "bad chunk": f"POST /mcp HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nCookie: {CANARY}\r\n\r\n{CANARY}\r\n",
    "huge line": f"GET /{CANARY * 5000} HTTP/1.1\r\nHost: a\r\n\r\n",
    "latin-1": f"GET /mcp HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {CANARY}\xff\r\nConnection: close\r\n\r\n",
    "tls": "\x16\x03\x01\x02\x00\x01\x00\x01\xfc" + CANARY,
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED.keys())
async def test_malformed_http_is_never_echoed(
    rig: Rig, data: str, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
):
    answer = await rig.raw(data.encode("latin-1"))
    reply = parsed(answer)
    assert reply.status in (400, 403)
    assert len(reply.headers["x-request-id"]) == 32
    assert reply.headers["server"] == "mcp-sidecar"
    line = (await rig.recorded())[0]
    assert line["request_id"] == reply.headers["x-request-id"]
    captured = capfd.readouterr()
    shown = [
        answer.decode("latin-1"),
        rig.lines.read_text(),
        await rig.metrics(),
        captured.out,
        captured.err,
        caplog.text,
    ]
    assert not any("canary" in text.lower() for text in shown)


# --- browsers ------------------------------------------------------------------------------------

ORIGIN = ("Origin", "https://app.example")


@pytest.fixture
async def browsed(launch: Launch) -> Rig:
    return await launch(origins=["https://app.example"])


async def test_pages_of_an_allowed_origin_can_read_every_answer(browsed: Rig):
    answers = [await post(browsed, ORIGIN), await post(browsed, ORIGIN, without=["Authorization"])]
    assert [answer.status for answer in answers] == [200, 401]
    for answer in answers:
        assert answer.headers["access-control-allow-origin"] == "https://app.example"
        exposed = {name.strip() for name in answer.headers["access-control-expose-headers"].split(",")}
        assert {"Mcp-Session-Id", "WWW-Authenticate", "Retry-After", "X-Request-Id"} <= exposed
        assert answer.headers["vary"] == "Origin"
        assert "access-control-allow-credentials" not in answer.headers


async def test_streams_can_be_read_by_pages_too(browsed: Rig):
    browsed.backend.once(scripted.sse())
    reply = await post(browsed, ORIGIN)
    assert reply.headers["content-type"] == "text/event-stream"
    assert reply.headers["access-control-allow-origin"] == "https://app.example"


async def test_the_resources_own_origin_is_allowed(rig: Rig):
    assert (await post(rig, ("Origin", rig.url.removesuffix("/mcp")))).status == 200


FOREIGN = [
    "https://evil.example",
    "null",
    "https://app.example.evil",
    "http://app.example",
    "https://app.example:444",
    "HTTPS://APP.EXAMPLE/",
]


@pytest.mark.parametrize("origin", FOREIGN)
async def test_other_origins_are_refused_before_anything_is_read(browsed: Rig, origin: str):
    for first in ("POST /mcp HTTP/1.1", "GET /mcp HTTP/1.1", "OPTIONS /mcp HTTP/1.1"):
        reply = await ask(browsed, first, fields(browsed, ("Origin", origin)))
        assert (reply.status, reply.code) == (403, "origin_refused")
        assert "access-control-allow-origin" not in reply.headers
    assert not browsed.backend.received


async def test_a_preflight_needs_no_token(browsed: Rig):
    sent = [
        ("Host", "127.0.0.1"),
        ORIGIN,
        ("Access-Control-Request-Method", "POST"),
        ("Access-Control-Request-Headers", "authorization, mcp-param-region, x-evil"),
        ("Connection", "close"),
    ]
    reply = await ask(browsed, "OPTIONS /mcp HTTP/1.1", sent, b"")
    assert (reply.status, reply.body) == (204, b"")
    assert reply.headers["access-control-allow-origin"] == "https://app.example"
    assert reply.headers["access-control-allow-methods"] == "POST, GET, DELETE"
    allowed = {name.strip().lower() for name in reply.headers["access-control-allow-headers"].split(",")}
    assert {"authorization", "content-type", "mcp-protocol-version", "mcp-session-id", "mcp-param-region"} <= allowed
    assert "x-evil" not in allowed
    assert not browsed.backend.received


# --- documents -----------------------------------------------------------------------------------

WELL_KNOWN = "/.well-known/oauth-protected-resource"


async def document(rig: Rig, path: str, method: str = "GET", *more: tuple[str, str]) -> Reply:
    sent = [("Host", "127.0.0.1"), ("Connection", "close"), *more]
    return await ask(rig, f"{method} {path} HTTP/1.1", sent, b"")


async def test_the_metadata_is_the_same_at_both_paths(rig: Rig):
    root, inserted = [await document(rig, path) for path in (WELL_KNOWN, f"{WELL_KNOWN}/mcp")]
    assert root.status == inserted.status == 200
    assert root.body == inserted.body
    assert root.headers["content-type"] == "application/json"
    assert root.headers["access-control-allow-origin"] == "*"
    assert root.json == {
        "resource": rig.url,
        "authorization_servers": [rig.issuer.url],
        "bearer_methods_supported": ["header"],
        "scopes_supported": ["usage:read", "stores:read", "contacts:search", "contacts:reveal"],
    }


async def test_the_metadata_says_nothing_that_a_request_chose(rig: Rig):
    plain = await document(rig, WELL_KNOWN)
    forwarded = ("X-Forwarded-Host", "evil.example"), ("X-Forwarded-Proto", "https"), ("Forwarded", "host=evil.example")
    assert (await document(rig, f"{WELL_KNOWN}?resource=evil", "GET", *forwarded)).body == plain.body
    assert (await document(rig, WELL_KNOWN, "GET", ("Host", "evil.example"))).status == 400


async def test_scopes_are_left_out_where_the_policy_has_none(launch: Launch):
    tools: Json = {"list_taxonomy": {"scopes": []}}
    rig = await launch(policy={"tools": tools, "plans": {"growth": {}}, "credits": {"contact": "One."}})
    assert "scopes_supported" not in (await document(rig, WELL_KNOWN)).json


async def test_offline_access_is_never_offered(launch: Launch):
    rig = await launch(policy=policy(scopes={**policy()["scopes"], "offline_access": "Stay."}))
    assert "offline_access" not in (await document(rig, WELL_KNOWN)).json["scopes_supported"]
    reply = await post(rig, without=["Authorization"])
    assert "offline_access" not in reply.headers["www-authenticate"]


async def test_the_metadata_can_be_asked_for_by_head_and_preflight(rig: Rig):
    head = await document(rig, WELL_KNOWN, "HEAD")
    assert (head.status, head.body) == (200, b"")
    preflight = await document(
        rig,
        WELL_KNOWN,
        "OPTIONS",
        ("Origin", "https://anybody.example"),
        ("Access-Control-Request-Method", "GET"),
        ("Access-Control-Request-Headers", "mcp-protocol-version"),
    )
    assert preflight.status in (200, 204)
    assert preflight.headers["access-control-allow-origin"] == "*"
    # The official TypeScript client sends its version with discovery, and whatever its user adds to calls.
    assert preflight.headers["access-control-allow-headers"] == "*, Authorization"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
async def test_the_metadata_cannot_be_written(rig: Rig, method: str):
    reply = await document(rig, WELL_KNOWN, method)
    assert (reply.status, reply.headers["allow"]) == (405, "GET, HEAD")


async def test_the_challenge_points_at_the_document(rig: Rig):
    reply = await post(rig, without=["Authorization"])
    url = reply.headers["www-authenticate"].split('resource_metadata="')[1].split('"')[0]
    assert url == rig.url.replace("/mcp", f"{WELL_KNOWN}/mcp")
    assert (await rig.request("GET", url)).json["resource"] == rig.url
