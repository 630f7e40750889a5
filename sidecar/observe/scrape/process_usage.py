"""Use of the operating system by this process, under the names that every Prometheus client uses: `process_*`."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, ProcessCollector


class ProcessUsage:
    """Reader of the process's own memory, time and descriptors.

    Args:
        resident: receives the resident memory in bytes.
        started: receives the start of the process in seconds since the epoch.
        open_fds: receives the number of open file descriptors.
        max_fds: receives the limit of open file descriptors.
        cpu: counts the seconds of user and system CPU time.
    """

    def __init__(self, *, resident: Gauge, started: Gauge, open_fds: Gauge, max_fds: Gauge, cpu: Counter) -> None:
        self._gauges = {
            "process_resident_memory_bytes": resident,
            "process_start_time_seconds": started,
            "process_open_fds": open_fds,
            "process_max_fds": max_fds,
        }
        self._cpu = cpu
        self._counted = 0.0
        self._collector = ProcessCollector(registry=None)

    def refresh(self) -> None:
        """Read the numbers of now; without `/proc` the gauges stay as they are."""
        for family in self._collector.collect():
            value = family.samples[0].value
            if family.name in self._gauges:
                self._gauges[family.name].set(value)
            elif family.type == "counter":
                self._cpu.inc(max(0.0, value - self._counted))
                self._counted = max(self._counted, value)
