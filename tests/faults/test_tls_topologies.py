"""TLS to all nodes of a cluster, to sentinels and to their primary: verified, or no command is sent."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from cryptography import x509

from sidecar.cli import main as mcp_sidecar
from sidecar.store.commands import changes, scripts
from sidecar.store.commands.keys import account_keys
from sidecar.store.connection.diagnosis import is_permanent
from sidecar.store.connection.layout import LAYOUT_KEY, check
from sidecar.store.connection.slots import slot_of
from sidecar.store.connection.store_connection import Send, UnsentError
from sidecar.store.connection.store_url import parse_url
from sidecar.store.connection.topology import servers
from sidecar.store.store import Store
from tests.cli.support import write
from tests.faults.callers import Callers, command, resolved, reveal
from tests.support import debian
from tests.support.certificates import Authority, Pair
from tests.support.processes import accounts, house, succeeded, wait_for
from tests.support.tls_servers import ServerTls
from tests.support.topology import ClusterServers, SentinelServers, TcpServer, await_state, replicates

GRANTED = 1_000
THE_ADDRESS = (x509.IPAddress(ipaddress.ip_address("127.0.0.1")),)
THE_NAME = (x509.DNSName("localhost"),)
MISMATCH = "IP address mismatch, certificate is not valid for '127.0.0.1'"
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> ServerTls:
    authority = Authority(tmp_path_factory.mktemp("tls"))
    return ServerTls(authority, authority.issue("server", alternatives=THE_ADDRESS), debian.redis_server())


@pytest.fixture(scope="module")
def cluster(tls: ServerTls) -> Iterator[ClusterServers]:
    with ClusterServers(tls=tls) as made:
        yield made


@pytest.fixture
def group(tls: ServerTls) -> Iterator[SentinelServers]:
    with SentinelServers(1, tls=tls) as made:
        yield made


@pytest.fixture
def stranger(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "stranger")


def trusted(url: str, tls: ServerTls, authority: Authority | None = None) -> str:
    """A store's URL with the files of a client that trusts one authority, that of the servers if none is named."""
    files = {"ca": (authority or tls.authority).cert, **tls.authority.issue("sidecar").files}
    return f"{url}?tls=true&" + "&".join(f"{name}={quote(str(path))}" for name, path in files.items())


def shows(node: TcpServer, pair: Pair) -> None:
    """From the next connection on."""
    node.ask("CONFIG", "SET", "tls-cert-file", str(pair.cert), "tls-key-file", str(pair.key))


@contextlib.contextmanager
def showing(tls: ServerTls, pair: Pair, *nodes: TcpServer) -> Iterator[None]:
    """Nodes with another certificate than the one that they were started with."""
    try:
        for node in nodes:
            shows(node, pair)
        yield
    finally:
        for node in nodes:
            shows(node, tls.pair)


def checked(folder: Path, url: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Run `check` on a store: its status, and its errors and warnings.

    It asks once, for a second at most, and is asked again while a busy machine does not answer that soon.
    """
    config = str(write(folder, store=url))
    for _ in range(20):
        capsys.readouterr()
        status = mcp_sidecar(["check", "--config", config])
        output = capsys.readouterr().err
        if "it cannot be reached" not in output:
            return status, output
    raise TimeoutError(output)


# --- a cluster -----------------------------------------------------------------------------------


async def test_accounts_of_every_node_of_a_cluster_are_served_and_managed(
    tmp_path: Path, cluster: ClusterServers, tls: ServerTls
):
    async with house(tmp_path, trusted(cluster.url, tls)) as built:
        sidecar = await built.start()
        for node in cluster.nodes:
            assert node.ask("CONFIG", "GET", "port")["port"] == "0"
            name = cluster.account_on(node)
            assert (await command(built, "account", "set", name, "--status", "active", "--create"))[0] == 0
            assert (await command(built, "credits", "grant", name, "contact", str(GRANTED)))[0] == 0
            assert (await command(built, "consent", "grant", name, "cli-1"))[0] == 0
            assert succeeded(await reveal(built, sidecar, name, "a", "b"))
            with accounts(node.path, account=name) as books:
                await resolved(books)
                assert (books.look().balance, books.look().paid) == (GRANTED - 2, {"a", "b"})
            assert (await command(built, "usage", name, "--verify"))[0] == 0
            assert (await command(built, "consent", "revoke", name, "cli-1"))[0] == 0
            assert (await reveal(built, sidecar, name, "a")).code == "consent_revoked"


async def test_the_target_of_a_moved_slot_is_connected_over_tls(cluster: ClusterServers, tls: ServerTls):
    source, target, _ = cluster.nodes
    name = next(each for each in map("moved-{}".format, range(10_000)) if owner(cluster, each) is source)
    slot = slot_of(account_keys("main", name).account)
    store = Store(trusted(cluster.url, tls), scripts)
    try:
        await store.start(60)
        await store.run(changes.grant("main", name, None, "cli-1"))
        # Nothing else runs meanwhile, so the store's map is that of before.
        cluster.begin_move(slot, source, target)
        cluster.move_keys(slot, source, target)
        cluster.end_move(slot, source, target)
        before = moved(source)
        await store.run(changes.revoke("main", name, None, "cli-1"))
        assert moved(source) == before + 1
        assert owner(cluster, name) is target
    finally:
        await store.close(0)


def owner(cluster: ClusterServers, account: str) -> TcpServer:
    return cluster.owner(account_keys("main", account).account)


def moved(node: TcpServer) -> int:
    """Number of MOVED replies of a node."""
    return int(node.ask("INFO", "errorstats").get("errorstat_MOVED", {"count": 0})["count"])


def test_a_cluster_of_another_authority_is_refused(
    tmp_path: Path,
    cluster: ClusterServers,
    tls: ServerTls,
    stranger: Authority,
    capsys: pytest.CaptureFixture[str],
):
    status, output = checked(tmp_path, trusted(cluster.url, tls, stranger), capsys)
    assert status == 1
    assert "no node of the cluster could be asked for its slots: " in output
    assert f"127.0.0.1:{cluster.nodes[0].port}: the store cannot be trusted: its certificate is not trusted (" in output
    assert checked(tmp_path, trusted(cluster.url, tls), capsys)[0] == 0


def test_nodes_must_be_named_by_their_certificates_as_the_cluster_announces_them(
    tmp_path: Path, cluster: ClusterServers, tls: ServerTls, capsys: pytest.CaptureFixture[str]
):
    named = tls.authority.issue("named", alternatives=THE_NAME)
    url = trusted(f"redis+cluster://localhost:{cluster.nodes[0].port}", tls)
    with showing(tls, named, *cluster.nodes):
        status, output = checked(tmp_path, url, capsys)  # the map is had from `localhost`, and names 127.0.0.1
        assert (status, MISMATCH in output) == (1, True), output
        with called(cluster, "localhost"):
            assert checked(tmp_path, url, capsys)[0] == 0
    for node in cluster.nodes:  # whichever it is, and whatever the others wait for then: one is enough
        with showing(tls, named, node):
            status, output = checked(tmp_path, trusted(cluster.url, tls), capsys)
            assert (status, MISMATCH in output, f"127.0.0.1:{node.port}: " in output) == (1, True, True), output


async def test_a_node_that_is_not_trusted_is_reported_before_those_that_only_wait_for_it(
    cluster: ClusterServers, tls: ServerTls
):
    """Waiting cures the others, and not this one; `check` ends with an error only for what waiting does not cure."""
    keeper = cluster.owner(LAYOUT_KEY)
    assert keeper is not cluster.nodes[0]  # which comes first, and waits for it

    async def prepare(send: Send) -> None:
        await check(send)

    connection = servers(parse_url(trusted(cluster.url, tls)), prepare=prepare)
    with showing(tls, tls.authority.issue("named", alternatives=THE_NAME), keeper):
        try:
            with pytest.raises(UnsentError):
                await connection.start(within=0)
            await wait_for(lambda: (connection.error or "").count("cannot be trusted") == 3)  # in one each
            assert is_permanent(connection.fault)
        finally:
            await connection.close()


@contextlib.contextmanager
def called(cluster: ClusterServers, name: str) -> Iterator[None]:
    """Nodes that are announced by a name instead of their address, once all know it of all."""

    def names(node: TcpServer) -> set[str]:
        return {primary[0] for _, _, primary, *_ in node.ask("CLUSTER", "SLOTS")}

    def announce(name: str, by: str) -> None:
        for node in cluster.nodes:
            node.ask("CONFIG", "SET", "cluster-announce-hostname", name, "cluster-preferred-endpoint-type", by)

    try:
        announce(name, "hostname")
        await_state(lambda: all(names(node) == {name} for node in cluster.nodes), "the nodes have the name")
        yield
    finally:
        announce("", "ip")


async def test_a_node_without_tls_receives_no_command_and_no_password(cluster: ClusterServers, tls: ServerTls):
    """The cluster announces it, so that only the client's own strictness keeps the password from it."""
    heard: list[bytes] = []

    async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = await reader.read(65536)
        writer.write(b"+OK\r\n")
        with contextlib.suppress(ConnectionError):
            first += await reader.read()
        heard.append(first)
        writer.close()

    replaced = next(node for node in cluster.nodes if node is not cluster.owner(LAYOUT_KEY))  # others wait for that one
    server = await asyncio.start_server(hear, "127.0.0.1", 0, family=socket.AF_INET)
    port = server.sockets[0].getsockname()[1]
    store = Store(trusted(cluster.url.replace("://", "://default:hunter2@"), tls), scripts)
    try:
        replaced.ask("CONFIG", "SET", "cluster-announce-tls-port", port)
        await asyncio.to_thread(await_announced, cluster, port)
        await store.start(60)
        await wait_for(lambda: f"127.0.0.1:{port}: the store cannot be trusted: " in (store.error or ""))
        await wait_for(lambda: len(heard) > 2)
        assert all(first.startswith(b"\x16\x03") and b"hunter2" not in first for first in heard)  # ClientHello
    finally:
        await store.close(0)
        server.close()
        replaced.ask("CONFIG", "SET", "cluster-announce-tls-port", 0)
        await asyncio.to_thread(await_announced, cluster, replaced.port)


def await_announced(cluster: ClusterServers, port: int) -> None:
    def ports(node: TcpServer) -> set[int]:
        return {int(primary[1]) for _, _, primary, *_ in node.ask("CLUSTER", "SLOTS")}

    await_state(lambda: all(port in ports(node) for node in cluster.nodes), "all nodes know the port")


# --- sentinels -----------------------------------------------------------------------------------


async def test_calls_go_on_over_tls_when_sentinels_promote_the_replica(
    tmp_path: Path, group: SentinelServers, tls: ServerTls
):
    async with house(tmp_path, trusted(group.url, tls)) as built:
        sidecar = await built.start()
        load = Callers(built, sidecar, "ada")
        with accounts(group.primary.path, GRANTED) as ada:
            load.replies.append(("a", await reveal(built, sidecar, "ada", "a")))
            await load.settled()
            assert load.bought == ada.look().paid == {"a"}
            assert (ada.look().balance, ada.look().holds) == (GRANTED - 1, {})
        await_state(lambda: replicates(group.replica, group.primary), "the replica has everything")
        async with load.calling(2):
            await load.succeeding()
            group.primary.kill()
            await load.refused()
            await asyncio.to_thread(group.await_promotion)
            await load.succeeding()
        await load.settled()
        with accounts(group.replica.path) as ada:
            seen = ada.look()
        assert seen.balanced
        assert "a" in seen.paid
        assert load.refusals == {(503, "store_unavailable")}
        assert (await command(built, "consent", "revoke", "ada", "cli-1"))[0] == 0
        assert (await reveal(built, sidecar, "ada", "a")).code == "consent_revoked"


def test_sentinels_and_the_primary_that_they_name_are_verified(
    tmp_path: Path,
    group: SentinelServers,
    tls: ServerTls,
    stranger: Authority,
    capsys: pytest.CaptureFixture[str],
):
    assert checked(tmp_path, trusted(group.url, tls), capsys)[0] == 0
    status, output = checked(tmp_path, trusted(group.url, tls, stranger), capsys)
    assert status == 1
    asked = f"no sentinel names the primary of accounts: 127.0.0.1:{group.sentinels[0].port}: "
    assert f"{asked}the store cannot be trusted: its certificate is not trusted (" in output
    with showing(tls, tls.authority.issue("named", alternatives=THE_NAME), group.primary):
        status, output = checked(tmp_path, trusted(group.url, tls), capsys)
    assert (status, MISMATCH in output, "no sentinel" in output) == (1, True, False), output
