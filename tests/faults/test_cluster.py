"""The sidecar on a cluster of three nodes: accounts on each node, slots that move, nodes that are killed."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from sidecar.model import Caller
from sidecar.proxy.relay.list_changes import VisibleLists
from sidecar.proxy.relay.revocations import Revocations
from sidecar.proxy.relay.streams import OpenStreams, StreamEnding
from sidecar.store.commands import changes, scripts
from sidecar.store.commands.keys import REVOKED_CHANNEL, account_keys, claim_key, client_digest
from sidecar.store.connection.slots import slot_of
from sidecar.store.store import Store
from tests.faults.callers import Callers, command, resolved, reveal
from tests.policy.support import policy
from tests.support.backend import Backend, after, default, http, result, silent
from tests.support.open_streams import opened_stream
from tests.support.processes import Accounts, House, accounts, house, paid_policy, succeeded, wait_for
from tests.support.rig import LEGACY, Json
from tests.support.store import until
from tests.support.topology import ClusterServers, TcpServer

GRANTED = 10_000
AT = "2026-11-23T10:30:00Z"
pytestmark = pytest.mark.timeout(300)


@contextlib.contextmanager
def one_on_each(cluster: ClusterServers, credits: int = GRANTED) -> Iterator[dict[str, Accounts]]:
    """An account on every node."""
    with contextlib.ExitStack() as stack:
        yield {
            name: stack.enter_context(accounts(node.path, credits, name))
            for node in cluster.nodes
            for name in (cluster.account_on(node),)
        }


# --- nothing goes wrong --------------------------------------------------------------------------


async def test_accounts_of_every_node_are_served_and_managed(tmp_path: Path, cluster: ClusterServers):
    with one_on_each(cluster) as books:
        async with house(tmp_path, cluster.url) as built:
            sidecar = await built.start()
            for name in books:
                assert succeeded(await reveal(built, sidecar, name, "a", "b"))
                assert (await reveal(built, sidecar, name, "a")).status == 200
            await wait_for(lambda: not any(each.look().holds for each in books.values()))
            assert [each.look().balance for each in books.values()] == [GRANTED - 2] * 3
            status, listed = await command(built, "account", "list")
            assert status == 0
            assert all(name in listed for name in books)
            for name in books:
                assert (await command(built, "credits", "spend", name, "contact", "1"))[0] == 0
                assert "  entry " in (await command(built, "usage", name))[1]
                assert (await command(built, "usage", name, "--verify"))[0] == 0
                assert (await command(built, "consent", "revoke", name, "cli-1"))[0] == 0
                assert (await reveal(built, sidecar, name, "a")).code == "consent_revoked"
                assert (await command(built, "account", "delete", name))[0] == 0
                assert (await reveal(built, sidecar, name, "a")).status == 200
            assert [each.look().balance for each in books.values()] == [0] * 3
            assert (await command(built, "account", "list"))[1].count("deleted") == 3


async def test_a_client_is_revoked_in_the_accounts_of_every_node(tmp_path: Path, cluster: ClusterServers):
    with one_on_each(cluster) as books:
        async with house(tmp_path, cluster.url) as built:
            sidecar = await built.start()
            for name in books:
                assert succeeded(await reveal(built, sidecar, name, "a"))
            status, listed = await command(built, "consent", "list", "--client", "cli-1")
            assert status == 0
            assert all(name in listed for name in books)
            assert (await command(built, "consent", "revoke", "--client", "cli-1", "--all-accounts"))[0] == 0
            for name in books:
                assert (await reveal(built, sidecar, name, "a")).code == "consent_revoked"
                assert (await command(built, "consent", "grant", name, "cli-1"))[0] == 0
                assert succeeded(await reveal(built, sidecar, name, "a"))
                assert (await command(built, "consent", "revoke", name, "--all"))[0] == 0
                assert (await reveal(built, sidecar, name, "a")).code == "consent_revoked"
                assert (await command(built, "consent", "grant", name, "--all"))[0] == 0
                assert (await reveal(built, sidecar, name, "a")).code == "consent_revoked"


async def test_the_journal_is_followed_wherever_it_is(tmp_path: Path, cluster: ClusterServers):
    with one_on_each(cluster) as books:
        async with house(tmp_path, cluster.url) as built:
            sidecar = await built.start()
            for name in books:
                words = ("-m", "sidecar", "usage", name, "--follow", "--config", str(built.config))
                following = await asyncio.create_subprocess_exec(sys.executable, *words, stdout=asyncio.subprocess.PIPE)
                try:
                    assert following.stdout is not None
                    assert b"grant" in await following.stdout.readline()
                    reply = await reveal(built, sidecar, name, "a")
                    assert b"consent_granted" in await following.stdout.readline()
                    assert reply.headers["X-Request-Id"].encode() in await following.stdout.readline()
                finally:
                    following.kill()
                    await following.wait()


async def test_open_calls_of_dead_sidecars_are_resolved_on_every_node(tmp_path: Path, cluster: ClusterServers):
    backend = Backend()
    backend.on("reveal_contacts", silent())
    with one_on_each(cluster) as books:
        async with house(tmp_path, cluster.url, policy=paid_policy("5s"), margin=0.0, backend=backend) as built:
            first = await built.start()
            calls = [asyncio.create_task(reveal(built, first, name, "a")) for name in books]
            await wait_for(lambda: len(backend.received) == 3)
            await first.kill()
            await asyncio.wait(calls)
            assert all(len(each.look().holds) == 1 for each in books.values())
            await wait_for(lambda: all(ended(node) for node in cluster.nodes))
            await built.start()  # its first sweep
            await wait_for(lambda: not any(each.look().holds for each in books.values()))
            assert [each.look().balance for each in books.values()] == [GRANTED - 1] * 3  # on_unknown: settle


def ended(node: TcpServer) -> bool:
    """Return if all leases of a node's accounts have expired by its own clock."""
    with node.client() as client:
        seconds, _ = client.time()
        keys = list(client.scan_iter("mcp:{*}:leases"))
        return all(not client.zrange(key, (seconds - 1) * 1000, "+inf", byscore=True) for key in keys)


# --- one id for two accounts ---------------------------------------------------------------------


def asking(built: House, account: str, session: str | None = None) -> dict[str, str]:
    headers = {
        "Accept": "application/json, text/event-stream",
        "Authorization": f"Bearer {built.issuer.mint(subject=account)}",
        "MCP-Protocol-Version": LEGACY,
    }
    return headers if session is None else {**headers, "Mcp-Session-Id": session}


TASKS = paid_policy() + 'methods: {"tasks/get": {scopes: []}, "tasks/result": {scopes: []}}\n'


async def test_an_id_that_the_backend_gives_to_accounts_on_two_nodes_is_refused_to_the_second(
    tmp_path: Path, cluster: ClusterServers
):
    task = {"taskId": "same", "status": "working", "ttl": 60_000, "createdAt": AT, "lastUpdatedAt": AT}
    call: Json = {"jsonrpc": "2.0", "id": 1, "method": "tools/call"}
    call["params"] = {"name": "reveal_contacts", "arguments": {"contact_ids": ["a"]}, "task": {"ttl": 60_000}}
    opening: Json = {"jsonrpc": "2.0", "id": 2, "method": "initialize"}
    opening["params"] = {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
    backend = Backend()
    backend.on("tools/call", result({"task": task}))
    backend.on("tasks/get", result(task))
    greeting = b'{"jsonrpc":"2.0","id":2,"result":{}}'
    backend.on("initialize", http(200, greeting, ("Mcp-Session-Id", "same")))
    backend.on("DELETE", http(204))
    with one_on_each(cluster) as books:
        first, *others = books
        async with house(tmp_path, cluster.url, policy=TASKS, backend=backend) as built:
            sidecars = [await built.start(), await built.start()]

            async def post(message: Json, account: str, at: int, session: str | None = None) -> int:
                headers = asking(built, account, session)
                async with built.http.post(sidecars[at].url, json=message, headers=headers) as answer:
                    return answer.status

            assert await post(call, first, 0) == await post(opening, first, 0) == 200
            for other in others:
                for at in (0, 1):
                    assert await post(call, other, at) == await post(opening, other, at) == 502
                    assert await post(call, other, at, "same") == 404
            for at in (0, 1):
                assert await post(call, first, at) == await post(call, first, at, "same") == 200
            async with built.http.delete(sidecars[1].url, headers=asking(built, first, "same")) as answer:
                assert answer.status < 300
            await wait_for(
                lambda: not cluster.owner(claim_key("session", "same")).client().exists(claim_key("session", "same"))
            )
            assert await post(opening, others[0], 0) == 200


# --- revocations ---------------------------------------------------------------------------------


@asynccontextmanager
async def watched(url: str) -> AsyncIterator[tuple[Store, OpenStreams, Revocations]]:
    store = Store(url, scripts)
    streams = OpenStreams()
    revocations = Revocations(store, streams, lambda: VisibleLists(policy("consent: first_use")), 3600.0)
    watching = asyncio.create_task(revocations.watch())
    try:
        await store.start(60)
        await until(lambda: revocations.subscription_up, 60)
        yield store, streams, revocations
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        await store.close(0)


async def test_a_revocation_on_any_node_ends_streams_also_after_the_subscribed_node_died(own_cluster: ClusterServers):
    async with watched(own_cluster.url) as (store, streams, revocations):
        listening = revocations._channel.address
        for node in own_cluster.nodes:
            await revoked(own_cluster, store, streams, node)
        dead = next(node for node in own_cluster.nodes if node.address == listening)
        dead.kill()
        await until(lambda: revocations.subscription_up and revocations._channel.address != listening, 60)
        for node in own_cluster.nodes:
            if node is not dead:
                await revoked(own_cluster, store, streams, node)


async def revoked(cluster: ClusterServers, store: Store, streams: OpenStreams, node: TcpServer) -> None:
    """Check that a revocation written on a node is received by the subscriber and takes effect."""
    name = cluster.account_on(node)
    keys, caller = account_keys("main", name), Caller("main", "https://issuer", name, name, "cli-1", frozenset(), 0, 0)
    with opened_stream(streams, caller, 1, 3600, lambda: None) as stream:
        async with asyncio.timeout(60):
            while stream.ending is not StreamEnding.ACCESS_WITHDRAWN:  # what nodes tell each other may be lost
                node.ask("PUBLISH", REVOKED_CHANNEL, f"{keys.digest} {client_digest('cli-1')}")
                await asyncio.sleep(0.05)
    with opened_stream(streams, caller, 1, 3600, lambda: None) as stream:
        await store.run(changes.revoke("main", name, None, "cli-1"))
        await until(lambda: stream.ending is StreamEnding.ACCESS_WITHDRAWN, 60)
    await store.run(changes.grant("main", name, None, "cli-1"))


# --- slots that move -----------------------------------------------------------------------------


def at_once(cluster: ClusterServers, slot: int, source: TcpServer, target: TcpServer) -> None:
    cluster.move_slot_at_once(slot, source, target)


def key_by_key(cluster: ClusterServers, slot: int, source: TcpServer, target: TcpServer) -> None:
    cluster.begin_move(slot, source, target)
    cluster.move_keys(slot, source, target)
    cluster.end_move(slot, source, target)


@pytest.mark.parametrize("move", [at_once, key_by_key])
async def test_a_slot_that_moves_under_load_costs_no_credit(
    tmp_path: Path, own_cluster: ClusterServers, move: Callable[[ClusterServers, int, TcpServer, TcpServer], None]
):
    source, target, other = own_cluster.nodes
    names = {node: own_cluster.account_on(node) for node in own_cluster.nodes}
    slot = slot_of(account_keys("main", names[source]).account)
    with one_on_each(own_cluster):
        async with house(tmp_path, own_cluster.url) as built:
            sidecar = await built.start()
            moving, staying = (Callers(built, sidecar, names[node]) for node in (source, other))
            async with moving.calling(), staying.calling(2):
                for one, another in ((source, target), (target, source), (source, target)):
                    await moving.succeeding()
                    await asyncio.to_thread(move, own_cluster, slot, one, another)
                await moving.succeeding()
                await staying.succeeding()
            await wait_for(lambda: len(sidecar.events("call")) == len(moving.replies) + len(staying.replies))
            for load, node in ((moving, target), (staying, other)):
                with accounts(node.path, account=load.account) as books:
                    await resolved(books)
                    seen = books.look()
                assert seen.paid == load.bought
                assert (seen.balance, seen.held, seen.spent) == (GRANTED - len(load.bought), 0, len(load.bought))
                assert (await command(built, "usage", load.account, "--verify"))[0] == 0
            assert moving.refusals | staying.refusals <= {(503, "store_unavailable")}


async def test_while_a_slot_moves_key_by_key_its_accounts_wait_and_settles_arrive(
    tmp_path: Path, own_cluster: ClusterServers
):
    source, target, _ = own_cluster.nodes
    name = own_cluster.account_on(source)
    slot = slot_of(account_keys("main", name).account)
    work, backend = asyncio.Event(), Backend(contacts=["a"])  # of two that are asked for
    backend.once(after(work, default()))
    with accounts(source.path, 10, name):
        async with house(tmp_path, own_cluster.url, backend=backend) as built:
            sidecar = await built.start()
            call = asyncio.create_task(reveal(built, sidecar, name, "a", "b"))
            await wait_for(lambda: len(backend.received) == 1)
            own_cluster.begin_move(slot, source, target)
            work.set()
            assert succeeded(await call)
            refused = await reveal(built, sidecar, name, "c")
            assert (refused.status, refused.code) == (503, "store_unavailable")  # some of its keys may be there
            own_cluster.move_keys(slot, source, target)
            assert (await reveal(built, sidecar, name, "c")).code == "store_unavailable"
            own_cluster.end_move(slot, source, target)
            with accounts(target.path, account=name) as books:
                await wait_for(lambda: not books.look().holds)
                assert (books.look().balance, books.look().spent, books.look().paid) == (9, 1, {"a"})
            assert succeeded(await reveal(built, sidecar, name, "a"))
            assert (await command(built, "usage", name, "--verify"))[0] == 0


# --- a node that dies ----------------------------------------------------------------------------


async def test_a_dead_primary_takes_only_its_own_accounts_along(tmp_path: Path, own_cluster: ClusterServers):
    dead = own_cluster.nodes[0]
    work, backend = asyncio.Event(), Backend(contacts=["a"])
    with one_on_each(own_cluster) as books:
        name, *others = books
        async with house(tmp_path, own_cluster.url, backend=backend) as built:
            sidecar = await built.start()
            backend.once(after(work, default()))
            call = asyncio.create_task(reveal(built, sidecar, name, "a", "b"))
            await wait_for(lambda: len(backend.received) == 1)
            dead.kill()
            work.set()
            assert succeeded(await call)
            for _ in range(3):
                refused = await reveal(built, sidecar, name, "c")
                assert (refused.status, refused.code) == (503, "store_unavailable")
                assert all([succeeded(await reveal(built, sidecar, other, "a")) for other in others])
            assert (await built.ready(sidecar))[0] == 200  # otherwise the other accounts would not be served
            assert await metric(built.http, sidecar.admin, "mcp_sidecar_store_primaries_unreachable") == 1
            assert (await command(built, "usage", others[0], "--verify"))[0] == 0
            assert (await command(built, "consent", "revoke", others[1], "cli-1"))[0] == 0
            assert (await reveal(built, sidecar, others[1], "a")).code == "consent_revoked"
            status, output = await command(built, "account", "list")  # half a list would look like a whole one
            assert (status, str(dead.port) in output) == (1, True)
            dead.start()
            await asyncio.to_thread(own_cluster.await_agreement)
            await wait_for(lambda: not books[name].look().holds)
            assert (books[name].look().balance, books[name].look().paid) == (GRANTED - 1, {"a"})
            backend.contacts = None
            back = Callers(built, sidecar, name)
            async with back.calling(1):
                await back.succeeding(1)
            await wait_for(lambda: not books[name].look().holds)
            for each in books:
                assert (await command(built, "usage", each, "--verify"))[0] == 0


async def test_nodes_that_are_killed_in_turn_lose_no_persisted_write(tmp_path: Path, cluster: ClusterServers):
    with one_on_each(cluster) as books:
        async with house(tmp_path, cluster.url) as built:
            sidecar = await built.start()
            loads = [Callers(built, sidecar, name) for name in books]
            async with contextlib.AsyncExitStack() as stack:
                for load in loads:
                    await stack.enter_async_context(load.calling(2))
                for node, load in zip(cluster.nodes, loads, strict=True):
                    await load.succeeding()
                    node.kill()
                    await load.refused()
                    await asyncio.gather(*(other.succeeding(5) for other in loads if other is not load))
                    await asyncio.to_thread(node.start)
                    await load.succeeding()
            count = sum(len(load.replies) for load in loads)
            await wait_for(lambda: len(sidecar.events("call")) == count)
            await wait_for(lambda: not any(each.look().holds for each in books.values()))  # releases have no line
            for load in loads:
                seen = books[load.account].look()
                assert seen.paid == load.bought
                assert (seen.balance, seen.spent) == (GRANTED - len(load.bought), len(load.bought))
                assert load.refusals <= {(503, "store_unavailable")}
                assert (await command(built, "usage", load.account, "--verify"))[0] == 0


async def metric(http, admin: str, name: str) -> float:
    async with http.get(f"{admin}/metrics") as answer:
        [value] = [line.split()[1] for line in (await answer.text()).splitlines() if line.startswith(f"{name} ")]
        return float(value)
