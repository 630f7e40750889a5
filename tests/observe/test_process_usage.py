"""Numbers of the operating system: those of this process, as other programs read them."""

from __future__ import annotations

import resource
import time

from sidecar.observe.metrics import Metrics


def value(metrics: Metrics, name: str) -> float:
    metrics.refresh()
    found = metrics.registry.get_sample_value(name)
    assert found is not None
    return found


def test_descriptors_are_counted_and_limited():
    metrics = Metrics()
    before = value(metrics, "process_open_fds")
    with open("/dev/null") as _, open("/dev/null") as _:
        assert value(metrics, "process_open_fds") == before + 2
    assert value(metrics, "process_max_fds") == resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def test_cpu_time_only_grows_and_is_not_counted_twice():
    metrics = Metrics()
    first = value(metrics, "process_cpu_seconds_total")
    assert value(metrics, "process_cpu_seconds_total") >= first > 0
    used = resource.getrusage(resource.RUSAGE_SELF)
    assert value(metrics, "process_cpu_seconds_total") <= used.ru_utime + used.ru_stime + 1


def test_memory_and_start():
    metrics = Metrics()
    assert value(metrics, "process_resident_memory_bytes") > 1e6
    assert 0 < value(metrics, "process_start_time_seconds") <= time.time() + 1
