"""Cost of idle streams: memory of each, CPU of all, and the time of a new call among them."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace

import redis

from bench.load import for_seconds, prepared
from bench.machine import LOAD_CORE, pin
from bench.material import HELD, SCOPE, Json, Keyring, call
from bench.measure import CpuClock, pss
from bench.peers.ours import account, prepare
from bench.peers.peer import Running
from bench.rounds import Plan, Requests, Result, running
from bench.workloads import WORKLOADS

_STREAMS, _FEW, _EACH = 6000, 900, 30
_SETTLING = 2.0
KINDS = {"get": "GET, one for each session of 2025-11-25", "listen": "`subscriptions/listen` of 2026-07-28"}


def _policy(policy: Json) -> Json:
    return {**policy, "methods": {"subscriptions/listen": {"scopes": []}}}


def measure(plan: Plan, ring: Keyring, result: Result) -> None:
    """Open streams of both kinds, each in a sidecar of its own."""
    scoped = WORKLOADS["scoped"]
    workload = replace(scoped, policy=_policy(scoped.policy), answers=HELD)
    count = _FEW if plan.quick else _STREAMS
    for kind, about in KINDS.items():
        with running(workload, ["sidecar"], ring, result) as found, prepared([call(ring.token)]) as requests:
            tokens = _tokens(found["sidecar"], ring, count)
            figures = _measured(found["sidecar"], requests, kind, tokens, plan.seconds)
        result.further[f"idle-{kind}"] = figures
        print(f"  {count} {about}: {figures['bytes_each']:,.0f} bytes each, {figures['dropped']:.0f} dropped")


def _tokens(one: Running, ring: Keyring, streams: int) -> list[str]:
    """Return tokens of as many accounts as hold so many streams, which have consented."""
    names = [f"user-{number}" for number in range(streams // _EACH)]
    with redis.Redis(unix_socket_path=one.store_path) as client:
        prepare(client, [command for name in names for command in account(name, priced=False)])
    return [ring.mint(lifetime=3600, subject=name, scopes=(SCOPE,)) for name in names]


def _measured(
    one: Running, requests: Requests, kind: str, tokens: list[str], seconds: float
) -> dict[str, float | list[float]]:
    count = len(tokens) * _EACH
    alone = for_seconds(one.port, requests, connections=1, seconds=seconds, rate=100)
    before = pss(one.pids)
    with _streams(one.port, kind, count, tokens) as client:
        time.sleep(_SETTLING)
        after = pss(one.pids)
        clock = CpuClock(one.pids)
        time.sleep(2 * seconds)
        quiet = clock.seconds() / (2 * seconds)
        among = for_seconds(one.port, requests, connections=1, seconds=seconds, rate=100)
        still = _ask(client)
    return {
        "streams": count,
        "bytes_each": (after - before) / count,
        "dropped": count - still,
        "cpu_per_second": quiet,
        "alone_p50_ms": alone.quantile(0.5),
        "among_p50_ms": among.quantile(0.5),
        "alone_p99_ms": alone.quantile(0.99),
        "among_p99_ms": among.quantile(0.99),
    }


@contextlib.contextmanager
def _streams(port: int, kind: str, count: int, tokens: list[str]) -> Iterator[subprocess.Popen[str]]:
    client = subprocess.Popen(
        [sys.executable, "-m", "bench.load.streams"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=pin(LOAD_CORE),
    )
    try:
        _say(client, json.dumps({"port": port, "kind": kind, "streams": count, "tokens": tokens}))
        if _count(client) != count:
            raise RuntimeError("not all streams could be opened")
        yield client
    finally:
        client.kill()
        client.wait()


def _count(client: subprocess.Popen[str]) -> int:
    assert client.stdout is not None
    return int(client.stdout.readline().removeprefix("OPEN ") or 0)


def _ask(client: subprocess.Popen[str]) -> int:
    """Return how many streams are still open."""
    _say(client, "")
    return _count(client)


def _say(client: subprocess.Popen[str], line: str) -> None:
    assert client.stdin is not None
    client.stdin.write(f"{line}\n")
    client.stdin.flush()
