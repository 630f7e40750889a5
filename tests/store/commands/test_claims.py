"""Ids of sessions and tasks are claimed across accounts, on one server and on a cluster."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from sidecar.errors import ErrorCode, Refusal
from sidecar.model import Call, Caller, CallKind, Revision
from sidecar.outcome import Bound, Eviction
from sidecar.proxy import ownership as module
from sidecar.proxy.ownership import Ownership
from sidecar.store.commands import bindings, scripts
from sidecar.store.commands.keys import account_keys, caller_keys, claim_key, consent_digest, digest
from sidecar.store.connection.slots import slot_of
from sidecar.store.store import Store
from tests.store.support import CALLER
from tests.support.store import FaultProxy, StoreServer
from tests.support.topology import ClusterServers

CLAIM_LIFE = bindings.BINDING_LIFE + bindings.CLAIM_MARGIN
OTHERS = {
    "account": replace(CALLER, account="globex"),
    "issuer": replace(CALLER, issuer_id="second"),
    "subject": replace(CALLER, subject="bob"),
    "client": replace(CALLER, client_id="cli-2"),
}


@asynccontextmanager
async def owning(url: str) -> AsyncIterator[tuple[Store, Ownership]]:
    store = Store(url, scripts)
    await store.start()
    try:
        yield store, Ownership(store)
    finally:
        await store.close(grace=2)


def session_call(session: str) -> Call:
    return Call(kind=CallKind.STREAM, revision=Revision.V2025_11_25, session=session)


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS.keys())
async def test_an_id_belongs_to_one_caller(store_server: StoreServer, other: Caller):
    async with owning(store_server.url) as (_, owner):
        assert await owner.bind_tasks(CALLER, ["a", "b"], 0)
        assert await owner.bind(CALLER, "s")
        for caller, granted in ((CALLER, True), (other, False), (CALLER, True)):
            assert await owner.bind_tasks(caller, ["b"], 0) is granted
            assert await owner.bind(caller, "s") is granted
        assert not await owner.bind_tasks(other, ["new", "b"], 0)  # all or none
        assert await owner.bind_tasks(replace(CALLER, account="third"), ["new"], 0)
        assert await owner.bind(other, "a")  # a session of a task's name is no task
        assert await owner.own_tasks(other, ["a", "b"]) == frozenset()


async def test_a_claim_lives_as_long_as_its_binding_and_names_its_caller(store_server: StoreServer):
    async with owning(store_server.url) as (_, owner):
        await owner.bind(CALLER, "s")
        await owner.bind_tasks(CALLER, ["t"], 10 * 86_400)
    with store_server.client() as client:
        for key, life in ((claim_key("session", "s"), CLAIM_LIFE), (claim_key("task", "t"), 10 * 86_400 + 7200)):
            assert life - 60 < client.ttl(key) <= life
            claim = client.hgetall(key)
            assert float(claim.pop("at")) > 0
            assert claim == {
                "holder": caller_keys(CALLER).digest,
                "consent": consent_digest(CALLER.subject, CALLER.client_id),
                "issuer": "main",
                "account": CALLER.account,
                "subject": CALLER.subject,
                "client_id": CALLER.client_id,
            }


async def test_a_claim_is_renewed_with_use_and_comes_back_where_it_is_missing(store_server: StoreServer):
    """Other processes have made the bindings, perhaps before there were claims."""
    session, task = claim_key("session", "s"), claim_key("task", "t")
    async with owning(store_server.url) as (_, owner):
        await owner.bind(CALLER, "s")
        await owner.bind_tasks(CALLER, ["t"], 0)
    with store_server.client() as client:
        client.expire(session, 60)
        client.delete(task)
        async with owning(store_server.url) as (store, owner):
            await owner.check(CALLER, session_call("s"))
            assert await owner.own_tasks(CALLER, ["t"]) == {"t"}
            await store.outbox.drain()
            assert (client.ttl(session) > 90_000, client.exists(task)) == (True, 1)
            client.expire(session, 60)
            await owner.check(CALLER, session_call("s"))  # not with every use
            await store.outbox.drain()
            assert client.ttl(session) <= 60


async def test_using_another_callers_session_renews_no_claim(store_server: StoreServer):
    other = OTHERS["account"]
    async with owning(store_server.url) as (store, owner):
        with pytest.raises(Refusal) as refused:
            await owner.check(other, session_call("s"))
        assert refused.value.code is ErrorCode.SESSION_UNKNOWN
        assert await owner.own_tasks(other, ["t"]) == frozenset()
        await store.outbox.drain()
        assert await owner.bind(CALLER, "s")
        assert await owner.bind_tasks(CALLER, ["t"], 0)


async def test_a_claim_ends_with_its_session_and_by_its_caller_alone(store_server: StoreServer):
    other = OTHERS["account"]
    async with owning(store_server.url) as (store, owner):
        await owner.bind(CALLER, "s")
        await owner.unbind(other, "s")
        await store.outbox.drain()
        assert not await owner.bind(other, "s")
        await owner.unbind(CALLER, "s")
        await store.outbox.drain()
        assert await owner.bind(other, "s")


async def test_the_claim_of_what_is_evicted_goes_with_it(store_server: StoreServer):
    gone: list[Eviction] = []
    async with owning(store_server.url) as (store, _):
        owner = Ownership(store, lambda _, each: gone.append(each))
        names = [f"s{number}" for number in range(bindings.MAX_SESSIONS // bindings.CALLER_SHARE + 1)]
        for name in names:
            await owner.bind(CALLER, name)
        await store.outbox.drain()
        (first,) = [name for name in names if digest(name) == gone[0].digest]
        assert (len(gone), gone[0].client_id, gone[0].full) == (1, CALLER.client_id, "caller")
        assert await owner.bind(OTHERS["account"], first)
        assert not await owner.bind(OTHERS["account"], names[-1])


async def test_without_the_store_nothing_is_given_out(fault_proxy: FaultProxy):
    async with owning(fault_proxy.url) as (_, owner):
        await fault_proxy.refuse()
        for bound in (owner.bind(CALLER, "s"), owner.bind_tasks(CALLER, ["t"], 0)):
            with pytest.raises(Refusal) as refused:
                await bound
            assert refused.value.code is ErrorCode.STORE_UNAVAILABLE


async def test_an_id_given_to_two_accounts_at_once_belongs_to_one(store_server: StoreServer):
    callers = [replace(CALLER, account=f"a{number}") for number in range(20)]
    async with owning(store_server.url) as (_, first), owning(store_server.url) as (_, second):
        owners = [first, second] * 10
        won = await asyncio.gather(
            *(owner.bind_tasks(caller, ["t"], 0) for owner, caller in zip(owners, callers, strict=True))
        )
        assert sum(won) == 1


async def test_on_a_cluster_an_id_is_one_accounts_wherever_the_accounts_are(cluster: ClusterServers):
    """Three accounts, each on another node; ids whose claims are on every node."""
    callers = [replace(CALLER, account=cluster.account_on(node)) for node in cluster.nodes]
    owners = {cluster.owner(account_keys("main", caller.account).sessions).path for caller in callers}
    assert len(owners) == len(cluster.nodes)
    names = [f"id-{number}" for number in range(30)]
    assert len({cluster.owner(claim_key("task", name)).path for name in names}) == len(cluster.nodes)
    async with owning(cluster.url) as (store, owner):
        for number, name in enumerate(names):
            mine, other = callers[number % 3], callers[(number + 1) % 3]
            assert await owner.bind_tasks(mine, [name], 0)
            assert await owner.bind(mine, name)
            assert not await owner.bind_tasks(other, [name], 0)
            assert not await owner.bind(other, name)
        assert not await owner.bind_tasks(callers[0], names, 0)
        await owner.unbind(callers[0], "id-0")
        await store.outbox.drain()
        assert await owner.bind(callers[1], "id-0")


def test_a_claim_is_under_a_tag_of_its_own():
    keys = caller_keys(CALLER)
    assert slot_of(claim_key("task", "t")) != slot_of(keys.task("t"))
    assert claim_key("task", "t") == f"mcp:{{{keys.task('t')[-32:]}}}:{Bound.TASK}"
    assert module.RENEW_EVERY < bindings.CLAIM_MARGIN
