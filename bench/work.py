"""Work of one call at one connection, counted: `python -m bench.work [--workload NAME] [--top 40]`.

Function calls are those of Python and C functions in the main thread, and each time a coroutine goes on, as a
profiler counts them (`sys.setprofile`); system calls are strace's. Both include what the process does besides calls.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from bench.backend import serving
from bench.material import Keyring
from bench.peers.ours import sidecar
from bench.peers.peer import Running, Site
from bench.programs import of_debian
from bench.special.cold import FIRST
from bench.workloads import WORKLOADS, Workload

CALLS = 400
_WARM = 300
_SECONDS = 60.0  # for a signal, or strace, to take effect
_LENGTH = re.compile(rb"^content-length: *(\d+)\r$", re.IGNORECASE | re.MULTILINE)
_COUNT = re.compile(r"^\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)(?:\s+\d+)?\s+(\w+)$", re.MULTILINE)

Counts = dict[str, float]
"""Number of times that a call does something."""


def functions_of(workload: Workload, calls: int = CALLS) -> Counts:
    """Return the function calls of one call, by `file:line name`, for C functions with the caller in front."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        out = Path(folder) / "counts.json"
        with _served(workload, "bench.counted", str(out)) as (one, requests):
            os.kill(one.pids[0], signal.SIGUSR1)
            _wait(out.with_suffix(".begun").exists)
            _send(one.port, requests, calls)
            os.kill(one.pids[0], signal.SIGUSR2)
            _wait(out.exists)
            return {name: count / calls for name, count in json.loads(out.read_text()).items()}


def system_calls_of(workload: Workload, calls: int = CALLS) -> Counts:
    """Return the system calls of one call in the main thread, by name.

    Raises:
        MissingError: there is no strace.
        PermissionError: strace may not look at other processes here.
    """
    strace = of_debian("strace", ("strace", "libunwind8"), "usr/bin/strace")
    with _served(workload) as (one, requests), tempfile.NamedTemporaryFile(prefix="bench-") as out:
        pid = one.pids[0]
        command = [str(strace.path), "-c", "-o", str(out.name), "-p", str(pid)]
        looks = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, **strace.env})
        try:
            _wait(lambda: _traced(pid) or looks.poll() is not None)
            if looks.poll() is not None:
                raise PermissionError(looks.communicate()[1].strip()[-300:])
            _send(one.port, requests, calls)
        finally:
            looks.send_signal(signal.SIGINT)
            looks.communicate(timeout=_SECONDS)
        return counted(Path(out.name).read_text(), calls)


def counted(summary: str, calls: int) -> Counts:
    """Return how often each system call was made for one call, from the text of `strace -c`."""
    return {name: int(count) / calls for count, name in _COUNT.findall(summary) if name != "total"}


def by_file(functions: Mapping[str, float]) -> Counts:
    """Return function calls by the file of the caller, most first."""
    found: Counts = collections.defaultdict(float)
    for name, count in functions.items():
        file = name.partition(":")[0]
        found[re.sub(r"^.*/(?=sidecar/)|^.*/site-packages/|^.*/lib/python3\.\d+/", "", file)] += count
    return dict(sorted(found.items(), key=lambda item: -item[1]))


@contextlib.contextmanager
def _served(workload: Workload, *before: str) -> Iterator[tuple[Running, list[bytes]]]:
    """Run the sidecar behind a module, and send it what warms it up."""
    ring = Keyring()
    requests = workload.requests(ring)
    with serving(workload.answers) as backend, tempfile.TemporaryDirectory(prefix="bench-") as folder:
        site = Site(ring, backend.port, Path(folder), workload.policy)
        with sidecar(site, before) as one:
            _send(one.port, requests[-_WARM:], _WARM)  # the last ones: the calls that are counted may be first ones
            yield one, requests


def _send(port: int, requests: list[bytes], calls: int) -> None:
    """Send calls over one connection, each once the one before is answered."""
    with socket.create_connection(("127.0.0.1", port), timeout=_SECONDS) as connection:
        for number in range(calls):
            connection.sendall(requests[number % len(requests)])
            received = b""
            while (head := received.find(b"\r\n\r\n")) < 0 or len(received) < head + 4 + _length(received[: head + 2]):
                data = connection.recv(1 << 16)
                if not data:
                    raise ConnectionError("the sidecar closed the connection")
                received += data


def _length(head: bytes) -> int:
    found = _LENGTH.search(head)
    return int(found[1]) if found else 0


def _traced(pid: int) -> bool:
    return "TracerPid:\t0\n" not in Path(f"/proc/{pid}/status").read_text()


def _wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("the process that is measured does not react")
        time.sleep(0.01)


def main() -> None:
    """Count and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.work", description=__doc__)
    workloads = {**WORKLOADS, FIRST.name: FIRST}
    parser.add_argument("--workload", default="priced", choices=sorted(workloads))
    parser.add_argument("--top", type=int, default=40, help="functions and files to print")
    given = parser.parse_args()
    functions = functions_of(workloads[given.workload])
    print(f"{sum(functions.values()):8.1f} function calls")
    for name, count in list(by_file(functions).items())[: given.top]:
        print(f"{count:8.1f}   {name}")
    for name, count in sorted(functions.items(), key=lambda item: -item[1])[: given.top]:
        print(f"{count:8.1f}     {name}")
    system = system_calls_of(workloads[given.workload])
    print(f"{sum(system.values()):8.1f} system calls")
    for name, count in system.items():
        print(f"{count:8.1f}   {name}")


if __name__ == "__main__":
    main()
