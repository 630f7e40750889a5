"""Topologies of a store: a single server, a primary behind sentinels, or a cluster.

The topology is chosen once. Senders of commands do the same in all three: they ask for the server that has the
account's keys, and may resend a command that the server rejected without running it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Protocol

from sidecar.store.connection.cluster import Cluster
from sidecar.store.connection.resp import Argument, OnPush, PendingReply, RejectedError, pack
from sidecar.store.connection.sentinel import SentinelConnection
from sidecar.store.connection.store_connection import CALL_TIMEOUT, Prepare, StoreConnection
from sidecar.store.connection.store_url import StoreLocation

MAX_RESENDS: Final = 4
"""Most repetitions of a command that did not run, such as when two nodes redirect to each other."""


class Runnable(Protocol):
    """Script that a server can run once it has it; as `commands.command.Script`."""

    @property
    def loads(self) -> Sequence[tuple[str, ...]]:
        """Commands that load it."""

    def without_function(self, command: bytes) -> bytes:
        """Return an encoded command that runs it as a script."""


class Servers(Protocol):
    """Servers of one store."""

    @property
    def up(self) -> bool:
        """True while the store is connected."""

    @property
    def error(self) -> str | None:
        """Unreachable servers and the reasons, for the operator only; None while all are connected."""

    @property
    def fault(self) -> Exception | None:
        """Exception of the last attempt to connect; None if it succeeded, or before the first."""

    @property
    def unreachable(self) -> int:
        """Number of unreachable primaries."""

    @property
    def nodes(self) -> Sequence[StoreConnection]:
        """Primaries.

        Raises:
            UnsentError: some keys have no primary.
        """

    async def start(self, within: float) -> None:
        """Connect, and stay connected until `close`.

        Raises:
            UnsentError: no server was reachable for `within` seconds; attempts continue.
        """

    async def close(self) -> None:
        """Disconnect; pending commands fail with `UnansweredError`."""

    def at(self, key: str) -> StoreConnection:
        """Return the server that has a key; all commands of one account use one connection.

        Raises:
            UnsentError: no server is known.
        """

    def redirect(self, error: RejectedError, key: str) -> StoreConnection | None:
        """Return the server that may run a rejected command; None if no server may now."""

    def subscriber(self, prepare: Prepare, on_push: OnPush) -> StoreConnection:
        """Return another connection to the store, not yet started, for a subscription."""


def servers(
    endpoint: StoreLocation,
    *,
    prepare: Prepare,
    before_connect: Callable[[], Awaitable[None]] | None = None,
    timeout: float = CALL_TIMEOUT,
) -> Servers:
    """Return the servers of a store URL, not yet connected.

    Args:
        endpoint: location of the store.
        prepare: see `store_connection.Prepare`; awaited for each server.
        before_connect: awaited before every attempt to connect to a single server.
        timeout: seconds until a reply is overdue.
    """
    if endpoint.cluster:
        return Cluster(endpoint, prepare=prepare, timeout=timeout)
    if endpoint.service:
        return SentinelConnection(endpoint, prepare=prepare, timeout=timeout)
    return StoreConnection(endpoint, prepare=prepare, before_connect=before_connect, timeout=timeout)


def resend(
    node: StoreConnection, error: RejectedError, command: bytes, reply: PendingReply, script: Runnable | None
) -> None:
    """Send a command that did not run once more, with the script or the `ASKING` that it needs.

    A function that is missing is loaded for the next call; this one runs the script, which a server without memory
    accepts, too.

    Args:
        node: result of `Servers.redirect`.
        error: rejection of the command.
        command: the encoded command.
        reply: receives the reply.
        script: its script; None without a script.

    Raises:
        UnsentError: the node is not connected.
    """
    if script is not None and error.code != "MOVED":  # scripts are loaded on every new connection, but may be flushed
        for words in script.loads:
            node.send(*words).add_done_callback(_forget)
        command = script.without_function(command)
    if error.code == "ASK":
        node.send("ASKING").add_done_callback(_forget)  # applies to the next command on the connection
    node.write(command, reply)


async def follow_redirects(
    asked: Servers, refused: RejectedError, key: str, words: Sequence[Argument], script: Runnable | None
) -> Any:
    """Send a rejected command to the server that the rejection names, and return the reply.

    Args:
        asked: servers of the store.
        refused: rejection, by which the command did not run; so it is not run twice.
        key: first key of the command.
        words: words of the command.
        script: its script; None without a script.

    Raises:
        RejectedError: the rejection, if it names no server.
        StoreError: another failure of the command.
    """
    for _ in range(MAX_RESENDS):
        node = asked.redirect(refused, key)
        if node is None:
            break
        await node.wait_reconnected()
        reply = asyncio.get_running_loop().create_future()
        resend(node, refused, pack(words), reply, script)
        try:
            return await reply
        except RejectedError as error:
            refused = error
    raise refused


def _forget(done: asyncio.Future[Any]) -> None:
    if not done.cancelled():
        done.exception()
