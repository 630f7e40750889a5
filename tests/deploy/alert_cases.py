"""Series under which each alert fires, and series close to them under which it does not.

Values are promtool's: one a minute, `0x20 1x40` is 0 for the first 21 minutes and then 1.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

Series = dict[str, str]

A: Final = 'job="mcp", instance="a:9090"'
B: Final = 'job="mcp", instance="b:9090"'
ON_A: Final = {"job": "mcp", "instance": "a:9090"}
ON_B: Final = {"job": "mcp", "instance": "b:9090"}
STEADY: Final = "1x60"


def sidecars(*targets: str) -> Series:
    return {f"mcp_sidecar_build_info{{{target}}}": STEADY for target in targets or (A, B)}


@dataclass(frozen=True, slots=True)
class Case:
    """Series that fire one alert.

    Attributes:
        alert: its name.
        fires: series and their values.
        quiet: the same with other values, for each way of not firing.
        labels: of what fires, without the severity.
        at: minute at which it fires.
        value: of the expression, where the summary names it.
    """

    alert: str
    fires: Series
    quiet: tuple[Series, ...]
    labels: dict[str, str] = field(default_factory=dict)
    at: int = 30
    value: str = ""


def gauge(
    alert: str, name: str, good: str, bad: str, more: Series | None = None, labels: str = "", **extra: str
) -> Case:
    """A gauge on one of two sidecars; it fires with the labels of that one only."""
    others = f", {labels}" if labels else ""
    well, ill = f"{name}{{{A}{others}}}", f"{name}{{{B}{others}}}"
    fixed = more or {}
    steady, late, brief = f"{good}x60", f"{good}x10 {bad}x50", f"{good}x29 {bad}x1 {good}x30"
    quiet = ({**fixed, well: steady, ill: steady}, {**fixed, well: steady, ill: brief})
    return Case(alert, {**fixed, well: steady, ill: late}, quiet, {**ON_B, **extra}, at=50)


def counted(alert: str, name: str, labels: str = "", at: int = 25, **extra: str) -> Case:
    """A counter that starts at 0 on one sidecar; its first count fires."""
    series = f"{name}{{{B}{', ' if labels else ''}{labels}}}"
    return Case(alert, {series: "0x20 1x40"}, ({series: "0x60"}, {series: "5x60"}), {**ON_B, **extra}, at=at)


_TIME: Final = "0+60x60"  # promtool's clock starts at 0
_ENDED: Final = f"mcp_sidecar_revocation_stream_end_seconds_count{{{B}}}"
_SOON: Final = f'mcp_sidecar_revocation_stream_end_seconds_bucket{{{B}, le="5.0"}}'
_ISSUER_AWAY: Final = f'mcp_sidecar_refusals_total{{{B}, gate="token", code="issuer_unavailable"}}'
_KEYS: Final = f'mcp_sidecar_keys_up{{{B}, issuer="main"}}'
_INTROSPECTION: Final = f'mcp_sidecar_introspection_up{{{B}, issuer="main"}}'
_FAILED: Final = f'mcp_sidecar_requests_total{{{A}, code="backend_timeout"}}'
_SERVED: Final = f'mcp_sidecar_requests_total{{{A}, code="ok"}}'
_FDS: Final = (f"process_open_fds{{{B}}}", f"process_max_fds{{{B}}}")
_STARTED: Final = f"process_start_time_seconds{{{B}}}"


def buckets(name: str, labels: str, fast: str, slow: str) -> Series:
    """Two buckets: observations up to 10 ms, and up to a second."""
    return {
        f'{name}_bucket{{{labels}, le="{le}"}}': rate for le, rate in (("0.01", fast), ("1.0", slow), ("+Inf", slow))
    }


_LAG: Final = "mcp_sidecar_event_loop_lag_seconds"
_OVERHEAD: Final = "mcp_sidecar_overhead_seconds"
_CALLS: Final = f'{A}, method="tools/call"'

CASES: Final = (
    Case("McpSidecarAbsent", {"up": STEADY}, (sidecars(A),)),
    Case(
        "McpSidecarDown",
        {**sidecars(A), f"mcp_sidecar_build_info{{{B}}}": "1x20", f"up{{{A}}}": STEADY, f"up{{{B}}}": "1x20 0x40"},
        (
            {**sidecars(), f"up{{{A}}}": STEADY, f"up{{{B}}}": "1x29 0x1 1x30"},
            {**sidecars(A), f"up{{{A}}}": STEADY, 'up{job="other", instance="c:80"}': "0x60"},
        ),
        ON_B,
    ),
    gauge("McpSidecarNotReady", "mcp_sidecar_ready", "1", "0"),
    Case(
        "McpSidecarRestarting",
        {**sidecars(B), _STARTED: "10x20 1300x2 1400x2 1500x30"},
        (
            {**sidecars(B), _STARTED: "10x20 1300x2 1400x40"},
            {**sidecars(A), _STARTED: "10x20 1300x2 1400x2 1500x30"},
        ),
        ON_B,
        value="3",
    ),
    counted("McpSidecarWorkersReplaced", "mcp_sidecar_worker_restarts_total", 'reason="died"', reason="died"),
    gauge("McpSidecarStoreDown", "mcp_sidecar_store_up", "1", "0"),
    Case(
        "McpSidecarStoreMayLose",
        {f'mcp_sidecar_store_warnings{{{A}, warning="eviction"}}': STEADY},
        (
            {f'mcp_sidecar_store_warnings{{{A}, warning="failover"}}': STEADY},
            {f'mcp_sidecar_store_warnings{{{A}, warning="eviction"}}': "0x60"},
        ),
        {"warning": "eviction"},
    ),
    gauge(
        "McpSidecarStorePrimaryAway",
        "mcp_sidecar_store_primaries_unreachable",
        "0",
        "1",
        {f"mcp_sidecar_store_up{{{A}}}": STEADY, f"mcp_sidecar_store_up{{{B}}}": STEADY},
    ),
    counted("McpSidecarReservationsLost", "mcp_sidecar_lost_holds_total"),
    gauge(
        "McpSidecarRevocationsPolled",
        "mcp_sidecar_revocation_subscription_up",
        "1",
        "0",
        {f"mcp_sidecar_store_up{{{A}}}": STEADY, f"mcp_sidecar_store_up{{{B}}}": STEADY},
    ),
    Case(
        "McpSidecarRevocationsSlow",
        {_ENDED: "0x20 2x40", _SOON: "0x20 1x40"},
        ({_ENDED: "0x20 2x40", _SOON: "0x20 2x40"}, {_ENDED: "0x60", _SOON: "0x60"}),
        ON_B,
    ),
    gauge("McpSidecarKeysUnusable", "mcp_sidecar_keys_up", "1", "0", labels='issuer="main"', issuer="main"),
    Case(
        "McpSidecarKeysStale",
        {f'mcp_sidecar_keys_fetched_timestamp_seconds{{{B}, issuer="main"}}': "0x90"},
        ({f'mcp_sidecar_keys_fetched_timestamp_seconds{{{B}, issuer="main"}}': _TIME},),
        {**ON_B, "issuer": "main"},
        at=70,
    ),
    Case(
        "McpSidecarNewKeyRefused",
        {_ISSUER_AWAY: "0x20 1x40", _KEYS: STEADY},
        (
            {_ISSUER_AWAY: "0x60", _KEYS: STEADY},
            {_ISSUER_AWAY: "0x20 1x40", _KEYS: "0x60"},
            {_ISSUER_AWAY: "0x20 1x40", _KEYS: STEADY, _INTROSPECTION: "0x60"},
        ),
        ON_B,
        at=25,
    ),
    gauge(
        "McpSidecarIntrospectionFailing",
        "mcp_sidecar_introspection_up",
        "1",
        "0",
        labels='issuer="main"',
        issuer="main",
    ),
    gauge("McpSidecarBackendLost", "mcp_sidecar_backend_up", "1", "0"),
    Case(
        "McpSidecarToolsDrifted",
        {f'mcp_sidecar_backend_drift{{{A}, kind="missing"}}': STEADY},
        (
            {f'mcp_sidecar_backend_drift{{{A}, kind="undeclared"}}': STEADY},
            {f'mcp_sidecar_backend_drift{{{A}, kind="missing"}}': "0x60"},
        ),
        {"kind": "missing"},
    ),
    Case(
        "McpSidecarBackendFailing",
        {_FAILED: "0+6x60", _SERVED: "0+60x60"},
        ({_FAILED: "0+2x60", _SERVED: "0+60x60"}, {_FAILED: "0x60", _SERVED: "0x60"}),
        {"job": "mcp"},
    ),
    counted(
        "McpSidecarInternalErrors",
        "mcp_sidecar_refusals_total",
        'gate="forward", code="internal"',
        gate="forward",
        code="internal",
    ),
    Case(
        "McpSidecarAccountRefused",
        {f"mcp_sidecar_account_refusals_max{{{B}}}": "5x10 1200x50"},
        (
            {f"mcp_sidecar_account_refusals_max{{{B}}}": "300x60"},
            {f"mcp_sidecar_account_refusals_max{{{B}}}": "5x28 900x1 5x30"},
        ),
        ON_B,
        value="1200",
    ),
    Case(
        "McpSidecarOverloaded",
        {f'mcp_sidecar_refusals_total{{{B}, gate="transport", code="overloaded"}}': "0x10 0+1x50"},
        ({f'mcp_sidecar_refusals_total{{{B}, gate="transport", code="overloaded"}}': "0x26 1x34"},),
        ON_B,
    ),
    gauge("McpSidecarReloadFailed", "mcp_sidecar_last_reload_success", "1", "0"),
    gauge("McpSidecarFilesInvalid", "mcp_sidecar_files_valid", "1", "0"),
    gauge(
        "McpSidecarFilesDiffer",
        "mcp_sidecar_files_differ",
        "0",
        "1",
        {f"mcp_sidecar_files_valid{{{A}}}": STEADY, f"mcp_sidecar_files_valid{{{B}}}": STEADY},
    ),
    Case(
        "McpSidecarCertificateExpires",
        {f'mcp_sidecar_certificate_expiry_timestamp_seconds{{{B}, side="listen"}}': "600000x90"},
        ({f'mcp_sidecar_certificate_expiry_timestamp_seconds{{{B}, side="listen"}}': "900000x90"},),
        {**ON_B, "side": "listen"},
        at=80,
    ),
    counted(
        "McpSidecarConnectionsWait",
        "mcp_sidecar_accepts_paused_total",
        'listener="listen", reason="limit"',
        listener="listen",
        reason="limit",
    ),
    Case(
        "McpSidecarDescriptorsScarce",
        {**sidecars(B), _FDS[0]: "100x10 900x50", _FDS[1]: "1024x60"},
        (
            {**sidecars(B), _FDS[0]: "100x10 800x50", _FDS[1]: "1024x60"},
            {**sidecars(A), _FDS[0]: "900x60", _FDS[1]: "1024x60"},
        ),
        ON_B,
    ),
    Case(
        "McpSidecarEventLoopLags",
        buckets(_LAG, B, "0+200x60", "0+240x60"),
        (buckets(_LAG, B, "0+240x60", "0+240x60"),),
        ON_B,
    ),
    counted("McpSidecarLogLost", "mcp_sidecar_log_lines_dropped_total"),
    counted(
        "McpSidecarPricesNotComputed",
        "mcp_sidecar_settle_problems_total",
        'tool="reveal_contacts"',
        tool="reveal_contacts",
    ),
    Case(
        "McpSidecarSeriesOverBudget",
        {f'mcp_sidecar_series_over_budget_total{{{B}, metric="mcp_sidecar_requests_total"}}': "_x20 1x40"},
        (sidecars(B),),
        {**ON_B, "metric": "mcp_sidecar_requests_total"},
    ),
    Case(
        "McpSidecarOverhead",
        buckets(_OVERHEAD, _CALLS, "0+90x60", "0+100x60"),
        (buckets(_OVERHEAD, _CALLS, "0+100x60", "0+100x60"),),
    ),
)
"""One case for each alert of deploy/alerts.yaml, in its order."""
