"""A call whose admission has used an approval and is given up: the approval is valid again, and is used once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import redis

from sidecar.approval import ApprovalStatus
from sidecar.store.commands.keys import account_keys
from sidecar.store.commands.shipped import ADMIT
from tests.proxy.confirming.support import answer, ask, confirmed_policy, question_of, state_of
from tests.proxy.confirming.test_page_questions import FORM, PAGE, URL, page_of, visit
from tests.proxy.confirming.test_session_questions import sent
from tests.proxy.support import Launch
from tests.support import backend as scripted
from tests.support.rig import Json, Reply, Rig
from tests.support.store import FaultProxy, StoreServer, until

FREE: Json = {"spends": {}, "uses": {}}
PRICED: Json = {}


class Lost:
    """A sidecar that loses the answers of its store on demand."""

    def __init__(self, rig: Rig, proxy: FaultProxy, store: redis.Redis) -> None:
        self.rig, self.proxy, self._store = rig, proxy, store

    def status(self, handle: str) -> str:
        return str(self._store.hget(account_keys("main", "ada").approval(handle), "status"))

    @contextmanager
    def answers(self) -> Iterator[None]:
        """Lose all answers from the next admission on."""

        def lose(data: bytes) -> bytes:
            self.proxy.drop_replies |= ADMIT.head in data
            return data

        self.proxy.rewrite_request = lose
        try:
            yield
        finally:
            self.proxy.rewrite_request = lambda data: data
            self.proxy.drop_replies = False
            self.proxy.cut()

    async def call(self, handle: str, **options: Any) -> Reply:
        """Call; the admission uses the approval, and the connection is lost before its answer."""
        with self.answers():
            task = asyncio.create_task(ask(self.rig, **options))
            await until(lambda: self.status(handle) == ApprovalStatus.USED)
        return await task

    async def released(self) -> None:
        """Wait until the store has acknowledged what the sidecar owes it."""
        await self.rig.sidecar.store.outbox.drain()


async def started(launch: Launch, proxy: FaultProxy, server: StoreServer, confirm: Json, tool: Json) -> Rig:
    made = confirmed_policy(confirm, tool=tool)
    options = {"scripted": scripted.Backend(sessions=True), "account_page": {"client_id": "page"}}
    return await launch(policy=made, server=server, store_url=proxy.url, **options)


@pytest.fixture
def store(own_server: StoreServer) -> Iterator[redis.Redis]:
    with own_server.client() as client:
        yield client


@pytest.mark.parametrize("tool", [PRICED, FREE], ids=["priced", "free"])
async def test_a_lost_answer_gives_the_approval_of_the_page_back(
    fault_proxy: FaultProxy, own_server: StoreServer, launch: Launch, store: redis.Redis, tool: Json
):
    rig = await started(launch, fault_proxy, own_server, PAGE, tool)
    lost = Lost(rig, fault_proxy, store)
    address = page_of(await ask(rig, capabilities=FORM))
    await visit(rig, address)
    reply = await lost.call(address.rpartition("/")[2], capabilities=FORM)
    assert (reply.status, reply.code) == (503, "store_unavailable")
    await lost.released()
    assert sent(rig) == []
    assert (await ask(rig, capabilities=FORM)).code is None, "the person is not asked again"
    assert page_of(await ask(rig, capabilities=FORM)) != address, "an approval is used once"
    assert len(sent(rig)) == 1
    assert (await rig.books()).left() == (8 if tool is PRICED else 10)


@pytest.mark.parametrize("tool", [PRICED, FREE], ids=["priced", "free"])
async def test_a_lost_answer_gives_the_approval_in_the_client_s_form_back(
    fault_proxy: FaultProxy, own_server: StoreServer, launch: Launch, store: redis.Redis, tool: Json
):
    rig = await started(launch, fault_proxy, own_server, {"by": "person"}, tool)
    lost = Lost(rig, fault_proxy, store)
    asked_for = await ask(rig)
    state = state_of(asked_for)
    reply = await lost.call(state.rpartition("/")[2], params=answer(state))
    assert (reply.status, reply.code) == (503, "store_unavailable")
    await lost.released()
    assert (await ask(rig, params=answer(state))).code is None
    assert (await ask(rig, params=answer(state))).code == "confirmation_expired"
    assert len(sent(rig)) == 1


async def test_a_client_that_disconnects_during_the_admission_leaves_the_approval_valid(
    fault_proxy: FaultProxy, own_server: StoreServer, launch: Launch, store: redis.Redis
):
    rig = await started(launch, fault_proxy, own_server, PAGE, PRICED)
    lost = Lost(rig, fault_proxy, store)
    asked_for = await ask(rig, capabilities=URL)
    address = question_of(asked_for)["url"]
    await visit(rig, address)
    with lost.answers():
        task = asyncio.create_task(ask(rig, capabilities=FORM))
        await until(lambda: lost.status(address.rpartition("/")[2]) == ApprovalStatus.USED)
        task.cancel()
        await rig.line(code="client_gone")
    await lost.released()
    assert (await ask(rig, capabilities=FORM)).code is None
    assert len(sent(rig)) == 1
    assert (await rig.books()).left() == 8


async def test_an_approval_of_a_call_that_has_reached_the_backend_stays_used(
    fault_proxy: FaultProxy, own_server: StoreServer, launch: Launch, store: redis.Redis
):
    rig = await started(launch, fault_proxy, own_server, PAGE, PRICED)
    address = page_of(await ask(rig, capabilities=FORM))
    await visit(rig, address)
    rig.backend.once(scripted.rpc_error())
    await ask(rig, capabilities=FORM)
    await rig.sidecar.store.outbox.drain()
    assert Lost(rig, fault_proxy, store).status(address.rpartition("/")[2]) == ApprovalStatus.USED
