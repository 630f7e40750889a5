"""Applications, and the shipped scripts on a real server whose clock the test sets."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis

from sidecar.ledger import decoding
from sidecar.ledger.accounts import AccountState
from sidecar.ledger.journal.entries import Entry, JournalSnapshot
from sidecar.model import AdmissionReply, AmountKind, Application, Caller, Demand, Depth, OnUnknown
from sidecar.store.commands import changes, keys, scripts
from sidecar.store.commands.command import Command, Script, ServerFunction
from sidecar.terms import ConsentMode, PlanTerms, Terms
from tests.support.loaded import load_scripts
from tests.support.store import StoreServer

NOW = 1_790_000_000_000
"""Milliseconds: 2026-09-21T14:13:20Z."""

CALLER = Caller("main", "https://issuer", "ann", "acme", "https://client/{x}", frozenset({"read"}), 1_700_000_000, 0)
KEYS = keys.caller_keys(CALLER)
PLANS = {
    "free": PlanTerms(True, {"requests": {"minute": 3, "day": 5}, "rows": {"month": 20}}),
    "growth": PlanTerms(True, {"requests": {"minute": 10}, "rows": {"month": 60}}, {"contact": ("month", 4)}),
    "closed": PlanTerms(False),
}
TERMS = Terms(ConsentMode.REQUIRED, "free", PLANS, PLANS["free"], (("read", "write"),), "reveal")
LEASE = 120_000
GROWTH = {"plan": "growth", "issuer": "main", "account": "acme"}


def demand(name: str, reserve: int = 1, *, fixed: bool = False) -> Demand:
    return Demand(AmountKind.CREDIT if name == "contact" else AmountKind.QUOTA, name, reserve, fixed=fixed)


def reveal(*items: str, each: int = 1) -> Demand:
    return Demand(AmountKind.CREDIT, "contact", each * len(items), items, each)


def application(call_id: str = "c1", *demands: Demand, **changes: Any) -> Application:
    values: dict[str, Any] = {
        "owner": "p1",
        "caller": CALLER,
        "dry_run": False,
        "depth": Depth.PRICE,
        "terms": TERMS,
        "on_unknown": OnUnknown.RELEASE,
        "lease": LEASE,
    }
    return Application(call_id, demands=demands, **(values | changes))


def patched(source: str, old: str, new: str) -> str:
    """Replace a text that a script must have exactly once."""
    assert source.count(old) == 1, f"the scripts have changed, and not the test: {old}"
    return source.replace(old, new)


def head_of(script: Script, mark: str) -> str:
    """Return the lines of a script before a text that it must have."""
    head, found, _ = script.source.partition(mark)
    assert found, f"{script.name} has changed, and not the test: {mark}"
    return head


class RealLedger:
    """One account on a real server, with a clock that stands still until the test sets it.

    Args:
        kept: how many entries its journal keeps, and how many of them are folded at once.
    """

    def __init__(self, server: StoreServer, now: int = NOW, kept: tuple[int, int] = (10_000, 100)) -> None:
        self.client: Any = server.client()  # redis-py's types do not know that it decodes
        self.raw: Any = redis.Redis(unix_socket_path=str(server.path))
        self._kept = kept
        self._patched: dict[str, Script] = {}
        for script in scripts.scripts:
            function = script.function and self._patch_function(script.function)
            self._patched[script.name] = Script(script.name, self._patch(script.source), function)
        self.load()
        self.set_clock(now)

    def _patch(self, source: str) -> str:
        if "now_ms" in source:
            source = patched(source, "redis.call('TIME')", "redis.call('HMGET', 'clock', 's', 'us')")
        if "write_journal" in source:
            source = patched(source, "local MAX_ENTRIES = 10000", f"local MAX_ENTRIES = {self._kept[0]}")
            source = patched(source, "local FOLD_BATCH = 100", f"local FOLD_BATCH = {self._kept[1]}")
        assert "'TIME'" not in source
        return source

    def _patch_function(self, function: ServerFunction) -> ServerFunction:
        """Patch a library; with the digest of its new text in its names, because a server may have several."""
        source, before = self._patch(function.library), function.name.rpartition("_")[2]
        digest = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()[: len(before)]
        return ServerFunction(function.name.replace(before, digest), source.replace(before, digest))

    @classmethod
    @contextmanager
    def of_account(cls, server: StoreServer, kept: tuple[int, int] = (10_000, 100)) -> Iterator[RealLedger]:
        """Provide the caller's account on plan growth, with its consent."""
        real = cls(server, kept=kept)
        real.client.hset(KEYS.account, mapping=GROWTH)
        real.run(changes.grant("main", "acme", "ann", CALLER.client_id))
        try:
            yield real
        finally:
            real.close()

    def admit(self, asked: Application) -> AdmissionReply:
        return scripts.admitted(asked, self.run(scripts.admit(asked)))

    def use_scripts(self) -> None:
        """Run every command as a script from now on, none as a function."""
        self._patched = {name: Script(name, each.source) for name, each in self._patched.items()}

    def load(self) -> None:
        load_scripts(self.raw, *self._patched.values())

    def set_clock(self, now: int) -> None:
        self.now = now
        self.raw.hset("clock", mapping={"s": now // 1000, "us": now % 1000 * 1000})

    def run(self, command: Command) -> Any:
        return self.raw.execute_command(
            *Command(self._patched[command.script.name], command.keys, command.arguments).words()
        )

    def run_unpatched(self, command: Command) -> Any:
        return self.raw.execute_command(*command.words())

    def audit(self) -> tuple[JournalSnapshot, list[Entry]]:
        """Read the stored state for a verification, and the journal."""
        snapshot = changes.audited(self.run(changes.audit(KEYS)))
        return snapshot, [Entry(id_, fields) for id_, fields in self.client.xrange(KEYS.usage)]

    def state(self) -> AccountState:
        """Read the stored state without a script, so that no hold is resolved."""
        ends = {call: int(score) for call, score in self.client.zrange(KEYS.leases, 0, -1, withscores=True)}
        state = decoding.parse(
            self.client.hgetall(KEYS.account), self.client.hgetall(KEYS.ledger), self.client.hgetall(KEYS.holds), ends
        )
        assert ends.keys() == state.holds.keys()
        for member in self.client.smembers(KEYS.paid):
            kind, name, item = member.split(":", 2)
            state.paid.add((AmountKind(kind), name, item))
        who = (CALLER.subject, CALLER.client_id)
        own = decoding.parse_consent(self.client.hgetall(KEYS.consent(*who)))
        every = decoding.parse_consent(self.client.hgetall(KEYS.client(CALLER.client_id)))
        state.consents = {} if own is None else {who: own}
        state.clients = {} if every is None else {CALLER.client_id: every}
        state.revocation = decoding.parse_consent(self.client.hgetall(KEYS.revocation))
        return state

    def close(self) -> None:
        self.client.close()
        self.raw.close()
