"""Measure the cost of a call next to that of other proxies, in one run: `make bench`.

    python -m bench [--rounds N] [--seconds S] [--only NAME,...] [--without NAME,...] [--quick] [--save]

`--only` takes names of workloads (or their beginnings) and of peers.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path

from bench.machine import LOAD_CORE, PROXY_CORE, described, raise_limits
from bench.material import Keyring
from bench.peers import PEERS
from bench.report.tables import printed
from bench.rounds import Plan, Result, measured
from bench.special import SPECIAL
from bench.workloads import WORKLOADS, Workload

# Of a quick run: the slow proxy, and those that check nothing; the largest workloads, unless they are asked for.
_LEFT_OUT = {"fastmcp", "haproxy", "nginx", "envoy"}
_LARGE = ("growth", "list5000")
RESULTS = Path(__file__).parent / "results"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__, formatter_class=_Raw)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of one run; wrk knows whole seconds")
    parser.add_argument("--only", default="", help=f"of {' '.join([*WORKLOADS, *SPECIAL, *PEERS])}")
    parser.add_argument("--without", default="", help="peers to leave out")
    parser.add_argument("--quick", action="store_true", help="two short rounds, without growth: two minutes")
    parser.add_argument("--save", action="store_true", help="keep the results where git sees them")
    return parser.parse_args()


class _Raw(argparse.RawDescriptionHelpFormatter):
    pass


def _plan(given: argparse.Namespace) -> Plan:
    only = set(filter(None, given.only.split(",")))
    without = set(filter(None, given.without.split(",")))
    if peers := only & set(PEERS):
        without |= set(PEERS) - peers
    if given.quick:
        return Plan(2, 1.0, frozenset(without | _LEFT_OUT), frozenset({"c32", "c8", "low"}), quick=True)
    return Plan(given.rounds, given.seconds, frozenset(without))


def _chosen(names: list[str], only: str, quick: bool) -> list[str]:
    wanted = tuple(each for each in only.split(",") if each and each not in PEERS)
    if wanted:
        return [name for name in names if name.startswith(wanted)]
    return [name for name in names if not (quick and name.startswith(_LARGE))]


def _measure(name: str, plan: Plan, ring: Keyring, result: Result) -> None:
    """Measure one workload; the others go on if it fails."""
    workload = WORKLOADS.get(name) or SPECIAL[name]
    print(f"{name}: {workload.about}", flush=True)
    try:
        if isinstance(workload, Workload):
            measured(workload, plan, ring, result)
        else:
            workload.measure(plan, ring, result)
    except (OSError, RuntimeError) as error:
        result.skipped[name] = " ".join(str(error).split())[:400]
        print(f"  failed: {result.skipped[name]}", flush=True)


def main() -> int:
    """Run and print; return 1 if a workload failed."""
    given = _arguments()
    plan, result, ring = _plan(given), Result(), Keyring()
    raise_limits()
    os.sched_setaffinity(0, {LOAD_CORE})
    machine = described()
    if PROXY_CORE == LOAD_CORE:
        print("There is one core only: proxies, load and backend share it, and calls per second say little.")
    began = time.monotonic()
    for name in _chosen([*WORKLOADS, *SPECIAL], given.only, given.quick):
        _measure(name, plan, ring, result)
    document = {
        "made": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "minutes": round((time.monotonic() - began) / 60, 1),
        "machine": machine,
        "rounds": plan.rounds,
        "seconds": plan.seconds,
        **asdict(result),
    }
    path = RESULTS / "saved" / f"{document['made'][:10]}.json" if given.save else RESULTS / "latest.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1) + "\n")
    print(f"\n{printed(document)}\n\n{path}: python -m bench.report {path} --write docs/performance.md")
    return int(any(name in result.skipped for name in (*WORKLOADS, *SPECIAL)))


if __name__ == "__main__":
    sys.exit(main())
