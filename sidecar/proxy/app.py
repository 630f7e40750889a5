"""One sidecar process: its two listeners, what stands behind them, its start, reloads and end."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import ssl
import time
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Final, Self

from aiohttp.web import BaseRunner, Server, ServerRunner, TCPSite

from sidecar.config.documents import DocumentError
from sidecar.config.settings import BackendTls, Settings
from sidecar.config.settings_types import Address
from sidecar.errors import Refusal
from sidecar.identity.ring import KeyRing
from sidecar.ledger import scripts
from sidecar.ledger.connection import StoreError
from sidecar.ledger.store import Store
from sidecar.observe.logs import Lines
from sidecar.observe.metrics import Metrics
from sidecar.observe.record import Recorder
from sidecar.observe.redact import cut
from sidecar.outcome import Exchange
from sidecar.proxy.admin import Admin
from sidecar.proxy.certificates import Certificates, upstream_of
from sidecar.proxy.duties import persist
from sidecar.proxy.forwarding import Forwarder
from sidecar.proxy.gates import LEASE_MARGIN, Gates
from sidecar.proxy.pipeline import Pipeline
from sidecar.proxy.readiness import Check, Readiness
from sidecar.proxy.resuming import Resuming
from sidecar.proxy.revocations import Revocations
from sidecar.proxy.server import check_parser, make_runner
from sidecar.proxy.snapshot import Snapshot
from sidecar.proxy.store_warnings import StoreWarnings, look_forever
from sidecar.proxy.streams import Ending
from sidecar.proxy.sweeper import sweep_forever
from sidecar.workbench.load import Loaded, load

_SETTLE_GRACE: Final = 5.0  # seconds for what is still owed to the store when the process ends


class Sidecar:
    """A running sidecar: `async with Sidecar(...)` listens, and leaving it shuts down gracefully.

    Args:
        config: the config file, read again by `reload`.
        loaded: what it and its policies say.
        lines: the log.
        lease_margin: seconds a hold outlives its call's timeout before others may resolve it.
    """

    def __init__(self, config: Path, loaded: Loaded, lines: Lines, lease_margin: float = LEASE_MARGIN) -> None:
        settings = loaded.settings
        self._config = config
        self._lines = lines
        self._settings = settings
        self._policy = loaded.policy
        self._lease_margin = lease_margin
        self.metrics = Metrics()
        lines.dropped = self.metrics.log_dropped.inc
        self.store = Store(
            settings.store.url,
            scripts,
            directory=settings.store.directory if settings.store.embedded else None,
            warned=StoreWarnings(self.metrics, lines).tell,
        )
        self._ring = KeyRing(introspected=self.metrics.introspected)
        self._upstream = upstream_of(settings, loaded.tls)
        self._certificates = Certificates(settings, loaded.tls, self._upstream, self.metrics, lines)
        self._readiness = Readiness(self._checks, self._upstream, self._say)
        self._tasks: list[asyncio.Task[None]] = []
        self._stack = contextlib.AsyncExitStack()
        self._grace_ends = 0.0
        self._loads = True
        self.addresses: dict[str, Address] = {}
        """Where it really listens, by `listen` and `admin`: port 0 takes any that is free."""

    async def __aenter__(self) -> Self:
        """Start listening; what is not reachable yet is waited for behind `/readyz`.

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
        settings = self._settings
        await self._stack.enter_async_context(self._ring)
        self._stack.callback(self._upstream.close)
        self._stack.push_async_callback(self.store.close, _SETTLE_GRACE)
        self._gates = gates = Gates(self.store, secrets.token_hex(8), self._lease_margin)
        recorder = Recorder(self.metrics, self._lines)
        self._forwarder = Forwarder(self._upstream, gates, Resuming(self.store, recorder.settled))
        snapshot = Snapshot.of(settings, self._policy, self._ring)
        self.pipeline = Pipeline(snapshot, gates, self._forwarder, recorder)
        self._reloaded(True)
        # Tasks end before the store is closed, and after the listeners have been.
        self._stack.push_async_callback(self._end_tasks)
        self._spawn(self._connect_store, "store")
        self._spawn(self._readiness.watch, "readiness")
        self._spawn(partial(sweep_forever, self.store, self.metrics), "sweep")
        self._spawn(partial(look_forever, self.store), "store warnings")
        self._revocations = Revocations(self.store, self.pipeline.streams, lambda: self._policy.consent)
        self._spawn(self._revocations.watch, "revocations")
        self._spawn(self._certificates.watch, "certificates")
        admin = ServerRunner(Server(Admin(self.metrics, self._readiness, self._refresh).handle, access_log=None))
        await self._listen("admin", admin, settings.admin)
        public = make_runner(self.pipeline.handle, self._malformed, settings.limits, settings.shutdown_grace)
        await self._listen("listen", public, settings.listen.address, self._certificates.listener)
        self._stack.callback(self._stopping)
        self._lines.event(
            "listening",
            resource=settings.resource,
            listen=str(self.addresses["listen"]),
            admin=str(self.addresses["admin"]),
            policy=self._policy.revision,
        )

    async def __aexit__(self, *_: object) -> None:
        """Stop: no new requests, streams ended, calls in flight finished within the grace, holds resolved."""
        await self._stack.aclose()
        self._lines.event("stopped")

    async def reload(self) -> bool:
        """Read all files again and, if nothing is wrong with them, serve by them from the next request on.

        Returns:
            Whether the new files are in force; else the old ones stay, and the log says why.
        """
        try:
            loaded = await asyncio.to_thread(load, self._config)
            kept = _needs_restart(self._settings, loaded.settings)
        except DocumentError as error:
            return self._keep_old(str(problem) for problem in error.problems)
        if kept:
            return self._keep_old([f"changing {', '.join(kept)} needs a restart"])
        self._settings, self._policy = loaded.settings, loaded.policy
        self._certificates.use(loaded.tls)
        self._upstream.set_headers(loaded.settings.backend.headers.items())
        self.pipeline.snapshot = Snapshot.of(loaded.settings, loaded.policy, self._ring)
        await self._ring.retain(loaded.settings.issuers)
        self._lines.event("reloaded", policy=loaded.policy.revision)
        return self._reloaded(True)

    def _keep_old(self, problems: Iterable[str]) -> bool:
        """Problems name files, lines and keys and never hold a value, so nothing in them needs hiding."""
        for problem in problems:
            self._lines.write("error", "reload_refused", {"problem": cut(problem, 1000)})
        return self._reloaded(False)

    def _reloaded(self, worked: bool) -> bool:
        self._loads = worked
        self.metrics.reload_success.set(worked)
        if worked:
            self.metrics.reload_time.set(time.time())
            self.metrics.policy(self._policy.revision)
        return worked

    async def _listen(self, name: str, runner: BaseRunner, address: Address, tls: ssl.SSLContext | None = None) -> None:
        await runner.setup()
        self._stack.push_async_callback(runner.cleanup)
        site = TCPSite(runner, address.host, address.port, ssl_context=tls)
        await site.start()
        self.addresses[name] = Address(address.host, site.port)

    def _stopping(self) -> None:
        self._grace_ends = asyncio.get_running_loop().time() + self._settings.shutdown_grace
        self.pipeline.stopping = True
        self._readiness.stopping = True
        self.pipeline.streams.end_all(Ending.STOPPING)

    async def _end_tasks(self) -> None:
        await self._forwarder.close(max(0.0, self._grace_ends - asyncio.get_running_loop().time()))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _spawn(self, duty: Callable[[], Awaitable[None]], name: str) -> None:
        def failed(fault: str) -> None:
            self._lines.event("duty_failed", "error", what=name, fault=fault)

        self._tasks.append(asyncio.create_task(persist(duty, failed), name=name))

    async def _connect_store(self) -> None:
        """Connect; the connection itself goes on trying, but a private server may fail to start at all."""
        while True:
            try:
                await self.store.start()
            except StoreError as error:
                self._lines.event("store_unavailable", "error", problem=str(error))
                await asyncio.sleep(1)
            else:
                return

    def _refresh(self) -> None:
        """Bring the gauges up to date: their truth lives elsewhere."""
        metrics = self.metrics
        metrics.store_up.set(self.store.up)
        metrics.store_away.set(self.store.away)
        metrics.backend_up.set(self._upstream.connected)
        metrics.revocations_heard.set(self._revocations.heard)
        metrics.files_valid.set(self._loads and self._certificates.valid)
        metrics.in_flight.set(self.pipeline.in_flight)
        metrics.open_streams.set(len(self.pipeline.streams))
        metrics.open_holds.set(self._gates.open_holds)
        for issuer in self._settings.issuers:
            health, endpoint = self._ring.of(issuer).health(), self._ring.endpoint(issuer)
            metrics.issuer(
                issuer.id,
                keys=health.keys > 0 if issuer.signs or health.keys else None,
                fetched=None if health.age is None else time.time() - health.age,
                introspection=None if endpoint is None else endpoint.problem is None,
            )

    def _checks(self) -> list[Check]:
        lacks = {issuer.id: self._ring.lack(issuer) for issuer in self._settings.issuers}
        lacking = "; ".join(f"{name}: {lack}" for name, lack in lacks.items())
        return [
            Check("policy", None),
            Check("store", None if self.store.up else self.store.error or "not connected"),
            Check("keys", None if None in lacks.values() else lacking),
        ]

    def _say(self, check: str, lack: str | None) -> None:
        if lack is None:
            self._lines.event("ready", what=check)
        else:
            self._lines.event("not_ready", "warning", what=check, problem=lack)

    def _malformed(self, refusal: Refusal) -> str:
        """A request that could not be parsed, or an answer that could not be written; its id."""
        exchange = Exchange(secrets.token_hex(16), time.monotonic())
        exchange.refusal, exchange.code, exchange.http_status = refusal, refusal.code.id, refusal.status
        self.pipeline.record(exchange)
        return exchange.request_id


def _needs_restart(before: Settings, after: Settings) -> list[str]:
    """The settings that a reload cannot change, of those that have changed."""
    fixed = ("admin", "store", "workers", "shutdown_grace", "log")
    changed = [name for name in fixed if getattr(before, name) != getattr(after, name)]
    # Certificates and the backend's headers are read anew; whether there is TLS at all, is not.
    if (before.listen.address, before.listen.tls is None) != (after.listen.address, after.listen.tls is None):
        changed.append("listen")
    renewed = {"headers": {}, "tls": BackendTls()}
    if before.backend.model_copy(update=renewed) != after.backend.model_copy(update=renewed):
        changed.append("backend")
    return changed
