"""Participants of a run, and the scheduler that chooses the next step."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from sidecar.outcome import Event
from tests.ledger.simulation.calls import LEASE, NAMES, POOLS, Phase, SimCall, make
from tests.ledger.simulation.messages import Credits, Sent, Wire
from tests.ledger.simulation.rules import Rules
from tests.ledger.simulation.sidecar import SimSidecar
from tests.ledger.simulation.store import SimStore
from tests.ledger.simulation.trace import words
from tests.ledger.simulation.writer import Writer, write
from tests.store.support import NOW

STEPS: Final = 200
GHOSTS: Final = 20_000
"""Milliseconds for which what was sent on a broken connection may still arrive."""

_ENDS: Final = (*(8 * [Event.RESULT]), *(4 * [Event.DEFERRED]), *Event)
_UNRESUMABLE: Final = Event.STREAM_ENDED


@dataclass(slots=True)
class World:
    """State of one run.

    Args:
        seed: of all that is left to chance.
        rules: what the ledger does.
        failover: whether an older replica may be promoted: then what was acknowledged may be undone.
        trace: called with a line of text for each step.

    Attributes:
        met: how often each thing has happened that a simulation is about.
        lossy: whether the store has lost something that it had acknowledged.
    """

    seed: int
    rules: Rules = field(default_factory=Rules)
    failover: bool = False
    trace: Callable[[str], None] | None = None
    steps: int = 0
    met: Counter[str] = field(default_factory=Counter)
    dice: random.Random = field(init=False)
    store: SimStore = field(init=False)
    sidecars: list[SimSidecar] = field(init=False)
    wires: list[tuple[Wire, SimSidecar | None]] = field(default_factory=list)
    writer: Writer = field(default_factory=Writer)
    calls: list[SimCall] = field(default_factory=list)
    deferred: list[SimCall] = field(default_factory=list)
    passed: set[str] = field(default_factory=set)
    lossy: bool = False

    def __post_init__(self) -> None:
        self.dice = random.Random(self.seed)
        self.store = SimStore(self.rules, NAMES, NOW, self.met)
        self.sidecars = [SimSidecar(f"s{number}", self.rules, self.passed) for number in range(3)]
        for name in NAMES:
            for pool in POOLS:
                self.store.execute(Credits(name, f"first-{pool}", "grant", pool, int(self.dice.random() * 16), False))
        for _ in (*self.sidecars, self.writer):
            self.connect()

    def say(self, *parts: object) -> None:
        """Write one line of the trace."""
        if self.trace is not None:
            self.trace(f"{self.steps:4} {self.store.now - NOW:9} {' '.join(map(words, parts))}")

    def _of(self, things: list[Any]) -> Any:
        return things[int(self.dice.random() * len(things))] if things else None

    # --- the network -----------------------------------------------------------------------------

    def connect(self) -> None:
        """Connect a participant without a connection, and load every script on it."""
        sidecar = self._of([each for each in self.sidecars if each.alive and each.wire is None])
        if sidecar is not None:
            wire = Wire(f"{sidecar.name}#{self.steps}")
            sidecar.connected(wire)
            self.wires.append((wire, sidecar))
            self.store.forgotten.clear()
        elif self.writer.wire is None:
            self.writer.wire = wire = Wire(f"writer#{self.steps}")
            self.wires.append((wire, None))

    def arrive(self) -> None:
        """Run the next command of one connection at the store."""
        found = self._of([each for each, _ in self.wires if each.requests])
        if found is None or (not found.whole and self.dice.random() < 0.8):
            return  # what a broken connection still brings is mostly late
        sent: Sent = found.requests.popleft()
        self.say(found.name, "->", sent.command)
        reply = self.store.execute(sent.command, sent.load)
        self.say(found.name, "<-", reply, "" if found.whole else "(lost)")
        if found.whole:
            found.replies.append((sent, reply))

    def answer(self) -> None:
        """Deliver the next reply of one connection."""
        found = self._of([each for each, _ in self.wires if each.replies])
        if found is not None:
            self.say(found.name, "answered:", type(found.replies[0][0].command).__name__)
            found.answer()

    def tear(self) -> None:
        """Break a connection: some of its commands may still arrive, no reply comes back."""
        found = self._of([each for each, _ in self.wires if each.whole])
        if found is not None:
            self._tear(found, int(self.dice.random() * (len(found.requests) + 1)))

    def _tear(self, wire: Wire, arriving: int) -> None:
        self.say(wire.name, "breaks;", arriving, "may still arrive")
        wire.tear(arriving, self.store.now + GHOSTS)

    def notice(self) -> None:
        """Let a participant notice its broken connection."""
        found = self._of([each for each in self.wires if not each[0].whole and each[0].owed])
        if found is None:
            found = self._of([each for each in self.wires if not each[0].whole])
        if found is not None:
            self.lose(*found)

    def lose(self, wire: Wire, sidecar: SimSidecar | None) -> None:
        """Let the owner of a connection notice that it is broken."""
        if sidecar is not None and sidecar.wire is wire:
            self.say(sidecar.name, "has lost", wire.name)
            sidecar.disconnected()
        elif self.writer.wire is wire:
            self.writer.wire = None
            wire.lost()
        self._forget_ghosts()

    def _forget_ghosts(self) -> None:
        """Drop connections without an owner when none of their commands can arrive any more."""
        owned = {id(each.wire) for each in self.sidecars} | {id(self.writer.wire)}
        for wire, _ in self.wires:
            if not wire.whole and wire.until <= self.store.now:
                wire.requests.clear()
        self.wires = [each for each in self.wires if id(each[0]) in owned or each[0].requests]

    # --- calls -----------------------------------------------------------------------------------

    def begin(self) -> None:
        """Start a call of a client."""
        sidecar = self._of([each for each in self.sidecars if each.alive and not each.leaving])
        if sidecar is None:
            return
        name = NAMES[self.dice.random() < 0.25]
        call = make(self.dice, len(self.calls), sidecar.name, name)
        self.calls.append(call)
        sidecar.admit(call)
        self.say(
            "a client of",
            name,
            "calls",
            sidecar.name,
            "with",
            call.application,
            "" if call.phase is Phase.ASKED else "in vain",
        )

    def proceed(self) -> None:
        """Advance an admitted call one step: to the backend, to its end, to its client."""
        sidecar = self._of([each for each in self.sidecars if each.calls])
        if sidecar is not None:
            ready = [each for each in sidecar.calls.values() if each.phase not in (Phase.ASKED, Phase.OVER)]
            if (call := self._of(ready)) is not None:
                self._proceed(sidecar, call)

    def _proceed(self, sidecar: SimSidecar, call: SimCall) -> None:
        if call.phase is Phase.ADMITTED:
            if self.dice.random() < 0.9:
                sidecar.forward(call)
            else:
                sidecar.resolve(call, Event.NOT_SENT)
        elif call.phase is Phase.FORWARDED:
            event = _ENDS[int(self.dice.random() * len(_ENDS))]
            if event in (Event.NOT_SENT, Event.OWNER_DIED):
                event = Event.RESULT
            if event is Event.DEFERRED and call.application.request is None:
                event = _UNRESUMABLE
            sidecar.resolve(call, event)
            if event is Event.DEFERRED:
                self.deferred.append(call)
        else:
            sidecar.relay(call)
        self.say(sidecar.name, call.id, "is", call.phase, "" if call.event is None else call.event)

    def cancel(self) -> None:
        """Disconnect a client before its call is admitted."""
        sidecar = self._of([each for each in self.sidecars if each.calls])
        if sidecar is not None:
            call = self._of([each for each in sidecar.calls.values() if each.phase is Phase.ASKED])
            if call is not None:
                self.say(sidecar.name, call.id, "is cancelled")
                sidecar.cancel(call)

    def resume(self) -> None:
        """Resume the stream of a deferred call, at any sidecar."""
        sidecar, call = self._of([each for each in self.sidecars if each.alive]), self._of(self.deferred)
        if sidecar is None or call is None:
            return
        chance = self.dice.random()
        resumed = self._of(list(call.events)) if chance < 0.8 else ""
        if chance < 0.2 and resumed:
            sidecar.leave(call, resumed, (f"{call.id}-{self.steps}a", f"{call.id}-{self.steps}b"))
        else:
            event = Event.RESULT if self.dice.random() < 0.8 else Event.RPC_ERROR
            self.say(sidecar.name, call.id, "resumed from", repr(resumed), event)
            sidecar.respond(call, event, resumed)

    # --- processes -------------------------------------------------------------------------------

    def crash(self) -> None:
        """Kill a sidecar; a stopped one exits."""
        leaving = [each for each in self.sidecars if each.alive and each.leaving]
        sidecar = self._of(leaving or [each for each in self.sidecars if each.alive])
        if sidecar is not None:
            self.end(sidecar)

    def end(self, sidecar: SimSidecar) -> None:
        """This process is gone, and with it its connection; some of what it wrote may still arrive."""
        self.say(sidecar.name, "dies")
        if sidecar.wire is not None and sidecar.wire.whole:
            self._tear(sidecar.wire, int(self.dice.random() * (len(sidecar.wire.requests) + 1)))
        sidecar.die()
        self._forget_ghosts()

    def stop(self) -> None:
        """Stop a sidecar; it exits later."""
        sidecar = self._of([each for each in self.sidecars if each.alive and not each.leaving])
        if sidecar is not None:
            self.say(sidecar.name, "is stopped")
            sidecar.leave_service()

    def restart(self) -> None:
        """Restart a dead sidecar."""
        sidecar = self._of([each for each in self.sidecars if not each.alive])
        if sidecar is not None:
            sidecar.start()

    def deliver_again(self) -> None:
        """Run `Outbox._retry_all` of one sidecar."""
        sidecar = self._of([each for each in self.sidecars if each.again])
        if sidecar is not None:
            sidecar.deliver_again()

    def sweep(self) -> None:
        """Run the slow sweep of one sidecar."""
        sidecar = self._of([each for each in self.sidecars if each.alive])
        if sidecar is not None:
            sidecar.sweep(self._of(list(NAMES)))

    # --- the store -------------------------------------------------------------------------------

    def restart_store(self) -> None:
        """Restart the store with its data but no script; messages in flight are lost."""
        self.say("the store restarts")
        for wire, _ in self.wires:
            self._tear(wire, 0)
        self.store.forget_scripts()

    def forget_scripts(self) -> None:
        """SCRIPT FLUSH."""
        self.store.forget_scripts()

    def replicate(self) -> None:
        """Let the replica catch up."""
        if self.failover:
            self.store.replicate()

    def fail_over(self) -> None:
        """Promote the replica in its current state."""
        if self.failover and self.store.fail_over():
            self.met["failover"] += 1
            self.say("failover")
            self.lossy = True
            self.restart_store()

    def flush(self) -> None:
        """Run FLUSHALL, as a mistaken operator."""
        if self.failover:
            self.say("everything is flushed")
            self.lossy = True
            self.store.flush()

    def fill(self) -> None:
        """Make memory short, or sufficient again."""
        self.store.full = not self.store.full
        self.say("memory is", "short" if self.store.full else "there")

    def tick(self) -> None:
        """Let a moment pass."""
        self.store.pass_time(int(self.dice.random() * 2000))

    def set_back(self) -> None:
        """The store's clock is set back, perhaps into another window."""
        self.store.pass_time(-int(self.dice.random() * 70_000))

    def wait(self) -> None:
        """Let a window or lease pass: overdue connections break (`RespTransport._check_deadline`)."""
        for wire, _ in self.wires:
            if wire.whole and wire.owed:
                self._tear(wire, 0)
        ends = [hold.until for each in self.store.accounts.values() for hold in each.books.open.values()]
        first = min(ends, default=self.store.now)
        rest = max(0, first - self.store.now)
        self.store.pass_time(self._of([20_000, 60_000, LEASE, 3_600_000, rest, max(0, rest - 1)]))
        self._forget_ghosts()

    # --- others ----------------------------------------------------------------------------------

    def spend(self) -> None:
        """Let another program change credits."""
        if (operation := self.writer.change(self.dice, self.store.now)) is not None:
            self.say("another program asks for", operation.command)

    def write(self) -> None:
        """Let another program write a record."""
        command = write(self.dice)
        self.say("another program writes", command)
        self.store.execute(command)
