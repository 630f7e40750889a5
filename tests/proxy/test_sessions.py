"""Sessions of the older revisions: bound to their caller before anybody learns their id, and theirs alone."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from sidecar.store.commands.bindings import CALLER_SHARE, MAX_SESSIONS
from sidecar.store.commands.keys import account_keys, consent_digest
from tests.proxy.support import Launch
from tests.support import backend as scripted
from tests.support.backend import Backend, Behaviour, Turn
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
    """The stream's body is held back: a client that has the head can use the session already."""
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


async def test_an_unknown_session_is_404(rig: Rig):
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
    assert (await rig.line(method="DELETE"))["code"] == "ok"


async def test_a_delete_that_the_backend_refuses_leaves_the_session(rig: Rig):
    session = await rig.session()
    rig.backend.on("DELETE", scripted.http(405, b"no", ("Allow", "GET, POST")))
    reply = await rig.delete(session=session)
    assert (reply.status, reply.body) == (405, b"no")
    assert (await call(rig, session)).status == 200


@pytest.mark.parametrize("status", [404, 500, 503])
async def test_a_delete_without_a_2xx_leaves_the_session_and_its_calls(rig: Rig, status: int):
    session = await rig.session()
    gate = asyncio.Event()
    rig.backend.once(scripted.after(gate, scripted.default()))
    first = asyncio.create_task(call(rig, session, id_=7))
    await until(lambda: len(rig.backend.received) == 2)
    rig.backend.on("DELETE", scripted.http(status, b"no"))
    assert (await rig.delete(session=session)).status == (status if status < 500 else 502)
    assert (await call(rig, session)).status == 200
    gate.set()
    assert (await first).status == 200


NOT_FOUND = {
    "load balancer": scripted.http(404, b"default backend - 404", media="text/plain"),
    "unknown method": scripted.rpc_error(status=404),
    "session": scripted.http(404, b'{"error":"gone"}'),
}


@pytest.mark.parametrize("behaviour", NOT_FOUND.values(), ids=NOT_FOUND.keys())
async def test_a_404_of_the_backend_is_relayed_and_ends_no_session(rig: Rig, behaviour: Behaviour):
    session = await rig.session()
    rig.backend.once(behaviour)
    reply = await call(rig, session)
    assert reply.status == 404
    assert reply.body
    assert sessions(rig) == 1
    assert (await call(rig, session)).status == 200


async def test_a_get_that_the_backend_answers_404_is_405_and_ends_no_session(rig: Rig):
    session = await rig.session()
    rig.backend.on("GET", scripted.http(404, b"Cannot GET /mcp", media="text/html"))
    reply = await rig.get(session=session)
    assert (reply.status, reply.headers["Allow"], reply.body) == (405, "POST", b"Cannot GET /mcp")
    assert (await call(rig, session)).status == 200


@pytest.mark.parametrize("stale", ["stale", "", "with space", "own"])
async def test_initialize_with_a_session_id_starts_a_new_session(rig: Rig, stale: str):
    if stale == "own":
        stale = await rig.session()
    params = {"protocolVersion": LEGACY, "capabilities": {}}
    reply = await rig.post("initialize", params, revision=LEGACY, headers={"Mcp-Session-Id": stale})
    assert reply.status == 200
    assert rig.backend.last.header("mcp-session-id") is None
    assert reply.headers["Mcp-Session-Id"] != stale
    assert (await call(rig, reply.headers["Mcp-Session-Id"])).status == 200


async def test_initialize_with_the_session_id_of_another_caller_learns_nothing_of_it(rig: Rig):
    session = await rig.session()
    params = {"protocolVersion": LEGACY, "capabilities": {}}
    token = rig.issuer.mint(subject="bob")
    reply = await rig.post("initialize", params, revision=LEGACY, headers={"Mcp-Session-Id": session}, token=token)
    assert (reply.status, reply.headers["Mcp-Session-Id"] != session) == (200, True)
    assert (await call(rig, session, token=token)).code == "session_unknown"
    assert (await call(rig, session)).status == 200


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


async def test_another_callers_request_id_blocks_no_call(rig: Rig):
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
    await until(lambda: rig.sidecar.pipeline.detached == 1)
    assert (await call(rig, session, id_=7)).code == "message_malformed"
    gate.set()
    await until(lambda: any(line["code"] == "ok" and line["tool"] for line in rig.calls))
    assert (await call(rig, session, id_=7)).status == 200


# --- too many ------------------------------------------------------------------------------------


def fill(rig: Rig, count: int) -> None:
    """Bind so many more sessions of Ada's first client, last used an hour ago."""
    keys, consent = account_keys("main", "ada"), consent_digest("ada", "cli-1")
    hour_ago = int(time.time() * 1000) - 3_600_000
    with rig.redis() as client, client.pipeline(transaction=False) as pipe:
        for number in range(count):
            fields = {"consent": consent, "subject": "ada", "client_id": "cli-1", "used": hour_ago + number}
            pipe.hset(keys.session(str(number)), mapping=fields)
            for listed in (keys.sessions, f"{keys.sessions}:{consent}"):
                pipe.zadd(listed, {keys.session(str(number))[-32:]: hour_ago + number})
        pipe.execute()


MOST = MAX_SESSIONS // CALLER_SHARE


async def test_a_client_with_too_many_sessions_loses_the_least_recently_used(rig: Rig):
    first = await rig.session()
    fill(rig, MOST - 1)
    assert (await call(rig, first)).status == 200  # it was bound first, and used last
    newest = await rig.session()
    assert (await call(rig, "0")).code == "session_unknown"
    assert [(await call(rig, session)).status for session in (first, newest, "1")] == [200] * 3
    (line,) = [line for line in rig.log if line["event"] == "session_evicted"]
    logged = {name: line[name] for name in ("level", "issuer", "account", "client_id", "full")}
    assert logged == {
        "level": "warning",
        "issuer": rig.issuer.url,
        "account": "ada",
        "client_id": "cli-1",
        "full": "caller",
    }
    assert await rig.metric('mcp_sidecar_evictions_total{kind="session"}') == 1


async def test_the_flood_of_one_client_ends_no_session_of_another(rig: Rig):
    other = rig.issuer.mint(client_id="cli-2")
    theirs = await rig.session(token=other)
    fill(rig, MOST)
    for _ in range(5):
        await rig.session()
    assert (await call(rig, theirs, token=other)).status == 200
    assert await rig.metric('mcp_sidecar_evictions_total{kind="session"}') == 5


async def test_a_session_with_an_open_stream_ends_last(rig: Rig):
    fill(rig, MOST)
    async with rig.stream(session="0"):
        await until(lambda: len(rig.backend.streams) == 1 and not rig.sidecar.store.outbox.undelivered)
        with rig.redis() as client:  # it was opened long ago, and nothing was called since
            client.hset(account_keys("main", "ada").session("0"), "used", 1)
        await rig.session()
        assert (await call(rig, "1")).code == "session_unknown"
        assert (await call(rig, "0")).status == 200


async def test_a_session_with_a_call_in_flight_or_a_stream_is_in_use(rig: Rig):
    """Open sessions and tasks are noted periodically, so that another process evicts them last, too."""
    calling, listening = await rig.session(), await rig.session()
    gate = asyncio.Event()
    rig.backend.once(scripted.after(gate, scripted.default()))
    first = asyncio.create_task(call(rig, calling, id_=7))
    await until(lambda: len(rig.backend.received) == 3)
    keys, ownership = account_keys("main", "ada"), rig.sidecar.pipeline._admission.ownership
    async with rig.stream(session=listening):
        await until(lambda: len(rig.backend.received) == 4)
        with rig.redis() as client:
            bound = [keys.session(calling), keys.session(listening)]
            for key in bound:
                client.hset(key, mapping={"used": 1, "open": 1})
                client.expire(key, 60)
            keeping = asyncio.create_task(ownership.keep_in_use(rig.sidecar.pipeline.in_use, every=0.01))
            await until(lambda: all(client.ttl(key) > 86_000 for key in bound))
            for key in bound:
                assert float(client.hget(key, "used")) > 1
                assert float(client.hget(key, "open")) > time.time() * 1000
            keeping.cancel()
    gate.set()
    await first


async def test_notes_that_a_full_store_refuses_do_not_pile_up(launch: Launch, own_server: StoreServer):
    rig = await launch(server=own_server, scripted=Backend(sessions=True))
    async with rig.stream(session=await rig.session()):
        await until(lambda: not rig.sidecar.store.outbox.undelivered)
        asked: list[int] = []

        def in_use() -> Any:
            asked.append(rig.sidecar.store.outbox.undelivered)
            return rig.sidecar.pipeline.in_use()

        with rig.redis() as client:
            client.config_set("maxmemory", 1)
            keeping = asyncio.create_task(rig.sidecar.pipeline._admission.ownership.keep_in_use(in_use, every=0.01))
            await until(lambda: len(asked) >= 20 or keeping.done())
            keeping.cancel()
            client.config_set("maxmemory", 0)
    assert (len(asked) >= 20, set(asked)) == (True, {0})


# --- one id for two callers ----------------------------------------------------------------------


async def test_a_session_id_that_another_account_has_is_not_given_out(rig: Rig):
    same = scripted.http(200, b'{"jsonrpc":"2.0","id":9,"result":{}}', ("Mcp-Session-Id", "same"))
    rig.backend.once(same, same)
    params = {"protocolVersion": LEGACY, "capabilities": {}}
    bob = rig.issuer.mint(subject="bob")
    assert (await rig.post("initialize", params, revision=LEGACY, id_=9)).status == 200
    reply = await rig.post("initialize", params, revision=LEGACY, id_=9, token=bob)
    assert (reply.status, reply.code) == (502, "backend_unavailable")
    assert "Mcp-Session-Id" not in reply.headers
    assert (await call(rig, "same", token=bob)).code == "session_unknown"
    assert (await call(rig, "same")).status == 200
    assert (await rig.delete(session="same")).status == 204
    rig.backend.once(same)
    await until(lambda: not rig.sidecar.store.outbox.undelivered)
    assert (await rig.post("initialize", params, revision=LEGACY, id_=9, token=bob)).status == 200
