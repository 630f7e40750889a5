"""Load: wrk, or where it cannot be had a client of our own; and that client for a fixed number of calls.

Both send prepared requests over some connections, each of which asks again as soon as it is answered.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.machine import LOAD_CORE, pin
from bench.programs import MissingError, Program, of_debian

_LUA = Path(__file__).with_name("wrk.lua")


@dataclass(frozen=True, slots=True)
class Sample:
    """Figures of one run.

    Attributes:
        calls: answers that came.
        seconds: how long it took.
        refused: answers with a status from 400 on.
        broken: connections that failed.
        latency: milliseconds and how many calls took them, ascending.
    """

    calls: int
    seconds: float
    refused: int
    broken: int
    latency: list[tuple[float, int]]

    def quantile(self, share: float) -> float:
        """Return the milliseconds within which this share of the calls were answered."""
        left = share * sum(count for _, count in self.latency)
        for milliseconds, count in self.latency:
            left -= count
            if left <= 1e-9:
                return milliseconds
        return self.latency[-1][0] if self.latency else 0.0


@contextmanager
def prepared(requests: Sequence[bytes]) -> Iterator[tuple[Path, int]]:
    """Keep requests in a folder, as both load generators read them."""
    with tempfile.TemporaryDirectory(prefix="bench-requests-") as name:
        for number, request in enumerate(requests, 1):
            (Path(name) / str(number)).write_bytes(request)
        yield Path(name), len(requests)


@functools.cache
def wrk() -> Program | None:
    """Return wrk, or None where it cannot be had."""
    try:
        return of_debian("wrk", ("wrk", "libluajit-5.1-2", "libluajit-5.1-common"), "usr/bin/wrk")
    except MissingError as missing:
        print(f"wrk cannot be had, so a slower client makes the load: {missing}")
        return None


def for_seconds(
    port: int, requests: tuple[Path, int], *, connections: int, seconds: float, rate: int | None = None
) -> Sample:
    """Send requests for a time.

    Args:
        port: the peer's.
        requests: from `prepared`.
        connections: how many at one time.
        seconds: how long; wrk knows whole seconds only.
        rate: calls per second of one connection; None for as many as possible.
    """
    folder, count = requests
    pause = 0 if rate is None else 1000 // rate
    program = wrk()
    if program is None:
        return _own(port, folder, count, connections, pause, seconds=seconds)
    command = [program.path, "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout", "30s"]
    command += ["-s", _LUA, f"http://127.0.0.1:{port}/mcp", "--", folder, count, pause]
    return _read(command, program.env)


def for_calls(port: int, requests: tuple[Path, int], *, connections: int, calls: int) -> Sample:
    """Send a number of requests, in order."""
    return _own(port, *requests, connections, 0, calls=calls)


def _own(port: int, folder: Path, count: int, connections: int, pause: int, **until: float) -> Sample:
    given = {"port": port, "folder": str(folder), "count": count, "connections": connections, "pause": pause, **until}
    return _read([sys.executable, "-m", "bench.load.client", json.dumps(given)], {})


def _read(command: Sequence[Any], env: dict[str, str]) -> Sample:
    done = subprocess.run(
        [str(word) for word in command],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **env},
        preexec_fn=pin(LOAD_CORE),
    )
    line = next((each for each in done.stdout.splitlines() if each.startswith("RESULT ")), None)
    if done.returncode or line is None:
        raise RuntimeError(f"the load generator failed: {done.stdout[-500:]} {done.stderr[-1500:]}")
    read = json.loads(line.removeprefix("RESULT "))
    latency = [(microseconds / 1000, count) for microseconds, count in read["latency"]]
    return Sample(read["calls"], read["seconds"], read["refused"], read["broken"], latency)
