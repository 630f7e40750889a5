"""Worker process: a sidecar that serves on inherited sockets, as its supervisor asks over the channel.

Signals of the terminal and the service manager are the supervisor's: a worker ignores them. It drains and ends when it
is asked to, or when its supervisor has ended, however that happened.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import uvloop

from sidecar.config.documents.merging import DocumentError
from sidecar.config.file_reader import FileRecord
from sidecar.observe.logs import FLUSH_WITHIN, Fields, Lines, fault_place, install
from sidecar.observe.redact import cut
from sidecar.runtime.app import Sidecar
from sidecar.runtime.process import COLLECTOR
from sidecar.runtime.workers.channel import Channel, Message
from sidecar.runtime.workers.shared_listeners import SharedListeners
from sidecar.runtime.workers.worker_metrics import encode
from sidecar.runtime.workers.worker_siblings import SiblingRequests, WorkerSiblings
from sidecar.system.threads import LimitedThreads
from sidecar.workbench.loading import Loaded, load

BEAT_EVERY: Final = 1.0
"""Seconds between two signs of life."""
READY_WITHIN: Final = 10.0
"""Seconds after which a worker accepts connections even if a dependency is unavailable."""
METRICS_EVERY: Final = 5.0
"""Seconds between two reports of metrics without a scrape; counts since the last one die with a killed worker."""

_READY_EVERY: Final = 0.05  # seconds between two checks
_MAX_UNSENT_METRICS: Final = 1 << 20
_OF_CALLS: Final = frozenset({"call", "settled"})  # lines with a fixed set of fields


class WorkerLines(Lines):
    """Log of a worker, whose events name it; only workers have one."""

    worker = 0

    def write(self, level: str, event: str, fields: Fields) -> None:
        """Queue one line."""
        super().write(level, event, fields if event in _OF_CALLS else {"worker": self.worker, **fields})


class WorkerProcess:
    """Worker that follows the messages of its supervisor.

    Args:
        lines: the log.
    """

    def __init__(self, lines: WorkerLines) -> None:
        self._lines = lines
        self._channel = Channel(self._received, lost=self._supervisor_ended)
        self._begin: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._stop = asyncio.Event()
        self._disk = LimitedThreads("load")
        self._requests: set[asyncio.Task[None]] = set()
        self._prepared: Loaded | None = None
        self._covered: Sequence[int] = ()
        self._accepts = False
        self._accepts_early = False
        self._sidecar: Sidecar | None = None

    async def run(self, connected: socket.socket) -> int:
        """Serve until the supervisor asks for the end, or ends; return the exit status."""
        await self._channel.open(connected)
        tasks = [asyncio.create_task(self._beat(), name="beat")]
        try:
            begin = await self._begin
            self._lines.worker = begin["worker"]
            await self._serve(begin, tasks)
        except asyncio.CancelledError:
            return 1  # the supervisor has ended before it said how to begin
        except DocumentError as error:
            for each in error.problems:  # problems name files, lines and keys, and never hold a value
                self._lines.write("error", "worker_failed", {"problem": cut(str(each), 1000)})
            return 1
        except Exception as error:  # noqa: BLE001 - the log gets the place; the supervisor starts another worker
            problem = str(error) if isinstance(error, OSError) else fault_place(error)
            self._lines.event("worker_failed", "error", problem=problem)
            return 1
        finally:
            for task in tasks:
                task.cancel()
        await self._channel.close()
        return 0

    async def _serve(self, begin: Message, tasks: list[asyncio.Task[None]]) -> None:
        self._config, self._workers = Path(begin["config"]), begin["workers"]
        self._slots = SharedListeners.inherited(begin["sockets"]).slots
        loaded = await self._load(begin["files"])
        self._lines.follow(loaded.settings.log)
        async with Sidecar(self._config, loaded, self._lines, begin["lease_margin"], supervised=True) as sidecar:
            self._sidecar = sidecar
            self._calls = SiblingRequests(sidecar.pipeline.requests)
            sidecar.pipeline.siblings = WorkerSiblings(self._channel)
            tasks.append(asyncio.create_task(self._report(), name="metrics"))
            await self._await_ready(sidecar)
            self._accepts = True
            self._accept(sidecar)
            self._channel.send({"kind": "serving", "checks": self._checks()})
            await self._stop.wait()
            sidecar.listeners.accept(())
            for each in (each for slot in self._slots for each in slot):
                each.close()
        await self._send_metrics(sidecar)

    async def _await_ready(self, sidecar: Sidecar) -> None:
        """Wait until calls can succeed: meanwhile, another worker accepts on the sockets of this one.

        While no worker serves, the supervisor lets one accept earlier, so that clients are refused with the reason. The
        others wait: `/readyz` would fail again for each that connects later, and take the sidecar from load balancers.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(READY_WITHIN):
                while True:
                    if sidecar.readiness.ready or self._accepts_early or self._stop.is_set():
                        return
                    await asyncio.sleep(_READY_EVERY)

    def _accept(self, sidecar: Sidecar) -> None:
        if self._accepts and not self._stop.is_set():
            slots = (self._lines.worker, *self._covered)
            sidecar.listeners.accept([each for slot in slots for each in self._slots[slot]])

    async def _load(self, files: Message) -> Loaded:
        """Load the files in force, which may differ from those on disk."""
        record = FileRecord(files["texts"], files["folders"])

        def loaded() -> Loaded:
            return load(self._config, record=record).shared_by(self._workers)

        return await self._disk.run(loaded)

    # --- the supervisor's side of the channel ---

    def _received(self, message: Message) -> None:
        kind = message["kind"]
        if kind == "begin":
            self._begin.set_result(message)
        elif kind == "drain":
            self._stop.set()
        elif self._sidecar is None:
            return  # asked too early, by a supervisor that has not heard that it serves
        elif kind == "siblings":
            found = self._calls.serve(message)
            if "ask" in message:
                self._channel.answer(message, found=found)
        elif kind == "accept":
            self._accepts_early = True
        elif kind == "leave":
            self._sidecar.begin_leaving()
        elif kind == "cover":
            self._covered = message["slots"]
            self._accept(self._sidecar)
        else:
            task = asyncio.create_task(self._answer(message, self._sidecar), name=kind)
            self._requests.add(task)
            task.add_done_callback(self._requests.discard)

    async def _answer(self, message: Message, sidecar: Sidecar) -> None:
        kind = message["kind"]
        if kind == "scrape":
            await self._send_metrics(sidecar, message["ask"])
        elif kind == "prepare":
            self._channel.answer(message, problems=await self._prepare(message))
        elif kind == "commit" and self._prepared is not None:
            prepared, self._prepared = self._prepared, None
            await sidecar.files_in_force.replace(prepared)
            self._lines.follow(prepared.settings.log)
            self._channel.answer(message)

    async def _prepare(self, message: Message) -> list[str]:
        try:
            self._prepared = await self._load(message["files"])
        except DocumentError as error:
            return [str(problem) for problem in error.problems]
        except Exception as error:  # noqa: BLE001 - whatever files can cause, the reload is refused
            return [f"the files cannot be loaded: {fault_place(error)}"]
        return []

    def _supervisor_ended(self) -> None:
        self._begin.cancel()
        if not self._stop.is_set():
            self._lines.event("supervisor_lost", "error", problem="the supervisor has ended; this worker drains")
            self._stop.set()

    # --- reports ---

    async def _beat(self) -> None:
        while True:
            self._channel.send({"kind": "beat", "checks": self._checks()})
            await asyncio.sleep(BEAT_EVERY)

    def _checks(self) -> list[Any]:
        checks = () if self._sidecar is None else self._sidecar.readiness.now()
        return [[each.name, each.unavailable_reason, each.required] for each in checks]

    async def _report(self) -> None:
        while self._sidecar is not None:
            if self._channel.unsent < _MAX_UNSENT_METRICS:
                await self._send_metrics(self._sidecar)
            await asyncio.sleep(METRICS_EVERY)

    async def _send_metrics(self, sidecar: Sidecar, number: int = 0) -> None:
        await sidecar.gauges.refresh()
        self._channel.send_metrics(await encode(sidecar.metrics.registry), number)


def main(words: Sequence[str]) -> int:
    """Be a worker on the channel with this descriptor."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    gc.set_threshold(*COLLECTOR)
    lines = WorkerLines()
    install(lines)
    try:
        return uvloop.run(_run(lines, socket.socket(fileno=int(words[0]))))
    finally:
        with contextlib.suppress(OSError):
            lines.flush(FLUSH_WITHIN)


async def _run(lines: WorkerLines, connected: socket.socket) -> int:
    return await WorkerProcess(lines).run(connected)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
