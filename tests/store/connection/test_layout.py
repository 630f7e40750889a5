"""A store of another layout is neither read nor written: the number that says so, and who looks at it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from sidecar.cli import main
from sidecar.store.commands import scripts
from sidecar.store.connection.store_connection import StoreError
from sidecar.store.store import Store
from tests.cli.support import write
from tests.support.rig import rig
from tests.support.store import StoreServer, rest, until
from tests.support.topology import ClusterServers

KEY = "mcp:layout"


async def start(server: StoreServer) -> None:
    store = Store(server.url, scripts)
    try:
        await store.start()
    finally:
        await store.close(grace=0)


async def refusal(server: StoreServer) -> str:
    """Return the error of a sidecar that tries to use this store."""
    store = Store(server.url, scripts)
    with pytest.raises(StoreError):
        await store.start(within=0)
    try:
        await until(lambda: store.error not in (None, "not connected yet"))
        assert not store.up
        return store.error or ""
    finally:
        await store.close(grace=0)


async def test_the_first_to_come_marks_an_empty_store_and_the_others_accept_it(store_server: StoreServer):
    await asyncio.gather(*(start(store_server) for _ in range(4)))
    with store_server.client() as client:
        assert client.get(KEY) == "1"
        assert client.ttl(KEY) == -1
        assert client.keys() == [KEY]


@pytest.mark.parametrize("version", ["2", "0", "01", "", "1.0", "x" * 5000, "\n"])
async def test_any_other_version_is_refused(store_server: StoreServer, version: str):
    with store_server.client() as client:
        client.set(KEY, version)
        said = await refusal(store_server)
        assert "layout (mcp:layout) is version '" in said
        assert "this build works with version 1 only" in said
        assert client.get(KEY) == version


async def test_a_mark_of_the_wrong_type_is_refused(store_server: StoreServer):
    with store_server.client() as client:
        client.hset(KEY, "version", "1")
    assert "WRONGTYPE" in await refusal(store_server)


async def test_a_full_store_that_is_marked_can_be_used(own_server: StoreServer):
    with own_server.client() as client:
        client.set(KEY, "1")
        client.config_set("maxmemory", "1")
    await start(own_server)


def test_commands_refuse_another_layout_and_change_nothing(
    tmp_path: Path, store_server: StoreServer, capsys: pytest.CaptureFixture[str]
):
    config = write(tmp_path, store=store_server.url)
    with store_server.client() as client:
        client.set(KEY, "2")
        assert main(["account", "set", "ada", "--create", "--config", str(config)]) == 1
        assert "layout (mcp:layout) is version '2'" in capsys.readouterr().err
        assert client.keys() == [KEY]


async def test_a_sidecar_is_not_ready_on_another_layout_and_refuses_calls(tmp_path: Path, store_server: StoreServer):
    with store_server.client() as client:
        client.set(KEY, "2")
        async with rig(tmp_path, store_server, ready=False) as sidecar:
            reply = await sidecar.call("get_usage")
            assert (reply.status, reply.code) == (503, "store_unavailable")
            status, checks = await sidecar.ready()
            assert status == 503
            assert "layout (mcp:layout) is version '2'" in str(checks)
            assert client.keys() == [KEY]
            # Nothing is remembered: once the store is of this layout, the sidecar works with it.
            client.set(KEY, "1")
            async with asyncio.timeout(60):
                while (await sidecar.ready())[0] != 200:
                    await rest()


async def test_a_mark_that_was_lost_comes_back_by_itself(tmp_path: Path, store_server: StoreServer):
    with store_server.client() as client:
        async with rig(tmp_path, store_server) as sidecar:
            for lose in (client.flushall, client.flushdb, lambda: client.delete(KEY)):
                lose()
                await until(lambda: client.get(KEY) == "1")
            assert (await sidecar.ready())[0] == 200


async def test_a_cluster_s_mark_comes_back_on_the_node_that_has_its_slot(cluster: ClusterServers):
    store = Store(cluster.url, scripts)
    try:
        await store.start(60)
        owner = cluster.owner(KEY, cluster.nodes[0])
        await until(lambda: owner.ask("GET", KEY) == "1", 60)
        for node in cluster.nodes:
            node.ask("FLUSHALL")
        async with asyncio.timeout(60):
            while owner.ask("GET", KEY) != "1":
                await store.restore_layout_version()
        assert [node.ask("DBSIZE") for node in cluster.nodes if node is not owner] == [0, 0]
    finally:
        await store.close(grace=0)


async def test_a_store_that_becomes_one_of_another_layout_is_left(store_server: StoreServer):
    store = Store(store_server.url, scripts)
    try:
        await store.start()
        with store_server.client() as client:
            client.set(KEY, "2")
        await store.restore_layout_version()
        await until(lambda: not store.up and "version '2'" in (store.error or ""))
    finally:
        await store.close(grace=0)


async def test_a_full_store_is_not_left_for_want_of_a_mark(own_server: StoreServer):
    store = Store(own_server.url, scripts)
    try:
        await store.start()
        with own_server.client() as client:
            client.delete(KEY)
            client.config_set("maxmemory", "1")
            await store.restore_layout_version()
            assert store.up
            client.config_set("maxmemory", "0")
            await store.restore_layout_version()
            assert client.get(KEY) == "1"
    finally:
        await store.close(grace=0)
