"""One sidecar process: its two listeners and everything behind them, from its start to its end."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Self

from sidecar.account_page.site import AccountPage
from sidecar.config.files import FilesStamp
from sidecar.config.settings.addresses import Address
from sidecar.config.settings.settings import IssuerSettings, Settings
from sidecar.identity.egress.proxies import Proxies
from sidecar.identity.issuers import IssuerRegistry
from sidecar.observe.logs import Lines
from sidecar.observe.metrics import Metrics
from sidecar.observe.record import Recorder
from sidecar.observe.repeats import Repeats
from sidecar.observe.tracing.exporter import FLUSH_WITHIN as EXPORT_WITHIN
from sidecar.observe.tracing.setup import start_tracing
from sidecar.observe.tracing.tracer import Tracer
from sidecar.policy.rules import Policy
from sidecar.proxy.admit import LEASE_MARGIN
from sidecar.proxy.listener.accepting.acceptors import Listeners
from sidecar.proxy.listener.accepting.client_server import ClientServer
from sidecar.proxy.listener.http_errors import check_parser, refused
from sidecar.proxy.memory import MemoryLease
from sidecar.proxy.relay.streams import StreamEnding
from sidecar.proxy.snapshot import Snapshot
from sidecar.runtime.admin import Admin
from sidecar.runtime.admin_api_listener import AdminApiListener
from sidecar.runtime.background import BackgroundTasks
from sidecar.runtime.control.reload_answer import ReloadCause
from sidecar.runtime.dependencies import Dependencies
from sidecar.runtime.gauges import Gauges
from sidecar.runtime.readiness import Readiness
from sidecar.runtime.reload import FilesInForce, Reloader
from sidecar.runtime.request_path import RequestPath
from sidecar.runtime.shutdown import SETTLE_GRACE, close_log, wait_unless
from sidecar.runtime.sweeper import sweep_forever
from sidecar.runtime.watches.backend_watch import BackendWatch
from sidecar.runtime.watches.files_watch import FilesWatch
from sidecar.runtime.watches.store_watch import StoreWarnings, StoreWatch, check_forever, keep_layout_version
from sidecar.runtime.watches.tls_reload import Certificates, backend_pool
from sidecar.store.commands import scripts
from sidecar.store.store import Store
from sidecar.system.loop_lag import measure_forever
from sidecar.system.threads import LimitedThreads
from sidecar.workbench.loading import Loaded


class Sidecar:
    """Running sidecar: `async with Sidecar(...)` listens, and leaving it shuts down gracefully.

    Args:
        config: the config file, read again by `reload`.
        loaded: settings, policy and credentials from it.
        lines: the log.
        lease_margin: seconds that a hold outlives its call's timeout before another process may resolve it.
        supervised: True for a worker: its supervisor opens all listeners, and reloads.

    Attributes:
        listeners: its listeners.
        readiness: the checks of `/readyz`.
        request_path: serves calls.
        gauges: brings the gauges up to date.
    """

    def __init__(
        self,
        config: Path,
        loaded: Loaded,
        lines: Lines,
        lease_margin: float = LEASE_MARGIN,
        supervised: bool = False,
    ) -> None:
        settings = loaded.settings
        self._config = config
        self._lines = lines
        self._repeats = Repeats(lines)
        self._loaded = loaded
        self._lease_margin = lease_margin
        self._supervised = supervised
        self.metrics = Metrics()
        lines.dropped = self.metrics.log_dropped.inc
        self.store = Store(
            settings.store.url,
            scripts,
            directory=settings.store.directory if settings.store.embedded else None,
            on_warnings=StoreWarnings(self.metrics, lines).report,
        )
        self._issuers = IssuerRegistry(
            introspected=self.metrics.introspected,
            evicted=self.metrics.evicted,
            unmatched=self._unmatched,
            proxies=Proxies.of(os.environ),
        )
        self._upstream = backend_pool(settings, loaded.tls)  # until a reload replaces it; see `Snapshot`
        self._certificates = Certificates(settings, loaded.tls, self._upstream, self.metrics, lines)
        self._backend = BackendWatch(lambda: self.pipeline.snapshot, self._repeats, self._memory_of_listing)
        self._store_watch = StoreWatch(self.store, self._repeats, embedded=settings.store.embedded)
        dependencies = Dependencies(self._configured_issuers, self._issuers, self._store_watch, self._backend)
        self.readiness = Readiness(dependencies.checks, self._repeats)
        self._tasks = BackgroundTasks(self._repeats)
        self._stack = contextlib.AsyncExitStack()
        self.listeners = Listeners(self._stack, self.metrics, self._repeats)
        self._grace_ends = 0.0
        self._files = FilesWatch(config, loaded, self._in_force, self._repeats, self._reload_watched)

    @property
    def addresses(self) -> dict[str, Address]:
        """First TCP address that each listener is bound to: port 0 has become a port."""
        return {name: addresses[0] for name, addresses in self.listeners.addresses.items() if addresses}

    @property
    def lines(self) -> Lines:
        """Log of the process."""
        return self._lines

    async def __aenter__(self) -> Self:
        """Start listening; `/readyz` reports dependencies that are not reachable yet.

        Raises:
            OSError: an address cannot be listened on.
        """
        check_parser()
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def _start(self) -> None:
        settings = self._loaded.settings
        await self._stack.enter_async_context(self._issuers)
        self._stack.callback(lambda: self.pipeline.snapshot.upstream.close())
        self._stack.push_async_callback(self.store.close, SETTLE_GRACE)
        recorder = Recorder(self.metrics, self._lines, tracer=self._tracer(settings))
        snapshot = Snapshot.of(settings, self._loaded.policy, self._issuers, self._upstream)
        self.request_path = RequestPath(snapshot, self.store, recorder, self.metrics, self._lease_margin)
        self.pipeline = self.request_path.pipeline
        page = AccountPage(self.store, settings.store, self._issuers, self.pipeline.memory, self._repeats)
        self._stack.push_async_callback(page.close)
        self.pipeline.page = page.answer
        self._admin_api = AdminApiListener(self._in_force, self._lines, self._repeats, self.metrics)
        self.reloader = self._make_reloader()
        self.gauges = self._make_gauges()
        self.reloader.warn(self._loaded)
        self.reloader.succeeded()
        self._start_tasks()
        await self._listen(settings)

    def _tracer(self, settings: Settings) -> Tracer | None:
        if settings.tracing is None:
            return None
        tracer, exporter = start_tracing(settings.tracing, self.metrics, self._repeats)
        self._stack.push_async_callback(LimitedThreads("export").run, exporter.flush, EXPORT_WITHIN)
        return tracer

    def _start_tasks(self) -> None:
        # Tasks end before the store is closed, and after the listeners have been.
        self._stack.push_async_callback(self._end_tasks)
        start = self._tasks.start
        start(self._store_watch.connect, "store")
        start(self.readiness.watch, "readiness", after=0.1)
        start(self._backend.reach, "backend")
        start(self._backend.list_forever, "backend tools")
        start(partial(sweep_forever, self.store, self.metrics), "sweep")
        start(partial(check_forever, self.store), "store warnings")
        self.request_path.start(self._tasks)
        start(partial(keep_layout_version, self.store), "layout mark", after=0.4)
        start(self._certificates.watch, "certificates", after=0.6)
        if not self._supervised:
            start(self._files.watch, "files", after=0.7)
        start(partial(measure_forever, self.metrics.loop_lag.observe), "event loop")

    async def _listen(self, settings: Settings) -> None:
        listeners = self.listeners
        if not self._supervised:
            admin = Admin(self.metrics, self.readiness, self.gauges.refresh, lambda: self._in_force()[0].admin_hosts)
            await admin.listen(listeners, settings)
            await self._admin_api.open(listeners, self._stack, self._loaded.tls.admin_api)
        public = ClientServer(self.pipeline.handle, refused(self.request_path.malformed), settings.limits)
        outside, tls = [each.address for each in settings.listen], self._certificates.listeners
        await listeners.open("listen", outside, tls, public, self._grace, () if self._supervised else None)
        self._stack.callback(self._stopping)
        if self._supervised:
            return
        await self.reloader.serve_commands(settings.control, self._stack)
        self._lines.event(
            "listening",
            resource=settings.resource,
            listen=listeners.words("listen"),
            admin=listeners.words("admin"),
            policy=self._loaded.policy.revision,
            connections=listeners.most["listen"],
        )

    async def __aexit__(self, *_: object) -> None:
        """Stop: no new requests, streams ended, calls in flight finished within the grace, holds resolved."""
        await self._stack.aclose()
        await close_log(self._lines)

    def begin_leaving(self) -> None:
        """Report in `/readyz` that the process will end, and end each connection with its next answer."""
        self.readiness.stopping = True
        self.listeners.keep_no_connections()

    async def await_endpoints(self, cut_short: asyncio.Event) -> None:
        """Keep serving for `shutdown_delay` while load balancers learn that the process will end.

        Args:
            cut_short: ends the wait when set.
        """
        self.begin_leaving()
        await wait_unless(cut_short, self._in_force()[0].shutdown_delay)

    async def reload(self) -> bool:
        """Reload the files, as SIGHUP asks; return whether they are in force now."""
        return (await self.reloader.reload(ReloadCause.SIGNAL)).ok

    async def _reload_watched(self, seen: FilesStamp) -> None:
        await self.reloader.watched(seen)

    def _grace(self) -> float:
        return self._in_force()[0].shutdown_grace

    def _make_reloader(self) -> Reloader:
        self.files_in_force = FilesInForce(
            self.pipeline,
            issuers=self._issuers,
            certificates=self._certificates,
            listeners=self.listeners,
            backend=self._backend,
            applied=self.request_path.revocations.check_soon,
            metrics=self.metrics,
        )
        self.files_in_force.begin_series()
        replace = self.files_in_force.replace
        return Reloader(
            self._config,
            self._in_force,
            replace,
            files=self._files,
            admin_api=self._admin_api,
            metrics=self.metrics,
            lines=self._lines,
        )

    def _make_gauges(self) -> Gauges:
        return Gauges(
            self.metrics,
            store=self.store,
            pipeline=self.pipeline,
            admission=self.request_path.admission,
            revocations=self.request_path.revocations,
            backend=self._backend,
            issuers=self._issuers,
            listeners=self.listeners,
            readiness=self.readiness,
            files=self._files,
            certificates=self._certificates,
        )

    def _unmatched(self, issuer: str, path: str) -> None:
        self._repeats.event("scope_path_unmatched", "warning", plain=True, issuer=issuer, path=path)

    def _configured_issuers(self) -> Sequence[IssuerSettings]:
        return self.pipeline.snapshot.settings.issuers

    def _in_force(self) -> tuple[Settings, Policy]:
        snapshot = self.pipeline.snapshot
        return snapshot.settings, snapshot.policy

    def _stopping(self) -> None:
        self._grace_ends = asyncio.get_running_loop().time() + self._grace()
        self.pipeline.stopping = True
        self.readiness.stopping = True
        self.pipeline.streams.end_all(StreamEnding.STOPPING)
        self.pipeline.confirmations.waiting.stop()

    async def _end_tasks(self) -> None:
        await self.request_path.forwarder.close(max(0.0, self._grace_ends - asyncio.get_running_loop().time()))
        await self._tasks.cancel()

    def _memory_of_listing(self) -> MemoryLease:
        """Open a lease for a list of the backend's tools, which no account has asked for."""
        return self.pipeline.memory.lease("backend tools", self.pipeline.snapshot.settings.limits.memory)
