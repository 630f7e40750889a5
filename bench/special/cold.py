"""Cost of the first verification of a token, beyond that of a remembered one."""

from __future__ import annotations

import statistics
from dataclasses import replace

from bench.load import for_calls, prepared
from bench.material import Keyring, call
from bench.measure import CpuClock
from bench.rounds import Plan, Result, running
from bench.workloads import WORKLOADS

_CALLS, _CONNECTIONS = 1000, 8
_COUNTED = 700  # calls that `bench.work` sends


def _first_calls(ring: Keyring) -> list[bytes]:
    return [call(_new_token(ring), number=number) for number in range(1, _COUNTED + 1)]


def _new_token(ring: Keyring) -> str:
    return ring.mint(lifetime=3600, scopes=("stores:read",))


FIRST = replace(WORKLOADS["scoped"], name="first", about="the same with a new token", requests=_first_calls)
"""Calls whose work is counted; each has a token of its own."""


def measure(plan: Plan, ring: Keyring, result: Result) -> None:
    """Send as many calls with new tokens as with one that is remembered, in turn."""
    calls = _CALLS // 4 if plan.quick else _CALLS
    first: list[float] = []
    remembered: list[float] = []
    same = [call(ring.token, number=number) for number in range(1, 65)]
    with running(WORKLOADS["scoped"], ["sidecar"], ring, result) as found, prepared(same) as old:
        one = found["sidecar"]
        for_calls(one.port, old, connections=_CONNECTIONS, calls=calls)  # warms up
        for _ in range(plan.rounds):
            tokens = [_new_token(ring) for _ in range(calls)]
            with prepared([call(token, number=number) for number, token in enumerate(tokens, 1)]) as new:
                for requests, costs in ((new, first), (old, remembered)):
                    clock = CpuClock(one.pids)
                    sample = for_calls(one.port, requests, connections=_CONNECTIONS, calls=calls)
                    costs.append(clock.seconds() / sample.calls * 1e6)
                    if sample.refused or sample.calls != calls:
                        raise RuntimeError(f"{sample.refused} of {calls} calls were refused")
    more = [new - old for new, old in zip(first, remembered, strict=True)]
    result.further["cold"] = {"first_us": first, "remembered_us": remembered, "more_us": more}
    print(f"  {statistics.median(more):.0f} us more than remembered")
