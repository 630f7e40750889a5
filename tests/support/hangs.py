"""Fail a test that hangs alone, tear down its fixtures and end its child processes.

pytest-timeout's signal interrupts Python code, but not an event loop that waits: uvloop sleeps on. So a thread
of the worker cancels the loop's task of the test when its time is over. A test that resists both is ended with
its worker, after all processes that the worker's tests have started; xdist reports it and starts a new worker.
"""

from __future__ import annotations

import asyncio
import faulthandler
import os
import signal
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import pytest
import uvloop

TEARDOWN: Final = 20.0
"""Seconds that fixtures have to end after the test was cancelled, before they are cancelled as well."""
LAST_RESORT: Final = 60.0
"""Seconds after a test's time until its worker is ended."""
WORKER_VARIABLES: Final = ("PYTEST_XDIST_TESTRUNUID", "PYTEST_XDIST_WORKER")
_EVERY: Final = 1.0

_loops: weakref.WeakSet[TestLoop] = weakref.WeakSet()


class TestLoop(uvloop.Loop):
    """The event loop of production, which remembers the task of the test or fixture that it runs."""

    __test__ = False  # no class of tests

    def __init__(self) -> None:
        super().__init__()
        self.main: asyncio.Task[Any] | None = None
        self.main_since = 0.0
        _loops.add(self)

    def create_task(self, coro: Any, **options: Any) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = super().create_task(coro, **options)
        if not self.is_running():
            self.main, self.main_since = task, time.monotonic()
        return task


class Watchdog:
    """Cancels tests whose time is over; one thread per process."""

    def __init__(self) -> None:
        self._test: tuple[str, float, float] | None = None  # its name, the end of its time, and that in seconds
        self._thread: threading.Thread | None = None

    @contextmanager
    def watch(self, name: str, seconds: float) -> Iterator[None]:
        """Watch over one test, its fixtures included."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)
            self._thread.start()
        self._test = (name, time.monotonic() + seconds, seconds)
        try:
            yield
        finally:
            self._test = None

    def _run(self) -> None:
        while True:
            time.sleep(_EVERY)
            test, now = self._test, time.monotonic()
            if test is None or now < test[1]:
                continue
            if now >= test[1] + LAST_RESORT:
                _end_process(test[0])
            for loop in list(_loops):
                main = loop.main
                # The test's own task at once; a fixture that ends after it has time of its own.
                if main is not None and (loop.main_since < test[1] or now >= loop.main_since + TEARDOWN):
                    with suppress(RuntimeError):  # the loop has been closed
                        loop.call_soon_threadsafe(main.cancel, f"{test[0]} took longer than {test[2]:g} s")


def seconds_of(item: pytest.Item) -> float:
    """The time that pytest-timeout gives a test; 0 where it has none."""
    marker = item.get_closest_marker("timeout")
    if marker is not None:
        return float(marker.args[0] if marker.args else marker.kwargs["timeout"])
    chosen = item.config.getoption("timeout", None)
    return float(item.config.getini("timeout") or 0) if chosen is None else float(chosen)


def descendants(pid: int) -> list[int]:
    """All processes that a process has started, and those that they have."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, ValueError, IndexError):
            words = stat.read_text().rpartition(")")[2].split()
            children.setdefault(int(words[1]), []).append(int(stat.parent.name))
    found, left = [], [pid]
    while left:
        below = children.get(left.pop(), [])
        found += below
        left += below
    return found


def orphans() -> list[int]:
    """All processes of this worker's tests, also those whose parents have ended: they have its environment."""
    marks = [f"{name}={os.environ.get(name, '')}".encode() for name in WORKER_VARIABLES]
    found = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):  # it has ended, or is another user's
            if set(marks) <= set(environ.read_bytes().split(b"\0")):
                found.append(int(environ.parent.name))
    return [pid for pid in found if pid != os.getpid()]


def _end_process(name: str) -> None:
    print(f"{name} could not be cancelled: its worker ends", file=sys.stderr)
    faulthandler.dump_traceback(file=sys.stderr)
    for pid in {*descendants(os.getpid()), *orphans()}:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    os._exit(1)
