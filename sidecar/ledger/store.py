"""What the pipeline asks of the store: admit a call, then settle or release it, exactly once.

An admission that was sent but not answered, or whose caller left, may have written a hold: its
release is sent after it. A settle or release that does not arrive is given again until the store has
it (`delivery`). An admission is never given twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from sidecar.errors import ErrorCode, Refusal
from sidecar.ledger.command import Command, Scripts
from sidecar.ledger.connection import Connection, RejectedError, StoreError
from sidecar.ledger.damage import DamagedError, explained
from sidecar.ledger.delivery import NEVER_RAN, Courier, load_and_send
from sidecar.ledger.embedded import EmbeddedStore
from sidecar.ledger.endpoint import parse_url
from sidecar.ledger.layout import claim
from sidecar.model import Admission, Application
from sidecar.outcome import Charge, Receipt

ANSWER_WITHIN: Final = 1.8
"""Seconds after which an admission is refused, whatever the store does."""


class Store:
    """Gates 5-7 of this process: one ordered connection, and what is still to be delivered on it."""

    def __init__(self, url: str, scripts: Scripts, *, directory: Path | None = None) -> None:
        self._scripts = scripts
        self._embedded: EmbeddedStore | None = None
        if url == "embedded":
            if directory is None:
                raise ValueError("an embedded store needs a directory")
            self._embedded = EmbeddedStore(directory)
            url = self._embedded.url
        before = self._revive if self._embedded is not None else None
        self._endpoint = parse_url(url)
        self._connection = Connection(self._endpoint, prepare=self._prepare, before=before)
        self._courier = Courier(self._connection)

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
        """Whether the store can be asked now."""
        return self._connection.up

    @property
    def error(self) -> str | None:
        """Why it cannot; for the operator alone."""
        return self._connection.error

    async def start(self, within: float = 10.0) -> None:
        """Connect (and start the private server).

        Raises:
            StoreError: it cannot be reached, or must not be used; the message says why.
        """
        if self._embedded is not None:
            await asyncio.to_thread(self._embedded.enter)
        await self._connection.start(within)

    async def close(self, grace: float = 5.0) -> None:
        """Deliver what is left for at most `grace` seconds, then disconnect.

        What is not delivered by then is resolved by whoever finds its lease run out.
        """
        await self._courier.close(grace)
        await self._connection.close()
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
            await self._connection.settled()
            reply = self._connection.send(*command.words(), now=False)
            sent = True
            return self._scripts.admitted(application, await self._answer(command, reply, end))
        except (StoreError, TimeoutError) as fault:
            ran = not (
                (isinstance(fault, RejectedError) and fault.code in NEVER_RAN) or isinstance(fault, DamagedError)
            )
            self._undo(application, sent and ran)
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
        return Connection(
            self._endpoint,
            prepare=lambda send: _subscribe(send, channel, opened),
            pushed=lambda push: heard(push[2]) if push[0] == b"message" else None,
        )

    async def run(self, command: Command) -> Any:
        """Run any other script once and give its reply.

        Raises:
            Refusal: `store_unavailable`.
        """
        end = asyncio.get_running_loop().time() + ANSWER_WITHIN
        try:
            await self._connection.settled()
            return await self._answer(command, self._connection.send(*command.words()), end)
        except (StoreError, TimeoutError) as fault:
            raise _unavailable(fault) from fault

    async def scan(self, pattern: str) -> list[bytes]:
        """The keys that match a pattern, sorted, found a few at a time so that nobody waits for it.

        They are as they stand in the store: anybody may write a key that is no UTF-8.

        Raises:
            Refusal: `store_unavailable`.
        """
        found: set[bytes] = set()
        cursor = b"0"
        try:
            while True:
                await self._connection.settled()
                cursor, keys = await self._connection.send("SCAN", cursor, "MATCH", pattern, "COUNT", 500)
                found.update(keys)
                if cursor == b"0":
                    return sorted(found)
        except StoreError as fault:
            raise _unavailable(fault) from fault

    async def _answer(self, command: Command, reply: asyncio.Future[Any], end: float) -> Any:
        try:
            return await reply
        except RejectedError as error:
            if error.code != "NOSCRIPT":
                async with asyncio.timeout_at(end):
                    raise await explained(self._connection.send, command, error) from error
            # Someone flushed the scripts. The command did not run, so this is not a second time.
            async with asyncio.timeout_at(end):
                return await load_and_send(self._connection, command)

    def _undo(self, application: Application, sent: bool) -> None:
        if sent and not application.look:
            self._deliver(self._scripts.release(application))

    def _deliver(self, command: Command) -> asyncio.Future[Receipt]:
        return self._courier.deliver(command, self._scripts.receipt)

    async def _revive(self) -> None:
        if self._embedded is not None:
            await asyncio.to_thread(self._embedded.ensure)

    async def _prepare(self, send: Callable[..., asyncio.Future[Any]]) -> None:
        facts = _info(await send("INFO", "memory"))
        if facts.get("maxmemory", "0") != "0" and facts.get("maxmemory_policy") != "noeviction":
            raise StoreError("the store may evict consents and balances: set its maxmemory-policy to noeviction")
        await claim(send)
        loads = [send("SCRIPT", "LOAD", script.source) for script in self._scripts.scripts]
        for load in loads:
            await load


async def _subscribe(send: Callable[..., asyncio.Future[Any]], channel: str, opened: Callable[[], None]) -> None:
    await send("SUBSCRIBE", channel)
    opened()


def _info(reply: bytes) -> Mapping[str, str]:
    lines = reply.decode().splitlines()
    return dict(line.partition(":")[::2] for line in lines if ":" in line)


def _unavailable(fault: BaseException) -> Refusal:
    return Refusal(ErrorCode.STORE_UNAVAILABLE, log=str(fault) or type(fault).__name__, retry_after=1)
