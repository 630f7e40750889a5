"""The simulated journal is what the scripts write on a real server, and what is verified of it can be wrong."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator

import pytest

from sidecar.ledger.decoding import parse_hold
from sidecar.ledger.journal.verification import verify
from sidecar.store.commands import changes, scripts
from tests.ledger.simulation.calls import LEASE, PLANS, POOLS, SimCall, make
from tests.ledger.simulation.messages import Admit, Credits, Release, Settle, Sweep, Write
from tests.ledger.simulation.rules import Rules
from tests.ledger.simulation.run import run
from tests.ledger.simulation.store import SimStore
from tests.store.edits import edits
from tests.store.support import KEYS, NOW, RealLedger
from tests.support.store import StoreServer


class Pair:
    """One account, simulated and on a real server: each step is taken by both."""

    def __init__(self, real: RealLedger, seed: int) -> None:
        self.real = real
        self.simulated = SimStore(Rules(), ("acme",), NOW, Counter())
        self.simulated.execute(Write("acme", consent=True))
        self.dice = random.Random(seed)
        self.open: list[SimCall] = []
        self.steps = 0

    def call(self) -> None:
        call = make(self.dice, self.steps, "s", "acme")
        answers = [
            self.real.admit(call.application),
            self.simulated.execute(Admit("acme", call.application)),
        ]
        assert answers[0] == answers[1]
        if answers[0].held:
            self.open.append(call)

    def end(self) -> None:
        """Of a call; now and then of one that the store does not know."""
        if not self.open or self.dice.random() < 0.05:
            self.open.append(make(self.dice, -self.steps, "s", "acme"))
        call = self.open.pop(self.dice.randrange(len(self.open)))
        if self.dice.random() < 0.3:
            forwarded = self.dice.random() < 0.5
            command = scripts.release(call.application, forwarded=forwarded)
            simulated = self.simulated.execute(Release("acme", call.application, forwarded))
        else:
            charges = self.dice.choice([call.truth, None])
            command = scripts.settle(call.application, charges)
            simulated = self.simulated.execute(Settle("acme", call.application, charges))
        assert scripts.receipt(self.real.run(command)) == simulated

    def change(self) -> None:
        verb, pool, amount = self.dice.choice(["grant", "spend", "spend", "set"]), self.dice.choice(POOLS), 3
        planned = verb == "spend" and pool == "contact" and self.dice.random() < 0.7
        included = PLANS["growth"].credits[pool] if planned else None
        operation = f"o{self.steps}"
        command = changes.change_credits("main", "acme", verb, pool, amount, operation=operation, included=included)
        self.real.run(command)
        self.simulated.execute(Credits("acme", operation, verb, pool, amount, planned))

    def wait(self) -> None:
        self.simulated.pass_time(self.dice.choice([1000, 20_000, 60_000, LEASE, -40_000]))
        self.real.set_clock(self.simulated.now)
        if self.dice.random() < 0.5:
            self.real.run(scripts.sweep(KEYS))
            self.simulated.execute(Sweep("acme"))

    def step(self) -> None:
        self.steps += 1
        self.dice.choice([self.call, self.call, self.call, self.end, self.end, self.change, self.wait])()


@pytest.fixture
def real(store_server: StoreServer) -> Iterator[RealLedger]:
    with RealLedger.of_account(store_server) as made:
        made.client.delete(KEYS.usage)  # the consent's entry: there is none of it in the simulation
        made.client.hdel(KEYS.ledger, "journal:written")
        yield made


@pytest.mark.parametrize("seed", range(6))
def test_the_simulated_journal_is_what_the_scripts_write(real: RealLedger, seed: int):
    pair = Pair(real, seed)
    for _ in range(300):
        pair.step()
    stored, written = real.audit()
    snapshot, entries = pair.simulated.accounts["acme"].audit(pair.simulated.now)
    assert [entry.fields for entry in entries] == [entry.fields for entry in written]
    ledger = {name: value for name, value in snapshot.ledger.items() if name != "journal:folded"}
    assert ledger == dict(stored.ledger)
    assert (snapshot.paid, snapshot.now) == (stored.paid, stored.now)
    holds = [{call: parse_hold(raw, 0) for call, raw in each.holds.items()} for each in (snapshot, stored)]
    assert holds[0] == holds[1]
    events = {entry.fields["event"] for entry in entries}
    assert events >= {"settled", "released", "late", "grant", "spend", "set"}
    assert any("expired" in entry.fields for entry in entries)


@pytest.mark.parametrize("seed", range(8))
def test_every_edit_of_a_simulated_account_is_reported(seed: int):
    world = run(seed)
    for account in world.store.accounts.values():
        made = [*edits(*account.audit(world.store.now))]
        assert made
        assert [each.what for each in made if not verify(each.snapshot, each.entries)] == []
