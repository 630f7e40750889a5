"""One sidecar process: its two listeners and everything behind them, from its start to its end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any, Final, Self

from sidecar.config.files import FilesStamp
from sidecar.config.settings.scalars import Address
from sidecar.config.settings.settings import IssuerSettings, Settings
from sidecar.errors import Refusal
from sidecar.identity.egress.proxies import Proxies
from sidecar.identity.issuers import IssuerRegistry
from sidecar.identity.jwt.discovery import bare
from sidecar.observe.logs import FLUSH_WITHIN, Lines
from sidecar.observe.metrics import Metrics
from sidecar.observe.record import Recorder
from sidecar.observe.repeats import Repeats
from sidecar.observe.tracing.exporter import FLUSH_WITHIN as EXPORT_WITHIN
from sidecar.observe.tracing.setup import start_tracing
from sidecar.observe.tracing.tracer import Tracer
from sidecar.outcome import Exchange
from sidecar.policy.rules import Policy
from sidecar.proxy.admit import LEASE_MARGIN, Admission
from sidecar.proxy.calls.traced_admission import TracedAdmission
from sidecar.proxy.forward import Forwarder
from sidecar.proxy.listener.accepting.acceptors import Listeners
from sidecar.proxy.listener.client_server import ClientServer
from sidecar.proxy.listener.http_errors import check_parser, refused
from sidecar.proxy.memory import MemoryLease
from sidecar.proxy.pipeline import Pipeline
from sidecar.proxy.relay.resuming import Resuming
from sidecar.proxy.relay.revocations import Revocations
from sidecar.proxy.relay.streams import StreamEnding
from sidecar.proxy.snapshot import Snapshot
from sidecar.runtime.admin import Admin
from sidecar.runtime.backend_watch import BackendWatch
from sidecar.runtime.background import run_forever
from sidecar.runtime.control.control_socket import ControlSocket
from sidecar.runtime.control.reload_answer import ReloadCause
from sidecar.runtime.files_watch import FilesWatch
from sidecar.runtime.gauges import refresh_backend, refresh_issuers
from sidecar.runtime.readiness import Check, Readiness
from sidecar.runtime.reload import FilesInForce, Reloader
from sidecar.runtime.store_watch import StoreWarnings, StoreWatch, check_forever, keep_layout_version
from sidecar.runtime.sweeper import sweep_forever
from sidecar.runtime.tls_reload import Certificates, backend_pool
from sidecar.store.commands import scripts
from sidecar.store.revocation_times import RevocationTimes
from sidecar.store.store import Store
from sidecar.store.stream_key import StreamKey
from sidecar.system.loop_lag import measure_forever
from sidecar.system.threads import LimitedThreads
from sidecar.workbench.loading import Loaded

ADMIN_GRACE: Final = 5.0  # seconds for scrapes in flight when the process ends
_SETTLE_GRACE: Final = 5.0  # seconds for settlements on their way to the store when the process ends


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
        self.readiness = Readiness(self._checks, self._repeats)
        self._store_watch = StoreWatch(self.store, self._repeats, embedded=settings.store.embedded)
        self._tasks: list[asyncio.Task[None]] = []
        self._flushing, self._exporting = LimitedThreads("flush"), LimitedThreads("export")
        self._stack = contextlib.AsyncExitStack()
        self.listeners = Listeners(self._stack, self.metrics, self._repeats)
        self._grace_ends = 0.0
        self._files = FilesWatch(config, loaded, self._in_force, self._repeats, self._reload_watched)

    @property
    def addresses(self) -> dict[str, Address]:
        """First address that each of `listen` and `admin` is bound to: port 0 has become a port."""
        return {name: addresses[0] for name, addresses in self.listeners.addresses.items()}

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
        self._stack.push_async_callback(self.store.close, _SETTLE_GRACE)
        stream_key = StreamKey(self.store)
        recorder = Recorder(self.metrics, self._lines, tracer=self._tracer(settings))
        kind = Admission if recorder.tracer is None else TracedAdmission
        self._admission = admission = kind(self.store, secrets.token_hex(8), self._lease_margin, recorder)
        resuming = Resuming(self.store, recorder.settled)
        self._forwarder = Forwarder(admission.ownership, resuming, stream_key)
        snapshot = Snapshot.of(settings, self._loaded.policy, self._issuers, self._upstream)
        self.pipeline = Pipeline(snapshot, admission, self._forwarder, self.store, recorder)
        self._revocations = Revocations(self.store, self.pipeline.streams, lambda: self.pipeline.snapshot.lists)
        denial, stream_end = self.metrics.revocation_denial.observe, self.metrics.revocation_stream_end.observe
        self._revocation_times = RevocationTimes(self.store, denial, stream_end)
        admission.revoked = self._revocation_times.denied
        self.pipeline.streams.withdrawn = self._revocation_times.stream_ended
        self.reloader = self._make_reloader()
        self.reloader.warn(self._loaded)
        self.reloader.succeeded()
        self._start_tasks(stream_key)
        await self._listen(settings)

    def _tracer(self, settings: Settings) -> Tracer | None:
        if settings.tracing is None:
            return None
        tracer, exporter = start_tracing(settings.tracing, self.metrics, self._repeats)
        self._stack.push_async_callback(self._exporting.run, exporter.flush, EXPORT_WITHIN)
        return tracer

    def _start_tasks(self, stream_key: StreamKey) -> None:
        # Tasks end before the store is closed, and after the listeners have been.
        self._stack.push_async_callback(self._end_tasks)
        self._spawn(self._store_watch.connect, "store")
        self._spawn(self.readiness.watch, "readiness")
        self._spawn(self._backend.reach, "backend")
        self._spawn(self._backend.list_forever, "backend tools")
        self._spawn(partial(sweep_forever, self.store, self.metrics), "sweep")
        self._spawn(partial(check_forever, self.store), "store warnings")
        self._spawn(partial(self._admission.ownership.keep_in_use, self.pipeline.in_use), "sessions in use")
        self._spawn(stream_key.watch, "stream key")
        self._spawn(partial(keep_layout_version, self.store), "layout mark")
        self._spawn(self._revocations.watch, "revocations")
        self._spawn(self._revocation_times.watch, "revocation times")
        self._spawn(self._certificates.watch, "certificates")
        if not self._supervised:
            self._spawn(self._files.watch, "files")
        self._spawn(partial(measure_forever, self.metrics.loop_lag.observe), "event loop")

    async def _listen(self, settings: Settings) -> None:
        listeners = self.listeners
        if not self._supervised:
            admin = Admin(self.metrics, self.readiness, self.refresh, lambda: self._in_force()[0].admin_hosts)
            operators = ClientServer(admin.handle, admin.error, settings.limits)
            plain = [None] * len(settings.admin)
            await listeners.open("admin", settings.admin, plain, operators, lambda: ADMIN_GRACE)
        public = ClientServer(self.pipeline.handle, refused(self._malformed), settings.limits)
        outside, tls = [each.address for each in settings.listen], self._certificates.listeners
        await listeners.open("listen", outside, tls, public, self._grace, () if self._supervised else None)
        self._stack.callback(self._stopping)
        if self._supervised:
            return
        await self._open_control(settings.control)
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
        self._lines.event("stopped")
        with contextlib.suppress(TimeoutError):  # the reader of standard output has stopped
            async with asyncio.timeout(FLUSH_WITHIN):
                await self._flushing.run(self._lines.flush)

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
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._in_force()[0].shutdown_delay):
                await cut_short.wait()

    async def reload(self) -> bool:
        """Reload the files, as SIGHUP asks; return whether they are in force now."""
        return (await self.reloader.reload(ReloadCause.SIGNAL)).ok

    async def _open_control(self, path: Path | None) -> None:
        async def reload() -> dict[str, Any]:
            return (await self.reloader.reload(ReloadCause.COMMAND)).document

        if path is not None:
            control = ControlSocket(path, reload)
            self._stack.push_async_callback(control.close)
            await control.open()

    async def _reload_watched(self, seen: FilesStamp) -> None:
        await self.reloader.reload(ReloadCause.WATCH, seen)

    def _grace(self) -> float:
        return self._in_force()[0].shutdown_grace

    def _make_reloader(self) -> Reloader:
        self.files_in_force = FilesInForce(
            self.pipeline,
            issuers=self._issuers,
            certificates=self._certificates,
            listeners=self.listeners,
            backend=self._backend,
            applied=self._revocations.check_soon,
            metrics=self.metrics,
        )
        self.files_in_force.begin_series()
        replace = self.files_in_force.replace
        return Reloader(
            self._config, self._in_force, replace, files=self._files, metrics=self.metrics, lines=self._lines
        )

    def _unmatched(self, issuer: str, path: str) -> None:
        self._repeats.event("scope_path_unmatched", "warning", plain=True, issuer=issuer, path=path)

    def _in_force(self) -> tuple[Settings, Policy]:
        snapshot = self.pipeline.snapshot
        return snapshot.settings, snapshot.policy

    def _stopping(self) -> None:
        self._grace_ends = asyncio.get_running_loop().time() + self._grace()
        self.pipeline.stopping = True
        self.readiness.stopping = True
        self.pipeline.streams.end_all(StreamEnding.STOPPING)

    async def _end_tasks(self) -> None:
        await self._forwarder.close(max(0.0, self._grace_ends - asyncio.get_running_loop().time()))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _spawn(self, task: Callable[[], Awaitable[None]], name: str) -> None:
        def failed(fault: str) -> None:
            self._repeats.event("background_task_failed", "error", what=name, fault=fault)

        self._tasks.append(asyncio.create_task(run_forever(task, failed), name=name))

    def _memory_of_listing(self) -> MemoryLease:
        """Open a lease for a list of the backend's tools, which no account has asked for."""
        return self.pipeline.memory.lease("backend tools", self.pipeline.snapshot.settings.limits.memory)

    async def refresh(self) -> None:
        """Update the gauges from the objects that they describe."""
        metrics = self.metrics
        metrics.store_up.set(self.store.up)
        metrics.store_unreachable.set(self.store.unreachable)
        refresh_backend(metrics, self._backend, self.pipeline.snapshot)
        metrics.revocation_subscription_up.set(self._revocations.subscription_up)
        metrics.files_valid.set(self._files.valid and self._certificates.valid)
        metrics.files_differ.set(self._files.differ)
        metrics.workers.set(1)
        metrics.in_flight.set(self.pipeline.in_flight)
        metrics.memory.set(self.pipeline.memory.used)
        metrics.connections.set(self.listeners.connections)
        metrics.open_streams.set(len(self.pipeline.streams))
        metrics.open_holds.set(self._admission.open_holds)
        metrics.ready.set(self.readiness.ready)
        metrics.refresh()
        refresh_issuers(metrics, self._issuers, self.pipeline.snapshot.settings.issuers)

    def _checks(self) -> list[Check]:
        reasons = [
            (issuer, self._issuers.unavailable_reason(issuer)) for issuer in self.pipeline.snapshot.settings.issuers
        ]
        unavailable = "; ".join(f"{issuer.id}: {reason}{_endpoint(issuer)}" for issuer, reason in reasons)
        return [
            Check("policy", None),
            Check("store", self._store_watch.unavailable_reason),
            Check("keys", None if any(reason is None for _, reason in reasons) else unavailable),
            Check("backend", self._backend.problem, required=not self._backend.started),
        ]

    def _malformed(self, refusal: Refusal) -> str:
        """Record a request that could not be parsed, or an answer that could not be written; return its id."""
        code, status = refusal.code.id, refusal.status
        exchange = Exchange(secrets.token_hex(16), time.monotonic(), refusal=refusal, code=code, http_status=status)
        self.pipeline.record(exchange)
        return exchange.request_id


def _endpoint(issuer: IssuerSettings) -> str:
    """Return the introspection endpoint in brackets; the problem of a key set names its URL itself."""
    return "" if issuer.introspection is None else f" ({bare(issuer.introspection.url)})"
