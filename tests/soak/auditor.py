"""Read one account's journal as it grows, before entries are folded, and add it up."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import redis

from sidecar.ledger.journal.counters import count_units
from sidecar.ledger.journal.entries import Entry, JournalSnapshot
from sidecar.ledger.journal.verification import PoolCheckpoint, fold, lost_holds, verify
from sidecar.store.commands import changes
from sidecar.store.commands.keys import account_keys
from tests.support.processes import POOL

ENDINGS = ("settled", "released")


@dataclass(slots=True)
class _Checkpoint:
    """Sum of all entries that the auditor has read, independent of the store's checkpoint."""

    read: int = 0
    last: str = "0-0"
    pools: dict[str, PoolCheckpoint] = field(default_factory=dict)
    counters: dict[str, tuple[int, int]] = field(default_factory=dict)

    def instead(self, snapshot: JournalSnapshot) -> JournalSnapshot:
        """Current state of the store, with this checkpoint instead of its own."""
        own = ("journal:written", "journal:paid")
        kept = {name: value for name, value in snapshot.ledger.items() if _kind(name) not in _CHECKPOINT or name in own}
        kept |= {"journal:folded": str(self.read), "journal:counted": str(self.read), "journal:last": self.last}
        kept |= {f"checkpoint:{pool}": f"{each.total}:{each.granted}:{each.spent}" for pool, each in self.pools.items()}
        kept |= {f"folded:{name}": f"{number}:{units}" for name, (number, units) in self.counters.items()}
        return replace(snapshot, ledger=kept)

    def take(self, snapshot: JournalSnapshot, fresh: Sequence[Entry]) -> None:
        """Entries that were read and compared."""
        self.counters = count_units(snapshot, fresh)[0].windows
        for pool, each in fold(fresh).items():
            before = self.pools.get(pool, PoolCheckpoint())
            self.pools[pool] = PoolCheckpoint(each.total, before.granted + each.granted, before.spent + each.spent)
        self.read += len(fresh)
        self.last = fresh[-1].id if fresh else self.last


_CHECKPOINT = frozenset({"journal", "checkpoint", "folded"})


def _kind(name: str) -> str:
    return name.partition(":")[0]


class Auditor:
    """One account, read past every sidecar and changed by nothing.

    Args:
        path: the store's socket.
        account: whose.

    Attributes:
        entries: the whole journal so far, oldest first.
        wrong: what was not right at any look; empty, or the ledger is broken.
        looks: how often it has looked.
        open: calls that hold something.
    """

    def __init__(self, path: Path, account: str) -> None:
        self._keys = account_keys("main", account)
        self.follow(path)
        self._audit = changes.audit(self._keys)
        self._sums = _Checkpoint()
        self.entries: list[Entry] = []
        self.wrong: list[str] = []
        self.looks = 0
        self.open: set[str] = set()

    def follow(self, path: Path) -> None:
        """Read another server from now on, which has taken over."""
        self._client: Any = redis.Redis(unix_socket_path=str(path), decode_responses=True, socket_timeout=2)

    def look(self) -> None:
        """Read what is new, and recompute balances, counters and paid items of the same instant.

        Raises:
            redis.RedisError: the store is away.
        """
        keys = self._audit.keys
        pipe = self._client.pipeline(transaction=True)
        pipe.eval(self._audit.script.source, len(keys), *keys)
        pipe.xrange(self._keys.usage, f"({self._sums.last}", "+")
        stored, news = pipe.execute()
        seen, fresh = changes.audited(stored), [Entry(id_, fields) for id_, fields in news]
        snapshot = self._sums.instead(seen)
        self.wrong += map(str, verify(snapshot, fresh))
        balance = int(seen.ledger.get(f"balance:{POOL}", 0))
        if balance < 0:
            self.wrong.append(f"a balance below nothing: {balance}")
        self._sums.take(snapshot, fresh)
        self.entries += fresh
        self.open = set(seen.holds)
        self.looks += 1

    def forgotten(self) -> list[str]:
        """Calls that the store has admitted and lost, however much of its journal it has folded."""
        nothing_folded = JournalSnapshot({}, {}, {}, self._sums.last, 0, 0)
        return [*map(str, lost_holds(nothing_folded, self.entries))]

    @contextmanager
    def watching(self, every: float = 0.1) -> Iterator[None]:
        """Look in a thread until the end of the block; while the store is away nothing is seen."""
        over = threading.Event()

        def watch() -> None:
            while not over.wait(every):
                with contextlib.suppress(redis.RedisError, OSError):
                    self.look()

        thread = threading.Thread(target=watch, name="auditor")
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def of(self, *events: str) -> list[Mapping[str, str]]:
        """Entries of these events."""
        return [entry.fields for entry in self.entries if entry.fields["event"] in events]

    @property
    def endings(self) -> list[Mapping[str, str]]:
        """Resolutions of calls."""
        return self.of(*ENDINGS)

    def sum(self, *events: str) -> int:
        """Credits of all entries of these events."""
        return sum(int(entry.get(f"credit:{POOL}", 0)) for entry in self.of(*events))

    def included(self) -> int:
        """Credits that were taken from what the plan includes."""
        taken = self.of(*ENDINGS, "spend")
        return sum(int(entry.get(f"credit:{POOL}", 0)) + int(entry.get(f"change:{POOL}", 0)) for entry in taken)

    def paid(self) -> set[str]:
        """Items that are paid."""
        prefix = f"credit:{POOL}:"
        return {member.removeprefix(prefix) for member in self._client.smembers(self._keys.paid)}

    def close(self) -> None:
        """Disconnect."""
        self._client.close()
