"""Panels of the dashboard: what each shows, and the queries behind it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

_S: Final = 'job=~"$job", instance=~"$instance"'
_R: Final = "$__rate_interval"


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel.

    Attributes:
        title: its heading.
        queries: legends by query.
        unit: Grafana's name of the unit.
        about: what an operator should know.
        single: one number instead of a graph.
        names: shows the names of the series, not their values.
        exemplars: shows the exemplars of a histogram.
    """

    title: str
    queries: Mapping[str, str]
    unit: str = "short"
    about: str = ""
    single: bool = False
    names: bool = False
    exemplars: bool = False


def _selector(name: str, more: str) -> str:
    return f"mcp_sidecar_{name}{{{_S}{', ' if more else ''}{more}}}"


def rate(name: str, by: str = "", more: str = "") -> str:
    """A counter per second, added up by labels."""
    grouped = f"sum by ({by}) " if by else "sum"
    return f"{grouped}(rate({_selector(name, more)}[{_R}]))"


def state(name: str, by: str = "instance", how: str = "max", more: str = "") -> str:
    """A gauge, of all sidecars together or of each."""
    grouped = f"{how} by ({by}) " if by else how
    return f"{grouped}({_selector(name, more)})"


def quantile(share: float, name: str, by: str = "", more: str = "") -> str:
    """A quantile of a histogram."""
    labels = f"{by}, le" if by else "le"
    return f"histogram_quantile({share}, sum by ({labels}) (rate({_selector(f'{name}_bucket', more)}[{_R}])))"


def _process(name: str, rated: bool = False) -> str:
    """A metric of the process, of sidecars only."""
    series = f"{name}{{{_S}}}"
    return f"{f'rate({series}[{_R}])' if rated else series} and on (job, instance) mcp_sidecar_build_info"


def _share(which: str) -> str:
    return f"{rate('requests_total', more=which)} / {rate('requests_total')}"


_CALL: Final = 'method="tools/call"'
_REFUSED: Final = 'status="refused"'
_FAILED: Final = 'status="failed"'
_NOT_OK: Final = 'code!="ok"'
_BUDGET: Final = 'code=~"quota_exceeded|insufficient_credits"'

ROWS: Final[Mapping[str, tuple[Panel, ...]]] = {
    "Overview": (
        Panel(
            "Sidecars ready",
            {state("ready", "", "sum"): "ready"},
            single=True,
            about="Load balancers send calls to these.",
        ),
        Panel("Sidecars", {state("build_info", "", "count"): "scraped"}, single=True),
        Panel("Calls", {rate("requests_total", more=_CALL): "calls"}, "reqps", single=True),
        Panel(
            "Refused",
            {_share(_REFUSED): "refused"},
            "percentunit",
            single=True,
            about="By a gate: what callers must cure.",
        ),
        Panel(
            "Failed",
            {_share(_FAILED): "failed"},
            "percentunit",
            single=True,
            about="Behind the gates: what operators must cure.",
        ),
        Panel(
            "Versions", {f"group by (version) ({_selector('build_info', '')})": "{{version}}"}, single=True, names=True
        ),
        Panel(
            "Policies in force",
            {f"group by (revision) ({_selector('policy_info', '')} == 1)": "{{revision}}"},
            single=True,
            names=True,
            about="More than one: a sidecar was not reloaded.",
        ),
    ),
    "Traffic": (
        Panel("Requests by status", {rate("requests_total", "status"): "{{status}}"}, "reqps"),
        Panel(
            "Calls by tool",
            {f"topk(10, {rate('requests_total', 'tool', _CALL)})": "{{tool}}"},
            "reqps",
            "`_other` is undeclared.",
        ),
        Panel("Requests by method", {f"topk(10, {rate('requests_total', 'method')})": "{{method}}"}, "reqps"),
        Panel(
            "In flight", {state("in_flight"): "{{instance}}"}, about="Requests, without open streams; limits.in_flight."
        ),
        Panel("Connections", {state("connections"): "{{instance}}"}),
        Panel(
            "Outcomes that are not ok", {f"topk(10, {rate('requests_total', 'code', _NOT_OK)})": "{{code}}"}, "reqps"
        ),
    ),
    "Refusals": (
        Panel("Refusals by gate", {rate("refusals_total", "gate"): "{{gate}}"}, "reqps"),
        Panel(
            "Refusals by code",
            {f"topk(10, {rate('refusals_total', 'code')})": "{{code}}"},
            "reqps",
            "docs/errors.md has a runbook for each.",
        ),
        Panel(
            "Quotas and pools that refuse",
            {rate("refusals_total", "code, quota, pool", _BUDGET): "{{code}} {{quota}}{{pool}}"},
            "reqps",
        ),
        Panel(
            "Refusals of one account",
            {state("account_refusals_max"): "{{instance}}"},
            about="Largest number within a minute; the log names the account.",
        ),
        Panel(
            "Rules in shadow mode",
            {rate("shadow_refusals_total", "tool, code, quota"): "{{tool}} {{code}} {{quota}}"},
            "reqps",
            "Would have refused.",
        ),
    ),
    "Latency": (
        Panel(
            "Calls: whole and backend",
            {
                quantile(0.5, "request_seconds", more=_CALL): "whole, median",
                quantile(0.95, "request_seconds", more=_CALL): "whole, 95 %",
                quantile(0.5, "backend_seconds", more=_CALL): "backend, median",
                quantile(0.95, "backend_seconds", more=_CALL): "backend, 95 %",
            },
            "s",
            exemplars=True,
        ),
        Panel(
            "Time in the sidecar",
            {
                quantile(share, "overhead_seconds", more=_CALL): name
                for share, name in ((0.5, "median"), (0.99, "99 %"))
            },
            "s",
            "With the trip to the store.",
        ),
        Panel(
            "Slowest tools (backend, 95 %)",
            {f"topk(10, {quantile(0.95, 'backend_seconds', 'tool', _CALL)})": "{{tool}}"},
            "s",
        ),
    ),
    "Credits and quotas": (
        Panel(
            "Credits",
            {
                rate(f"credits_{what}_total", "pool"): f"{{{{pool}}}} {what}"
                for what in ("reserved", "spent", "released")
            },
        ),
        Panel("Units of quotas", {rate("quota_used_total", "quota"): "{{quota}}"}),
        Panel("Open holds", {state("open_holds"): "{{instance}}"}, about="Calls with a reserved price."),
        Panel("Settlements", {rate("settlements_total", "action"): "{{action}}"}, "ops"),
        Panel(
            "Problems in settlements",
            {
                rate("settle_problems_total", "tool"): "{{tool}}",
                rate("late_settlements_total"): "late",
                rate("lost_holds_total"): "hold lost",
            },
            "ops",
        ),
    ),
    "Streams and revocations": (
        Panel("Open streams", {state("open_streams"): "{{instance}}"}),
        Panel("Streams ended by the sidecar", {rate("streams_ended_total", "reason"): "{{reason}}"}, "ops"),
        Panel(
            "Delay of revocations",
            {
                quantile(0.95, "revocation_stream_end_seconds"): "end of streams, 95 %",
                quantile(0.95, "revocation_denial_seconds"): "first denial, 95 %",
            },
            "s",
            "A denial waits for the client's next call.",
        ),
        Panel("Evictions", {rate("evictions_total", "kind"): "{{kind}}"}, "ops"),
    ),
    "Store": (
        Panel("Store answers", {state("store_up", how="min"): "{{instance}}"}),
        Panel("Failed requests", {rate("store_errors_total", "instance"): "{{instance}}"}, "ops"),
        Panel("Unreachable primaries", {state("store_primaries_unreachable"): "{{instance}}"}),
        Panel("May lose acknowledged writes", {state("store_warnings", "warning"): "{{warning}}"}),
        Panel(
            "Revocations by subscription",
            {state("revocation_subscription_up", how="min"): "{{instance}}"},
            about="0: by polling.",
        ),
    ),
    "Keys and certificates": (
        Panel("Usable keys", {state("keys_up", "issuer", "min"): "{{issuer}}"}),
        Panel(
            "Age of the keys",
            {f"time() - {state('keys_fetched_timestamp_seconds', 'issuer', 'min')}": "{{issuer}}"},
            "s",
        ),
        Panel(
            "Issuer unavailable",
            {rate("refusals_total", "instance", 'code="issuer_unavailable"'): "{{instance}}"},
            "reqps",
            "With usable keys: tokens with a new key while the issuer cannot be reached.",
        ),
        Panel(
            "Introspections",
            {
                rate("introspections_total", "outcome"): "{{outcome}}",
                state("introspection_up", "issuer", "min"): "{{issuer}} up",
            },
            "ops",
        ),
        Panel(
            "Certificates end in",
            {f"{state('certificate_expiry_timestamp_seconds', 'side', 'min')} - time()": "{{side}}"},
            "s",
        ),
    ),
    "Reloads and drift": (
        Panel("Last reload", {state("last_reload_success", how="min"): "{{instance}}"}, about="0: refused."),
        Panel("Since the last reload", {f"time() - {state('last_reload_timestamp_seconds')}": "{{instance}}"}, "s"),
        Panel(
            "Files on disk",
            {state("files_valid", how="min"): "{{instance}} valid", state("files_differ"): "{{instance}} differ"},
        ),
        Panel(
            "Backend",
            {
                state("backend_up", how="min"): "{{instance}}",
                state("backend_connected", how="min"): "{{instance}} ever",
            },
        ),
        Panel(
            "Tools that differ from the policy",
            {state("backend_drift", "kind"): "{{kind}}"},
            about="missing, changed: check --live.",
        ),
        Panel("Refused reloads", {rate("reload_failures_total", "instance"): "{{instance}}"}, "ops"),
    ),
    "Admin API": (
        Panel("Requests of programs", {rate("admin_api_requests_total", "operation"): "{{operation}}"}, "reqps"),
        Panel(
            "Problems answered to programs",
            {rate("admin_api_problems_total", "code"): "{{code}}"},
            "reqps",
            "docs/admin-api.md has the codes.",
        ),
    ),
    "Process": (
        Panel(
            "CPU", {_process("process_cpu_seconds_total", rated=True): "{{instance}}"}, "percentunit", "1 is a core."
        ),
        Panel(
            "Memory",
            {
                _process("process_resident_memory_bytes"): "{{instance}} process",
                state("memory_bytes"): "{{instance}} requests",
            },
            "bytes",
        ),
        Panel(
            "File descriptors",
            {_process("process_open_fds"): "{{instance}} open", _process("process_max_fds"): "{{instance}} limit"},
        ),
        Panel(
            "Lag of the event loop (99 %)", {quantile(0.99, "event_loop_lag_seconds", "instance"): "{{instance}}"}, "s"
        ),
        Panel(
            "Lost lines and waiting connections",
            {
                rate("log_lines_dropped_total", "instance"): "{{instance}} lines",
                rate("accepts_paused_total", "listener, reason"): "{{listener}} {{reason}}",
            },
            "ops",
        ),
        Panel("Spans for the collector", {rate("spans_total", "outcome"): "{{outcome}}"}, "ops"),
        Panel("Workers", {state("workers"): "{{instance}}"}),
        Panel("Replaced workers", {rate("worker_restarts_total", "reason"): "{{reason}}"}, "ops"),
        Panel(
            "Names counted as _other", {f"sum by (metric) ({_selector('series_over_budget_total', '')})": "{{metric}}"}
        ),
        Panel(
            "Starts",
            {
                _process("process_start_time_seconds").replace(
                    "process_start", "1000 * process_start", 1
                ): "{{instance}}"
            },
            "dateTimeFromNow",
        ),
    ),
}
"""Panels by the heading of their row."""
