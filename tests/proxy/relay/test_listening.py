"""Streams that stay open: kept alive, and ended as soon as their caller may not listen any more."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import Any

import pytest
import redis

from sidecar.model import Caller
from sidecar.proxy.relay.list_changes import VisibleLists
from sidecar.proxy.relay.revocations import Revocations
from sidecar.proxy.relay.streams import OpenStreams, StreamEnding
from sidecar.store.commands import changes, scripts
from sidecar.store.commands.keys import (
    EVERY_CLIENT_TAG,
    REVOKED_CHANNEL,
    account_keys,
    client_digest,
    consent_digest,
)
from sidecar.store.store import Store
from tests.policy import support as policies
from tests.proxy.support import Launch, policy
from tests.support import backend as scripted
from tests.support.backend import Backend, Turn, tool_result
from tests.support.open_streams import opened_stream
from tests.support.rig import LEGACY, MODERN, Rig, Stream
from tests.support.store import StoreServer, until

REQUIRED = VisibleLists(policies.policy("consent: required"))
KEYS = account_keys("main", "ada")
WITHDRAWN = f": {StreamEnding.ACCESS_WITHDRAWN.value}\n"


@pytest.fixture
async def rig(launch: Launch) -> Rig:
    return await launch(scripted=Backend(sessions=True))


async def opened(rig: Rig, count: int = 1) -> None:
    """Wait until the backend has the streams."""
    await until(lambda: len(rig.backend.streams) == count)


async def last_words(stream: Stream) -> str | None:
    """The comment that a stream ends with."""
    said = await stream.event()
    assert await stream.event() is None
    return said


# --- keepalive -----------------------------------------------------------------------------------


async def test_a_silent_get_stream_is_kept_alive(launch: Launch):
    rig = await launch(scripted=Backend(sessions=True), backend={"keepalive": "20ms"})
    async with rig.stream() as stream:
        for _ in range(3):
            assert await stream.event() == ": keepalive\n"


@pytest.mark.parametrize("revision", [MODERN, LEGACY])
async def test_a_silent_call_is_kept_alive_between_its_events(launch: Launch, revision: str):
    rig = await launch(backend={"keepalive": "20ms"})
    heard = asyncio.Event()

    async def behave(turn: Turn) -> None:
        await turn.open_stream()
        await turn.chunk(b"id: 1\nretry: 3\ndata:\n\nda")
        await heard.wait()
        await turn.chunk(b'ta: {"jsonrpc":"2.0","method":"notifications/message"}\n\n')
        await turn.event(turn.response({"result": tool_result({})}))
        await turn.end_stream()

    rig.backend.once(behave)
    async with rig.stream("list_taxonomy", revision=revision) as stream:
        assert await stream.event() == "id: 1\nretry: 3\ndata: \n"
        assert await stream.event() == ": keepalive\n"
        heard.set()
        assert (await stream.message() or {})["method"] == "notifications/message"
        assert (await stream.message() or {})["result"]


async def test_comments_do_not_keep_a_dead_backend_alive(launch: Launch):
    rig = await launch(scripted=Backend(sessions=True), backend={"keepalive": "20ms", "idle_timeout": "100ms"})
    async with rig.stream() as stream:
        while (event := await stream.event()) is not None:
            assert event == ": keepalive\n"
    await until(lambda: len(rig.backend.hang_ups) == 1)


async def test_nothing_is_said_before_the_backends_head(launch: Launch):
    rig = await launch(backend={"keepalive": "10ms"})
    gate = asyncio.Event()
    rig.backend.once(scripted.after(gate, scripted.http(405)))
    asked = asyncio.create_task(rig.get())
    await until(lambda: len(rig.backend.received) == 1)
    await asyncio.wait([asked], timeout=0.1)
    assert not asked.done()
    gate.set()
    assert (await asked).status == 405


# --- revocation ----------------------------------------------------------------------------------


async def test_a_stream_ends_when_its_client_is_revoked_in_another_process(rig: Rig):
    async with rig.stream() as stream:
        await opened(rig)
        with rig.redis() as client:  # what `mcp-sidecar consent revoke` sends, from outside
            command = changes.revoke("main", "ada", "ada", "cli-1")
            client.eval(command.script.source, len(command.keys), *command.keys, *command.arguments)
        assert await last_words(stream) == WITHDRAWN
    await until(lambda: len(rig.backend.hang_ups) == 1)
    assert (await rig.recorded())[0]["stream_end"] == "access_withdrawn"
    assert await rig.metric('mcp_sidecar_streams_ended_total{reason="access_withdrawn"}') == 1


@pytest.mark.parametrize("tag", [consent_digest("ada", "cli-1"), client_digest("cli-1"), EVERY_CLIENT_TAG])
async def test_a_revocation_is_heard_without_being_asked_for(rig: Rig, tag: str):
    """Nothing is written here, so only the message itself can end the stream."""
    async with rig.stream() as stream:
        await opened(rig)
        assert await rig.metric("mcp_sidecar_revocation_subscription_up") == 1
        with rig.redis() as client:
            for noise in ("", "x", f"{KEYS.digest} other", f"{KEYS.digest}", b"\xff \xff"):
                client.publish(REVOKED_CHANNEL, noise)
            client.publish(REVOKED_CHANNEL, f"{KEYS.digest} {tag}")
        assert await last_words(stream) == WITHDRAWN


DIRECT: dict[str, Callable[[redis.Redis], Any]] = {
    "revoked": lambda client: client.hset(KEYS.consent("ada", "cli-1"), "status", "revoked"),
    "revoked for everybody": lambda client: client.hset(KEYS.client("cli-1"), mapping={"status": "revoked"}),
    "all clients revoked": lambda client: client.hset(KEYS.revocation, mapping={"status": "revoked"}),
    "deleted": lambda client: client.delete(KEYS.consent("ada", "cli-1")),
    "no status that is known": lambda client: client.hset(KEYS.consent("ada", "cli-1"), "status", "paused"),
    "account disabled": lambda client: client.hset(KEYS.account, "status", "disabled"),
}


@pytest.mark.parametrize("write", DIRECT.values(), ids=DIRECT.keys())
async def test_a_record_that_another_program_writes_ends_the_stream(rig: Rig, write: Callable[[redis.Redis], Any]):
    async with rig.stream() as stream:
        await opened(rig)
        with rig.redis() as client:
            write(client)
        assert await last_words(stream) == WITHDRAWN


async def test_first_use_needs_no_record_to_go_on(launch: Launch):
    rig = await launch(scripted=Backend(sessions=True), policy=policy(consent="first_use"))
    async with rig.stream() as stream:
        await opened(rig)
        with rig.redis() as client:
            client.delete(KEYS.consent("ada", "cli-1"))
        await rig.sidecar.request_path.revocations.check()
        assert not stream.answer.content.at_eof()
        await rig.revoke()
        assert await last_words(stream) == WITHDRAWN


async def test_the_streams_of_other_clients_and_accounts_go_on(rig: Rig):
    await rig.account("bob")
    for account, client in (("ada", "cli-2"), ("bob", "cli-1")):
        await rig.grant(account, client)
    other = rig.issuer.mint(client_id="cli-2")
    bob = rig.issuer.mint(subject="bob")
    async with rig.stream() as mine, rig.stream(token=other) as second, rig.stream(token=bob) as third:
        await opened(rig, 3)
        await rig.revoke()
        assert await last_words(mine) == WITHDRAWN
        await opened(rig, 2)
        for turn in rig.backend.streams:
            await turn.event({"jsonrpc": "2.0", "method": "notifications/message"})
        assert await second.message()
        assert await third.message()


async def test_what_is_revoked_before_the_backend_answers_is_not_opened(rig: Rig):
    gate = asyncio.Event()
    rig.backend.on("GET", scripted.after(gate, scripted.http(405)))
    asked = asyncio.create_task(rig.get())
    await until(lambda: len(rig.backend.received) == 1)
    await rig.revoke()
    assert (await asked).code == "consent_revoked"
    gate.set()


async def test_an_account_whose_record_is_damaged_ends_no_stream_of_others(rig: Rig):
    await rig.account("bob")
    await rig.grant("bob")
    async with rig.stream(token=rig.issuer.mint(subject="bob")) as his, rig.stream() as hers:
        await opened(rig, 2)
        with rig.redis() as client:
            client.set(account_keys("main", "bob").account, "no hash")
        streams = rig.sidecar.pipeline.streams
        await Revocations(
            rig.sidecar.store, streams, lambda: rig.sidecar.pipeline.snapshot.lists, unchecked_for=0
        ).check()
        assert await last_words(his) == f": {StreamEnding.ACCESS_UNCHECKED.value}\n"
        await until(lambda: len(streams) == 1)
        await rig.revoke()
        assert await last_words(hers) == WITHDRAWN


async def test_a_client_that_does_not_read_cannot_keep_its_stream(rig: Rig):
    """It reads nothing more, so no comment reaches it; the backend's events that it left unread are not kept for it."""

    stalled = asyncio.Event()

    async def flood(turn: Turn) -> None:
        await turn.open_stream()
        event = {"jsonrpc": "2.0", "method": "notifications/message", "params": {"data": "x" * 65_000}}
        with contextlib.suppress(TimeoutError):
            while True:
                async with asyncio.timeout(0.5):
                    await turn.event(event)
        stalled.set()
        await turn.hang_up()

    rig.backend.on("GET", flood)
    address = rig.sidecar.addresses["listen"]
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect((address.host, address.port))
        head = [f"GET /mcp HTTP/1.1\r\nHost: {rig.url.split('/')[2]}"]
        head += [f"{name}: {value}" for name, value in rig.bare_headers(None, "").items()]
        client.sendall("\r\n".join([*head, "", ""]).encode())
        streams = rig.sidecar.pipeline.streams
        async with asyncio.timeout(60):
            await stalled.wait()
        await rig.revoke()
        await until(lambda: len(streams) == 0)
    line = (await rig.recorded())[0]
    assert (line["code"], line["stream_end"]) == ("ok", "access_withdrawn")


async def test_a_revoked_client_may_finish_the_call_it_made(rig: Rig):
    gate = asyncio.Event()
    rig.backend.once(scripted.after(gate, scripted.sse()))
    async with asyncio.TaskGroup() as tasks:
        call = tasks.create_task(rig.call("list_taxonomy"))
        await until(lambda: len(rig.backend.received) == 1)
        await rig.revoke()
        await rig.sidecar.request_path.revocations.check()
        gate.set()
    assert call.result().events[-1]["result"]


# --- when the store is away ----------------------------------------------------------------------

CALLER = Caller("main", "https://issuer", "ada", "ada", "cli-1", frozenset(), 0, 0)


@pytest.mark.parametrize("unchecked_for", [0.0, 3600.0])
async def test_streams_that_can_not_be_checked_end_after_a_while(own_server: StoreServer, unchecked_for: float):
    store = Store(own_server.url, scripts)
    await store.start()
    await store.run(changes.set_account("main", "ada", plan="growth", create=True))
    await store.run(changes.grant("main", "ada", "ada", "cli-1", None))
    streams = OpenStreams()
    revocations = Revocations(store, streams, lambda: REQUIRED, unchecked_for)
    watching = asyncio.create_task(revocations.watch())
    with opened_stream(streams, CALLER, 1, 3600, lambda: None) as stream:
        await until(lambda: revocations.subscription_up)
        own_server.kill()
        await until(lambda: not store.up)
        if unchecked_for:
            for _ in range(3):
                revocations._check_now.set()
                await until(lambda: not revocations._check_now.is_set())
            assert stream.ending is None
        else:
            revocations._check_now.set()
            await until(lambda: stream.ending is StreamEnding.ACCESS_UNCHECKED)
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    await store.close(0)


async def test_what_was_revoked_during_an_outage_is_found_when_the_store_is_back(
    launch: Launch, own_server: StoreServer
):
    rig = await launch(server=own_server, scripted=Backend(sessions=True))
    async with rig.stream() as stream:
        await opened(rig)
        own_server.kill()
        await until(lambda: not rig.sidecar.store.up)
        own_server.start()
        with own_server.client() as client:
            client.hset(KEYS.consent("ada", "cli-1"), "status", "revoked")
        assert await last_words(stream) == WITHDRAWN


# --- token, number, shutdown ---------------------------------------------------------------------


async def test_a_stream_says_that_its_token_has_expired(rig: Rig):
    status = 401
    while status == 401:  # a busy machine may look at it when it has expired already
        async with rig.stream(token=rig.issuer.mint(age=69, lifetime=60)) as stream:
            status = stream.status
            if status == 200:
                assert await last_words(stream) == ": the access token has expired\n"
    assert status == 200
    await rig.line(stream_end="token_expired")


async def test_a_get_stream_outlives_the_timeout_of_calls(launch: Launch):
    rig = await launch(scripted=Backend(sessions=True), backend={"timeout": "500ms", "keepalive": "600ms"})
    async with rig.stream() as stream:
        for _ in range(2):
            assert await stream.event() == ": keepalive\n"


async def test_one_account_may_have_so_many_streams(launch: Launch):
    rig = await launch(scripted=Backend(sessions=True), limits={"streams_per_account": 2})
    await rig.account("bob")
    await rig.grant("bob")
    async with rig.stream() as first, rig.stream():
        await opened(rig, 2)
        refused = await rig.get()
        assert (refused.status, refused.code, refused.headers["Retry-After"]) == (503, "overloaded", "1")
        assert (await rig.call("list_taxonomy")).status == 200
        async with rig.stream(token=rig.issuer.mint(subject="bob")) as bobs:
            assert bobs.status == 200
        first.answer.close()
        await until(lambda: len(rig.sidecar.pipeline.streams) == 1)
        async with rig.stream() as third:
            assert third.status == 200


async def test_shutdown_is_announced_on_the_streams(rig: Rig):
    async with rig.stream() as stream:
        await opened(rig)
        ending = asyncio.create_task(rig.sidecar.__aexit__(None, None, None))
        assert await last_words(stream) == ": the server is shutting down\n"
        await ending
    assert rig.calls[-1]["stream_end"] == "stopping"
