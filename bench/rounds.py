"""Interleaved rounds: every peer of a workload in turn, so that what disturbs the machine disturbs all of them."""

from __future__ import annotations

import collections
import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path

from bench.backend import serving
from bench.load import Sample, for_calls, for_seconds, prepared
from bench.machine import awake
from bench.material import Keyring
from bench.measure import CpuClock, pss
from bench.peers import PEERS
from bench.peers.ours import OURS
from bench.peers.peer import Running, Site
from bench.programs import MissingError
from bench.workloads import MODES, Workload

_WARM = 200
"""Calls before anything is measured."""

Requests = tuple[Path, int]
Figures = dict[str, list[float]]


@dataclass(frozen=True, slots=True)
class Plan:
    """Extent of a run.

    Attributes:
        rounds: of every peer.
        seconds: of one run at full speed; runs at a low rate and of slow peers take twice as long.
        without: names of peers that are left out.
        modes: which are measured.
        quick: whether runs at a low rate are as short as others, and numbers of streams and accounts are smaller, too.
    """

    rounds: int = 5
    seconds: float = 2.0
    without: frozenset[str] = frozenset()
    modes: frozenset[str] = frozenset(MODES)
    quick: bool = False


@dataclass(slots=True)
class Cell:
    """The figures of one peer in one workload and mode, one of each for a round."""

    workload: str
    mode: str
    peer: str
    figures: Figures = field(default_factory=dict)

    def add(self, **values: float) -> None:
        """Add those of a round."""
        for name, value in values.items():
            self.figures.setdefault(name, []).append(round(value, 4))


@dataclass(slots=True)
class Result:
    """Measured figures, and the peers that were left out with the reasons."""

    cells: list[Cell] = field(default_factory=list)
    peers: dict[str, dict[str, str | int]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    further: dict[str, dict[str, float | list[float]]] = field(default_factory=dict)

    def leave_out(self, name: str, why: Exception) -> None:
        """Go on without another proxy; without the sidecar there is nothing to measure."""
        if name == OURS.name:
            raise why
        self.skipped[name] = " ".join(str(why).split())[:400]
        print(f"  left out: {name}: {self.skipped[name]}", flush=True)


@contextlib.contextmanager
def running(workload: Workload, names: list[str], ring: Keyring, result: Result) -> Iterator[dict[str, Running]]:
    """Run the backend and the peers that can be had."""
    with contextlib.ExitStack() as stack:
        backend = stack.enter_context(serving(workload.answers))
        found: dict[str, Running] = {}
        for name in names:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
            site = Site(ring, backend.port, folder, workload.policy)
            try:
                found[name] = stack.enter_context(PEERS[name].start(site))
            except (MissingError, RuntimeError) as error:
                result.leave_out(name, error)
        yield found


def measured(workload: Workload, plan: Plan, ring: Keyring, result: Result) -> None:
    """Measure a workload in rounds."""
    modes = {mode: peers for mode, peers in workload.modes.items() if mode in plan.modes}
    wanted = dict.fromkeys(name for peers in modes.values() for name in peers)
    names = [name for name in wanted if name not in plan.without and name not in result.skipped]
    requests_bytes = workload.requests(ring)
    with running(workload, names, ring, result) as found, prepared(requests_bytes) as requests:
        for name, one in list(found.items()):
            try:
                verify(workload, name, one, requests_bytes[0])
                for_calls(one.port, requests, connections=4, calls=8 if PEERS[name].slow else _WARM)
            except (OSError, RuntimeError) as error:
                result.leave_out(name, error)
                del found[name]
        for mode, peers in modes.items():
            cells = {name: Cell(workload.name, mode, name) for name in peers if name in found}
            for number in range(plan.rounds):
                _round(workload, plan, requests, cells, found, number)
            result.cells += cells.values()
        for name, one in found.items():
            result.peers.setdefault(name, {"version": one.version, "pss": pss(one.pids) if one.pids else 0})


def _round(
    workload: Workload, plan: Plan, requests: Requests, cells: dict[str, Cell], found: dict[str, Running], number: int
) -> None:
    """Measure each peer once; every round begins with another one."""
    names = collections.deque(cells)
    names.rotate(-number)
    for name in names:
        slow = PEERS[name].slow
        if slow and number > 1:
            continue  # two rounds suffice for what is two hundred times as slow
        long = slow or (MODES[cells[name].mode].rate and not plan.quick)
        seconds = plan.seconds * (2 if long else 1)
        sample, used = _run(found[name], requests, cells[name].mode, seconds, slow)
        if not sample.calls:  # a machine that is busy with something else
            sample, used = _run(found[name], requests, cells[name].mode, seconds, slow)
        wrong = sample.calls - sample.refused if workload.status >= 400 else sample.refused
        if wrong or sample.broken or not sample.calls:
            print(f"  {name}: {wrong} wrong answers, {sample.broken} broken connections, {sample.calls} calls")
            if wrong or not sample.calls:
                continue
        cells[name].add(
            **{each: value / sample.calls * 1e6 for each, value in used.items()},
            rate=sample.calls / sample.seconds,
            p50_ms=sample.quantile(0.5),
            p99_ms=sample.quantile(0.99),
        )


def _run(
    one: Running, requests: Requests, mode: str, seconds: float, slow: bool = False
) -> tuple[Sample, dict[str, float]]:
    """Send requests to a peer; return what came, and CPU seconds of it and of its store."""
    chosen = MODES[mode]
    proxy, store = CpuClock(one.pids), CpuClock(one.store)
    connections = 2 if slow else chosen.connections
    with awake() if chosen.awake else contextlib.nullcontext():
        sample = for_seconds(one.port, requests, connections=connections, seconds=seconds, rate=chosen.rate)
    return sample, {"cpu_us": proxy.seconds(), "store_us": store.seconds()}


def verify(workload: Workload, name: str, one: Running, request: bytes) -> None:
    """Ask once and look at the answer: a wrong configuration would measure something else."""
    head, _, body = request.partition(b"\r\n\r\n")
    lines = [line.partition(": ") for line in head.decode().split("\r\n")[1:]]
    connection = HTTPConnection("127.0.0.1", one.port, timeout=30)
    try:
        connection.request("POST", "/mcp", body, {key: value for key, _, value in lines})
        answer = connection.getresponse()
        text = answer.read()
    finally:
        connection.close()
    # Only the sidecar tells the gates' refusals apart as the protocol asks.
    right = answer.status == workload.status or (workload.status >= 400 <= answer.status and name != OURS.name)
    if not right or (workload.contains not in text and workload.status < 400):
        raise RuntimeError(f"{workload.name}: {name} answered {answer.status}: {text[:300]!r}")
