"""Processes of a benchmark: pinned cores, free ports, limits, start and end."""

from __future__ import annotations

import contextlib
import os
import platform
import resource
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from tests.support.store import free_port

_CORES = sorted(os.sched_getaffinity(0))
PROXY_CORE = _CORES[0]
"""The core of the proxy that is measured, and of its store."""
LOAD_CORE = _CORES[-1]
"""The core of the load generator, the backend and of the bench itself."""

READY_SECONDS = 60.0

__all__ = ["LOAD_CORE", "PROXY_CORE", "Started", "awake", "described", "free_port", "pin", "raise_limits", "started"]


class Started:
    """A process that runs, and the port on which it listens."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self.process = process
        self.pid = process.pid
        self.port = port
        self.log = log

    def wait_ready(self, ready: Callable[[], bool] | None = None) -> None:
        """Wait until it accepts connections, or until `ready` holds; RuntimeError with its last words if it ends."""
        check = ready or (lambda: accepts(self.port))
        deadline = time.monotonic() + READY_SECONDS
        while not check():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{self.process.args!r} did not start: {self.log.read_text()[-1500:]}")
            time.sleep(0.02)


def accepts(port: int) -> bool:
    """Return whether something listens on a port of this machine."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def pin(core: int) -> Callable[[], None]:
    """Return what a child does before it runs its program, so that all its threads stay on one core."""

    def before() -> None:
        os.sched_setaffinity(0, {core})

    return before


@contextlib.contextmanager
def started(
    command: Sequence[str | Path], port: int, *, core: int, env: Mapping[str, str] | None = None
) -> Iterator[Started]:
    """Run a program on one core until the block ends; its output goes where a log would, to a file."""
    with tempfile.NamedTemporaryFile(prefix="bench-", suffix=".log") as log:
        process = subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, **(env or {})},
            preexec_fn=pin(core),
        )
        try:
            one = Started(process, port, Path(log.name))
            one.wait_ready()
            yield one
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


_LOOP = "import os\nparent = os.getppid()\nwhile os.getppid() == parent:\n    for _ in range(100_000): pass"


@contextlib.contextmanager
def awake() -> Iterator[list[int]]:
    """Keep both cores from halting until the block ends; yield the processes that do so.

    Their loops run where nothing else does (SCHED_IDLE), and give way at once. To wake a halted core takes a machine up
    to a tenth of a millisecond, a virtual one more: a time that is not the proxy's.
    """
    with contextlib.ExitStack() as ended:
        pids = []
        for core in (PROXY_CORE, LOAD_CORE):
            loop = ended.enter_context(subprocess.Popen([sys.executable, "-S", "-c", _LOOP], preexec_fn=_idling(core)))
            ended.callback(loop.kill)
            pids.append(loop.pid)
        yield pids


def _idling(core: int) -> Callable[[], None]:
    pinned = pin(core)

    def before() -> None:
        pinned()
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))

    return before


def raise_limits() -> int:
    """Raise the number of open files to what is allowed, for all children, and return it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def described() -> dict[str, object]:
    """Return the machine and its load, so that a reader can judge the figures."""
    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    model = next((line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")), "")
    return {
        "cpu": model or platform.machine(),
        "cores": len(_CORES),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_before": round(os.getloadavg()[0], 2),
    }


def pin_running(pid: int, core: int) -> None:
    """Keep all threads of a process that runs on one core."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(task.name), {core})
