"""Examination of a real server by a new connection, before anything is written."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sidecar.store.connection.store_connection import StoreConnection, UnsentError
from sidecar.store.connection.store_url import parse_url
from sidecar.store.health.durability import DurabilityRisk, DurabilityWarning
from sidecar.store.health.examination import check_capabilities, examine
from sidecar.store.health.permissions import KEYED, OTHERS
from tests.support import debian
from tests.support.store import FaultProxy, StoreServer, free_port, until

LUA = Path(__file__).parents[3] / "sidecar" / "store" / "commands" / "lua"


async def found(url: str, cluster: bool = False) -> tuple[DurabilityWarning, ...]:
    """The warnings of a server; UnsentError when it is refused."""
    seen: list[tuple[DurabilityWarning, ...]] = []

    async def prepare(send) -> None:
        seen.append(await examine(send))

    connection = StoreConnection(replace(parse_url(url), cluster=cluster), prepare=prepare)
    try:
        with contextlib.suppress(UnsentError):
            await connection.start(within=0)
        await until(lambda: connection.up or connection.fault is not None)
        if not connection.up:
            raise UnsentError(connection.error)
    finally:
        await connection.close()
    return seen[-1]


def risks(warnings: tuple[DurabilityWarning, ...]) -> list[DurabilityRisk]:
    return [each.risk for each in warnings]


@pytest.fixture(params=["valkey", "redis 7.0"])
def server(request: pytest.FixtureRequest) -> Iterator[StoreServer]:
    """A durable server, of the newest and of the oldest kind."""
    binary = None if request.param == "valkey" else debian.redis_server()
    with_everything = StoreServer(durable=True, binary=binary).start()
    yield with_everything
    with_everything.close()


async def test_a_durable_server_has_no_warnings(server: StoreServer):
    assert await found(server.url) == ()


async def test_parameters_that_are_changed_are_seen_by_the_next_connection(server: StoreServer):
    with server.client() as client:
        for name, value, risk in (
            ("appendfsync", "everysec", DurabilityRisk.LATE_FSYNC),
            ("no-appendfsync-on-rewrite", "yes", DurabilityRisk.LATE_FSYNC),
            ("maxmemory-policy", "volatile-lru", DurabilityRisk.EVICTION),
            ("appendonly", "no", DurabilityRisk.NO_APPEND_ONLY),
        ):
            [[_, before]] = client.config_get(name).items()
            client.config_set(name, value)
            assert risks(await found(server.url)) == [risk], name
            client.config_set(name, before)


async def test_a_replica_that_may_be_promoted_is_seen():
    port = free_port()
    primary = StoreServer(durable=True, options=("--port", str(port), "--repl-diskless-sync-delay", "0")).start()
    replica = StoreServer(options=("--replicaof", f"127.0.0.1 {port}")).start()
    try:
        with primary.client() as client:
            await until(lambda: client.info("replication")["connected_slaves"] == 1)
            assert risks(await found(primary.url)) == [DurabilityRisk.PROMOTION]
            client.config_set("min-replicas-to-write", "1")
            await until(lambda: client.info("replication")["min_slaves_good_slaves"] == 1)
            assert await found(primary.url) == ()
    finally:
        replica.close()
        primary.close()


async def test_a_server_that_may_evict_revocations_is_refused(server: StoreServer):
    with server.client() as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        assert risks(await found(server.url)) == [DurabilityRisk.EVICTION]  # nothing is evicted without a limit
        client.config_set("maxmemory", "100mb")
    with pytest.raises(UnsentError, match=r"may evict consents, .* set maxmemory-policy noeviction"):
        await found(server.url)


async def test_a_server_that_is_too_old_is_refused(fault_proxy: FaultProxy):
    def aged(data: bytes) -> bytes:
        return re.sub(rb"redis_version:\d", b"redis_version:6", data).replace(b"valkey_version", b"valkey_ancient")

    fault_proxy.rewrite = aged
    with pytest.raises(UnsentError, match=r"the server is Redis 6\.\d+\.\d+; the scripts need Redis 7\.0 or later"):
        await found(fault_proxy.url)


async def test_a_server_that_takes_config_away_is_used(server: StoreServer):
    with server.client() as client:
        client.execute_command("ACL", "SETUSER", "default", "-config")
    warnings = await found(server.url)
    assert risks(warnings) == [DurabilityRisk.UNSEEN]
    assert "does not show appendfsync:" in warnings[0].text


def test_every_command_of_the_scripts_is_asked_about():
    texts = [path.read_text("utf-8") for path in LUA.glob("*.lua")]
    used = {name for text in texts for name in re.findall(r"redis\.p?call\(\s*['\"]([A-Z]+)['\"]", text)}
    assert used
    assert used <= {words[0] for words in (*KEYED, *OTHERS)}
    unwritten = [name for text in texts for name in re.findall(r"redis\.p?call\(\s*([^'\"\s,]+)", text)]
    assert unwritten == [], "no name is made up at run time"


@pytest.mark.parametrize(
    ("rules", "named"),
    [
        (["-xadd", "-xdel"], "+xadd, +xdel"),
        (["-script|load"], "script|load"),
        (["-evalsha"], "evalsha"),
        (["-info"], "info"),
        (["-ping"], "ping"),
        (["resetkeys"], "keys ~mcp:*;"),
        (["resetkeys", "~mcp:{*"], "+get, +set;"),
        (["resetkeys", "%R~mcp:*"], "+set, +del"),
        (["resetchannels"], "+subscribe with channel &mcp:revoked, +publish with channel &mcp:revoked"),
        (["-scan", "-publish"], "+scan, +publish with channel &mcp:revoked"),
    ],
)
async def test_a_permission_that_is_missing_is_named_before_anything_runs(
    server: StoreServer, rules: list[str], named: str
):
    with server.client() as client:
        client.execute_command(
            "ACL", "SETUSER", "weak", "reset", "on", ">hunter2", "~mcp:*", "&mcp:revoked", "+@all", *rules
        )
    url = f"unix://weak:hunter2@{server.path}"
    with pytest.raises(UnsentError) as caught:
        await found(url)
    assert named in str(caught.value)
    assert "docs/store.md" in str(caught.value)
    assert "hunter2" not in str(caught.value)
    with server.client() as client:
        assert client.dbsize() == 0


async def test_the_nodes_of_a_cluster_are_asked_for_more():
    # Its bus would be ten thousand ports above, among those that the system gives to connections.
    ports = ("--port", str(free_port()), "--cluster-port", str(free_port()))
    server = StoreServer(durable=True, options=("--cluster-enabled", "yes", *ports)).start()
    try:
        with server.client() as client:
            client.execute_command(
                "ACL", "SETUSER", "weak", "on", ">x", "~*", "&*", "+@all", "-cluster|slots", "-asking"
            )
        with pytest.raises(UnsentError, match=r"lacks permissions: \+cluster\|slots, \+asking;"):
            await found(f"unix://weak:x@{server.path}", cluster=True)
        assert risks(await found(server.url, cluster=True)) == [DurabilityRisk.PROMOTION]
    finally:
        server.close()


@pytest.mark.parametrize("state", ["wrong password", "off", "deleted"])
async def test_a_user_that_is_not_let_in(server: StoreServer, state: str):
    with server.client() as client:
        client.execute_command("ACL", "SETUSER", "sidecar", "on", ">right", "+@all", "~*", "&*")
        if state == "off":
            client.execute_command("ACL", "SETUSER", "sidecar", "off")
        elif state == "deleted":
            client.execute_command("ACL", "DELUSER", "sidecar")
    password = "hunter2" if state == "wrong password" else "right"
    with pytest.raises(UnsentError) as caught:
        await found(f"unix://sidecar:{password}@{server.path}")
    assert "WRONGPASS: user or password in store.url is wrong, or the user is disabled" in str(caught.value)
    assert password not in str(caught.value).replace("or the user", "")


async def test_the_arguments_of_an_unknown_command_are_not_quoted(fault_proxy: FaultProxy):
    """Servers repeat the arguments of unknown commands, and those of HELLO are user and password."""
    answered: list[bytes] = []

    def unknown(data: bytes) -> bytes:
        answered.append(data)
        return data

    fault_proxy.rewrite_request = lambda data: data.replace(b"HELLO", b"HALLO")
    fault_proxy.rewrite = unknown
    with pytest.raises(UnsentError) as caught:
        await found(f"unix://sidecar:hunter2@{fault_proxy.path}")
    assert b"hunter2" in answered[0]
    assert "unknown command 'HALLO': the server must be Redis 7.0 or later, or Valkey" in str(caught.value)
    assert "hunter2" not in str(caught.value)


async def test_commands_can_work_where_sidecars_must_not(server: StoreServer):
    """Operators must be able to revoke access on a server that is unfit."""
    with server.client() as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        client.config_set("maxmemory", "100mb")

    async def prepare(send) -> None:
        await check_capabilities(send)

    connection = StoreConnection(parse_url(server.url), prepare=prepare)
    await connection.start(within=60)
    await connection.close()


async def test_a_refused_user_does_not_storm_the_server(server: StoreServer):
    connection = StoreConnection(parse_url(f"unix://nobody:hunter2@{server.path}"))
    with server.client() as client:
        before, began = client.info("stats")["total_connections_received"], time.monotonic()
        with pytest.raises(UnsentError):
            await connection.start(within=0.5)
        await connection.close()
        tried = client.info("stats")["total_connections_received"] - before
        # Pauses double from 50 ms, of which at least half is kept: 25, 50, 100, 200, 400 ms; longer on a busy machine.
        assert 1 < tried < 20
        assert time.monotonic() - began >= 0.025 * (2 ** (tried - 1) - 1)
