"""Slot of one worker: its process, its signs of life, and its replacement when it dies or hangs."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sys
from enum import Enum, auto
from typing import Any, Final, Protocol

from sidecar.observe.logs import Lines
from sidecar.runtime.readiness import Check
from sidecar.runtime.workers.back_off import BackOff
from sidecar.runtime.workers.channel import Channel, ChannelError, Message

CHECK_EVERY: Final = 1.0
"""Seconds between two checks for signs of life, as often as a worker gives them."""
SILENT_AFTER: Final = 3
"""Checks without a sign after which others accept for a worker."""
START_WITHIN: Final = 90
"""Checks without a sign that a starting worker may take: the interpreter and the policy have to be loaded."""

_MODULE: Final = "sidecar.runtime.workers.worker_process"


class State(Enum):
    """State of a slot."""

    DOWN = auto()
    STARTING = auto()
    SERVING = auto()


class SlotOwner(Protocol):
    """The supervisor, as a slot sees it."""

    def begin(self, slot: WorkerSlot) -> Message:
        """Return the first message to a new worker, and note the files that it names."""

    def changed(self, slot: WorkerSlot) -> None:
        """React to another state of the slot."""

    def ended(self, slot: WorkerSlot, reason: str) -> None:
        """React to the end of its process."""

    def metrics(self, slot: WorkerSlot, encoded: bytes) -> None:
        """Take its metrics."""

    def ask_siblings(self, slot: WorkerSlot, request: Message) -> None:
        """Pass a request of its worker on to the others."""


class WorkerSlot:
    """One slot.

    Args:
        number: of the slot, from 0.
        owner: is notified of changes.
        lines: the log.
        descriptors: that each worker inherits.
        hung_after: checks without a sign of life after which a worker is killed.
        back_off: chooses the pauses between two workers.

    Attributes:
        state: see `State`.
        files: number of the files that the worker serves by.
        checks: its checks of `/readyz`.
        pid: of its process; None without one.
        restart_at: end of the pause before its next worker, on the loop's clock; None while there is no pause.
    """

    def __init__(
        self,
        number: int,
        owner: SlotOwner,
        lines: Lines,
        descriptors: tuple[int, ...],
        hung_after: int,
        back_off: BackOff,
    ) -> None:
        self.number = number
        self._owner = owner
        self._lines = lines
        self._descriptors = descriptors
        self._hung_after = hung_after
        self._back_off = back_off
        self._stopping = False
        self._resumed = asyncio.Event()
        self._missed = 0
        self._hung = False
        self._process: asyncio.subprocess.Process | None = None
        self._channel: Channel | None = None
        self._loop = asyncio.get_running_loop()
        self.state = State.DOWN
        self.files = 0
        self.checks: list[Check] = []
        self.restart_at: float | None = None
        self._serving_since: float | None = None

    @property
    def pid(self) -> int | None:
        """Process id of the worker; None without one."""
        return None if self._process is None else self._process.pid

    @property
    def serves(self) -> bool:
        """True while the worker serves and gives signs of life."""
        return self.state is State.SERVING and self._missed < SILENT_AFTER

    async def keep(self) -> None:
        """Start a worker, and replace it whenever it ends, until `drain`."""
        while not self._stopping:
            self._serving_since = None
            try:
                reason = await self._run()
            except OSError as error:  # no process can be started
                reason = f"it cannot be started: {(error.strerror or str(error)).lower()}"
            if self._stopping:
                return
            pause = self._back_off.pause(self._served())
            self._lines.event("worker_ended", "error", worker=self.number, problem=reason, restart_in=pause)
            self._owner.ended(self, "hung" if self._hung else "died")
            await self._rest(pause)

    def _served(self) -> float:
        """Return the seconds for which the last worker has served; its start may take long on a busy machine."""
        return 0.0 if self._serving_since is None else self._loop.time() - self._serving_since

    def resume(self) -> None:
        """End the pause before the next worker."""
        self._resumed.set()

    async def _rest(self, pause: float) -> None:
        self._resumed.clear()
        self.restart_at = self._loop.time() + pause
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(self.restart_at):
                await self._resumed.wait()
        self.restart_at = None

    def check(self) -> None:
        """Count one check without a sign of life; kill a worker that has given none for too long."""
        if self._process is None:
            return
        self._missed += 1
        if self._missed == SILENT_AFTER:
            self._owner.changed(self)
        limit = START_WITHIN if self.state is State.STARTING else self._hung_after
        if self._missed >= limit and not self._hung:
            self._hung = True
            self._lines.event("worker_hung", "error", worker=self.number, pid=self.pid, seconds=self._missed)
            self.kill()

    def kill(self) -> None:
        """Kill the worker."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    def drain(self) -> None:
        """Ask the worker to finish its calls and end; start no other."""
        self._stopping = True
        self._resumed.set()
        self.send({"kind": "drain"})

    def send(self, message: Message) -> None:
        """Send a message to the worker, if there is one."""
        if self._channel is not None:
            self._channel.send(message)

    async def ask(self, kind: str, within: float, **fields: Any) -> Message:
        """Ask the worker.

        Raises:
            ChannelError: it has ended, or does not answer in time.
        """
        if self._channel is None:
            raise ChannelError("there is no process")
        return await self._channel.ask(kind, within, **fields)

    def answer(self, request: Message, **fields: Any) -> None:
        """Answer a request of the worker."""
        if self._channel is not None:
            self._channel.answer(request, **fields)

    # --- one process ---

    async def _run(self) -> str:
        """Run one worker to its end; return a sentence about it."""
        mine, its = socket.socketpair()
        self._missed, self._hung = 0, False
        channel = Channel(self._received, lambda encoded: self._owner.metrics(self, encoded))
        try:
            with its:
                process = self._process = await asyncio.create_subprocess_exec(
                    *command(its.fileno()),
                    stdin=asyncio.subprocess.DEVNULL,
                    pass_fds=(its.fileno(), *self._descriptors),
                )
            await channel.open(mine)
            self._channel = channel
            self._enter(State.STARTING)
            channel.send(self._owner.begin(self))
            if self._stopping:
                self.drain()
            self._lines.event("worker_started", worker=self.number, pid=process.pid)
            status = await process.wait()
            await channel.ended()  # its last metrics
            return _reason(status)
        finally:
            await channel.close()
            mine.close()
            self.kill()
            self._channel = self._process = None
            self.checks = []
            self._enter(State.DOWN)

    def _received(self, message: Message) -> None:
        was_silent = self._missed >= SILENT_AFTER
        self._missed = 0
        if message["kind"] == "siblings":
            self._owner.ask_siblings(self, message)
        else:
            self.checks = [Check(name, reason, required) for name, reason, required in message["checks"]]
        if message["kind"] == "serving":
            self._serving_since = self._loop.time()
            self._enter(State.SERVING)
        if was_silent:
            self._owner.changed(self)

    def _enter(self, state: State) -> None:
        self.state = state
        self._owner.changed(self)


def command(descriptor: int) -> list[str]:
    """Return the command of a worker with this channel; it finds the package where this process has found it."""
    # `python -m` looks in the working directory first, which a script such as `mcp-sidecar` does not.
    safe = [] if getattr(sys.modules["__main__"], "__spec__", None) is not None else ["-P"]
    return [sys.executable, *safe, "-m", _MODULE, str(descriptor)]


def _reason(status: int) -> str:
    if status >= 0:
        return f"it ended with status {status}"
    with contextlib.suppress(ValueError):
        return f"it was killed by {signal.Signals(-status).name}"
    return f"it was killed by signal {-status}"
