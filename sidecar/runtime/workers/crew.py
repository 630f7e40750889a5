"""All workers: covers for those that are dead, reloads one after another, scrapes and health."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, Final

from sidecar.observe.logs import Lines
from sidecar.runtime.readiness import Check
from sidecar.runtime.workers.back_off import BackOff
from sidecar.runtime.workers.channel import ChannelError, Message
from sidecar.runtime.workers.shared_listeners import SharedListeners
from sidecar.runtime.workers.worker_metrics import CombinedMetrics
from sidecar.runtime.workers.worker_slot import CHECK_EVERY, State, WorkerSlot
from sidecar.workbench.loading import Loaded

HUNG_AFTER: Final = 10
"""Checks, one a second, without a sign of life after which a worker is killed."""
SCRAPE_WITHIN: Final = 1.0
"""Seconds for the metrics of all workers; those of a worker that takes longer are the last known ones."""
SIBLINGS_WITHIN: Final = 0.8
"""Seconds for the answers to a worker; it waits for a second."""
RELOAD_WITHIN: Final = 60.0
"""Seconds for each step of a reload in one worker."""
DRAIN_MARGIN: Final = 15.0
"""Seconds beyond `shutdown_grace` after which a draining worker is killed."""

EVERY_REASON: Final = ("died", "hung")


class Crew:
    """The workers.

    Args:
        config: the config file.
        loaded: the files in force at the start.
        listeners: sockets of all workers.
        metrics: of the sidecar.
        lines: the log.
        lease_margin: seconds; see `Sidecar`.
        hung_after: see `HUNG_AFTER`.
        back_off: makes the back-off of each worker.

    Attributes:
        in_force: the files that workers serve by.
        has_served: set once a worker serves.
    """

    def __init__(
        self,
        config: Path,
        loaded: Loaded,
        listeners: SharedListeners,
        metrics: CombinedMetrics,
        lines: Lines,
        lease_margin: float,
        hung_after: int = HUNG_AFTER,
        back_off: Callable[[], BackOff] = BackOff,
    ) -> None:
        self._config = config
        self._listeners = listeners
        self._metrics = metrics
        self._lease_margin = lease_margin
        self._covers: dict[int, int] = {}
        self._draining = False
        self._changing = asyncio.Lock()
        self._files = 1  # number of the files in force
        self._running: set[asyncio.Task[None]] = set()
        self.in_force = loaded
        self.has_served = asyncio.Event()
        metrics.begin(metrics.worker_restarts, EVERY_REASON)
        descriptors = listeners.descriptors
        self.slots = [
            WorkerSlot(number, self, lines, descriptors, hung_after, back_off())
            for number in range(len(listeners.slots))
        ]
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Start the workers."""
        self._tasks = [asyncio.create_task(slot.keep(), name=f"worker {slot.number}") for slot in self.slots]

    async def watch(self) -> None:
        """Check for signs of life, forever. Time in which this process did not run counts for no worker."""
        while True:
            await asyncio.sleep(CHECK_EVERY)
            for slot in self.slots:
                slot.check()
            if not any(slot.serves for slot in self.slots):
                self._serve_with_one()

    def _serve_with_one(self) -> None:
        """While no worker serves, let one accept without its dependencies: clients wait in queues that no worker reads.

        If none has started, start one before its pause ends; not all, because workers that die at their start would
        then use every processor.
        """
        starting = [slot for slot in self.slots if slot.state is State.STARTING]
        if starting:
            for slot in [each for each in starting if each.checks][:1]:
                slot.send({"kind": "accept"})
            return
        paused = [(slot.restart_at, slot.number) for slot in self.slots if slot.restart_at is not None]
        if paused:
            self.slots[min(paused)[1]].resume()

    async def drain(self, grace: float) -> None:
        """Ask all workers to finish their calls and end; kill those that take longer than the grace and a margin."""
        self._draining = True
        for slot in self.slots:
            slot.drain()
        self._listeners.close()  # what waits in their queues is refused now, and not when the last worker has ended
        _, late = await asyncio.wait(self._tasks, timeout=grace + DRAIN_MARGIN)
        for slot in self.slots if late else ():
            slot.kill()
        for task in (*late, *self._running):
            task.cancel()
        await asyncio.gather(*self._tasks, *self._running, return_exceptions=True)

    def leave(self) -> None:
        """Tell the workers that the process will end."""
        for slot in self.slots:
            slot.send({"kind": "leave"})

    # --- what slots report ---

    def begin(self, slot: WorkerSlot) -> Message:
        """Return the first message to a new worker, and note the files that it names."""
        slot.files = self._files
        return {
            "kind": "begin",
            "config": str(self._config),
            "worker": slot.number,
            "workers": len(self.slots),
            "sockets": self._listeners.layout,
            "lease_margin": self._lease_margin,
            "files": _record(self.in_force),
        }

    def changed(self, slot: WorkerSlot) -> None:
        """Cover the slots that do not serve, and update a worker that has begun with older files."""
        if self._draining:
            return
        if slot.serves:
            self.has_served.set()
        self._cover()
        if slot.state is State.SERVING and slot.files != self._files:
            self._spawn(self._update(slot))

    def ended(self, slot: WorkerSlot, reason: str) -> None:
        """Count a replacement; the counters of the worker go on."""
        self._metrics.totals.end(slot.number)
        self._metrics.worker_restarts.labels(reason).inc()

    def metrics(self, slot: WorkerSlot, encoded: bytes) -> None:
        """Keep the newest metrics of a worker."""
        self._metrics.totals.put(slot.number, encoded)

    def ask_siblings(self, slot: WorkerSlot, request: Message) -> None:
        """Pass a request of a worker on to the others, and their answers back."""
        others = [each for each in self.slots if each is not slot and each.serves]
        passed = {name: value for name, value in request.items() if name not in ("kind", "ask")}
        if "ask" not in request:
            for each in others:
                each.send({**passed, "kind": "siblings"})
            return

        async def ask() -> None:
            asked = (each.ask("siblings", SIBLINGS_WITHIN, **passed) for each in others)
            answers = await asyncio.gather(*asked, return_exceptions=True)
            found = [each["found"] for each in answers if isinstance(each, dict) and each["found"] is not None]
            slot.answer(request, found=found[0] if found else None)

        self._spawn(ask())

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    def _cover(self) -> None:
        """Let workers that serve accept on the sockets of those that do not: their clients would wait otherwise."""
        serving = [slot.number for slot in self.slots if slot.serves]
        covers = {slot: cover for slot, cover in self._covers.items() if slot not in serving and cover in serving}
        for slot in self.slots:
            if slot.number not in serving and slot.number not in covers and serving:
                covers[slot.number] = min(serving, key=lambda each: sum(cover == each for cover in covers.values()))
        before, self._covers = self._covers, covers
        for number in {*before.values(), *covers.values()}:
            mine = sorted(slot for slot, cover in covers.items() if cover == number)
            if mine != sorted(slot for slot, cover in before.items() if cover == number):
                self.slots[number].send({"kind": "cover", "slots": mine})

    # --- reload ---

    async def replace(self, loaded: Loaded) -> Sequence[str]:
        """Let all workers serve by other files, one after another, or none.

        Every worker loads them first; nothing has changed until all have. A worker that ends meanwhile is replaced by
        one that begins with them.

        Returns:
            Problems that a worker has with the files; then no worker serves by them.
        """
        async with self._changing:
            serving = [slot for slot in self.slots if slot.state is State.SERVING]
            for slot in serving:
                try:
                    answer = await slot.ask("prepare", RELOAD_WITHIN, files=_record(loaded))
                except ChannelError:
                    continue  # it is replaced, or killed if it hangs
                if answer["problems"]:
                    return [str(problem) for problem in answer["problems"]]
            self.in_force = loaded
            self._files += 1
            for slot in serving:
                await self._commit(slot)
        for slot in self.slots:
            self.changed(slot)  # one that began meanwhile
        return ()

    async def _update(self, slot: WorkerSlot) -> None:
        async with self._changing:
            if slot.files == self._files:
                return
            try:
                answer = await slot.ask("prepare", RELOAD_WITHIN, files=_record(self.in_force))
            except ChannelError:
                return
            if answer["problems"]:
                slot.kill()  # it must not serve by files that are not in force
            else:
                await self._commit(slot)

    async def _commit(self, slot: WorkerSlot) -> None:
        try:
            await slot.ask("commit", RELOAD_WITHIN)
        except ChannelError:
            slot.kill()  # its files are unknown; another worker begins with those in force
        else:
            slot.files = self._files

    # --- scrapes and health ---

    async def scrape(self) -> None:
        """Get the current metrics of all workers."""
        asked = (slot.ask("scrape", SCRAPE_WITHIN) for slot in self.slots if slot.state is State.SERVING)
        await asyncio.gather(*asked, return_exceptions=True)

    def checks(self) -> list[Check]:
        """Return the checks of `/readyz`: a dependency counts as unavailable if one worker cannot reach it."""
        serving = [slot for slot in self.slots if slot.serves and slot.checks]
        found: dict[str, Check] = {}
        for check in (check for slot in serving or self.slots for check in slot.checks):
            known = found.get(check.name)
            if known is None or (known.ok and not check.ok) or (check.required and not (known.required or check.ok)):
                found[check.name] = check
        problem = None
        if len(serving) < len(self.slots):
            missing = ", ".join(str(slot.number) for slot in self.slots if slot not in serving)
            problem = f"{len(serving)} of {len(self.slots)} serve; not: {missing}"
        return [*found.values(), Check("workers", problem, required=not serving)]

    def alive(self) -> tuple[bool, str]:
        """Return the text of `/healthz`, and False while no worker gives signs of life."""
        serving = sum(slot.serves for slot in self.slots)
        starting = any(slot.state is State.STARTING for slot in self.slots)
        return serving > 0 or starting, f"ok\nworkers: {serving} of {len(self.slots)}"


def _record(loaded: Loaded) -> Message:
    return {"texts": loaded.files.texts, "folders": loaded.files.folders}
