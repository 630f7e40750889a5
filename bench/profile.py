"""CPU time of a call by area of the program: `python -m bench.profile [--write PAGE]`.

py-spy looks from outside at the thread that holds the interpreter's lock, two hundred times a second, while calls pass
at full speed: others wait, or write the log. A sample counts for the innermost function that belongs to an area; the
standard library counts for its caller, the event loop's own work, such as reading from sockets, for `event loop`.
"""

from __future__ import annotations

import argparse
import collections
import re
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

from bench.load import for_seconds, prepared
from bench.machine import LOAD_CORE, pin, raise_limits
from bench.material import Keyring
from bench.measure import CpuClock
from bench.peers.peer import Running
from bench.programs import of_pypi
from bench.report.page import replaced
from bench.report.tables import table
from bench.rounds import Requests, Result, running
from bench.workloads import WORKLOADS

_REQUIREMENT = "py-spy==0.4.3"
_RATE = 200
LOOP = "event loop"

_RUNNERS = re.compile(r"/asyncio/runners\.py|/uvloop/__init__\.py")
"""Callbacks are called from below these."""
_AREAS = (
    (re.compile(r"/sidecar/(proxy|store)/(?:(\w+)/)?"), ""),
    (re.compile(r"/sidecar/(observe|identity|policy|ledger|protocol)/"), ""),
    (re.compile(r"/sidecar/"), "the rest of the sidecar"),
    (re.compile(r"/site-packages/(aiohttp|multidict|yarl|aiohappyeyeballs)/"), "aiohttp"),
    (re.compile(r"/site-packages/(redis|hiredis)/"), "redis-py"),
    (re.compile(r"/site-packages/(prometheus_client)/"), "prometheus-client"),
    (re.compile(r"/site-packages/(jwt|cryptography)/"), "PyJWT"),
)


def area_of(stack: str) -> str:
    """Return the area of a stack, as py-spy writes it: `outermost (file:line);...;innermost (file:line)`."""
    frames = stack.split(";")
    loops = [number for number, frame in enumerate(frames) if _RUNNERS.search(frame)]
    for frame in reversed(frames[loops[-1] + 1 :] if loops else frames):
        file = frame.rpartition(" (")[2]
        for pattern, name in _AREAS:
            if found := pattern.search(file):
                return name or f"`{'/'.join(part for part in found.groups() if part)}/`"
    return LOOP


def shares(lines: Iterable[str]) -> dict[str, float]:
    """Return each area's part of all samples; a line is a stack and how often it was seen."""
    counted: collections.Counter[str] = collections.Counter()
    for line in lines:
        stack, _, count = line.strip().rpartition(" ")
        if stack:
            counted[area_of(stack)] += int(count)
    total = sum(counted.values())
    return {name: count / total for name, count in counted.most_common()}


def of_profile(parts: dict[str, float], microseconds: float, workload: str) -> str:
    """Return the table: each area's microseconds of a call."""
    rows = [(name, f"{part * microseconds:,.0f}", f"{part:.0%}") for name, part in parts.items() if part >= 0.005]
    rest = sum(part for part in parts.values() if part < 0.005)
    rows += [("the rest", f"{rest * microseconds:,.0f}", f"{rest:.0%}")] if rest else []
    heads = (f"Area ({workload}, {microseconds:,.0f} µs)", "CPU µs / call", "Part")
    return table(heads, rows, numbers=2)


def _recorded(one: Running, requests: Requests, seconds: int) -> tuple[dict[str, float], float]:
    """Sample the sidecar under load; return the shares, and the microseconds of a call while nothing looks."""
    program = of_pypi(_REQUIREMENT) / "bin" / "py-spy"
    for_seconds(one.port, requests, connections=32, seconds=2)  # warms up
    clock = CpuClock(one.pids)
    sample = for_seconds(one.port, requests, connections=32, seconds=seconds / 2)
    microseconds = clock.seconds() / sample.calls * 1e6
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "stacks"
        command = [program, "record", "--pid", one.pids[0], "--duration", seconds, "--rate", _RATE, "--format", "raw"]
        command += ["--gil", "--full-filenames", "--output", out]
        looks = subprocess.Popen(
            [str(word) for word in command],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=pin(LOAD_CORE),
        )
        for_seconds(one.port, requests, connections=32, seconds=seconds + 2)
        _, said = looks.communicate(timeout=60)
        if looks.returncode:
            raise RuntimeError(f"py-spy failed: {said[-500:]}")
        return shares(out.read_text().splitlines()), microseconds


def main() -> None:
    """Measure and print, or write into a page."""
    parser = argparse.ArgumentParser(prog="python -m bench.profile", description=__doc__)
    parser.add_argument("--workload", default="priced", choices=sorted(WORKLOADS))
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--write", type=Path, metavar="PAGE")
    given = parser.parse_args()
    raise_limits()
    ring, workload = Keyring(), WORKLOADS[given.workload]
    with running(workload, ["sidecar"], ring, Result()) as found, prepared(workload.requests(ring)) as requests:
        parts, microseconds = _recorded(found["sidecar"], requests, given.seconds)
    text = of_profile(parts, microseconds, given.workload)
    print(text)
    if given.write is not None:
        given.write.write_text(replaced(given.write.read_text("utf-8"), {"profile": text}), "utf-8")


if __name__ == "__main__":
    main()
