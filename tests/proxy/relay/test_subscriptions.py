"""subscriptions/listen (2026-07-28): a stream that stays open, judged by what it asks for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from sidecar.proxy.relay.streams import StreamEnding
from tests.proxy.support import Launch, policy
from tests.support.backend import Turn
from tests.support.rig import MODERN, Json, Rig, Stream
from tests.support.store import until

LISTEN = "subscriptions/listen"
ACKNOWLEDGED = {"jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged", "params": {}}
CHANGED = {"jsonrpc": "2.0", "method": "notifications/tools/list_changed", "params": {}}
POLICY = policy(
    resources={"docs://*": {"scopes": ["stores:read"]}, "secret://*": {"scopes": ["contacts:reveal"]}},
    methods={LISTEN: {"scopes": ["stores:read"], "uses": {"requests": 1}}},
)


async def listens(turn: Turn) -> None:
    await turn.open_stream()
    await turn.event(ACKNOWLEDGED)
    turn.backend.streams.append(turn)
    await turn.hang_up()
    turn.backend.streams.remove(turn)


@pytest.fixture
async def rig(launch: Launch) -> Rig:
    return await started(launch)


async def started(launch: Launch, **options: object) -> Rig:
    rig = await launch(policy=POLICY, **options)
    rig.backend.on(LISTEN, listens)
    return rig


@asynccontextmanager
async def listening(rig: Rig, token: str = "", **filters: object) -> AsyncIterator[Stream]:
    message = rig.message(LISTEN, {"notifications": filters or {"toolsListChanged": True}})
    headers = rig.request_headers(message, MODERN, token)
    async with rig.http.post(rig.url, json=message, headers=headers) as answer:
        try:
            yield Stream(answer)
        finally:
            answer.close()


async def test_it_stays_open_longer_than_any_call_and_is_kept_alive(launch: Launch):
    rig = await started(launch, backend={"timeout": "2s", "keepalive": "1100ms"})
    async with listening(rig) as stream:
        assert await stream.message() == ACKNOWLEDGED
        assert await stream.event() == ": keepalive\n"
        assert await stream.event() == ": keepalive\n"
        await rig.backend.streams[0].event(CHANGED)
        assert await stream.message() == CHANGED


async def test_it_is_paid_for_once_it_stands(rig: Rig):
    async with listening(rig) as stream:
        assert await stream.message() == ACKNOWLEDGED
        books = await rig.books()
        assert (books.used["requests"], books.holds) == (1, 0)


async def test_one_that_is_refused_is_not_paid_for(rig: Rig):
    async def refuses(turn: Turn) -> None:
        await turn.json(turn.response({"error": {"code": -32602, "message": "no"}}))

    rig.backend.on(LISTEN, refuses)
    async with listening(rig) as stream:
        assert (await stream.answer.json())["error"]["code"] == -32602
    await until(lambda: len(rig.calls) == 1)
    assert rig.calls[0]["code"] == "rpc_error"


@pytest.mark.parametrize(
    ("uris", "status", "code"),
    [
        (["docs://a"], 200, None),
        (["docs://a", "other://b"], 200, "resource_unknown"),
        (["docs://a", "secret://b"], 403, "insufficient_scope"),
        (["docs://a/../b"], 400, "params_malformed"),
    ],
)
async def test_every_resource_it_names_is_judged(rig: Rig, uris: list[str], status: int, code: str | None):
    token = rig.issuer.mint(scope="stores:read")
    async with listening(rig, token, resourceSubscriptions=uris) as stream:
        assert stream.status == status
        if code is None:
            assert await stream.message() == ACKNOWLEDGED
            return
        said: Json = await stream.answer.json()
    assert code in str(said)
    assert rig.backend.received == []


async def test_it_ends_when_its_client_is_revoked(rig: Rig):
    async with listening(rig) as stream:
        assert await stream.message() == ACKNOWLEDGED
        await rig.revoke()
        assert await stream.event() == f": {StreamEnding.ACCESS_WITHDRAWN.value}\n"
        assert await stream.event() is None
    await until(lambda: len(rig.backend.hang_ups) == 1)


async def test_it_ends_with_its_token_and_with_the_sidecar(rig: Rig):
    status, last = 401, ""
    while status == 401:  # a busy machine may look at it when it has expired already
        async with listening(rig, rig.issuer.mint(age=69, lifetime=60)) as stream:
            status = stream.status
            while status == 200 and (event := await stream.event()) is not None:
                last = event
    assert (status, last) == (200, f": {StreamEnding.TOKEN_EXPIRED.value}\n")
    async with listening(rig) as stream:
        assert await stream.message() == ACKNOWLEDGED
        ending = asyncio.create_task(rig.sidecar.__aexit__(None, None, None))
        assert await stream.event() == f": {StreamEnding.STOPPING.value}\n"
        assert await stream.event() is None
        await ending


async def test_a_client_that_leaves_cancels_it_at_the_backend(rig: Rig):
    async with listening(rig) as stream:
        assert await stream.message() == ACKNOWLEDGED
    await until(lambda: len(rig.backend.hang_ups) == 1)
    await until(lambda: len(rig.sidecar.pipeline.streams) == 0)


async def test_its_closing_result_passes_and_no_other(rig: Rig):
    async def closes(turn: Turn) -> None:
        await turn.open_stream()
        await turn.event(ACKNOWLEDGED)
        await turn.event({"jsonrpc": "2.0", "id": "another's", "result": {"canary": 1}})
        await turn.event(turn.response({"result": {"resultType": "complete"}}))
        await turn.end_stream()

    rig.backend.on(LISTEN, closes)
    async with listening(rig) as stream:
        assert await stream.message() == ACKNOWLEDGED
        assert (await stream.message() or {})["id"] == rig.ids
        assert await stream.event() is None


async def test_undeclared_it_is_refused(launch: Launch):
    rig = await launch()
    async with listening(rig) as stream:
        assert stream.status == 404
        assert (await stream.answer.json())["error"]["code"] == -32601


async def test_they_count_among_an_accounts_streams(launch: Launch):
    rig = await started(launch, limits={"streams_per_account": 1, "in_flight": 1})
    async with listening(rig) as stream:
        assert await stream.message() == ACKNOWLEDGED
        async with listening(rig) as second:
            assert second.status == 503
        assert (await rig.call("list_taxonomy")).status == 200
