"""The numbers behind `/metrics`: `mcp_sidecar_*`, in a registry of their own.

Label values come from enums and from names in the policy, never from a request, so no client can
grow them. With `PROMETHEUS_MULTIPROC_DIR` set (several workers), every worker's numbers are added up.
"""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Iterable
from datetime import datetime
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector

from sidecar import __version__
from sidecar.errors import ErrorCode
from sidecar.model import AmountKind, Price
from sidecar.outcome import Action, Event, Exchange

OTHER: Final = "_other"
"""Stands for every name that the policy does not know."""
CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
CODES: Final = frozenset({"ok", *(code.id for code in ErrorCode), *(event.value for event in Event)})
_LATENCY: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_OVERHEAD: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2)

Labels = tuple[str, ...]

# A `_created` series beside every counter doubles what is scraped and tells nobody anything here.
disable_created_metrics()  # type: ignore[no-untyped-call]


class Metrics:
    """All metrics of one process. `record` counts calls; the gauges are set by who knows their state."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._children: dict[Labels, _CallChildren] = {}
        self._by_name: dict[tuple[Counter, str], Counter] = {}
        self._policy_revision: str | None = None
        self._make_call_metrics()
        self._make_state_metrics()

    def _make_call_metrics(self) -> None:
        self.requests = self._counter(
            "requests", "Requests by what became of them.", "method", "tool", "status", "code"
        )
        self.latency = self._histogram("request_seconds", "Seconds from the first byte to the end.", _LATENCY)
        self.backend = self._histogram("backend_seconds", "Seconds that the backend took of it.", _LATENCY)
        self.overhead = self._histogram("overhead_seconds", "Seconds that the sidecar took of it.", _OVERHEAD)
        self.refusals = self._counter("refusals", "Refusals by the gate that refused.", "gate", "code")
        self.shadow = self._counter("shadow_refusals", "Calls that a rule in shadow mode would have refused.", "tool")
        self.settlements = self._counter("settlements", "What was done with holds.", "action")
        self.settle_problems = self._counter("settle_problems", "What went wrong when settling.", "tool")
        self.streams_ended = self._counter("streams_ended", "Open streams that were ended here, by why.", "reason")
        self.late = self._counter("late_settlements", "Settlements of holds that had been resolved before.")
        self.forgotten = self._counter("forgotten_holds", "Holds that the store lost before their lease ended.")
        self.reserved = self._counter("credits_reserved", "Credits reserved before calls.", "pool")
        self.spent = self._counter("credits_spent", "Credits spent by calls.", "pool")
        self.released = self._counter("credits_released", "Reserved credits given back.", "pool")

    def _make_state_metrics(self) -> None:
        self.open_holds = self._gauge("open_holds", "Calls whose price is reserved now.", "livesum")
        self.open_streams = self._gauge("open_streams", "Open streams to clients.", "livesum")
        self.in_flight = self._gauge("in_flight", "Requests being served now.", "livesum")
        self.store_up = self._gauge("store_up", "Whether the store answers (1) or not (0).", "livemin")
        self.store_away = self._gauge(
            "store_primaries_away", "Servers of the store that take writes and cannot be asked now.", "livemax"
        )
        self.revocations_heard = self._gauge(
            "revocations_heard", "Whether revocations are heard at once (1) or found by asking (0).", "livemin"
        )
        self.store_warnings = self._gauge(
            "store_warnings", "Whether the store may lose what it has acknowledged (1), by why.", "livemax", "warning"
        )
        self.store_errors = self._counter("store_errors", "Trips to the store that failed.")
        self.keys_up = self._gauge("keys_up", "Whether an issuer's keys are usable (1).", "livemin", "issuer")
        self.keys_fetched = self._gauge(
            "keys_fetched_timestamp_seconds", "When an issuer's keys were last fetched.", "livemax", "issuer"
        )
        self.introspections = self._counter(
            "introspections", "Questions to an issuer about opaque tokens, by outcome.", "outcome"
        )
        self.introspection_up = self._gauge(
            "introspection_up", "Whether an issuer's introspection endpoint works (1).", "livemin", "issuer"
        )
        self.backend_up = self._gauge("backend_connected", "Whether the backend was ever reached (1).", "livemin")
        self.policy_info = self._gauge("policy_info", "The policy in force (1), by revision.", "livemax", "revision")
        self.reload_success = self._gauge("last_reload_success", "Whether the last reload worked (1).", "livemin")
        self.reload_time = self._gauge("last_reload_timestamp_seconds", "When a reload last worked.", "livemin")
        self.files_valid = self._gauge("files_valid", "Whether the files on disk would load (1).", "livemin")
        self.certificate_ends = self._gauge(
            "certificate_expiry_timestamp_seconds", "When the certificate in use expires.", "livemin", "side"
        )
        self.log_dropped = self._counter("log_lines_dropped", "Log lines that could not be written.")
        build = self._gauge("build_info", "This build.", "livemax", "version", "python")
        build.labels(__version__, platform.python_version()).set(1)

    def introspected(self, outcome: str) -> None:
        """Count one question about an opaque token."""
        self._named(self.introspections, outcome).inc()

    def issuer(self, name: str, *, keys: bool | None, fetched: float | None, introspection: bool | None) -> None:
        """Say how an issuer is; None where the question does not arise for it.

        Args:
            name: its configured id.
            keys: whether its keys can be used.
            fetched: when they were fetched, in seconds since the epoch.
            introspection: whether it can be asked about tokens.
        """
        gauges = ((self.keys_up, keys), (self.keys_fetched, fetched), (self.introspection_up, introspection))
        for gauge, value in gauges:
            if value is not None:
                gauge.labels(name).set(value)
            elif not os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
                # A config before this one may have had it, and alerts would go on about it.
                with contextlib.suppress(KeyError):
                    gauge.remove(name)

    def policy(self, revision: str) -> None:
        """Say which policy is in force."""
        if self._policy_revision not in (None, revision):
            self.policy_info.labels(self._policy_revision).set(0)
            if not os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
                self.policy_info.remove(self._policy_revision)
        self._policy_revision = revision
        self.policy_info.labels(revision).set(1)

    def certificate(self, side: str, ends: datetime | None) -> None:
        """Say when one side's certificate ends; None: there is none."""
        if ends is not None:
            self.certificate_ends.labels(side).set(ends.timestamp())
        elif not os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
            with contextlib.suppress(KeyError):
                self.certificate_ends.remove(side)

    def count(self, exchange: Exchange, status: str, seconds: float) -> None:
        """Count one request that has ended.

        Args:
            exchange: what is known of it.
            status: one of `record.Status`.
            seconds: from its first byte to its end.
        """
        method, tool = exchange.method or OTHER, tool_label(exchange)
        code = exchange.code if exchange.code in CODES else OTHER
        children = self._call_children((method, tool, status, code))
        children.requests.inc()
        if exchange.call is None or not exchange.call.listens:  # those live as long as their clients like
            children.latency.observe(seconds)
            backend = exchange.backend_seconds
            if backend is not None:
                children.backend.observe(backend)
            children.overhead.observe(max(0.0, seconds - (backend or 0.0)))
        if exchange.refusal is not None:
            self.refusals.labels(exchange.refusal.gate.value, exchange.refusal.code.id).inc()
            if exchange.refusal.code is ErrorCode.STORE_UNAVAILABLE:
                self.store_errors.inc()
        if exchange.shadow:
            self._named(self.shadow, tool).inc()
        if exchange.notes:
            self._named(self.settle_problems, tool).inc(len(exchange.notes))
        if exchange.stream_end is not None:
            self._named(self.streams_ended, exchange.stream_end).inc()
        for pool, amount in credits_of(exchange.reserved).items() if exchange.action is not None else ():
            self._named(self.reserved, pool).inc(amount)
        self.count_money(exchange)

    def expose(self) -> bytes:
        """The text that Prometheus reads (`CONTENT_TYPE`)."""
        if not os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
            return generate_latest(self.registry)
        everybody = CollectorRegistry()
        MultiProcessCollector(everybody)  # type: ignore[no-untyped-call]
        return generate_latest(everybody)

    def count_money(self, exchange: Exchange) -> None:
        """Count what was done with a hold, and what it came to."""
        action, receipt = exchange.action, exchange.receipt
        if action is None:
            return
        self._named(self.settlements, action.value).inc()
        if receipt is None or action is Action.DEFER:
            return  # the lease decides, and nobody here learns how; or another stream will
        if receipt.late:
            self.late.inc()
            if exchange.forgotten:
                self.forgotten.inc()
            return
        for pool, amount in receipt.paid.items():
            if amount:
                self._named(self.spent, pool).inc(amount)
        for pool, amount in credits_of(exchange.reserved).items():
            if amount > receipt.paid.get(pool, 0):
                self._named(self.released, pool).inc(amount - receipt.paid.get(pool, 0))

    def _call_children(self, labels: Labels) -> _CallChildren:
        """Looking labels up takes longer than counting, so what was looked up is kept."""
        children = self._children.get(labels)
        if children is None:
            children = self._children[labels] = _CallChildren(self, labels)
        return children

    def _named(self, counter: Counter, name: str) -> Counter:
        """The child of a counter that has one label."""
        key = (counter, name)
        child = self._by_name.get(key)
        if child is None:
            child = self._by_name[key] = counter.labels(name)
        return child

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"mcp_sidecar_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, mode: str, *labels: str) -> Gauge:
        return Gauge(
            f"mcp_sidecar_{name}",
            text,
            labels,
            registry=self.registry,
            multiprocess_mode=mode,  # type: ignore[arg-type]
        )

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(f"mcp_sidecar_{name}", text, ("method", "tool"), registry=self.registry, buckets=buckets)


class _CallChildren:
    __slots__ = ("backend", "latency", "overhead", "requests")

    def __init__(self, metrics: Metrics, labels: Labels) -> None:
        method, tool, _, _ = labels
        self.requests = metrics.requests.labels(*labels)
        self.latency = metrics.latency.labels(method, tool)
        self.backend = metrics.backend.labels(method, tool)
        self.overhead = metrics.overhead.labels(method, tool)


def tool_label(exchange: Exchange) -> str:
    """The declared tool; `_other` for a call of an undeclared one, empty for other methods."""
    if exchange.tool is not None:
        return exchange.tool
    return OTHER if exchange.call is not None and exchange.call.method == "tools/call" else ""


def credits_of(prices: Iterable[Price]) -> dict[str, int]:
    """Credits per pool among the reserved prices."""
    found: dict[str, int] = {}
    for price in prices:
        if price.kind is AmountKind.CREDIT and price.needed:
            found[price.name] = found.get(price.name, 0) + price.needed
    return found
