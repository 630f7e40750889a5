"""Places for requests in flight: an account that takes all it may have leaves the others theirs."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from sidecar.store.commands import changes
from tests.proxy.support import Launch
from tests.support import backend as scripted
from tests.support.backend import Backend
from tests.support.rig import LEGACY, MODERN, Reply, Rig
from tests.support.store import until


@asynccontextmanager
async def waiting(rig: Rig, *tokens: str, revision: str = MODERN) -> AsyncIterator[list[asyncio.Task[Reply]]]:
    """One call per token that the backend does not answer yet."""
    gate, before = asyncio.Event(), len(rig.backend.received)
    rig.backend.once(*(scripted.after(gate, scripted.default()) for _ in tokens))
    calls = [asyncio.create_task(rig.call("list_taxonomy", token=token, revision=revision)) for token in tokens]
    await until(lambda: len(rig.backend.received) == before + len(tokens))
    yield calls
    gate.set()
    await asyncio.gather(*calls, return_exceptions=True)
    await until(lambda: rig.sidecar.pipeline.in_flight == 0)


@pytest.mark.parametrize("revision", [MODERN, LEGACY])
async def test_an_account_has_its_own_limit_and_others_have_theirs(launch: Launch, revision: str):
    rig = await launch(limits={"in_flight_per_account": 2})
    await rig.account("bob")
    await rig.grant("bob")
    async with waiting(rig, "", "", revision=revision):
        refused = await rig.call("list_taxonomy", revision=revision)
        assert (refused.status, refused.code, refused.headers["Retry-After"]) == (503, "overloaded", "1")
        assert (await rig.call("list_taxonomy", token=rig.issuer.mint(subject="bob"), revision=revision)).status == 200
        assert refused.status == (await rig.call("get_usage", revision=revision)).status
    assert (await rig.call("list_taxonomy", revision=revision)).status == 200
    lines = [line for line in await rig.recorded(6) if line["code"] == "overloaded"]
    assert [(line["account"], line["notes"]) for line in lines] == [
        ("ada", ["limits.in_flight_per_account is reached"])
    ] * 2


async def test_more_subjects_and_clients_are_no_way_round_it(launch: Launch):
    rig = await launch(issuer={"claims": {"account": "org"}}, limits={"in_flight_per_account": 2})
    people = [("ann", "cli-1"), ("ann", "cli-2"), ("bob", "cli-3")]
    for subject, client in people:
        await rig.run(changes.grant("main", "ada", subject, client))
    tokens = [rig.issuer.mint(subject=subject, client_id=client, org="ada") for subject, client in people]
    async with waiting(rig, *tokens[:2]):
        assert (await rig.call("list_taxonomy", token=tokens[2])).code == "overloaded"
    assert (await rig.call("list_taxonomy", token=tokens[2])).status == 200


async def test_the_log_says_when_it_is_the_limit_of_the_process(launch: Launch):
    rig = await launch(limits={"in_flight": 1})
    async with waiting(rig, ""):
        assert (await rig.call("list_taxonomy")).code == "overloaded"
        (line,) = await rig.recorded()
        assert line["notes"] == ["limits.in_flight is reached"]


async def test_a_call_whose_client_has_gone_keeps_its_place(launch: Launch):
    rig = await launch(limits={"in_flight_per_account": 1})
    async with waiting(rig, "", revision=LEGACY) as calls:
        calls[0].cancel()
        await until(lambda: rig.sidecar.pipeline.detached == 1)
        assert (await rig.call("list_taxonomy", revision=LEGACY)).code == "overloaded"
    assert (await rig.call("list_taxonomy", revision=LEGACY)).status == 200


async def test_an_account_without_places_can_still_cancel_and_end_its_session(launch: Launch):
    rig = await launch(scripted=Backend(sessions=True), limits={"in_flight_per_account": 1})
    session = await rig.session()
    async with waiting(rig, "", revision=LEGACY):
        cancel = rig.message("notifications/cancelled", {"requestId": rig.ids}, revision=LEGACY)
        assert (await rig.send(cancel, rig.request_headers(cancel, LEGACY, "", {}))).status == 202
        assert (await rig.delete(session=session)).status in (200, 202, 204)


async def test_one_account_of_a_person_cannot_cancel_the_calls_of_another(launch: Launch):
    rig = await launch(issuer={"claims": {"account": "org"}})
    for account in ("ada", "bob"):
        await rig.account(account, credits=10)
        await rig.run(changes.grant("main", account, "ada", "cli-1"))
    gate = asyncio.Event()
    rig.backend.once(scripted.after(gate, scripted.rpc_error()))
    asked = {"limit": 3}
    call = asyncio.create_task(
        rig.call("search_shopify_contacts", asked, revision=LEGACY, token=rig.issuer.mint(org="ada"), id_=5)
    )
    await until(lambda: len(rig.backend.received) == 1)
    cancelled = {"requestId": 5}
    reply = await rig.post("notifications/cancelled", cancelled, revision=LEGACY, token=rig.issuer.mint(org="bob"))
    assert reply.status == 202
    gate.set()
    assert "error" in (await call).json
    await until(lambda: rig.sidecar.pipeline.in_flight == 0)
    assert len(rig.backend.received) == 1, "a cancellation of nothing is not forwarded"
    assert (await rig.books()).left() == 10, "an error of a call that was not cancelled is free"


async def test_ending_sessions_does_not_take_the_places_of_others(launch: Launch):
    """A backend that is slow to end sessions keeps their places taken; the account gets as many again, not all."""
    rig = await launch(scripted=Backend(sessions=True), limits={"in_flight": 4, "in_flight_per_account": 1})
    await rig.account("bob")
    await rig.grant("bob")
    session = await rig.session()
    gate, before = asyncio.Event(), len(rig.backend.received)
    rig.backend.once(*(scripted.after(gate, scripted.default()) for _ in range(2)))
    ending = [asyncio.create_task(rig.delete(session=session)) for _ in range(2)]
    await until(lambda: len(rig.backend.received) == before + 2)
    assert (await rig.delete(session=session)).code == "overloaded"
    assert (await rig.call("list_taxonomy", token=rig.issuer.mint(subject="bob"))).status == 200
    gate.set()
    await asyncio.gather(*ending)
    await until(lambda: rig.sidecar.pipeline.in_flight == 0)


WORDY = {f"a{'x' * 1000}{number:04}": {"type": "string"} for number in range(4000)}


@pytest.mark.parametrize("reads", [True, False])
async def test_a_refused_call_counts_until_its_refusal_is_written(launch: Launch, reads: bool):
    """Else refusals would be a way to have arguments validated without bound, by a client that reads none."""
    tool = {"scopes": ["s"], "arguments": {"properties": WORDY, "additionalProperties": False}}
    policy = {"scopes": {"s": "A scope."}, "tools": {"wordy": tool, "list_taxonomy": {"scopes": []}}}
    rig = await launch(policy=policy, limits={"in_flight_per_account": 1})
    token = rig.issuer.mint(scope="s")
    message = rig.message("tools/call", {"name": "wordy", "arguments": {"unknown": 1}}, revision=MODERN)
    fields = {**rig.request_headers(message, MODERN, token), "Host": rig.url.split("/")[2], "Connection": "close"}
    body = json.dumps(message).encode()
    head = "".join(f"{name}: {value}\r\n" for name, value in {**fields, "Content-Length": str(len(body))}.items())
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        loop, address = asyncio.get_running_loop(), rig.sidecar.addresses["listen"]
        await loop.sock_connect(client, (address.host, address.port))
        await loop.sock_sendall(client, f"POST /mcp HTTP/1.1\r\n{head}\r\n".encode() + body)
        assert (await loop.sock_recv(client, 12)).endswith(b"200")  # begun, and too long for all buffers
        assert rig.sidecar.pipeline.in_flight == 1
        assert (await rig.call("list_taxonomy", token=token)).code == "overloaded"
        while reads and await loop.sock_recv(client, 1 << 20):
            pass
    await until(lambda: rig.sidecar.pipeline.in_flight == 0)
    assert (await rig.call("list_taxonomy", token=token)).status == 200
