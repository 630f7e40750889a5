"""Outbox of commands that must reach the store: each is retried until it is acknowledged.

Settles, releases and deferrals are idempotent on the call id, so a repetition changes nothing. A command is abandoned
and counted when the script itself fails.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from sidecar.model import Application
from sidecar.outcome import Charge, Receipt
from sidecar.store.commands.command import Command, Scripts
from sidecar.store.connection.store_connection import RejectedError, UnsentError
from sidecar.store.connection.topology import MAX_RESENDS, Servers, resend

NEVER_RAN: Final = frozenset(
    {
        *("NOSCRIPT", "BUSY", "LOADING", "OOM", "MISCONF"),
        *("READONLY", "MASTERDOWN", "NOREPLICAS", "NOAUTH", "NOPERM"),
        *("MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN", "REDIRECT"),
    }
)
"""Error replies with which Valkey and Redis reject a script before its first line: nothing was written.

They come from `processCommand` and `scriptPrepareForRun` of the servers' sources. An error inside a script also names
the script (`never_ran`): its first write may meet OOM, MISCONF or READONLY too.
"""

_RETRY_PAUSE: Final = (0.2, 2.0)  # first and longest pause between two attempts, in seconds
_INSIDE_SCRIPT: Final = re.compile("@user_(script|function)")

Read = Callable[[Any], Receipt]


def _without_costs(_: Any) -> Receipt:
    return Receipt()


class _Delivery:
    """Pending command: it receives the reply itself (`resp.PendingReply`)."""

    __slots__ = ("_outbox", "_read", "command", "outcome", "resent")

    def __init__(self, outbox: Outbox, command: Command, read: Read, outcome: asyncio.Future[Receipt]) -> None:
        self._outbox = outbox
        self._read = read
        self.command = command
        self.outcome = outcome
        self.resent = 0  # immediate repetitions in a row: missing script, or redirected by a server

    def set_result(self, reply: Any, /) -> None:
        """Read the acknowledgement."""
        self._outbox.acknowledged()
        try:
            receipt = self._read(reply)
            self.outcome.set_result(receipt)
        except asyncio.InvalidStateError:
            pass  # its caller was cancelled
        except (ValueError, TypeError, LookupError, AttributeError) as unreadable:
            self._outbox.abandon(self, unreadable)

    def set_exception(self, fault: BaseException, /) -> None:
        """Retry the command, unless the script itself has failed."""
        self._outbox.failed(self, fault)

    def fail(self, fault: BaseException) -> None:
        """End without a receipt."""
        if not self.outcome.done():
            self.outcome.set_exception(fault)
            self.outcome.exception()  # it may not be awaited; `Outbox.abandoned` counts it


def never_ran(fault: BaseException) -> bool:
    """Return whether the server rejected a script before its first line: then there is nothing to undo."""
    return isinstance(fault, RejectedError) and fault.code in NEVER_RAN and not _INSIDE_SCRIPT.search(str(fault))


class Outbox:
    """Delivers commands; all commands of an account use one connection.

    Args:
        servers: servers of the store.
        scripts: scripts that encode and decode commands.

    Attributes:
        undelivered: pending commands: not acknowledged by the store, sent or not.
        abandoned: commands given up because the script itself failed; each is a fault to investigate.
    """

    def __init__(self, servers: Servers, scripts: Scripts) -> None:
        self._servers = servers
        self._scripts = scripts
        self._retries: deque[_Delivery] = deque()
        self._task: asyncio.Task[None] | None = None
        self._idle: asyncio.Future[None] | None = None  # of callers that wait until nothing is pending
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False
        self._pause = _RETRY_PAUSE[0]
        self.undelivered = 0
        self.abandoned = 0

    def settle(
        self, application: Application, charges: Sequence[Charge] | None, *, now: bool = True
    ) -> asyncio.Future[Receipt]:
        """Send a settle; the receipt need not be awaited.

        Args:
            application: the admitted application.
            charges: charge per demand; None charges the reserve.
            now: False may send it with others after this turn of the loop: the outcome may not be answered before.
        """
        return self.deliver(self._scripts.settle(application, charges), self._scripts.receipt, now)

    def release(self, application: Application, forwarded: bool = False, now: bool = True) -> asyncio.Future[Receipt]:
        """Send a release; the receipt need not be awaited.

        Args:
            application: the application given to `Store.admit`.
            forwarded: whether the call was sent to the backend: then fixed amounts stay charged.
            now: as of `settle`.
        """
        return self.deliver(self._scripts.release(application, forwarded=forwarded), self._scripts.receipt, now)

    def defer(self, application: Application, context: bytes, events: Sequence[str] = ()) -> asyncio.Future[Receipt]:
        """Keep a hold open for a response on another stream; the (empty) receipt need not be awaited.

        Args:
            application: the admitted application.
            context: pricing context of the response.
            events: `keys.event_digest` of the events from which the stream can be resumed.
        """
        return self.deliver(self._scripts.defer(application, context, events))

    def deliver(self, command: Command, read: Read = _without_costs, now: bool = True) -> asyncio.Future[Receipt]:
        """Send an idempotent command, and retry it until it is acknowledged; the receipt need not be awaited.

        Args:
            command: the command.
            read: decodes the reply; by default, the receipt is empty.
            now: see `resp.RespTransport.write`.
        """
        loop = self._loop = self._loop or asyncio.get_running_loop()
        outcome = loop.create_future()
        delivery = _Delivery(self, command, read, outcome)
        self.undelivered += 1
        try:
            self._servers.at(command.key).write(command.packed, delivery, now)
        except UnsentError:
            self._requeue(delivery)
        return outcome

    def written(self) -> Awaitable[object] | None:
        """Return what is done once all that was sent has left for its server, where it is retried; None if it has."""
        waiting = [each for node in self._servers.nodes if (each := node.written()) is not None]
        return asyncio.gather(*waiting) if len(waiting) > 1 else waiting[0] if waiting else None

    async def drain(self) -> None:
        """Wait until the store has acknowledged everything."""
        while self.undelivered:
            self._idle = self._idle or asyncio.get_running_loop().create_future()
            await asyncio.shield(self._idle)

    async def close(self, grace: float) -> None:
        """Deliver pending commands for at most `grace` seconds, then fail the rest, so that callers record it."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace):
                await self.drain()
        self._closed = True
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        while self._retries:
            self._requeue(self._retries.popleft())

    def acknowledged(self) -> None:
        """Count a command that the store has run."""
        self._pause = _RETRY_PAUSE[0]
        self.undelivered -= 1
        if not self.undelivered and self._idle is not None:
            self._idle.set_result(None)
            self._idle = None

    def abandon(self, delivery: _Delivery, fault: BaseException) -> None:
        """Give up a command that the store has run, and whose script has failed or answered something else."""
        self.abandoned += 1
        delivery.fail(fault)

    def failed(self, delivery: _Delivery, fault: BaseException) -> None:
        """Retry a command that may not have run; abandon any other."""
        if isinstance(fault, RejectedError) and fault.code not in NEVER_RAN:
            self.acknowledged()
            self.abandon(delivery, fault)
        elif not (isinstance(fault, RejectedError) and self._resend(delivery, fault)):
            self._requeue(delivery)

    def _send(self, delivery: _Delivery) -> None:
        delivery.resent = 0
        try:
            self._servers.at(delivery.command.key).write(delivery.command.packed, delivery)
        except UnsentError:
            self._requeue(delivery)

    def _resend(self, delivery: _Delivery, refused: RejectedError) -> bool:
        """Send a rejected command at once to the right server, or with its script; False without such a server."""
        command = delivery.command
        try:
            node = self._servers.redirect(refused, command.key)
            if node is None or delivery.resent == MAX_RESENDS:
                return False
            resend(node, refused, command.packed, delivery, command.script)
        except UnsentError:
            return False
        delivery.resent += 1
        return True

    def _requeue(self, delivery: _Delivery) -> None:
        if self._closed:
            delivery.fail(UnsentError("this process is stopping; the hold is resolved when its lease expires"))
            return
        self._retries.append(delivery)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._retry_all(), name="store deliveries")

    async def _retry_all(self) -> None:
        while self._retries:
            await asyncio.sleep(self._pause)
            if self._servers.up:
                # A server that takes no writes rejects at once: back off, or all pending commands would spin.
                self._pause = min(2 * self._pause, _RETRY_PAUSE[1])
            for _ in range(len(self._retries)):  # in their order; those that fail again are requeued
                self._send(self._retries.popleft())
