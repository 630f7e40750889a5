"""Targets for the cost of a call, compared with the measured figures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bench.report.figures import TEXTBOOK, US, Figures, Spread

ENVOY = "envoy-mcp-remembered"
KIBIBYTE = 1024

# Measured in another run, on a machine of the same kind: CPU microseconds of them, and of the textbook proxy there.
TEXTBOOK_ELSEWHERE = 174.0
ELSEWHERE = {
    "ToolHive 0.44 (Go), Cedar on tool and scope": (290.0, "token, MCP, Cedar"),
    "agentgateway 1.4 (Rust, not its fastest build), CEL on tool and scope": (344.0, "token, MCP, CEL"),
    "ContextForge 1.0.7": (73_000.0, "token, RBAC"),
}


@dataclass(frozen=True, slots=True)
class Target:
    """One target.

    Attributes:
        about: what may not exceed `limit`.
        limit: the most that it may be.
        unit: of both.
        found: reads it from a run.
        digits: after the point.
    """

    about: str
    limit: float
    unit: str
    found: Callable[[Figures], Spread | None]
    digits: int = 2


def _cost(workload: str, figure: str) -> Callable[[Figures], Spread | None]:
    return lambda run: run.of(workload, "c32", US, figure)


def _ratio(workload: str, to: str = TEXTBOOK, figure: str = "cpu_us") -> Callable[[Figures], Spread | None]:
    return lambda run: run.ratio(workload, US, to, figure)


def _added(workload: str, figure: str, mode: str = "low") -> Callable[[Figures], Spread | None]:
    return lambda run: run.added(workload, US, figure, mode)


def _added_ratio(workload: str) -> Callable[[Figures], Spread | None]:
    """Read the ratio of the latencies that sidecar and textbook proxy add: a slow machine delays both."""
    return lambda run: run.added_ratio(workload, US, TEXTBOOK, "p50_ms")


def _further(name: str, figure: str, unit: float = 1.0) -> Callable[[Figures], Spread | None]:
    def found(run: Figures) -> Spread | None:
        each = run.further(name, figure)
        return each and Spread(each.median / unit, each.lowest / unit, each.highest / unit)

    return found


def _refused(run: Figures) -> Spread | None:
    """The dearest refusal's cost over that of an allowed call."""
    cells = [(f"refused-{name}", "c32", US) for name in ("token", "signature", "scope")]
    allowed = ("scoped", "c32", US)
    found = [run.compared(cell, allowed, "cpu_us", lambda mine, theirs: mine / theirs) for cell in cells]
    known = [each for each in found if each is not None]
    return max(known, key=lambda each: each.median) if known else None


def _elsewhere(name: str) -> float:
    return next(cost for title, (cost, _) in ELSEWHERE.items() if title.startswith(name)) / TEXTBOOK_ELSEWHERE


TARGETS: tuple[Target, ...] = (
    Target("CPU, scoped", 0.8, "× textbook", _ratio("scoped")),
    Target("CPU, priced", 1.0, "× textbook", _ratio("priced")),
    Target("CPU of the store, priced", 120, "µs", _cost("priced", "store_us"), 0),
    Target("CPU, scoped", 1.2, "× Envoy with tokens remembered", _ratio("scoped", ENVOY)),
    Target("CPU, scoped: ToolHive's ratio in another run", _elsewhere("ToolHive"), "× textbook", _ratio("scoped")),
    Target("CPU, scoped: agentgateway's ratio in another run", _elsewhere("agent"), "× textbook", _ratio("scoped")),
    Target("CPU of a refusal, the dearest", 1.0, "× an allowed call", _refused),
    Target("CPU of a token's first verification", 150, "µs more", _further("cold", "more_us"), 0),
    Target("latency added at 100/s, scoped: p50", 0.6, "ms", _added("scoped", "p50_ms")),
    Target("latency added at 100/s, scoped: p50", 1.0, "× textbook", _added_ratio("scoped")),
    Target("latency added at 100/s, scoped: p99", 2.0, "ms", _added("scoped", "p99_ms")),
    Target("latency added at 100/s, priced: p50", 0.6, "ms", _added("priced", "p50_ms")),
    Target("latency added at 100/s, priced: p50", 1.0, "× textbook", _added_ratio("priced")),
    Target("latency added at 100/s, priced: p99", 2.0, "ms", _added("priced", "p99_ms")),
    Target("the same with cores kept awake, scoped: p50", 0.6, "ms", _added("scoped", "p50_ms", "awake")),
    Target("the same with cores kept awake, scoped: p99", 2.0, "ms", _added("scoped", "p99_ms", "awake")),
    Target("the same with cores kept awake, priced: p50", 0.6, "ms", _added("priced", "p50_ms", "awake")),
    Target("the same with cores kept awake, priced: p99", 2.0, "ms", _added("priced", "p99_ms", "awake")),
    Target("p99 at 32 connections, scoped", 1.0, "× textbook", _ratio("scoped", figure="p99_ms")),
    Target("CPU of a call in the busier of two workers", 1 / 1.8, "× one process", _further("workers", "busier_part")),
    Target("memory of an idle GET stream", 16, "KiB", _further("idle-get", "bytes_each", KIBIBYTE), 1),
    Target("memory of an idle `subscriptions/listen`", 16, "KiB", _further("idle-listen", "bytes_each", KIBIBYTE), 1),
    Target("idle GET streams dropped", 0, "", _further("idle-get", "dropped"), 0),
    Target("idle `subscriptions/listen` dropped", 0, "", _further("idle-listen", "dropped"), 0),
)


def verdict(target: Target, value: float) -> str:
    """Return whether a value meets a target, and how much is left or missing."""
    met = value <= target.limit
    if not target.limit:
        return "met" if met else f"short by {value:,.0f}"
    part = abs(value - target.limit) / target.limit
    return f"met, {part:.0%} below" if met else f"**short** by {part:.0%}"


def rows(run: Figures) -> Iterator[tuple[str, str, str, str]]:
    """Return target, limit, measured and verdict of all that this run measured."""
    for target in TARGETS:
        found = target.found(run)
        if found is not None:
            limit = f"≤ {target.limit:,.{target.digits}f} {target.unit}".rstrip()
            yield target.about, limit, found.text(target.digits), verdict(target, found.median)
