"""Gauges of one process, brought up to date before a scrape."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

from sidecar.config.settings.settings import IssuerSettings
from sidecar.identity.issuers import IssuerRegistry
from sidecar.observe.metrics import Metrics
from sidecar.proxy.admit import Admission
from sidecar.proxy.listener.accepting.acceptors import Listeners
from sidecar.proxy.pipeline import Pipeline
from sidecar.proxy.relay.revocations import Revocations
from sidecar.proxy.snapshot import Snapshot
from sidecar.runtime.readiness import Readiness
from sidecar.runtime.watches.backend_watch import BackendWatch
from sidecar.runtime.watches.files_watch import FilesWatch
from sidecar.runtime.watches.tls_reload import Certificates
from sidecar.store.store import Store


@dataclass(frozen=True, slots=True)
class Gauges:
    """Parts of a process that its gauges describe."""

    metrics: Metrics
    store: Store
    pipeline: Pipeline
    admission: Admission
    revocations: Revocations
    backend: BackendWatch
    issuers: IssuerRegistry
    listeners: Listeners
    readiness: Readiness
    files: FilesWatch
    certificates: Certificates

    async def refresh(self) -> None:
        """Update the gauges from the objects that they describe."""
        metrics, pipeline = self.metrics, self.pipeline
        metrics.store_up.set(self.store.up)
        metrics.store_unreachable.set(self.store.unreachable)
        refresh_backend(metrics, self.backend, pipeline.snapshot)
        metrics.revocation_subscription_up.set(self.revocations.subscription_up)
        metrics.files_valid.set(self.files.valid and self.certificates.valid)
        metrics.files_differ.set(self.files.differ)
        metrics.workers.set(1)
        metrics.in_flight.set(pipeline.in_flight)
        metrics.memory.set(pipeline.memory.used)
        metrics.connections.set(self.listeners.connections)
        metrics.open_streams.set(len(pipeline.streams))
        metrics.open_holds.set(self.admission.open_holds)
        metrics.ready.set(self.readiness.ready)
        metrics.refresh()
        refresh_issuers(metrics, self.issuers, pipeline.snapshot.settings.issuers)


def refresh_backend(metrics: Metrics, watch: BackendWatch, snapshot: Snapshot) -> None:
    """Set the gauges of the backend and of its tools."""
    metrics.backend_connected.set(snapshot.upstream.connected)
    metrics.backend_up.set(watch.up)
    if (drift := snapshot.tools.drift) is not None:
        for kind, tools in (("missing", len(drift.missing)), ("changed", len(drift.changed))):
            metrics.backend_drift.labels(kind).set(tools)
        metrics.backend_drift.labels("undeclared").set(drift.undeclared)


def refresh_issuers(metrics: Metrics, registry: IssuerRegistry, issuers: Iterable[IssuerSettings]) -> None:
    """Set the gauges of the configured issuers."""
    for issuer in issuers:
        health, endpoint = registry.health(issuer), registry.endpoint(issuer)
        metrics.issuer(
            issuer.id,
            keys=health.keys > 0 if issuer.signs or health.keys else None,
            fetched=None if health.age is None else time.time() - health.age,
            introspection=None if endpoint is None else endpoint.problem is None,
        )
