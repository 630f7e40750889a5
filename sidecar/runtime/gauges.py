"""Gauges of the backend and of the issuers, brought up to date before a scrape."""

from __future__ import annotations

import time
from collections.abc import Iterable

from sidecar.config.settings.settings import IssuerSettings
from sidecar.identity.issuers import IssuerRegistry
from sidecar.observe.metrics import Metrics
from sidecar.proxy.snapshot import Snapshot
from sidecar.runtime.backend_watch import BackendWatch


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
