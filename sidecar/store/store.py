"""Store of the pipeline: admit a call and run other commands, each once and with an answer or a refusal.

An unanswered admission, or one of a disconnected caller, may have written a hold: a release follows it. An admission
is never retried: it is sent once more only when a server redirects it without having run it. Settles, releases and
other writes that must reach the store are given to its `outbox`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from sidecar.errors import ErrorCode, Refusal
from sidecar.model import AdmissionReply, Application
from sidecar.store.commands.command import Command, Scripts
from sidecar.store.connection.diagnosis import explain, is_permanent
from sidecar.store.connection.layout import LAYOUT_KEY, claim
from sidecar.store.connection.resp import Rewrite
from sidecar.store.connection.store_connection import (
    RejectedError,
    StoreConnection,
    StoreError,
    UnansweredError,
    UnsentError,
)
from sidecar.store.connection.store_url import parse_url
from sidecar.store.connection.topology import follow_redirects, servers
from sidecar.store.embedded.embedded_server import EmbeddedStore
from sidecar.store.health.corruption import CorruptionError, describe_corruption
from sidecar.store.health.durability import DurabilityWarning
from sidecar.store.health.examination import examine as check_server
from sidecar.store.outbox import Outbox, never_ran
from sidecar.store.script_loading import load
from sidecar.system.threads import LimitedThreads

LEAVE_TIMEOUT: Final = 20.0
"""Seconds that this process waits for the private server to stop."""
ANSWER_TIMEOUT: Final = 1.8
"""Seconds after which an unanswered admission is refused."""


class Store:
    """Run gates 5-7 against the store, over one ordered connection per account.

    Args:
        url: URL of the store, or `embedded`.
        scripts: scripts that encode and decode commands.
        directory: directory of the embedded store.
        on_warnings: called at every examination with the durability warnings of the servers.
    """

    def __init__(
        self,
        url: str,
        scripts: Scripts,
        *,
        directory: Path | None = None,
        on_warnings: Callable[[Sequence[DurabilityWarning]], None] = lambda _: None,
    ) -> None:
        self._scripts = scripts
        self._embedded: EmbeddedStore | None = None
        self._threads = LimitedThreads("private store")
        if url == "embedded":
            if directory is None:
                raise ValueError("an embedded store needs a directory")
            self._embedded = EmbeddedStore(directory)
            url = self._embedded.url
        before_connect = self._restart_embedded if self._embedded is not None else None
        endpoint = parse_url(url)
        self.location = endpoint.label
        """Socket or addresses, for messages to the operator."""
        self._managed = bool(endpoint.service)
        self._clustered = endpoint.cluster
        self._servers = servers(endpoint, prepare=self._prepare, before_connect=before_connect)
        self.outbox = Outbox(self._servers, scripts)
        """Delivers settles, releases and other commands that must reach the store."""
        self._loop: asyncio.AbstractEventLoop | None = None  # asking for it costs a system call
        self._on_warnings = on_warnings
        self._found: set[DurabilityWarning] = set()

    @property
    def up(self) -> bool:
        """True while the store is connected; of a cluster, while any primary is."""
        return self._servers.up

    @property
    def unreachable(self) -> int:
        """Number of unreachable primaries."""
        return self._servers.unreachable

    @property
    def error(self) -> str | None:
        """Unreachable servers and the reasons, for the operator only; None while all are connected."""
        return self._servers.error

    async def start(self, within: float = 10.0) -> None:
        """Connect, and start the private server if there is one.

        Raises:
            StoreError: the store is unreachable or unusable; the message gives the reason.
        """
        if self._embedded is not None:
            await self._threads.run(self._embedded.enter)
        await self._servers.start(within)

    async def close(self, grace: float = 5.0) -> None:
        """Deliver pending commands for at most `grace` seconds, then disconnect.

        Holds of commands that are still pending then are resolved when their leases expire.
        """
        await self.outbox.close(grace)
        await self._servers.close()
        if self._embedded is not None:
            with contextlib.suppress(TimeoutError):  # the folder does not answer: the next user finds the server alive
                async with asyncio.timeout(LEAVE_TIMEOUT):
                    await self._threads.run(self._embedded.leave)

    async def admit(self, application: Application) -> AdmissionReply:
        """Run gates 5-7 for a call in one round trip; the caller must resolve the hold that this may create.

        Raises:
            Refusal: `store_unavailable`; no hold remains.
        """
        command = self._scripts.admit(application)
        loop = self._loop = self._loop or asyncio.get_running_loop()
        end = loop.time() + ANSWER_TIMEOUT
        sent = False
        try:
            node = self._servers.at(command.key)
            if node.error is not None:
                node = await self._reconnected(command.key)
            reply = loop.create_future()
            node.write(command.packed, reply, now=False)
            sent = True
            try:
                answer = await reply
            except RejectedError as error:
                answer = await self._follow_redirects(command, error, end)
            return self._scripts.admitted(application, answer)
        except (StoreError, TimeoutError) as fault:
            untouched = never_ran(fault) or isinstance(fault, CorruptionError)
            self._release_unanswered(application, sent and not untouched)
            raise _unavailable(fault) from fault
        except BaseException:  # usually a cancellation: the client has disconnected, the hold may exist
            self._release_unanswered(application, sent)
            raise

    def subscription(
        self, channel: str, on_message: Callable[[bytes], None], on_subscribed: Callable[[], None]
    ) -> StoreConnection:
        """Return a separate connection, not yet started, that subscribes to a channel.

        Args:
            channel: name of the channel.
            on_message: called with each message.
            on_subscribed: called at each subscription; messages published before it are lost.
        """
        return self._servers.subscriber(
            lambda send: _subscribe(send, channel, on_subscribed),
            lambda push: on_message(push[2]) if push[0] == b"message" else None,
        )

    async def run(self, command: Command) -> Any:
        """Run any other script once and return its reply.

        Raises:
            Refusal: `store_unavailable`.
        """
        loop = self._loop = self._loop or asyncio.get_running_loop()
        end = loop.time() + ANSWER_TIMEOUT
        try:
            node = await self._reconnected(command.key)
            reply = loop.create_future()
            node.write(command.packed, reply)
            try:
                return await reply
            except RejectedError as error:
                return await self._follow_redirects(command, error, end)
        except (StoreError, TimeoutError) as fault:
            raise _unavailable(fault) from fault

    async def restore_layout_version(self) -> None:
        """Write the layout version again if it is missing (`FLUSHALL`, an emptied node); other programs read it.

        On a store of another layout, disconnect; every call is refused until the store has this layout again.
        """
        try:
            await claim(self._servers.at(LAYOUT_KEY).send)
        except (RejectedError, UnsentError, UnansweredError):
            return  # full, moved or unreachable: the next examination finds it
        except StoreError as fault:
            for node in self._servers.nodes:
                node.reconnect(explain(fault))

    async def examine(self) -> None:
        """Examine the servers again: their durability can change while they are connected.

        Disconnect from a server that has become unusable; every call is refused until it is usable again.
        """
        found: set[DurabilityWarning] = set()
        try:
            nodes = self._servers.nodes
        except StoreError:
            return
        for node in nodes:
            try:
                found.update(await check_server(node.send, managed=self._managed))
            except StoreError as fault:
                if is_permanent(fault):
                    node.reconnect(explain(fault))
                return  # warnings of only some servers would be incomplete
        self._publish(found)

    async def scan(self, pattern: str) -> list[bytes]:
        """Return the keys that match a pattern, sorted; SCAN reads a few at a time, so that no other command waits.

        Keys are bytes: other programs may write a key that is not UTF-8. Of a cluster, only keys of reachable primaries
        are returned.

        Raises:
            Refusal: `store_unavailable`; no server is reachable.
        """
        found: set[bytes] = set()
        faults = []
        try:
            nodes = self._servers.nodes
            for node in nodes:
                try:
                    found |= await _scan(node, pattern)
                except StoreError as fault:
                    faults.append(fault)
            if len(faults) == len(nodes):
                raise faults[0]
        except StoreError as fault:
            raise _unavailable(fault) from fault
        return sorted(found)

    async def _reconnected(self, key: str) -> StoreConnection:
        """Return the server that has a key; it may be another one after a lost connection."""
        await self._servers.at(key).wait_reconnected()
        return self._servers.at(key)

    async def _follow_redirects(self, command: Command, error: RejectedError, end: float) -> Any:
        async with asyncio.timeout_at(end):
            try:
                return await follow_redirects(self._servers, error, command.key, command.words(), command.script)
            except RejectedError as refused:
                raise await describe_corruption(self._servers.at(command.key).send, command, refused) from refused

    def _release_unanswered(self, application: Application, sent: bool) -> None:
        if sent and not application.dry_run:
            self.outbox.release(application)

    async def _restart_embedded(self) -> None:
        if self._embedded is not None:
            await self._threads.run(self._embedded.ensure)

    async def _prepare(self, send: Callable[..., asyncio.Future[Any]]) -> Rewrite | None:
        found = set(await check_server(send, managed=self._managed))
        # Warnings of other nodes of a cluster stand until all nodes are examined.
        self._publish(found | self._found if self._clustered else found)
        await claim(send)
        return await load(send, self._scripts.scripts)

    def _publish(self, found: set[DurabilityWarning]) -> None:
        self._found = found
        self._on_warnings(sorted(found, key=lambda each: (each.risk, each.text)))


async def _subscribe(send: Callable[..., asyncio.Future[Any]], channel: str, on_subscribed: Callable[[], None]) -> None:
    await send("SUBSCRIBE", channel)
    on_subscribed()


async def _scan(node: StoreConnection, pattern: str) -> set[bytes]:
    found: set[bytes] = set()
    cursor = b"0"
    while True:
        await node.wait_reconnected()
        cursor, keys = await node.send("SCAN", cursor, "MATCH", pattern, "COUNT", 500)
        found.update(keys)
        if cursor == b"0":
            return found


def _unavailable(fault: BaseException) -> Refusal:
    return Refusal(ErrorCode.STORE_UNAVAILABLE, log=str(fault) or type(fault).__name__, retry_after=1)
