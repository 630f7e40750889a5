"""What the pipeline asks of the store: admit a call, then settle or release it, exactly once.

An admission that was sent but not answered, or whose caller left, may have written a hold: its
release is sent after it. A settle or release that does not arrive is given again until the store has
it (`delivery`). An admission is never given twice: it is sent once more only to where a server points
that says it did not run it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from sidecar.errors import ErrorCode, Refusal
from sidecar.ledger.command import Command, Scripts
from sidecar.ledger.connection import Connection, RejectedError, StoreError
from sidecar.ledger.damage import DamagedError, explained
from sidecar.ledger.delivery import Courier, never_ran
from sidecar.ledger.diagnosis import explain, refuses
from sidecar.ledger.durability import Warned
from sidecar.ledger.embedded import EmbeddedStore
from sidecar.ledger.endpoint import parse_url
from sidecar.ledger.examination import examine
from sidecar.ledger.layout import claim
from sidecar.ledger.topology import ask_again, servers
from sidecar.model import Admission, Application
from sidecar.outcome import Charge, Receipt

ANSWER_WITHIN: Final = 1.8
"""Seconds after which an admission is refused, whatever the store does."""


class Store:
    """Gates 5-7 of this process: one ordered connection per account, and what is still to be delivered on it.

    Args:
        url: the store's, or `embedded`.
        scripts: what is run there.
        directory: of the embedded store.
        warned: told at every look at the server what it may lose of what it acknowledges.
    """

    def __init__(
        self,
        url: str,
        scripts: Scripts,
        *,
        directory: Path | None = None,
        warned: Callable[[Sequence[Warned]], None] = lambda _: None,
    ) -> None:
        self._scripts = scripts
        self._embedded: EmbeddedStore | None = None
        if url == "embedded":
            if directory is None:
                raise ValueError("an embedded store needs a directory")
            self._embedded = EmbeddedStore(directory)
            url = self._embedded.url
        before = self._revive if self._embedded is not None else None
        endpoint = parse_url(url)
        self._managed = bool(endpoint.service)
        self._clustered = endpoint.cluster
        self._servers = servers(endpoint, prepare=self._prepare, before=before)
        self._courier = Courier(self._servers)
        self._warned = warned
        self._found: set[Warned] = set()

    @property
    def undelivered(self) -> int:
        """Settles, releases and deferrals that the store has not acknowledged, sent or not."""
        return self._courier.undelivered

    async def delivered(self) -> None:
        """Wait until the store has acknowledged every settle, release and deferral."""
        await self._courier.delivered()

    @property
    def lost(self) -> int:
        """Deliveries given up because the script itself failed; each is a fault to look into."""
        return self._courier.lost

    @property
    def up(self) -> bool:
        """Whether the store can be asked now; of a cluster, whether any of its primaries can."""
        return self._servers.up

    @property
    def away(self) -> int:
        """How many of its servers that take writes cannot be asked now."""
        return self._servers.away

    @property
    def error(self) -> str | None:
        """What cannot be asked, and why; for the operator alone."""
        return self._servers.error

    async def start(self, within: float = 10.0) -> None:
        """Connect (and start the private server).

        Raises:
            StoreError: it cannot be reached, or must not be used; the message says why.
        """
        if self._embedded is not None:
            await asyncio.to_thread(self._embedded.enter)
        await self._servers.start(within)

    async def close(self, grace: float = 5.0) -> None:
        """Deliver what is left for at most `grace` seconds, then disconnect.

        What is not delivered by then is resolved by whoever finds its lease run out.
        """
        await self._courier.close(grace)
        await self._servers.close()
        if self._embedded is not None:
            await asyncio.to_thread(self._embedded.leave)

    async def admit(self, application: Application) -> Admission:
        """Ask gates 5-7 about a call, in one trip; the hold it may make is the caller's to resolve.

        Raises:
            Refusal: `store_unavailable`; nothing stays held.
        """
        command = self._scripts.admit(application)
        end = asyncio.get_running_loop().time() + ANSWER_WITHIN
        sent = False
        try:
            await self._servers.at(command.key).settled()
            reply = self._servers.at(command.key).send(*command.words(), now=False)
            sent = True
            return self._scripts.admitted(application, await self._answer(command, reply, end))
        except (StoreError, TimeoutError) as fault:
            untouched = never_ran(fault) or isinstance(fault, DamagedError)
            self._undo(application, sent and not untouched)
            raise _unavailable(fault) from fault
        except BaseException:  # above all a cancellation: whoever asked is gone, the hold may be there
            self._undo(application, sent)
            raise

    def settle(self, application: Application, charges: Sequence[Charge] | None) -> asyncio.Future[Receipt]:
        """Write a settle to the connection now; the receipt need not be waited for.

        Args:
            application: as it was admitted.
            charges: what each demand cost; None charges what was reserved.
        """
        return self._deliver(self._scripts.settle(application, charges))

    def release(self, application: Application, *, forwarded: bool = False) -> asyncio.Future[Receipt]:
        """Write a release to the connection now; the receipt need not be waited for.

        Args:
            application: as it was sent to `admit`.
            forwarded: whether the call was sent to the backend: then fixed amounts stay consumed.
        """
        return self._deliver(self._scripts.release(application, forwarded=forwarded))

    def defer(self, application: Application, context: bytes, events: Sequence[str] = ()) -> asyncio.Future[Receipt]:
        """Keep a hold open for a response on another stream; the (empty) receipt need not be waited for.

        Args:
            application: as it was admitted.
            context: what pricing the response needs.
            events: `keys.event_digest` of the events from which its stream can be resumed.
        """
        return self.tell(self._scripts.defer(application, context, events))

    def tell(self, command: Command) -> asyncio.Future[Receipt]:
        """Write a command that may be given twice to the connection now; the (empty) receipt need not be waited for."""
        return self._courier.deliver(command, lambda _: Receipt())

    def subscription(self, channel: str, heard: Callable[[bytes], None], opened: Callable[[], None]) -> Connection:
        """A connection of its own, not yet started, that hears what is published on a channel.

        Args:
            channel: its name.
            heard: given each message.
            opened: told whenever it begins to hear; what was said before is lost.
        """
        return self._servers.beside(
            lambda send: _subscribe(send, channel, opened),
            lambda push: heard(push[2]) if push[0] == b"message" else None,
        )

    async def run(self, command: Command) -> Any:
        """Run any other script once and give its reply.

        Raises:
            Refusal: `store_unavailable`.
        """
        end = asyncio.get_running_loop().time() + ANSWER_WITHIN
        try:
            await self._servers.at(command.key).settled()
            return await self._answer(command, self._servers.at(command.key).send(*command.words()), end)
        except (StoreError, TimeoutError) as fault:
            raise _unavailable(fault) from fault

    async def look(self) -> None:
        """See again what the server may lose, which can change while it is connected to.

        One that must not be used any more is left, and every call refused until it is as it was.
        """
        found: set[Warned] = set()
        try:
            nodes = self._servers.nodes
        except StoreError:
            return
        for node in nodes:
            try:
                found.update(await examine(node.send, managed=self._managed))
            except StoreError as fault:
                if refuses(fault):
                    node.leave(explain(fault))
                return  # what the others say is only part of it
        self._tell(found)

    async def scan(self, pattern: str) -> list[bytes]:
        """The keys that match a pattern, sorted, found a few at a time so that nobody waits for it.

        They are as they stand in the store: anybody may write a key that is no UTF-8. Of a cluster, those of
        the primaries that can be asked.

        Raises:
            Refusal: `store_unavailable`; none can be asked.
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

    async def _answer(self, command: Command, reply: asyncio.Future[Any], end: float) -> Any:
        try:
            return await reply
        except RejectedError as error:
            async with asyncio.timeout_at(end):
                try:
                    return await ask_again(self._servers, error, command.key, command.words(), command.script.source)
                except RejectedError as refused:
                    raise await explained(self._servers.at(command.key).send, command, refused) from refused

    def _undo(self, application: Application, sent: bool) -> None:
        if sent and not application.look:
            self._deliver(self._scripts.release(application))

    def _deliver(self, command: Command) -> asyncio.Future[Receipt]:
        return self._courier.deliver(command, self._scripts.receipt)

    async def _revive(self) -> None:
        if self._embedded is not None:
            await asyncio.to_thread(self._embedded.ensure)

    async def _prepare(self, send: Callable[..., asyncio.Future[Any]]) -> None:
        found = set(await examine(send, managed=self._managed))
        # What other nodes of a cluster have said stands until all of them are looked at.
        self._tell(found | self._found if self._clustered else found)
        await claim(send)
        loads = [send("SCRIPT", "LOAD", script.source) for script in self._scripts.scripts]
        for load in loads:
            await load

    def _tell(self, found: set[Warned]) -> None:
        self._found = found
        self._warned(sorted(found, key=lambda each: (each.risk, each.text)))


async def _subscribe(send: Callable[..., asyncio.Future[Any]], channel: str, opened: Callable[[], None]) -> None:
    await send("SUBSCRIBE", channel)
    opened()


async def _scan(node: Connection, pattern: str) -> set[bytes]:
    found: set[bytes] = set()
    cursor = b"0"
    while True:
        await node.settled()
        cursor, keys = await node.send("SCAN", cursor, "MATCH", pattern, "COUNT", 500)
        found.update(keys)
        if cursor == b"0":
            return found


def _unavailable(fault: BaseException) -> Refusal:
    return Refusal(ErrorCode.STORE_UNAVAILABLE, log=str(fault) or type(fault).__name__, retry_after=1)
