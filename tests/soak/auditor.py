"""Reads one account's journal as it grows, so that nothing of it is missed when it is folded, and adds it up."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis

from sidecar.ledger.keys import account_keys
from tests.support.processes import POOL

ENDINGS = ("settled", "released")


class Auditor:
    """One account, read past every sidecar and changed by nothing.

    Args:
        path: the store's socket.
        account: whose.

    Attributes:
        entries: the whole journal so far, oldest first.
        wrong: looks at which the sums were not right; empty, or the ledger is broken.
        looks: how often it has looked.
    """

    def __init__(self, path: Path, account: str) -> None:
        self._keys = account_keys("main", account)
        self._client: Any = redis.Redis(unix_socket_path=str(path), decode_responses=True, socket_timeout=2)
        self._last = "-"
        self._total = 0
        self.entries: list[dict[str, str]] = []
        self.wrong: list[str] = []
        self.looks = 0
        self.open: set[str] = set()

    def look(self) -> None:
        """Read what is new, and compare the sum of all changes with balance and holds of the same instant.

        Raises:
            redis.RedisError: the store is away.
        """
        pipe = self._client.pipeline(transaction=True)
        pipe.hget(self._keys.ledger, f"balance:{POOL}")
        pipe.hgetall(self._keys.holds)
        pipe.xrange(self._keys.usage, self._last, "+")
        balance, holds, fresh = pipe.execute()
        for id_, entry in fresh:
            self._last = f"({id_}"
            self._total += int(entry.get(f"change:{POOL}", 0))
            self.entries.append(entry)
        amounts = (each for text in holds.values() for each in json.loads(text)["amounts"])
        held = sum(int(each["balance"]) for each in amounts if each["kind"] == "credit")
        self.open = set(holds)
        self.looks += 1
        if int(balance or 0) < 0 or int(balance or 0) + held != self._total:
            self.wrong.append(f"balance {balance} and {held} held, where the journal adds up to {self._total}")

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

    @property
    def endings(self) -> list[dict[str, str]]:
        """How calls were resolved."""
        return [entry for entry in self.entries if entry["event"] in ENDINGS]

    def sum(self, *events: str) -> int:
        """Credits of all entries of these events."""
        return sum(int(entry.get(f"credit:{POOL}", 0)) for entry in self.entries if entry["event"] in events)

    def paid(self) -> set[str]:
        """Items that are paid."""
        prefix = f"credit:{POOL}:"
        return {member.removeprefix(prefix) for member in self._client.smembers(self._keys.paid)}

    def close(self) -> None:
        """Disconnect."""
        self._client.close()
