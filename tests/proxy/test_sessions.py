"""Sessions of the older revisions: bound to their caller before anybody learns their id, and theirs alone."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sidecar.ledger.bindings import SESSIONS_MOST
from sidecar.ledger.keys import account_keys
from tests.proxy.support import Launch
from tests.support import backend as scripted
from tests.support.backend import Backend, Turn
from tests.support.rig import LEGACY, MODERN, Json, Reply, Rig
from tests.support.store import FaultProxy, StoreServer, until


@pytest.fixture
async def rig(launch: Launch) -> Rig:
    rig = await launch(scripted=Backend(sessions=True))
    for account, client in (("ada", "cli-2"), ("bob", "cli-1")):
        await rig.account(account)
        await rig.grant(account, client)
    return rig


async def call(rig: Rig, session: str, **options: Any) -> Reply:
    return await rig.call("list_taxonomy", revision=LEGACY, headers={"Mcp-Session-Id": session}, **options)


def sessions(rig: Rig) -> int:
    """Bindings in the store."""
    with rig.redis() as client:
        return len(list(client.scan_iter("*:session:*")))


async def test_initialize_opens_a_session_that_its_caller_can_use(rig: Rig):
    session = await rig.session()
    assert sessions(rig) == 1
    assert (await call(rig, session)).status == 200
    assert rig.backend.last.header("mcp-session-id") == session


async def test_initialize_over_sse_opens_a_session(rig: Rig):
    async def behave(turn: Turn) -> None:
        await turn.open_stream([("Mcp-Session-Id", "streamed")])
        await turn.event(turn.response({"result": {"protocolVersion": LEGACY, "capabilities": {}}}))
        await turn.end_stream()

    rig.backend.once(behave)
    assert await rig.session() == "streamed"
    assert (await call(rig, "streamed")).status == 200


async def test_the_binding_is_written_before_the_head_is_relayed(rig: Rig):
    """The stream's body is held back: whoever has the head can use the session already."""
    more = asyncio.Event()

    async def behave(turn: Turn) -> None:
        await turn.open_stream([("Mcp-Session-Id", "early")])
        await more.wait()
        await turn.event(turn.response({"result": {"protocolVersion": LEGACY, "capabilities": {}}}))
        await turn.end_stream()

    rig.backend.once(behave)
    message = rig.message("initialize", {"protocolVersion": LEGACY, "capabilities": {}}, revision=LEGACY)
    headers = rig.request_headers(message, LEGACY, "")
    async with rig.http.post(rig.url, json=message, headers=headers) as answer:
        assert (await call(rig, answer.headers["Mcp-Session-Id"])).status == 200
        more.set()


STRANGERS: dict[str, Json] = {
    "account": {"subject": "bob", "account": "bob"},
    "client": {"client_id": "cli-2", "account": "ada"},
    "subject": {"subject": "eve", "account": "ada"},
}


@pytest.mark.parametrize("stranger", STRANGERS.values(), ids=STRANGERS.keys())
async def test_a_session_is_404_for_everybody_else(launch: Launch, stranger: Json):
    rig = await launch(scripted=Backend(sessions=True), issuer={"claims": {"account": "account"}})
    for account, client in (("ada", "cli-2"), ("bob", "cli-1")):
        await rig.account(account)
        await rig.grant(account, client)
    owner, token = rig.issuer.mint(account="ada"), rig.issuer.mint(**stranger)
    session = await rig.session(token=owner)
    before = len(rig.backend.received)
    replies = [
        await call(rig, session, token=token),
        await rig.get(session=session, token=token),
        await rig.delete(session=session, token=token),
        await rig.respond(session=session, token=token),
        await rig.post("notifications/initialized", revision=LEGACY, token=token, headers={"Mcp-Session-Id": session}),
        await rig.post("ping", revision=LEGACY, token=token, headers={"Mcp-Session-Id": session}),
    ]
    assert [(reply.status, reply.code) for reply in replies] == [(404, "session_unknown")] * len(replies)
    assert len(rig.backend.received) == before
    assert (await call(rig, session, token=owner)).status == 200  # and is still its owner's


async def test_a_session_that_nobody_opened_is_404(rig: Rig):
    reply = await call(rig, "guessed")
    assert (reply.status, reply.code, reply.json["error"]["code"]) == (404, "session_unknown", 4041)
    assert not rig.backend.received


@pytest.mark.parametrize("session", ["", "with space", "x" * 2000])
async def test_what_cannot_be_a_session_id_is_404(rig: Rig, session: str):
    assert (await call(rig, session)).status == 404
    assert not rig.backend.received


async def test_the_stateless_revision_has_no_sessions(rig: Rig):
    session = await rig.session()
    for sent in (session, "guessed"):
        assert (await rig.call("list_taxonomy", headers={"Mcp-Session-Id": sent})).status == 200
        assert "mcp-session-id" not in dict(rig.backend.last.headers)
    version = {"MCP-Protocol-Version": MODERN}
    reply = await rig.post("initialize", {"protocolVersion": MODERN}, revision=MODERN, headers=version)
    assert (reply.status, reply.code) == (404, "method_not_allowed")


async def test_delete_ends_the_session(rig: Rig):
    session = await rig.session()
    reply = await rig.delete(session=session)
    assert (reply.status, reply.body) == (204, b"")
    assert (rig.backend.last.method, rig.backend.last.header("mcp-session-id")) == ("DELETE", session)
    assert sessions(rig) == 0
    assert (await call(rig, session)).code == "session_unknown"
    assert (await rig.recorded(3))[1]["code"] == "ok"


async def test_a_delete_that_the_backend_refuses_leaves_the_session(rig: Rig):
    session = await rig.session()
    rig.backend.on("DELETE", scripted.http(405, b"no", ("Allow", "GET, POST")))
    reply = await rig.delete(session=session)
    assert (reply.status, reply.body) == (405, b"no")
    assert (await call(rig, session)).status == 200


async def test_a_session_that_the_backend_has_forgotten_is_forgotten(rig: Rig):
    session = await rig.session()
    rig.backend.once(scripted.http(404, b'{"error":"gone"}'))
    reply = await call(rig, session)
    assert (reply.status, reply.body) == (404, b'{"error":"gone"}')
    assert sessions(rig) == 0
    assert (await call(rig, session)).code == "session_unknown"
    assert len(rig.backend.received) == 2


async def test_a_session_lives_for_a_day_after_its_last_use(rig: Rig):
    session = await rig.session()
    with rig.redis() as client:
        key = next(iter(client.scan_iter("*:session:*")))
        client.expire(key, 60)
        await call(rig, session)
        assert client.ttl(key) > 86_000
        client.expire(key, 60)
        await rig.post("ping", revision=LEGACY, headers={"Mcp-Session-Id": session})
        assert client.ttl(key) > 86_000


@pytest.mark.parametrize("status", [400, 500])
async def test_a_session_id_is_relayed_only_from_a_2xx_initialize(rig: Rig, status: int):
    rig.backend.once(scripted.http(status, b"{}", ("Mcp-Session-Id", "canary")))
    reply = await rig.initialize()
    assert "Mcp-Session-Id" not in reply.headers
    rig.backend.once(scripted.http(200, b'{"jsonrpc":"2.0","id":9,"result":{}}', ("Mcp-Session-Id", "canary")))
    reply = await rig.call("list_taxonomy", revision=LEGACY, id_=9)
    assert reply.status == 200
    assert "Mcp-Session-Id" not in reply.headers
    assert sessions(rig) == 0


async def test_a_session_id_that_is_another_callers_is_not_given_out(rig: Rig):
    same = scripted.http(200, b'{"jsonrpc":"2.0","id":9,"result":{}}', ("Mcp-Session-Id", "same"))
    rig.backend.once(same, same)
    params = {"protocolVersion": LEGACY, "capabilities": {}}
    assert (await rig.post("initialize", params, revision=LEGACY, id_=9)).status == 200
    reply = await rig.post("initialize", params, revision=LEGACY, id_=9, token=rig.issuer.mint(client_id="cli-2"))
    assert (reply.status, reply.code) == (502, "backend_unavailable")
    assert "Mcp-Session-Id" not in reply.headers
    assert (await call(rig, "same")).status == 200


@pytest.mark.parametrize("session", ["a b", "ü", "x" * 2000])
async def test_a_session_id_that_is_not_visible_ascii_is_not_given_out(rig: Rig, session: str):
    body = b'{"jsonrpc":"2.0","id":9,"result":{}}'
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    head += f"Mcp-Session-Id: {session}\r\n\r\n"
    rig.backend.once(scripted.raw(head.encode() + body))
    reply = await rig.post("initialize", {"protocolVersion": LEGACY, "capabilities": {}}, revision=LEGACY, id_=9)
    assert reply.status == 502
    assert sessions(rig) == 0


async def test_a_store_that_is_down_when_the_session_would_be_bound_is_503(
    fault_proxy: FaultProxy, own_server: StoreServer, bare: Launch
):
    rig = await bare(server=own_server, store_url=fault_proxy.url, scripted=Backend(sessions=True))
    await fault_proxy.refuse()
    reply = await rig.initialize()
    assert (reply.status, reply.code) == (503, "store_unavailable")
    assert reply.headers["Retry-After"] == "1"
    assert "Mcp-Session-Id" not in reply.headers


async def test_initialize_needs_neither_consent_nor_account(bare: Launch):
    rig = await bare(scripted=Backend(sessions=True))
    session = await rig.session()
    headers = {"Mcp-Session-Id": session}
    assert (await rig.post("notifications/initialized", revision=LEGACY, headers=headers)).status == 202
    assert (await rig.post("ping", revision=LEGACY, headers=headers)).status == 200
    assert (await rig.delete(session=session)).status == 204
    assert (await rig.call("list_taxonomy", revision=LEGACY)).code == "consent_missing"


# --- request ids ---------------------------------------------------------------------------------


async def test_a_request_id_in_flight_on_its_session_is_refused(rig: Rig):
    session = await rig.session()
    gate = asyncio.Event()
    rig.backend.once(scripted.after(gate, scripted.default()))
    first = asyncio.create_task(call(rig, session, id_=7))
    await until(lambda: len(rig.backend.received) == 2)
    # A new token of the same caller, as after a refresh, is no other caller.
    again = await call(rig, session, id_=7, token=rig.issuer.mint(scopes=["stores:read"], age=5))
    assert (again.status, again.code) == (400, "message_malformed")
    for alike in ("7", " +7 "):  # servers take these for 7 too
        assert (await call(rig, session, id_=alike)).code == "message_malformed"
    assert (await call(rig, session, id_="seven")).status == 200
    assert (await rig.call("list_taxonomy", revision=LEGACY, id_=7)).status == 200  # on no session
    gate.set()
    assert (await first).status == 200
    assert (await call(rig, session, id_=7)).status == 200  # its answer has been given


async def test_a_strangers_request_id_blocks_nobody(rig: Rig):
    session = await rig.session()
    gate = asyncio.Event()
    rig.backend.once(scripted.after(gate, scripted.default()))
    first = asyncio.create_task(call(rig, session, id_=7))
    await until(lambda: len(rig.backend.received) == 2)
    stranger = await call(rig, session, id_=7, token=rig.issuer.mint(client_id="cli-2"))
    assert stranger.code == "session_unknown"  # not even that the id is in flight
    gate.set()
    await first


async def test_a_request_id_stays_taken_while_its_call_goes_on_without_its_client(rig: Rig):
    session = await rig.session()
    gate = asyncio.Event()
    rig.backend.once(scripted.after(gate, scripted.default()))
    first = asyncio.create_task(call(rig, session, id_=7))
    await until(lambda: len(rig.backend.received) == 2)
    first.cancel()
    await until(lambda: rig.sidecar.pipeline.alone == 1)
    assert (await call(rig, session, id_=7)).code == "message_malformed"
    gate.set()
    await until(lambda: any(line["code"] == "ok" and line["tool"] for line in rig.calls))
    assert (await call(rig, session, id_=7)).status == 200


async def test_an_account_with_too_many_sessions_loses_the_oldest_and_its_client_begins_anew(launch: Launch):
    rig = await launch(scripted=Backend(sessions=True))
    oldest = await rig.session()
    keys = account_keys("main", "ada")
    with rig.redis() as client:
        (digest,) = client.zrange(keys.sessions, 0, -1)
        fields = client.hgetall(f"{keys.prefix}session:{digest}")
        client.zadd(keys.sessions, {digest: 1})
        for number in range(SESSIONS_MOST - 1):
            client.hset(keys.session(str(number)), mapping=fields)
            client.zadd(keys.sessions, {keys.session(str(number))[-32:]: 2 + number})
    assert (await call(rig, oldest)).status == 200
    newest = await rig.session()
    assert (await call(rig, oldest)).code == "session_unknown"
    assert (await call(rig, newest)).status == 200
