"""Commands that have to reach the store: given again until it has them, whoever is away meanwhile.

Settles, releases and deferrals are idempotent on the call id, so giving one twice does no harm; what the
script itself fails on is given up and counted.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from sidecar.ledger.command import Command
from sidecar.ledger.connection import RejectedError, UnsentError
from sidecar.ledger.topology import RESENT_MOST, Servers, send_again
from sidecar.outcome import Receipt

NEVER_RAN: Final = frozenset(
    {
        *("NOSCRIPT", "BUSY", "LOADING", "OOM", "MISCONF"),
        *("READONLY", "MASTERDOWN", "NOREPLICAS", "NOAUTH", "NOPERM"),
        *("MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN", "REDIRECT"),
    }
)
"""Error replies with which Valkey and Redis refuse a script before its first line: nothing can have been written.

They come from `processCommand` and `scriptPrepareForRun` of the servers' sources. What fails inside a script
names the script besides (`never_ran`): the first write of one may meet OOM, MISCONF or READONLY, too.
"""

_RETRY_PAUSE: Final = (0.2, 2.0)  # first and longest pause between two attempts, in seconds
_INSIDE: Final = "@user_script"

Read = Callable[[Any], Receipt]


@dataclass(slots=True)
class _Delivery:
    command: Command
    read: Read
    outcome: asyncio.Future[Receipt]
    resent: int = 0  # how often in a row it was sent anew at once, because of what a server lacks or says

    def end(self, receipt: Receipt | BaseException) -> None:
        if self.outcome.done():
            return
        if isinstance(receipt, Receipt):
            self.outcome.set_result(receipt)
        else:
            self.outcome.set_exception(receipt)
            self.outcome.exception()  # nobody may be waiting; `Courier.lost` counts it


def never_ran(fault: BaseException) -> bool:
    """Whether the server has refused a script before its first line: then there is nothing to undo."""
    return isinstance(fault, RejectedError) and fault.code in NEVER_RAN and _INSIDE not in str(fault)


class Courier:
    """Delivers commands, those of one account on one connection.

    Args:
        servers: the store's.

    Attributes:
        undelivered: commands that the store has not acknowledged, sent or not.
        lost: commands given up because the script itself failed; each is a fault to look into.
    """

    def __init__(self, servers: Servers) -> None:
        self._servers = servers
        self._again: deque[_Delivery] = deque()
        self._task: asyncio.Task[None] | None = None
        self._idle = asyncio.Event()
        self._idle.set()
        self._closed = False
        self._pause = _RETRY_PAUSE[0]
        self.undelivered = 0
        self.lost = 0

    def deliver(self, command: Command, read: Read) -> asyncio.Future[Receipt]:
        """Write a command now, and again until it is acknowledged; `read` understands its answer."""
        delivery = _Delivery(command, read, asyncio.get_running_loop().create_future())
        self.undelivered += 1
        self._idle.clear()
        self._give(delivery)
        return delivery.outcome

    async def delivered(self) -> None:
        """Wait until the store has acknowledged everything."""
        await self._idle.wait()

    async def close(self, grace: float) -> None:
        """Deliver what is left for at most `grace` seconds, then give it up: whoever waits for it is told."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace):
                await self.delivered()
        self._closed = True
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        while self._again:
            self._give_again(self._again.popleft())

    def _give(self, delivery: _Delivery) -> None:
        delivery.resent = 0
        try:
            reply = self._servers.at(delivery.command.key).send(*delivery.command.words())
        except UnsentError:
            self._give_again(delivery)
        else:
            reply.add_done_callback(partial(self._given, delivery))

    def _given(self, delivery: _Delivery, reply: asyncio.Future[Any]) -> None:
        fault = reply.exception()
        if fault is not None and (not isinstance(fault, RejectedError) or fault.code in NEVER_RAN):
            if not (isinstance(fault, RejectedError) and self._resent(delivery, fault)):
                self._give_again(delivery)
            return
        self._pause = _RETRY_PAUSE[0]
        self.undelivered -= 1
        if not self.undelivered:
            self._idle.set()
        if fault is None:
            try:
                delivery.end(delivery.read(reply.result()))
                return
            except (ValueError, TypeError, LookupError) as unreadable:
                fault = unreadable
        self.lost += 1
        delivery.end(fault)

    def _resent(self, delivery: _Delivery, refused: RejectedError) -> bool:
        """Send at once what another server takes, or this one with the script; False when none does now."""
        command = delivery.command
        try:
            node = self._servers.told(refused, command.key)
            if node is None or delivery.resent == RESENT_MOST:
                return False
            reply = send_again(node, refused, command.words(), command.script.source)
        except UnsentError:
            return False
        delivery.resent += 1
        reply.add_done_callback(partial(self._given, delivery))
        return True

    def _give_again(self, delivery: _Delivery) -> None:
        if self._closed:
            delivery.end(UnsentError("this process is closing; the lease of the hold will run out"))
            return
        self._again.append(delivery)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._deliver_again(), name="store deliveries")

    async def _deliver_again(self) -> None:
        while self._again:
            await asyncio.sleep(self._pause)
            if self._servers.up:
                # One that takes no writes answers at once: all that is owed must not go round in a circle.
                self._pause = min(2 * self._pause, _RETRY_PAUSE[1])
            for _ in range(len(self._again)):  # in their order, also those that have to wait on
                self._give(self._again.popleft())
