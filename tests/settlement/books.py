"""State of one account in the store, read without a sidecar and without changes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import redis

from sidecar.ledger.settlement_table import Cost, SettlementRow
from sidecar.model import OnUnknown
from sidecar.store.commands import changes
from sidecar.store.commands.command import Command
from sidecar.store.commands.keys import account_keys
from tests.support.store import StoreServer

GRANTED: Final = 100
"""Credits that every account begins with, of each pool."""

_ENDINGS: Final = ("settled", "released", "late")


@dataclass(frozen=True, slots=True)
class Books:
    """One account in one instant.

    Attributes:
        spent: credits gone from each balance, held ones too.
        used: quota units used, held ones too.
        paid: items paid.
        holds: open holds, by call id.
        leases: when they end, in milliseconds of the store's clock.
        journal: entries of calls, oldest first.
    """

    spent: Mapping[str, int]
    used: Mapping[str, int]
    paid: frozenset[str]
    holds: Mapping[str, Any] = field(default_factory=dict)
    leases: Mapping[str, int] = field(default_factory=dict)
    journal: tuple[Mapping[str, str], ...] = ()

    @property
    def sums(self) -> tuple[object, ...]:
        """Total cost of calls."""
        return dict(self.spent), dict(self.used), self.paid

    @property
    def entries(self) -> tuple[str, ...]:
        """The events of the journal's entries of calls."""
        return tuple(entry["event"] for entry in self.journal)


@dataclass(frozen=True, slots=True)
class Price:
    """Price of one call by `Cost`: credits and quota units per name, fixed ones, and paid items."""

    reserved: Mapping[str, int]
    true: Mapping[str, int]
    quotas: Mapping[Cost, int]
    paid: Mapping[Cost, frozenset[str]]

    def of(self, ending: SettlementRow, on_unknown: OnUnknown) -> Books:
        """Return the expected state of the account after a call of this price with this outcome."""
        cost = ending.costs[on_unknown]
        nothing = dict.fromkeys(self.reserved, 0)
        spent = {Cost.TRUE: self.true, Cost.RESERVED: self.reserved, Cost.NOTHING: nothing}[cost]
        used = {"requests": int(ending.sent), "rows": self.quotas[cost]}
        return Books(spent, used, self.paid[cost])


REPORT: Final = Price(
    reserved={"contact": 3, "line": 5},
    true={"contact": 1, "line": 2},
    quotas={Cost.TRUE: 4, Cost.RESERVED: 7, Cost.NOTHING: 0},
    paid={Cost.TRUE: frozenset({"a"}), Cost.RESERVED: frozenset({"a", "b", "c"}), Cost.NOTHING: frozenset()},
)
"""A call for the items a, b and c, five lines and seven rows, whose result has a, two lines and four rows."""

PLAIN: Final = Price(
    reserved={"contact": 0, "line": 5},
    true={"contact": 0, "line": 2},
    quotas={Cost.TRUE: 4, Cost.RESERVED: 7, Cost.NOTHING: 0},
    paid=dict.fromkeys(Cost, frozenset()),
)
"""The same call of a tool without items: its cost is known without the store."""

LISTEN: Final = Price(
    reserved={"contact": 0, "line": 5},
    true={"contact": 0, "line": 5},
    quotas=dict.fromkeys(Cost, 0),
    paid=dict.fromkeys(Cost, frozenset()),
)
"""A subscription: five lines, which nothing that is said on it makes fewer."""


class Ledger:
    """One account, seen and changed past every sidecar."""

    def __init__(self, server: StoreServer, account: str) -> None:
        self.account = account
        self._keys = account_keys("main", account)
        self._client = redis.Redis(unix_socket_path=str(server.path), decode_responses=True, socket_timeout=20)

    def run(self, command: Command) -> Any:
        """Run one of the sidecar's scripts, as the commands do."""
        source, words = command.script.source, (*command.keys, *command.arguments)
        return self._client.eval(source, len(command.keys), *words)

    def grant(self) -> None:
        """Create the account, with its credits."""
        for pool in REPORT.reserved:
            self.run(
                changes.change_credits(
                    "main", self.account, "grant", pool, GRANTED, operation=f"{self.account}-{pool}", create=True
                )
            )

    def books(self) -> Books:
        keys = self._keys
        pipe = self._client.pipeline(transaction=True)
        pipe.hgetall(keys.ledger)
        pipe.hgetall(keys.holds)
        pipe.zrange(keys.leases, 0, -1, withscores=True)
        pipe.smembers(keys.paid)
        pipe.xrange(keys.usage)
        ledger, holds, leases, paid, journal = pipe.execute()
        units = {quota: ledger.get(f"quota:{quota}:month", "0:0").partition(":")[2] for quota in ("requests", "rows")}
        return Books(
            spent={pool: GRANTED - int(ledger.get(f"balance:{pool}", 0)) for pool in REPORT.reserved},
            used={quota: int(used) for quota, used in units.items()},
            paid=frozenset(member.removeprefix("credit:contact:") for member in paid),
            holds={call: json.loads(text) for call, text in holds.items()},
            leases={call: int(score) for call, score in leases},
            journal=tuple(entry for _, entry in journal if entry["event"] in _ENDINGS),
        )

    @property
    def now(self) -> int:
        """The store's clock, in milliseconds since the epoch."""
        seconds, micros = self._client.time()
        return seconds * 1000 + micros // 1000

    @property
    def tombstones(self) -> int:
        """Calls of the account whose outcome is remembered."""
        return len({*self._client.scan_iter(f"{self._keys.outcome('')}*")})

    @property
    def scripts_run(self) -> int:
        """Number of scripts that the store has run, for all clients."""
        info: Any = self._client.info("commandstats")
        return sum(info.get(f"cmdstat_{verb}", {}).get("calls", 0) for verb in ("eval", "evalsha", "fcall"))

    def lapse(self) -> None:
        """Let the leases of all open holds have run out, as if so much time had passed."""
        over = dict.fromkeys(self.books().leases, self.now)
        assert over, "nothing is held"
        self._client.zadd(self._keys.leases, over, xx=True)

    def close(self) -> None:
        self._client.close()
