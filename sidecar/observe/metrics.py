"""Metrics of `/metrics`: `mcp_sidecar_*`, in a registry of their own.

Label values come from enums and from names in the policy, never from a request, so clients cannot add series; names
beyond a metric's budget are counted as `_other` (see `plain_metrics.SeriesBudget`).
"""

from __future__ import annotations

import contextlib
import platform
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import lru_cache, partial
from itertools import islice, product
from typing import Final

from prometheus_client import CollectorRegistry, Counter

from sidecar import __version__
from sidecar.errors import ErrorCode, Refusal
from sidecar.model import AmountKind, Caller, Price
from sidecar.observe.families import Families
from sidecar.observe.plain_metrics import OTHER, CounterSeries, PlainCounter
from sidecar.observe.scrape.busiest_account import BusiestAccount
from sidecar.observe.scrape.exposition import Exposition, expose
from sidecar.observe.scrape.process_usage import ProcessUsage
from sidecar.observe.series import MAX_SERIES, MAX_STARTED, UNDECLARED_CODES, first_codes
from sidecar.outcome import Action, Event, Exchange

# Members of enums as constants: as attributes of their classes they take ten times as long.
_DEFER: Final = Action.DEFER
_CREDIT: Final = AmountKind.CREDIT
_STORE_UNAVAILABLE: Final = ErrorCode.STORE_UNAVAILABLE

EVICTED: Final = ("session", "task", "challenge", "token", "introspection")
"""Kinds of entries with counted evictions."""
_BUDGET_CODES: Final = frozenset({ErrorCode.QUOTA_EXCEEDED, ErrorCode.INSUFFICIENT_CREDITS})
CODES: Final = frozenset({"ok", *(code.id for code in ErrorCode), *(event.value for event in Event)})


class Metrics(Families):
    """All metrics of one process. `record` counts calls; the owner of each state sets its gauge."""

    def __init__(self) -> None:
        super().__init__(CollectorRegistry())
        # Remembered, because to find a series by its labels takes longer than to count.
        self._of_call = lru_cache(MAX_SERIES)(partial(_CallSeries, self))
        self._reserved = _ByName(self.reserved)
        self._spent = _ByName(self.spent)
        self._released = _ByName(self.released)
        self._quota_used = _ByName(self.quota_used)
        self._settlements = _ByName(self.settlements)
        self._policy_revision: str | None = None
        self._busiest_account = BusiestAccount()
        self._process = ProcessUsage(
            resident=self.resident, started=self.started, open_fds=self.open_fds, max_fds=self.max_fds, cpu=self.cpu
        )
        self.build.labels(__version__, platform.python_version()).set(1)
        for kind in EVICTED:
            self.evictions.labels(kind)
        self._refused = {  # those of the budget begin with each quota and pool of the policy
            code: self.refusals.labels(code.row.gate.value, code.id, "", "")
            for code in ErrorCode
            if code not in _BUDGET_CODES
        }
        for action in Action:
            self.settlements.labels(action)

    def expect(
        self,
        tools: Iterable[str],
        pools: Iterable[str],
        shadows: Iterable[tuple[str, str, str]] = (),
        quotas: Iterable[str] = (),
    ) -> None:
        """Start the counters of a policy's names at 0: a rate misses the first count of a new series.

        Request counters start for every code that a call of a declared tool can end in; with very many tools, for the
        codes that alerts query (see `series`).

        Args:
            tools: the declared ones.
            pools: the declared pools of credits.
            shadows: tools, the codes with which their rules in shadow mode would refuse, and the quotas.
            quotas: the declared ones.
        """
        declared = list(tools)
        for tool in (*declared, OTHER):
            for code, status in (first_codes(len(declared)) if tool != OTHER else UNDECLARED_CODES).items():
                self.requests.labels("tools/call", tool, status.value, code)
        for tool in (*declared[:MAX_STARTED], OTHER):
            self.settle_problems.labels(tool)
        for tool, code, quota in islice(shadows, MAX_STARTED):
            self.shadow.labels(tool, code, quota)
        for pool in islice(pools, MAX_STARTED // 2):
            self._refused_budget(ErrorCode.INSUFFICIENT_CREDITS, "", pool)
            for counter in (self.reserved, self.spent, self.released):
                counter.labels(pool)
        for quota in islice(quotas, MAX_STARTED // 2):
            self._refused_budget(ErrorCode.QUOTA_EXCEEDED, quota, "")
            self.quota_used.labels(quota)

    def begin(self, counter: Counter | PlainCounter, *labels: Iterable[str]) -> None:
        """Start a counter at 0 for every combination of these values of its labels."""
        for values in product(*labels):
            counter.labels(*values)

    def introspected(self, outcome: str) -> None:
        """Count one introspection request."""
        self.introspections.labels(outcome).inc()

    def evicted(self, kind: str) -> None:
        """Count one eviction."""
        self.evictions.labels(kind).inc()

    def issuer(self, name: str, *, keys: bool | None, fetched: float | None, introspection: bool | None) -> None:
        """Set the gauges of an issuer; None where a gauge does not apply to it.

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
            else:
                # An earlier config may have set it, and its alerts would continue.
                with contextlib.suppress(KeyError):
                    gauge.remove(name)

    def policy(self, revision: str) -> None:
        """Set the revision of the policy in force."""
        if self._policy_revision not in (None, revision):
            self.policy_info.remove(self._policy_revision)
        self._policy_revision = revision
        self.policy_info.labels(revision).set(1)

    def certificate(self, side: str, ends: datetime | None) -> None:
        """Set the expiry of one side's certificate; None without one."""
        if ends is not None:
            self.certificate_ends.labels(side).set(ends.timestamp())
        else:
            with contextlib.suppress(KeyError):
                self.certificate_ends.remove(side)

    def count(self, exchange: Exchange, status: str, seconds: float) -> None:
        """Count one finished request.

        Args:
            exchange: the request.
            status: one of `record.Status`.
            seconds: from its first byte to its end.
        """
        code, tool = exchange.code, tool_label(exchange)
        series = self._of_call(exchange.method or OTHER, tool, status, code if code in CODES else OTHER)
        series.requests.value += 1
        if exchange.call is None or not exchange.call.listens:  # their length depends on the client
            series.observe(seconds - exchange.asked_seconds, exchange.backend_seconds, exchange.trace_id)
        if exchange.refusal is not None:
            self._count_refusal(exchange.refusal, exchange.caller)
        if exchange.shadow:
            # A call counts once for each code and quota.
            for code, quota in dict.fromkeys((each.code.id, each.quota) for each in exchange.shadow):
                self.shadow.labels(tool, code, quota).inc()
        if exchange.notes:
            self.settle_problems.labels(tool).inc(len(exchange.notes))
        if exchange.stream_end is not None:
            self.streams_ended.labels(exchange.stream_end).inc()
        if exchange.action is not None:
            reserved = credits_of(exchange.reserved)
            for pool in reserved:
                self._reserved[pool].value += reserved[pool]
            self._count_settlement(exchange, exchange.action, reserved)

    def refresh(self) -> None:
        """Update the gauges that this object knows the values of."""
        self.account_refusals_max.set(self._busiest_account.refusals)
        self._process.refresh()

    def expose(self, accept: str = "") -> Exposition:
        """Return what Prometheus scrapes.

        Args:
            accept: the request's `Accept`; empty without one.
        """
        return expose(self.registry, accept)

    def count_money(self, exchange: Exchange) -> None:
        """Count the settlement of a hold and its credits."""
        if exchange.action is not None:
            self._count_settlement(exchange, exchange.action, credits_of(exchange.reserved))

    def _count_settlement(self, exchange: Exchange, action: Action, reserved: Mapping[str, int]) -> None:
        receipt = exchange.receipt
        self._settlements[action].value += 1
        if receipt is None or action is _DEFER:
            return  # its lease or another stream settles it later
        if receipt.late:
            self.late.inc()
            if exchange.hold_lost:
                self.lost_holds.inc()
            return
        paid = receipt.paid
        for pool, units in paid.items():
            if units:
                self._spent[pool].value += units
        for quota, units in receipt.used.items():
            self._quota_used[quota].value += units
        for pool, units in reserved.items():
            unused = units - paid[pool] if pool in paid else units
            if unused > 0:
                self._released[pool].value += unused

    def _count_refusal(self, refusal: Refusal, caller: Caller | None) -> None:
        code, about = refusal.code, refusal.specifics
        series = self._refused.get(code)
        if series is None:
            series = self.refusals.labels(code.row.gate, code.id, about.get("quota", ""), about.get("pool", ""))
        series.value += 1
        if caller is not None:
            self._busiest_account.refused((caller.issuer_id, caller.account))
        if code is _STORE_UNAVAILABLE:
            self.store_errors.inc()

    def _refused_budget(self, code: ErrorCode, quota: str, pool: str) -> None:
        self.refusals.labels(code.row.gate.value, code.id, quota, pool)


class _CallSeries:
    __slots__ = ("backend", "latency", "overhead", "requests")

    def __init__(self, metrics: Metrics, method: str, tool: str, status: str, code: str) -> None:
        self.requests = metrics.requests.labels(method, tool, status, code)
        self.latency = metrics.latency.labels(method, tool)
        self.backend = metrics.backend.labels(method, tool)
        self.overhead = metrics.overhead.labels(method, tool)

    def observe(self, seconds: float, backend: float | None, trace_id: str | None) -> None:
        """Observe the times of a call."""
        latency, overhead, own = self.latency, self.overhead, seconds
        # As `observe` does, which costs as much as what it does.
        if backend is not None:
            own, waits = seconds - backend if seconds > backend else 0.0, self.backend
            waits.total += backend
            waits.counts[bisect_left(waits.bounds, backend)] += 1
        bucket = bisect_left(latency.bounds, seconds)
        latency.total += seconds
        latency.counts[bucket] += 1
        if trace_id is not None:
            latency.exemplars[bucket] = ({"trace_id": trace_id[:32]}, seconds)
        overhead.total += own
        overhead.counts[bisect_left(overhead.bounds, own)] += 1


class _ByName(dict[str, CounterSeries]):
    """Series of a counter with one label, whose values are enums and names in policies: finding one calls nothing."""

    def __init__(self, counter: PlainCounter) -> None:
        super().__init__()
        self._counter = counter

    def __missing__(self, name: str) -> CounterSeries:
        if len(self) >= MAX_SERIES:  # of policies that are no longer in force
            self.clear()
        self[name] = series = self._counter.labels(name)
        return series


def tool_label(exchange: Exchange) -> str:
    """Return the declared tool; `_other` for a call of an undeclared one, empty for other methods."""
    if exchange.tool is not None:
        return exchange.tool
    return OTHER if exchange.call is not None and exchange.call.method == "tools/call" else ""


def credits_of(prices: Iterable[Price]) -> dict[str, int]:
    """Return the reserved credits per pool."""
    found: dict[str, int] = {}
    for price in prices:
        if price.kind is _CREDIT and price.needed:
            found[price.name] = found.get(price.name, 0) + price.needed
    return found
