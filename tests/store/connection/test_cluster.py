"""The map of a cluster and its connections, on real nodes: where a command goes, and what is never sent twice."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import pytest

from sidecar.outcome import Receipt
from sidecar.store.commands import scripts, shipped
from sidecar.store.commands.command import ChangeCode, Command
from sidecar.store.commands.keys import account_keys
from sidecar.store.connection.cluster import Cluster
from sidecar.store.connection.layout import LAYOUT_KEY, claim
from sidecar.store.connection.slots import slot_of
from sidecar.store.connection.store_connection import RejectedError, StoreError, UnsentError
from sidecar.store.connection.store_url import parse_url
from sidecar.store.connection.topology import follow_redirects, servers
from sidecar.store.store import Store
from sidecar.store.stream_key import STREAM_KEY_KEY, StreamKey
from tests.store.support import CALLER, application
from tests.support.store import not_let_in, until
from tests.support.topology import ClusterServers, TcpServer, await_state, started

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def running() -> Iterator[ClusterServers]:
    with ClusterServers() as cluster:
        yield cluster


@pytest.fixture
def nodes(running: ClusterServers) -> Iterator[ClusterServers]:
    yield running
    for node in running.nodes:
        node.ask("FLUSHALL")


async def whole(cluster: Cluster) -> None:
    """Connect to all of it, however slow the machine is."""
    await cluster.start(within=60)
    await until(lambda: cluster.up and cluster.error is None, 60)


@pytest.fixture
async def cluster(nodes: ClusterServers) -> AsyncIterator[Cluster]:
    made = Cluster(parse_url(nodes.url), prepare=claim)
    await whole(made)
    yield made
    await made.close()


def key_on(nodes: ClusterServers, node: TcpServer) -> str:
    return next(key for key in (f"k{number}" for number in range(10_000)) if nodes.owner(key, node) is node)


async def test_every_key_goes_to_the_node_that_has_it(nodes: ClusterServers, cluster: Cluster):
    for node in nodes.nodes:
        key = key_on(nodes, node)
        assert await cluster.at(key).call("SET", key, "1") == b"OK"
        assert node.ask("GET", key) == "1"
        assert cluster.at(key) is cluster.at(f"x{{{key}}}y")
    assert (cluster.up, cluster.error, cluster.unreachable, len(cluster.nodes)) == (True, None, 0, 3)


async def test_a_moved_command_runs_once_where_it_belongs(nodes: ClusterServers, cluster: Cluster):
    source, target = nodes.nodes[:2]
    key = key_on(nodes, source)
    slot = slot_of(key)
    nodes.move_slot_at_once(slot, source, target)
    try:
        with pytest.raises(RejectedError) as caught:
            await (await stale(cluster, key, source)).call("INCR", key)
        assert caught.value.code == "MOVED"
        assert await follow_redirects(cluster, caught.value, key, ("INCR", key), None) == 1
        assert target.ask("GET", key) == "1"
        assert cluster.at(key).address == target.address
    finally:
        nodes.move_slot_at_once(slot, target, source)


async def stale(cluster: Cluster, key: str, node: TcpServer):
    """The connection that a map from before the move gives."""
    return next(each for each in cluster.nodes if each.address == node.address)


async def test_an_asked_command_runs_once_while_its_slot_moves(nodes: ClusterServers, cluster: Cluster):
    source, target = nodes.nodes[:2]
    key = key_on(nodes, source)
    slot = slot_of(key)
    nodes.begin_move(slot, source, target)
    with pytest.raises(RejectedError) as caught:
        await cluster.at(key).call("INCR", key)
    assert caught.value.code == "ASK"
    assert await follow_redirects(cluster, caught.value, key, ("INCR", key), None) == 1
    assert cluster.at(key).address == source.address  # the slot is not the target's yet
    with pytest.raises(RejectedError, match="MOVED"):
        await next(each for each in cluster.nodes if each.address == target.address).call("INCR", key)
    nodes.end_move(slot, source, target)
    assert target.ask("GET", key) == "1"
    nodes.move_slot_at_once(slot, target, source)


async def test_a_node_of_another_layout_makes_all_of_them_unusable(nodes: ClusterServers):
    nodes.owner(LAYOUT_KEY).ask("SET", LAYOUT_KEY, "99")
    other = servers(parse_url(nodes.url), prepare=claim)
    await not_let_in(other, "version '99'")
    for node in nodes.nodes:
        with pytest.raises(StoreError):
            await other.at(key_on(nodes, node)).call("SET", key_on(nodes, node), "1")
    await other.close()
    assert sum(node.ask("DBSIZE") for node in nodes.nodes) == 1


async def test_an_unmarked_cluster_is_marked_once_where_the_mark_belongs(nodes: ClusterServers, cluster: Cluster):
    assert nodes.owner(LAYOUT_KEY).ask("GET", LAYOUT_KEY) == "1"
    assert sum(node.ask("DBSIZE") for node in nodes.nodes) == 1


async def test_a_single_server_s_url_does_not_take_a_node_of_a_cluster(nodes: ClusterServers):
    single = servers(parse_url(f"redis://127.0.0.1:{nodes.nodes[0].port}"), prepare=claim)
    await not_let_in(single, r"redis\+cluster://")
    await single.close()


async def test_a_server_that_is_no_cluster_is_refused_by_name():
    alone = started()
    try:
        cluster = Cluster(parse_url(f"redis+cluster://127.0.0.1:{alone.port}"), prepare=claim)
        await not_let_in(cluster, "cluster support disabled")
        await cluster.close()
    finally:
        alone.close()


@pytest.mark.parametrize("endpoints", ["unknown-endpoint", "hostname", "ip"])
async def test_nodes_are_found_however_they_are_announced(nodes: ClusterServers, endpoints: str):
    for node in nodes.nodes:
        node.ask("CONFIG", "SET", "cluster-announce-hostname", "localhost")
        node.ask("CONFIG", "SET", "cluster-preferred-endpoint-type", endpoints)
    await asyncio.to_thread(await_state, lambda: all(map(announced, nodes.nodes)), "every node knows the names")
    source, target = nodes.nodes[:2]
    key = key_on(nodes, source)
    cluster = Cluster(parse_url(nodes.url), prepare=claim)
    await whole(cluster)
    assert {node.address for node in cluster.nodes if node.address} == {
        ("localhost" if endpoints == "hostname" else "127.0.0.1", node.port) for node in nodes.nodes
    }
    before = cluster.at(key)
    nodes.move_slot_at_once(slot_of(key), source, target)
    with pytest.raises(RejectedError, match="MOVED") as caught:
        await before.call("INCR", key)
    assert await follow_redirects(cluster, caught.value, key, ("INCR", key), None) == 1
    assert len(cluster.nodes) == 3
    await cluster.close()
    nodes.move_slot_at_once(slot_of(key), target, source)
    for node in nodes.nodes:
        node.ask("CONFIG", "SET", "cluster-preferred-endpoint-type", "ip")
        node.ask("CONFIG", "SET", "cluster-announce-hostname", "")


def announced(node: TcpServer) -> bool:
    return str(node.ask("CLUSTER", "SLOTS")).count("localhost") == 3


async def test_the_key_of_session_ids_is_on_one_node_for_all_accounts(nodes: ClusterServers):
    store = Store(nodes.url, scripts)
    await store.start(within=60)
    try:
        found = await StreamKey(store).read()
        assert await StreamKey(store).read() == found
    finally:
        await store.close()
    assert nodes.owner(STREAM_KEY_KEY).ask("GET", STREAM_KEY_KEY) == found


async def test_a_node_that_has_lost_its_slots_is_left_and_one_that_gets_some_is_found(
    nodes: ClusterServers, cluster: Cluster
):
    *others, leaving = nodes.nodes
    first, last = next((r[0], r[1]) for r in leaving.ask("CLUSTER", "SLOTS") if r[2][1] == leaving.port)
    owed = next(each for each in cluster.nodes if each.address == leaving.address).send("PING")
    await asyncio.to_thread(nodes.move_slots_at_once, first, last, leaving, others[0])
    assert await owed == b"PONG"
    await until(lambda: len(cluster.nodes) == 2, 60)
    await until(lambda: "mcp-sidecar" not in str(leaving.ask("CLIENT", "LIST")), 60)
    assert cluster.error is None
    await asyncio.to_thread(nodes.move_slots_at_once, first, last, others[0], leaving)
    await until(lambda: len(cluster.nodes) == 3 and not cluster.unreachable, 60)
    assert await cluster.at(key_on(nodes, leaving)).call("PING") == b"PONG"


async def test_a_cluster_that_refuses_everything_is_not_up():
    with ClusterServers(whole=True, node_timeout=1000) as nodes:
        cluster = Cluster(parse_url(nodes.url), prepare=claim)
        await whole(cluster)
        nodes.nodes[2].kill()
        await until(lambda: not cluster.up and cluster.unreachable == 1, 60)
        with pytest.raises(StoreError):
            await cluster.at(key_on(nodes, nodes.nodes[0])).call("SET", key_on(nodes, nodes.nodes[0]), "1")
        nodes.nodes[2].start()
        await until(lambda: cluster.up and cluster.error is None, 60)
        await cluster.close()


async def test_a_user_with_only_the_needed_permissions_can_use_a_cluster(nodes: ClusterServers):
    for node in nodes.nodes:
        allowed = ("-@all", "+ping", "+get", "+set", "+incr", "+cluster|slots", "+cluster|info", "+asking")
        node.ask("ACL", "SETUSER", "few", "reset", "on", ">s3cret", "~*", *allowed)
    source, target = nodes.nodes[:2]
    key = key_on(nodes, source)
    try:
        cluster = Cluster(parse_url(nodes.url.replace("://", "://few:s3cret@")), prepare=claim)
        await whole(cluster)
        nodes.begin_move(slot_of(key), source, target)
        with pytest.raises(RejectedError, match="ASK") as caught:
            await cluster.at(key).call("INCR", key)
        assert await follow_redirects(cluster, caught.value, key, ("INCR", key), None) == 1
        await cluster.close()
        refused = Cluster(parse_url(nodes.url.replace("://", "://few:wr0ng@")), prepare=claim)
        assert "wr0ng" not in await not_let_in(refused, "WRONGPASS")
        await refused.close()
    finally:
        nodes.end_move(slot_of(key), source, target)
        nodes.move_slot_at_once(slot_of(key), target, source)
        for node in nodes.nodes:
            node.ask("ACL", "DELUSER", "few")


async def test_a_script_goes_with_its_command_to_a_node_that_has_not_met_it(nodes: ClusterServers):
    source, target = nodes.nodes[:2]
    name = nodes.account_on(source)
    record = account_keys("main", name).account
    slot = slot_of(record)

    def planned(plan: str) -> Command:  # a script of one key, so it can be asked for where the slot is going to
        return Command(shipped.ACCOUNT_SET, (record,), (1, "main", name, 2, "plan", plan))

    store = Store(nodes.url, scripts)
    await store.start(60)
    nodes.begin_move(slot, source, target)
    for node in nodes.nodes:
        node.ask("SCRIPT", "FLUSH")
    assert await store.run(planned("free")) == ChangeCode.CREATED
    assert target.ask("CLUSTER", "COUNTKEYSINSLOT", slot) == 1
    target.ask("SCRIPT", "FLUSH")
    await store.outbox.deliver(planned("growth"))
    nodes.move_keys(slot, source, target)
    nodes.end_move(slot, source, target)
    assert target.ask("HGET", record, "plan") == "growth"
    for node in nodes.nodes:
        node.ask("SCRIPT", "FLUSH")
    assert await store.outbox.deliver(planned("business")) == Receipt()
    assert target.ask("HGET", record, "plan") == "business"
    assert (store.outbox.abandoned, store.outbox.undelivered) == (0, 0)
    await store.close()
    nodes.move_slot_at_once(slot, target, source)


async def test_settles_that_wait_for_several_nodes_are_all_awaited(nodes: ClusterServers):
    store = Store(nodes.url, scripts)
    await store.start(60)
    callers = [replace(CALLER, account=nodes.account_on(node)) for node in nodes.nodes]
    calls = [application(f"c{number}", caller=each) for each in callers for number in range(4)]
    receipts = [store.outbox.settle(each, None, now=False) for each in calls]
    waiting = store.outbox.written()
    assert waiting is not None
    await waiting
    assert store.outbox.written() is None
    assert await asyncio.gather(*receipts) == [Receipt(late=True)] * len(calls)  # none of them was admitted
    await store.close()


async def test_a_message_published_on_one_node_reaches_subscribers_of_all(nodes: ClusterServers, cluster: Cluster):
    heard: set[bytes] = set()

    async def subscribe(send):
        await send("SUBSCRIBE", "news")

    listener = cluster.subscriber(subscribe, lambda push: heard.add(push[2]))
    await listener.start()
    for number, node in enumerate(nodes.nodes):
        await published(node, str(number), heard)
    listener.reconnect("tried")
    await until(lambda: not listener.up)
    await until(lambda: listener.up)
    await published(nodes.nodes[0], "3", heard)
    await listener.close()


async def published(node: TcpServer, message: str, heard: set[bytes]) -> None:
    """Publish until it is heard: what nodes tell each other may be lost."""
    async with asyncio.timeout(60):
        while message.encode() not in heard:
            node.ask("PUBLISH", "news", message)
            await asyncio.sleep(0.02)


async def test_a_cluster_that_was_away_and_is_back_as_it_was_lacks_nothing(nodes: ClusterServers, cluster: Cluster):
    assert len(cluster.nodes) == len(nodes.primaries)
    for node in nodes.nodes:
        node.pause()
    try:
        await until(lambda: cluster.fault is not None and not cluster.up and "could be asked" in str(cluster.fault), 60)
    finally:
        for node in nodes.nodes:
            node.resume()
    await until(lambda: cluster.up and cluster.unreachable == 0, 60)
    assert len(cluster.nodes) == len(nodes.primaries)
    assert cluster.error is None


async def test_calls_do_not_hurry_the_search_for_a_primary_when_there_is_none():
    """Searching takes new connections to every node: a crowd of sidecars must not keep the nodes busy with that."""
    with ClusterServers(1, replicas=1, node_timeout=60_000) as nodes:
        primary, replica = nodes.nodes
        cluster = Cluster(parse_url(nodes.url), prepare=claim)
        await cluster.start(60)
        primary.kill()
        await until(lambda: not cluster.up, 60)

        def connections() -> int:
            with contextlib.suppress(UnsentError):
                cluster.at("any").send("PING")  # as every call does
            return int(replica.info("stats")["total_connections_received"]) - asked

        asked, began = 0, time.monotonic()
        first = connections()
        asked = first + 1  # a refresh of the map connects too
        looked = 0
        while connections() - looked < 8:
            looked += 1
            await asyncio.sleep(0)
        assert time.monotonic() - began > 8 * 0.15  # longer on a busy machine, never shorter
        await cluster.close()
