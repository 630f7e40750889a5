"""Cost of accounts: memory of the store for each, memory of the sidecar for each that calls."""

from __future__ import annotations

import contextlib

import redis

from bench.load import for_calls, prepared
from bench.material import SCOPE, Keyring, call
from bench.measure import CpuClock, pss
from bench.peers.ours import ISSUER_ID, account, prepare
from bench.peers.peer import Running
from bench.rounds import Plan, Requests, Result, running
from bench.workloads import WORKLOADS
from sidecar.store.commands.keys import account_keys

_ACCOUNTS, _FEW, _CALLING = 100_000, 10_000, 1000
_BATCH, _CONNECTIONS = 5000, 32


def measure(plan: Plan, ring: Keyring, result: Result) -> None:
    """Make accounts with consent, plan and credits; let some call; look at both memories and at the cost of a call."""
    count = _FEW if plan.quick else _ACCOUNTS
    tokens = [ring.mint(lifetime=3600, subject=f"user-{number}", scopes=(SCOPE,)) for number in range(_CALLING)]
    requests = [call(token, number=number) for number, token in enumerate(tokens, 1)]
    with contextlib.ExitStack() as stack:
        one = stack.enter_context(running(WORKLOADS["priced"], ["sidecar"], ring, result))["sidecar"]
        same = stack.enter_context(prepared([call(ring.token, number=number) for number in range(1, 65)]))
        theirs = stack.enter_context(prepared(requests))
        with redis.Redis(unix_socket_path=one.store_path) as client:
            result.further["growth-accounts"] = _measured(one, client, same, theirs, count)
    figures = result.further["growth-accounts"]
    print(f"  {figures['store_bytes_each']:,.0f} bytes of the store each")


def _measured(
    one: Running, client: redis.Redis, same: Requests, theirs: Requests, count: int
) -> dict[str, float | list[float]]:
    cost_before = _cost(one, same)
    empty = _used(client)
    for first in range(0, count, _BATCH):
        names = [f"user-{number}" for number in range(first, min(first + _BATCH, count))]
        prepare(client, [command for name in names for command in account(name, priced=True)])
    full = _used(client)
    _cost(one, theirs)  # their tokens are remembered from here on, up to the bound
    first = pss(one.pids)
    again = _cost(one, theirs)
    return {
        "accounts": count,
        "store_bytes_each": (full - empty) / count,
        "journal_bytes_each": float(client.memory_usage(account_keys(ISSUER_ID, "user-0").usage) or 0),
        "store_bytes_each_used": (_used(client) - full) / _CALLING,
        "calling": _CALLING,
        "sidecar_bytes_again": pss(one.pids) - first,
        "cost_before_us": cost_before,
        "cost_after_us": _cost(one, same),
        "cost_of_many_us": again,
    }


def _used(client: redis.Redis) -> int:
    return int(client.info("memory")["used_memory"])


def _cost(one: Running, requests: Requests) -> float:
    """Microseconds of CPU, of the sidecar and of its store, per call."""
    clock = CpuClock((*one.pids, *one.store))
    sample = for_calls(one.port, requests, connections=_CONNECTIONS, calls=2 * _CALLING)
    if sample.refused:
        raise RuntimeError(f"{sample.refused} calls were refused")
    return clock.seconds() / sample.calls * 1e6
