"""How the servers of a store belong together: one server, one that sentinels name, or a cluster.

Which of them it is, is chosen once; whoever sends a command does the same in all three cases: it asks for the
server that has the account's keys, and what that one refuses without having run it may be sent once more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Protocol

from sidecar.ledger.cluster import Cluster
from sidecar.ledger.connection import CALL_TIMEOUT, Connection, Prepare
from sidecar.ledger.endpoint import Endpoint
from sidecar.ledger.sentinel import SentinelConnection
from sidecar.ledger.wire import Argument, Pushed, RejectedError

RESENT_MOST: Final = 4
"""How often a command that did not run is sent anew before it is refused, such as where two nodes disagree."""


class Servers(Protocol):
    """The servers of one store."""

    @property
    def up(self) -> bool:
        """Whether the store can be asked now."""

    @property
    def error(self) -> str | None:
        """What cannot be asked, and why; for the operator alone."""

    @property
    def fault(self) -> Exception | None:
        """What the last attempt to connect failed with; None when it did not, or there was none."""

    @property
    def away(self) -> int:
        """How many servers that take writes cannot be asked now."""

    @property
    def nodes(self) -> Sequence[Connection]:
        """Every server that takes writes.

        Raises:
            UnsentError: some keys have none.
        """

    async def start(self, within: float) -> None:
        """Connect, and keep connected until `close`.

        Raises:
            UnsentError: nothing could be reached within so many seconds; attempts go on.
        """

    async def close(self) -> None:
        """Disconnect; commands without an answer fail as `UnansweredError`."""

    def at(self, key: str) -> Connection:
        """The server that has a key; all commands about one account travel on one connection.

        Raises:
            UnsentError: none is known.
        """

    def told(self, error: RejectedError, key: str) -> Connection | None:
        """Where a command may be sent once more that was refused, with what it lacks; None: nowhere now."""

    def beside(self, prepare: Prepare, pushed: Pushed) -> Connection:
        """Another connection to the store, not yet started, that hears what is published there."""


def servers(
    endpoint: Endpoint,
    *,
    prepare: Prepare,
    before: Callable[[], Awaitable[None]] | None = None,
    timeout: float = CALL_TIMEOUT,
) -> Servers:
    """The servers behind a store URL, not yet connected.

    Args:
        endpoint: where they are.
        prepare: see `connection.Prepare`; awaited for each server.
        before: awaited before every attempt to connect to a single server.
        timeout: seconds a reply may take.
    """
    if endpoint.cluster:
        return Cluster(endpoint, prepare=prepare, timeout=timeout)
    if endpoint.service:
        return SentinelConnection(endpoint, prepare=prepare, timeout=timeout)
    return Connection(endpoint, prepare=prepare, before=before, timeout=timeout)


def send_again(
    node: Connection, error: RejectedError, words: Sequence[Argument], source: str | None
) -> asyncio.Future[Any]:
    """Send a command that did not run once more, with what the refusal says it lacks.

    Args:
        node: what `Servers.told` answered.
        error: the refusal.
        words: what was refused.
        source: the script that it runs; None: it runs none.

    Raises:
        UnsentError: there is no connection at this moment.
    """
    if source is not None and error.code != "MOVED":  # scripts are loaded on every new connection, and may be flushed
        node.send("SCRIPT", "LOAD", source, now=False).add_done_callback(_forget)
    if error.code == "ASK":
        node.send("ASKING", now=False).add_done_callback(_forget)  # holds for the next command of the connection
    return node.send(*words)


async def ask_again(
    asked: Servers, refused: RejectedError, key: str, words: Sequence[Argument], source: str | None
) -> Any:
    """Send a refused command to where the refusal points, and give the answer.

    Args:
        asked: the servers.
        refused: why; it says that the command did not run, so this is not a second time.
        key: the command's first.
        words: the command.
        source: the script that it runs; None: it runs none.

    Raises:
        RejectedError: the refusal, when it points nowhere.
        StoreError: what else became of it.
    """
    for _ in range(RESENT_MOST):
        node = asked.told(refused, key)
        if node is None:
            break
        await node.settled()
        try:
            return await send_again(node, refused, words, source)
        except RejectedError as error:
            refused = error
    raise refused


def _forget(done: asyncio.Future[Any]) -> None:
    if not done.cancelled():
        done.exception()
