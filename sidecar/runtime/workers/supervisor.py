"""Supervisor of several workers: admin listener, signals, reloads and the embedded store are its own."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Self

from sidecar.config.files import FilesStamp
from sidecar.config.settings.settings import Settings
from sidecar.observe.logs import Lines
from sidecar.observe.redact import sentence
from sidecar.observe.repeats import Repeats
from sidecar.policy.rules import Policy
from sidecar.proxy.admit import LEASE_MARGIN
from sidecar.proxy.listener.accepting.acceptors import Listeners
from sidecar.runtime.admin import Admin
from sidecar.runtime.admin_api_listener import AdminApiListener
from sidecar.runtime.background import BackgroundTasks
from sidecar.runtime.control.reload_answer import ReloadCause
from sidecar.runtime.readiness import Check, Readiness
from sidecar.runtime.reload import Reloader
from sidecar.runtime.shutdown import close_log, wait_unless
from sidecar.runtime.watches.files_watch import FilesWatch
from sidecar.runtime.workers.crew import HUNG_AFTER, Crew
from sidecar.runtime.workers.shared_listeners import SharedListeners
from sidecar.runtime.workers.worker_metrics import CombinedMetrics
from sidecar.store.embedded.embedded_server import EmbeddedError, EmbeddedStore
from sidecar.system.processors import processors
from sidecar.system.threads import LimitedThreads
from sidecar.workbench.loading import Loaded

_STORE_AGAIN: Final = 1.0  # seconds between two attempts to start the embedded store
_SERVE_WITHIN: Final = 15.0  # seconds that the start waits for a worker that serves
_STORE_WITHIN: Final = 5.0  # seconds that workers wait for it


def worker_count(settings: Settings) -> int:
    """Return the number of processes that serve; `auto` is as many as there are processors and memory for."""
    if settings.workers == "auto":
        return min(processors(), settings.limits.most_workers)
    return settings.workers


class Supervisor:
    """Running supervisor: `async with Supervisor(...)` listens, and leaving it drains all workers.

    Args:
        config: the config file, read again by `reload`.
        loaded: settings and policy from it.
        lines: the log.
        workers: number of workers.
        lease_margin: seconds; see `Sidecar`.
        hung_after: seconds without a sign of life after which a worker is killed.
    """

    def __init__(
        self,
        config: Path,
        loaded: Loaded,
        lines: Lines,
        workers: int,
        lease_margin: float = LEASE_MARGIN,
        hung_after: int = HUNG_AFTER,
    ) -> None:
        self._config = config
        self._loaded = loaded
        self._lines = lines
        self._workers = workers
        self._lease_margin = lease_margin
        self._hung_after = hung_after
        self._repeats = Repeats(lines)
        self._metrics = CombinedMetrics()
        lines.dropped = self._metrics.log_dropped.inc
        self._readiness = Readiness(self._checks, self._repeats)
        self._files = FilesWatch(config, loaded, self._in_force, self._repeats, self._reload_watched)
        self._admin_api = AdminApiListener(self._in_force, lines, self._repeats, self._metrics)
        self._stack = contextlib.AsyncExitStack()
        self._threads = LimitedThreads("embedded store")
        self._tasks = BackgroundTasks(self._repeats)

    async def __aenter__(self) -> Self:
        """Listen, and start the workers.

        Raises:
            OSError: an address cannot be listened on.
        """
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        """Drain the workers, then end what is the supervisor's own."""
        self._readiness.stopping = True
        await self._stack.aclose()
        await close_log(self._lines)

    async def _start(self) -> None:
        settings = self._loaded.settings
        sockets = await SharedListeners.open([each.address for each in settings.listen], self._workers)
        self._stack.callback(sockets.close)
        self._crew = Crew(
            self._config, self._loaded, sockets, self._metrics, self._lines, self._lease_margin, self._hung_after
        )
        self._reloader = reload = self._make_reloader()
        listeners = Listeners(self._stack, self._metrics, self._repeats)
        await self._open_admin(settings, listeners)
        await reload.serve_commands(settings.control, self._stack)
        if settings.store.embedded:
            await self._hold_store(EmbeddedStore(settings.store.directory))
        await self._admin_api.open(listeners, self._stack, self._loaded.tls.admin_api)
        reload.warn(self._loaded)
        reload.succeeded()
        await self._start_workers()
        self._lines.event(
            "listening",
            resource=settings.resource,
            listen=sockets.words(),
            admin=listeners.words("admin"),
            policy=self._loaded.policy.revision,
            connections=listeners.most["listen"] * self._workers,
            workers=self._workers,
        )

    async def _start_workers(self) -> None:
        self._stack.push_async_callback(self._end)
        self._crew.start()
        for name, task in (
            ("workers", self._crew.watch),
            ("readiness", self._readiness.watch),
            ("files", self._files.watch),
        ):
            self._tasks.start(task, name)
        # Until then, the kernel takes connections that no worker answers.
        await wait_unless(self._crew.has_served, _SERVE_WITHIN)

    def _make_reloader(self) -> Reloader:
        return Reloader(
            self._config,
            self._in_force,
            self._crew.replace,
            files=self._files,
            admin_api=self._admin_api,
            metrics=self._metrics,
            lines=self._lines,
        )

    async def _open_admin(self, settings: Settings, listeners: Listeners) -> None:
        admin = Admin(
            self._metrics,
            self._readiness,
            self._refresh,
            lambda: self._crew.in_force.settings.admin_hosts,
            self._crew.alive,
        )
        await admin.listen(listeners, settings)

    async def _hold_store(self, store: EmbeddedStore) -> None:
        """Start the embedded store before the workers, and stop it after them."""
        self._stack.push_async_callback(self._threads.run, store.leave)
        entered = asyncio.Event()

        async def enter() -> None:
            while not entered.is_set():
                try:
                    await self._threads.run(store.enter)
                except EmbeddedError as error:
                    problem = sentence(str(error))
                    self._repeats.event("store_unavailable", "error", plain=True, problem=problem)
                    await asyncio.sleep(_STORE_AGAIN)
                else:
                    entered.set()

        self._tasks.start(enter, "embedded store")
        with contextlib.suppress(TimeoutError):  # the workers report it
            async with asyncio.timeout(_STORE_WITHIN):
                await entered.wait()

    # --- as `runtime.process` uses a sidecar ---

    async def reload(self) -> bool:
        """Reload the files, as SIGHUP asks; return whether they are in force now."""
        return (await self._reloader.reload(ReloadCause.SIGNAL)).ok

    async def await_endpoints(self, cut_short: asyncio.Event) -> None:
        """Keep serving for `shutdown_delay` while load balancers learn that the process will end.

        Args:
            cut_short: ends the wait when set.
        """
        self._readiness.stopping = True
        self._crew.leave()
        await wait_unless(cut_short, self._crew.in_force.settings.shutdown_delay)

    # --- parts ---

    async def _reload_watched(self, seen: FilesStamp) -> None:
        await self._reloader.watched(seen)

    def _in_force(self) -> tuple[Settings, Policy]:
        loaded = self._crew.in_force
        return loaded.settings, loaded.policy

    def _checks(self) -> Sequence[Check]:
        return self._crew.checks()

    async def _refresh(self) -> None:
        await self._crew.scrape()
        metrics = self._metrics
        metrics.files_valid.set(self._files.valid)
        metrics.files_differ.set(self._files.differ)
        metrics.ready.set(self._readiness.ready)
        metrics.refresh()

    async def _end(self) -> None:
        await self._crew.drain(self._crew.in_force.settings.shutdown_grace)
        await self._tasks.cancel()
