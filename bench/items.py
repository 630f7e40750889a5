"""Time of the store for calls by their number of items, without the network."""

from __future__ import annotations

import argparse
import json
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

import redis

from sidecar.model import AmountKind, Application, Caller, Demand, Depth, OnUnknown
from sidecar.outcome import Charge
from sidecar.store.commands import changes, scripts
from sidecar.store.commands.command import Command
from sidecar.store.commands.keys import caller_keys, paid_member
from sidecar.terms import ConsentMode, PlanTerms, Terms
from tests.support.loaded import load_scripts
from tests.support.store import StoreServer

ITEMS = (0, 1, 100, 500, 5000)
PAID = (0, 100_000)
_BATCH = 10
CALLER = Caller("main", "https://issuer", "ann", "acme", "https://client", frozenset({"read"}), 0, 0)
KEYS = caller_keys(CALLER)
PLAN = PlanTerms(True, {"requests": {"minute": 10**9, "day": 10**9}}, {"contact": ("month", 1000)})
TERMS = Terms(ConsentMode.REQUIRED, "free", {"free": PLAN}, PLAN, (("read",),))


def _application(items: Sequence[str]) -> Application:
    """A call with a fixed quota and one credit, or one for every item that is not paid yet."""
    credit = Demand(AmountKind.CREDIT, "contact", len(items) or 1, tuple(items) or None)
    demands = (Demand(AmountKind.QUOTA, "requests", 1, fixed=True), credit)
    return Application(uuid.uuid4().hex, "bench", CALLER, False, Depth.PRICE, TERMS, demands, OnUnknown.SETTLE)


def _measured(client: Any, commands: Sequence[Command]) -> float:
    """Microseconds of the server's own time per command, in its best batch: others use this machine, too."""
    best = float("inf")
    for first in range(0, len(commands), _BATCH):
        client.config_resetstat()
        for command in commands[first : first + _BATCH]:
            client.execute_command(*command.words())
        best = min(best, float(client.info("commandstats")["cmdstat_fcall"]["usec_per_call"]))
    return best


def _row(client: Any, count: int, paid: int, calls: int) -> dict[str, float]:
    lists = [[f"contact-{uuid.uuid4().hex}" for _ in range(count)] for _ in range(calls)]
    asked = [_application(items) for items in lists]
    admitted = _measured(client, [scripts.admit(each) for each in asked])
    costs = [[Charge(), Charge(items=tuple(items)) if items else Charge(amount=1)] for items in lists]
    settled = _measured(client, [scripts.settle(*each) for each in zip(asked, costs, strict=True)])
    return {"items": count, "paid_before": paid, "admit_us": round(admitted, 1), "settle_us": round(settled, 1)}


def _rows(calls: int) -> Iterator[dict[str, float]]:
    server = StoreServer(options=("--appendonly", "yes", "--appendfsync", "everysec")).start()
    try:
        with redis.Redis(unix_socket_path=str(server.path)) as client:
            load_scripts(client)
            for paid in PAID:
                client.flushdb()
                for setup in (
                    changes.grant("main", "acme", "ann", CALLER.client_id),
                    changes.change_credits("main", "acme", "grant", "contact", 10**12, operation="o", create=True),
                ):
                    client.execute_command(*setup.words())
                members = [paid_member(AmountKind.CREDIT, "contact", f"old-{number}") for number in range(paid)]
                for first in range(0, paid, 1000):
                    client.sadd(KEYS.paid, *members[first : first + 1000])
                for count in ITEMS:
                    yield _row(client, count, paid, max(10 * _BATCH, calls // max(1, count)))
    finally:
        server.close()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=2000, help="calls without items; with items fewer")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    for row in _rows(arguments.calls):
        if arguments.json:
            print(json.dumps(row))
            continue
        per_hundred = (
            ""
            if row["items"] < 100
            else f"; {100 * (row['admit_us'] + row['settle_us']) / row['items']:.0f} us per hundred"
        )
        print(
            f"{row['items']:>5} items, {row['paid_before']:>6} paid before: "
            f"admission {row['admit_us']:>8.1f} us, settle {row['settle_us']:>8.1f} us{per_hundred}"
        )


if __name__ == "__main__":
    main()
