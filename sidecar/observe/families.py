"""Every metric with its name, labels and help text; docs/metrics.md is generated from them."""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

from sidecar.observe.plain_metrics import PlainCounter, PlainHistogram, SeriesBudget

MAX_COUNTERS: Final = 1_000
"""Series of one counter with names of the policy as labels."""
MAX_REQUESTS: Final = 5_000
"""Series of `mcp_sidecar_requests_total`."""
MAX_HISTOGRAMS: Final = 500
"""Combinations of method and tool of one histogram; each has a series for each bucket."""

_LATENCY: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_OVERHEAD: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2)
_LAG: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
_REVOCATION: Final = (0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 300, 3600)

# A `_created` series for every counter would double the scrape without use here.
disable_created_metrics()  # type: ignore[no-untyped-call]


class Families:
    """Metrics of one process, without values.

    Args:
        registry: receives the metrics.

    Attributes:
        modes: how each gauge of several workers is combined, by name.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.modes: dict[str, str] = {}
        self._make_call_metrics()
        self._make_state_metrics()
        self._make_dependency_metrics()
        self._make_config_metrics()
        self._make_revocation_metrics()
        self._make_process_metrics()

    def _make_call_metrics(self) -> None:
        self.requests = self._plain(
            "requests", "Number of requests, by outcome.", "method", "tool", "status", "code", most=MAX_REQUESTS
        )
        self.latency = self._histogram(
            "request_seconds",
            "Seconds from the first byte of a request to its end, without the wait for a person.",
            _LATENCY,
        )
        self.backend = self._histogram("backend_seconds", "Seconds of a request spent in the backend.", _LATENCY)
        self.overhead = self._histogram("overhead_seconds", "Seconds of a request spent in the sidecar.", _OVERHEAD)
        self.refusals = self._plain(
            "refusals",
            "Number of refusals, by gate and code, and by the quota or pool that refused.",
            *("gate", "code", "quota", "pool"),
        )
        self.shadow = self._plain(
            "shadow_refusals",
            "Number of calls that rules in shadow mode would have refused, by code, and by the quota.",
            *("tool", "code", "quota"),
        )
        self.settlements = self._plain("settlements", "Number of settlements, by action.", "action")
        self.settle_problems = self._plain("settle_problems", "Number of problems in settlements, by tool.", "tool")
        self.streams_ended = self._plain(
            "streams_ended", "Number of open streams that the sidecar ended, by reason.", "reason"
        )
        self.late = self._counter("late_settlements", "Number of settlements of holds that were already resolved.")
        self.lost_holds = self._counter("lost_holds", "Number of holds that the store lost before their lease ended.")
        self.reserved = self._plain("credits_reserved", "Number of credits reserved for calls, by pool.", "pool")
        self.spent = self._plain("credits_spent", "Number of credits spent by calls, by pool.", "pool")
        self.released = self._plain("credits_released", "Number of reserved credits released, by pool.", "pool")
        self.quota_used = self._plain("quota_used", "Number of units of quotas used by calls, by quota.", "quota")

    def _make_state_metrics(self) -> None:
        self.open_holds = self._gauge("open_holds", "Number of calls with a reserved price.", "livesum")
        self.open_streams = self._gauge("open_streams", "Number of open streams to clients.", "livesum")
        self.in_flight = self._gauge("in_flight", "Number of requests in flight.", "livesum")
        self.memory = self._gauge("memory_bytes", "Bytes of memory that requests and answers take now.", "livesum")
        self.connections = self._gauge("connections", "Number of open client connections.", "livesum")
        self.workers = self._gauge("workers", "Number of processes that serve.", "livesum")
        self.worker_restarts = self._counter(
            "worker_restarts", "Number of worker processes that were replaced, by reason.", "reason"
        )
        self.accepts_paused = self._counter(
            "accepts_paused",
            "Number of times that accepting connections was paused, by listener and reason.",
            "listener",
            "reason",
        )

    def _make_dependency_metrics(self) -> None:
        self.store_up = self._gauge("store_up", "1 if the store answers, else 0.", "livemin")
        self.store_unreachable = self._gauge(
            "store_primaries_unreachable", "Number of unreachable primaries.", "livemax"
        )
        self.revocation_subscription_up = self._gauge(
            "revocation_subscription_up",
            "1 if revocations arrive by subscription at once, 0 if they are polled.",
            "livemin",
        )
        self.store_warnings = self._gauge(
            "store_warnings", "1 if the store may lose acknowledged writes, by warning.", "livemax", "warning"
        )
        self.store_errors = self._counter("store_errors", "Number of requests to the store that failed.")
        self.keys_up = self._gauge("keys_up", "1 if an issuer's keys are usable, else 0.", "livemin", "issuer")
        self.keys_fetched = self._gauge(
            "keys_fetched_timestamp_seconds", "Unix time of the last fetch of an issuer's keys.", "livemax", "issuer"
        )
        self.introspections = self._counter(
            "introspections", "Number of introspection requests to an issuer, by outcome.", "outcome"
        )
        self.introspection_up = self._gauge(
            "introspection_up", "1 if an issuer's introspection endpoint works, else 0.", "livemin", "issuer"
        )
        self.backend_connected = self._gauge(
            "backend_connected", "1 if the backend was ever reached, else 0.", "livemin"
        )
        self.backend_up = self._gauge("backend_up", "1 if the backend is reachable now, else 0.", "livemin")
        self.backend_drift = self._gauge(
            "backend_drift", "Number of tools in which policy and backend differ, by kind.", "livemax", "kind"
        )

    def _make_config_metrics(self) -> None:
        self.policy_info = self._gauge(
            "policy_info", "1 for the revision of the policy in force.", "livemax", "revision"
        )
        self.reload_success = self._gauge("last_reload_success", "1 if the last reload succeeded, else 0.", "livemin")
        self.reload_time = self._gauge(
            "last_reload_timestamp_seconds", "Unix time of the last successful reload.", "livemin"
        )
        self.files_valid = self._gauge("files_valid", "1 if config and policy on disk are valid, else 0.", "livemin")
        self.files_differ = self._gauge(
            "files_differ", "1 if config or policy on disk differ from those in force, else 0.", "livemax"
        )
        self.certificate_ends = self._gauge(
            "certificate_expiry_timestamp_seconds",
            "Unix time at which the certificate in use expires, by side.",
            "livemin",
            "side",
        )
        self.ready = self._gauge("ready", "1 if `/readyz` answers 200, else 0.", "livemin")
        self.evictions = self._counter("evictions", "Number of evicted entries, by kind.", "kind")
        self.reload_failures = self._counter("reload_failures", "Number of reloads that failed.")
        self.api_requests = self._counter(
            "admin_api_requests", "Number of requests to the admin API, by operation.", "operation"
        )
        self.api_problems = self._counter(
            "admin_api_problems", "Number of problems that the admin API answered, by code.", "code"
        )
        self.log_dropped = self._counter("log_lines_dropped", "Number of log lines that were dropped.")
        self.series_exceeded = self._counter(
            "series_over_budget", "Number of label combinations counted as `_other`, by metric.", "metric"
        )
        self.spans = self._counter("spans", "Number of spans for the collector, by outcome.", "outcome")
        self.build = self._gauge(
            "build_info", "1, with version and Python version of this build.", "livemax", "version", "python"
        )

    def _make_revocation_metrics(self) -> None:
        self.revocation_denial = Histogram(
            "mcp_sidecar_revocation_denial_seconds",
            "Seconds from a revocation to the first call that it denied here.",
            registry=self.registry,
            buckets=_REVOCATION,
        )
        self.revocation_stream_end = Histogram(
            "mcp_sidecar_revocation_stream_end_seconds",
            "Seconds from a revocation to the end of an open stream of its client.",
            registry=self.registry,
            buckets=_REVOCATION,
        )
        self.account_refusals_max = self._gauge(
            "account_refusals_max", "Largest number of refusals of one account within a minute.", "livemax"
        )

    def _make_process_metrics(self) -> None:
        """Make the metrics of `/proc`, under the names of all Prometheus clients, and that of the event loop."""
        self.loop_lag = Histogram(
            "mcp_sidecar_event_loop_lag_seconds",
            "Seconds that a timer of the event loop was late, four times a second.",
            registry=self.registry,
            buckets=_LAG,
        )
        self.cpu = Counter(
            "process_cpu_seconds", "Seconds of user and system CPU time of the process.", registry=self.registry
        )
        self.resident = self._process_gauge("resident_memory_bytes", "Bytes of resident memory.", "livesum")
        self.open_fds = self._process_gauge("open_fds", "Number of open file descriptors.", "livemax")
        self.max_fds = self._process_gauge("max_fds", "Limit of open file descriptors.", "livemin")
        self.started = self._process_gauge("start_time_seconds", "Unix time of the start of the process.", "livemin")

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"mcp_sidecar_{name}", text, labels, registry=self.registry)

    def _process_gauge(self, name: str, text: str, mode: str) -> Gauge:
        return self._gauge(name, text, mode, prefix="process_")

    def _gauge(self, name: str, text: str, mode: str, *labels: str, prefix: str = "mcp_sidecar_") -> Gauge:
        self.modes[f"{prefix}{name}"] = mode
        return Gauge(
            f"{prefix}{name}",
            text,
            labels,
            registry=self.registry,
            multiprocess_mode=mode,  # type: ignore[arg-type]
        )

    def _plain(self, name: str, text: str, *labels: str, most: int = MAX_COUNTERS) -> PlainCounter:
        """Return a counter that only the event loop counts."""
        full_name = f"mcp_sidecar_{name}"
        return PlainCounter(full_name, text, labels, self.registry, self._budget(f"{full_name}_total", most))

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...]) -> PlainHistogram:
        """Return a histogram that only the event loop counts."""
        full_name, labels = f"mcp_sidecar_{name}", ("method", "tool")
        budget = self._budget(full_name, MAX_HISTOGRAMS)
        return PlainHistogram(full_name, text, labels, self.registry, buckets, budget)

    def _budget(self, name: str, most: int) -> SeriesBudget:
        return SeriesBudget(most, lambda: self.series_exceeded.labels(name).inc())
