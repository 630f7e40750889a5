"""Two workers against one: the CPU of a call in the busier one, and calls a second of both.

The load generator, the backend and the store need a part of the two cores, so calls a second of two workers say little
here: on a machine with a core for each worker, the busier one limits both. It is measured while each worker gets the
same number of calls a second, below what it can serve. At full speed, the worker that shares its core with the
generator would serve fewer calls, and the other one more.
"""

from __future__ import annotations

import contextlib
import os
import statistics
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

_CONNECTIONS = 128  # for each worker: the kernel distributes so many to within a few percent
_RATE = 16  # calls a second of a connection, for a third of what a worker can serve
_REFUSED = 0.01  # part of the calls: a store that stops for seconds on a busy machine refuses a few
_START_WITHIN = 60.0


def measure(plan: Plan, ring: Keyring, result: Result) -> None:
    """Measure one process, then a supervisor with two workers, on the same cores."""
    figures: dict[str, float | list[float]] = {}
    alone: list[float] = []
    busier: list[float] = []
    with prepared([call(ring.token, number=number) for number in range(1, 257)]) as requests:
        for workers, costs in ((1, alone), (2, busier)):
            with _running(ring, workers) as one:
                for_calls(one.port, requests, connections=_CONNECTIONS, calls=2000)
                rates = [_round(one, requests, plan, workers)[1] for _ in range(plan.rounds)]
                costs += [_round(one, requests, plan, workers, _RATE)[0] for _ in range(plan.rounds)]
            figures[f"busiest_{workers}_us"], figures[f"calls_{workers}"] = costs, rates
            print(f"  {workers} worker(s): {min(costs):,.0f} µs of the busiest for a call, {max(rates):,.0f} calls/s")
    one_us = statistics.median(alone)
    figures["speedup"] = [one_us / two_us for two_us in busier]
    figures["busier_part"] = [two_us / one_us for two_us in busier]
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


def _round(one: Running, requests: Requests, plan: Plan, workers: int, rate: int | None = None) -> tuple[float, float]:
    """Return the microseconds of CPU that the busiest worker takes for a call of any worker, and calls a second."""
    clocks = [CpuClock((pid,)) for pid in _serving(one, workers)]
    connections = _CONNECTIONS * workers
    sample = for_seconds(one.port, requests, connections=connections, seconds=plan.seconds, rate=rate)
    if sample.refused > sample.calls * _REFUSED:
        raise RuntimeError(f"{sample.refused} calls were refused")
    return max(clock.seconds() for clock in clocks) / sample.calls * 1e6, sample.calls / sample.seconds
