"""Two workers against one: what a call costs in each, and how evenly the kernel spreads connections.

The load generator needs a part of the two cores, so the calls a second of both alone say little. The busiest worker
limits a machine with a core for each of them: its part of the CPU of a call is what counts.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench.backend import serving
from bench.load import for_calls, for_seconds, prepared
from bench.material import Keyring, call
from bench.measure import CpuClock, descendants
from bench.peers.ours import sidecar
from bench.peers.peer import Running, Site
from bench.rounds import Plan, Requests, Result
from bench.workloads import WORKLOADS

_CONNECTIONS = 64
_REFUSED = 0.01  # part of the calls: a store that stops for seconds on a busy machine refuses a few
_START_WITHIN = 60.0


def measure(plan: Plan, ring: Keyring, result: Result) -> None:
    """Measure one process, then a supervisor with two workers, on the same cores."""
    figures: dict[str, float | list[float]] = {}
    with prepared([call(ring.token, number=number) for number in range(1, 257)]) as requests:
        for workers in (1, 2):
            with _running(ring, workers) as one:
                costs, rates = _measured(one, requests, plan, workers)
            figures[f"busiest_{workers}_us"], figures[f"calls_{workers}"] = costs, rates
            print(f"  {workers} worker(s): {min(costs):,.0f} µs of the busiest for a call, {max(rates):,.0f} calls/s")
        one_us, two_us = (figures[f"busiest_{workers}_us"] for workers in (1, 2))
        assert isinstance(one_us, list)
        assert isinstance(two_us, list)
        figures["speedup"] = [alone / busiest for alone, busiest in zip(one_us, two_us, strict=True)]
    result.further["workers"] = figures


@contextlib.contextmanager
def _running(ring: Keyring, workers: int) -> Iterator[Running]:
    scoped = WORKLOADS["scoped"]
    with serving(scoped.answers) as backend, tempfile.TemporaryDirectory(prefix="bench-") as folder:
        site = Site(ring, backend.port, Path(folder), scoped.policy, {"workers": workers})
        with sidecar(site) as one:
            for pid in _serving(one, workers):
                os.sched_setaffinity(pid, range(os.cpu_count() or 1))  # the peers are on one core
            yield one


def _serving(one: Running, workers: int) -> list[int]:
    """Return the processes that serve, once there are enough."""
    end = time.monotonic() + _START_WITHIN
    while workers > 1 and len(descendants(one.pids)) <= workers:
        if time.monotonic() > end:
            raise RuntimeError("the workers have not started")
        time.sleep(0.1)
    return list(one.pids) if workers == 1 else [pid for pid in descendants(one.pids) if pid not in one.pids]


def _measured(one: Running, requests: Requests, plan: Plan, workers: int) -> tuple[list[float], list[float]]:
    for_calls(one.port, requests, connections=_CONNECTIONS, calls=2000)
    costs, rates = [], []
    for _ in range(plan.rounds):
        clocks = [CpuClock((pid,)) for pid in _serving(one, workers)]
        sample = for_seconds(one.port, requests, connections=_CONNECTIONS, seconds=plan.seconds)
        if sample.refused > sample.calls * _REFUSED:
            raise RuntimeError(f"{sample.refused} calls were refused")
        costs.append(max(clock.seconds() for clock in clocks) / sample.calls * 1e6)
        rates.append(sample.calls / plan.seconds)
    return costs, rates
