"""Real clusters and real sentinels on this machine: their servers are killed, paused, promoted, and slots moved.

with ClusterServers() as cluster:
    account = cluster.account_on(cluster.nodes[0])
    cluster.move_slot(slot_of(account_keys("main", account).account), cluster.nodes[1])

They take states, never times, as the sign that something has happened.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Self

import redis

from sidecar.store.commands.keys import account_keys
from sidecar.store.connection.slots import SLOTS, slot_of
from sidecar.store.embedded.embedded_server import server_binary
from tests.support.store import StoreServer, free_port
from tests.support.tls_servers import ServerTls

SERVICE = "accounts"
_PORT_ATTEMPTS = 10
_QUICK_REPLICATION = (
    *("--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1", "--repl-timeout", "10"),
    *("--bind", "127.0.0.1", "--protected-mode", "no"),
)


def await_state(condition: Callable[[], bool], what: str, within: float = 60.0) -> None:
    """Wait until servers are as they should be; what they refuse meanwhile is no answer."""
    end = time.monotonic() + within
    while time.monotonic() < end:
        try:
            if condition():
                return
        except (redis.RedisError, OSError):
            pass
        time.sleep(0.02)
    raise TimeoutError(f"never: {what}")


class TcpServer(StoreServer):
    """A server that others reach over TCP; it keeps its port when it is started again."""

    def __init__(self, *options: str, tls: ServerTls | None = None) -> None:
        self.port = free_port()
        listens = ("--port", str(self.port)) if tls is None else tls.options(self.port)
        super().__init__(
            durable=True,
            options=(*listens, *_QUICK_REPLICATION, *options),
            binary=None if tls is None else tls.binary,
        )

    def ask(self, *words: Any) -> Any:
        """One command, by itself."""
        with self.client() as client:
            return client.execute_command(*words)

    def info(self, section: str) -> dict[str, str]:
        """A section of INFO."""
        with self.client() as client:
            return {name: str(value) for name, value in dict(client.info(section)).items()}

    def cut_replicas(self) -> None:
        """Drop the links to replicas: a paused one gets nothing of what is written from now on."""
        self.ask("CLIENT", "KILL", "TYPE", "replica")

    @property
    def address(self) -> tuple[str, int]:
        return ("127.0.0.1", self.port)


def started(options: Callable[[], Sequence[str]] = tuple, tls: ServerTls | None = None) -> TcpServer:
    """A running server on ports of its own; ports that another process takes first are replaced.

    Args:
        options: further command line options, computed for each attempt.
        tls: it speaks only that.
    """
    for _ in range(_PORT_ATTEMPTS):
        server = TcpServer(*options(), tls=tls)
        try:
            server.start()
        except RuntimeError as error:
            server.close()
            if "in use" not in str(error):
                raise
        else:
            return server
    raise TimeoutError("no port is free for long enough")


def replicates(replica: TcpServer, primary: TcpServer) -> bool:
    """Return if a replica has everything that its primary has."""
    there, here = replica.info("replication"), primary.info("replication")
    return (
        there.get("master_link_status") == "up"
        and there.get("master_port") == str(primary.port)
        and there.get("slave_repl_offset") == here.get("master_repl_offset")
    )


# --- a cluster -----------------------------------------------------------------------------------


class ClusterServers:
    """A cluster of primaries, the first of which may have replicas.

    Args:
        primaries: how many share the slots.
        replicas: how many replicas the first has.
        node_timeout: milliseconds after which a silent node is taken for dead. Where nothing is to fail over it
            is long: a busy machine must not look like a dead one.
        whole: whether the cluster refuses everything while some slots have no primary.
        tls: its nodes speak only that, also to each other.
    """

    def __init__(
        self,
        primaries: int = 3,
        *,
        replicas: int = 0,
        node_timeout: int = 10_000,
        whole: bool = False,
        tls: ServerTls | None = None,
    ) -> None:
        self._options = (
            *("--cluster-enabled", "yes", "--cluster-node-timeout", str(node_timeout)),
            *("--cluster-require-full-coverage", "yes" if whole else "no", "--cluster-replica-validity-factor", "0"),
            *("--cluster-allow-replica-migration", "no"),
        )
        self._counts = primaries, replicas
        self._tls = tls
        self.nodes: list[TcpServer] = []
        self.primaries: Sequence[TcpServer] = ()
        self.replicas: Sequence[TcpServer] = ()

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for node in self.nodes:
            node.close()

    @property
    def url(self) -> str:
        """The URL in the config: some nodes, one of which does not listen."""
        seeds = ",".join(f"127.0.0.1:{port}" for port in (free_port(), *(node.port for node in self.nodes[:2])))
        return f"redis+cluster://{seeds}"

    def _start(self) -> None:
        primaries, replicas = self._counts
        for number in range(1, primaries + replicas + 1):
            self.nodes.append(started(lambda: ("--cluster-port", str(free_port()), *self._options), self._tls))
            self.nodes[-1].ask("CLUSTER", "SET-CONFIG-EPOCH", number)
        self.primaries, self.replicas = self.nodes[:primaries], self.nodes[primaries:]
        first, count = self.nodes[0], len(self.primaries)
        for number, node in enumerate(self.primaries):
            node.ask("CLUSTER", "ADDSLOTSRANGE", SLOTS * number // count, SLOTS * (number + 1) // count - 1)
        for node in self.nodes[1:]:
            bus = node.ask("CONFIG", "GET", "cluster-port")
            first.ask("CLUSTER", "MEET", *node.address, bus["cluster-port"] if isinstance(bus, dict) else bus[1])
        for node in self.nodes:
            await_state(partial(self._knows_all, node), "every node knows all others")
        for replica in self.replicas:
            replica.ask("CLUSTER", "REPLICATE", self.id_of(first))
            await_state(partial(replicates, replica, first), "the replica follows")
        self.await_agreement()

    def _knows_all(self, node: TcpServer) -> bool:
        info = str(node.ask("CLUSTER", "INFO"))
        return f"cluster_known_nodes:{len(self.nodes)}" in info and "cluster_state:ok" in info

    def await_agreement(self, *among: TcpServer) -> None:
        """Wait until nodes (all of them, if none are named) agree about all slots and call the cluster healthy."""
        asked = among or self.nodes

        def agreed() -> bool:
            views = {str(sorted((r[0], r[1], r[2][1]) for r in node.ask("CLUSTER", "SLOTS"))) for node in asked}
            healthy = all("cluster_state:ok" in str(node.ask("CLUSTER", "INFO")) for node in asked)
            return healthy and len(views) == 1

        await_state(agreed, "the nodes agree")

    @staticmethod
    def id_of(node: TcpServer) -> str:
        return str(node.ask("CLUSTER", "MYID"))

    def owner(self, key: str, asked: TcpServer | None = None) -> TcpServer:
        """The primary that has a key, as a node (the last, if none is named) sees it."""
        for first, last, primary, *_ in (asked or self.nodes[-1]).ask("CLUSTER", "SLOTS"):
            if int(first) <= slot_of(key) <= int(last):
                return next(node for node in self.nodes if node.port == int(primary[1]))
        raise LookupError(key)

    def account_on(self, node: TcpServer) -> str:
        """The name of an account whose keys a node has."""
        asked = node
        return next(
            name
            for name in (f"acct-{number}" for number in range(10_000))
            if self.owner(account_keys("main", name).account, asked) is node
        )

    def begin_move(self, slot: int, source: TcpServer, target: TcpServer) -> None:
        """Begin to move a slot key by key."""
        target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", self.id_of(source))
        source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", self.id_of(target))

    def move_keys(self, slot: int, source: TcpServer, target: TcpServer) -> None:
        """Move what keys of it the source has."""
        while keys := source.ask("CLUSTER", "GETKEYSINSLOT", slot, 100):
            source.ask("MIGRATE", *target.address, "", 0, 10_000, "KEYS", *keys)

    def end_move(self, slot: int, source: TcpServer, target: TcpServer) -> None:
        """The target has it from now on."""
        for node in (target, source, *(other for other in self.primaries if other not in (source, target))):
            node.ask("CLUSTER", "SETSLOT", slot, "NODE", self.id_of(target))
        self.await_agreement()

    def move_slot_at_once(self, slot: int, source: TcpServer, target: TcpServer) -> None:
        """Move a slot as a whole, as Valkey 9 can."""
        self.move_slots_at_once(slot, slot, source, target)

    def move_slots_at_once(self, first: int, last: int, source: TcpServer, target: TcpServer) -> None:
        """Move slots as a whole, as Valkey 9 can."""
        source.ask("CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", first, last, "NODE", self.id_of(target))
        await_state(lambda: self.owner_of(last, source) is target, "the slots have moved")
        self.await_agreement()

    def owner_of(self, slot: int, asked: TcpServer) -> TcpServer | None:
        for first, last, primary, *_ in asked.ask("CLUSTER", "SLOTS"):
            if int(first) <= slot <= int(last):
                return next(node for node in self.nodes if node.port == int(primary[1]))
        return None

    def promote(self, replica: TcpServer) -> None:
        """Have a replica take over from its living primary, which gives it all it has."""
        replica.ask("CLUSTER", "FAILOVER")
        await_state(lambda: replica.info("replication")["role"] == "master", "the replica is promoted")


# --- sentinels -----------------------------------------------------------------------------------


class SentinelProcess:
    """One sentinel.

    Args:
        primary: what it watches first.
        quorum: how many must agree that it is gone.
        lines: further lines of its config.
        tls: it speaks only that, also to servers.
    """

    def __init__(
        self, primary: TcpServer, quorum: int, lines: Sequence[str] = (), tls: ServerTls | None = None
    ) -> None:
        self.port = 0
        self._tls = tls
        self._directory = Path(tempfile.mkdtemp(prefix="sentinel-"))
        self._password: str | None = None
        self._lines = (
            "bind 127.0.0.1",
            f"dir {self._directory}",
            f"sentinel monitor {SERVICE} 127.0.0.1 {primary.port} {quorum}",
            f"sentinel down-after-milliseconds {SERVICE} 500",
            f"sentinel failover-timeout {SERVICE} 2000",
            *lines,
        )
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, password: str | None = None) -> Self:
        """Start it, on a free port, and wait until it answers."""
        self._password = password
        for _ in range(_PORT_ATTEMPTS):
            self._launch()
            await_state(lambda: self._ended or bool(self.ask("PING")), "the sentinel answers")
            if not self._ended:
                return self
        raise TimeoutError("no port is free for long enough")

    @property
    def _ended(self) -> bool:
        return self._process is not None and self._process.poll() is not None

    def _launch(self) -> None:
        self.port = free_port()
        config = self._directory / "sentinel.conf"
        listens = [f"port {self.port}"] if self._tls is None else self._tls.lines(self.port)
        config.write_text("\n".join([*listens, *self._lines, ""]))
        binary, environment = (server_binary(), None) if self._tls is None else self._tls.binary
        with (self._directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(binary), str(config), "--sentinel"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
            )

    def ask(self, *words: Any) -> Any:
        with self._client() as client:
            return client.execute_command(*words)

    def _client(self) -> redis.Redis:
        if self._tls is not None:
            return self._tls.client(self.port, self._password)
        return redis.Redis(port=self.port, decode_responses=True, password=self._password)

    def pause(self) -> None:
        """SIGSTOP: it answers nothing and learns nothing."""
        assert self._process is not None
        self._process.send_signal(19)

    def resume(self) -> None:
        assert self._process is not None
        self._process.send_signal(18)

    @property
    def named(self) -> int:
        """The port of the primary that it names."""
        return int(self.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)[1])

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self._directory, ignore_errors=True)


class SentinelServers:
    """A primary, its replica, and sentinels that promote it.

    Args:
        sentinels: how many; a majority of them must agree.
        lines: further lines of their configs.
        password: what those lines make them ask for.
        tls: servers and sentinels speak only that, also to each other.
    """

    def __init__(
        self,
        sentinels: int = 3,
        lines: Sequence[str] = (),
        password: str | None = None,
        *,
        tls: ServerTls | None = None,
    ) -> None:
        self.primary, self.replica = started(tls=tls), started(tls=tls)
        self.sentinels = [SentinelProcess(self.primary, sentinels // 2 + 1, lines, tls) for _ in range(sentinels)]
        self._password = password

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for sentinel in self.sentinels:
            sentinel.close()
        for server in (self.primary, self.replica):
            server.close()

    @property
    def url(self) -> str:
        return f"redis+sentinel://{','.join(f'127.0.0.1:{each.port}' for each in self.sentinels)}/{SERVICE}"

    def _start(self) -> None:
        self.replica.ask("REPLICAOF", *self.primary.address)
        await_state(lambda: replicates(self.replica, self.primary), "the replica follows")
        for each in self.sentinels:
            each.start(self._password)
        for each in self.sentinels:
            await_state(partial(self._knows_all, each), "the sentinels know each other")

    def _knows_all(self, sentinel: SentinelProcess) -> bool:
        reply = sentinel.ask("SENTINEL", "MASTER", SERVICE)
        facts = reply if isinstance(reply, dict) else dict(zip(reply[::2], reply[1::2], strict=True))
        return int(facts["num-slaves"]) == 1 and int(facts["num-other-sentinels"]) == len(self.sentinels) - 1

    def await_promotion(self, *among: SentinelProcess) -> None:
        """Wait until sentinels (all of them, if none are named) name the replica."""
        for each in among or self.sentinels:
            await_state(partial(self._names_the_replica, each), "the replica is promoted")

    def _names_the_replica(self, sentinel: SentinelProcess) -> bool:
        return sentinel.named == self.replica.port
