"""Other program on the store: it changes credits by the shipped script, and writes records directly."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

from tests.ledger.simulation.calls import NAMES, POOLS
from tests.ledger.simulation.messages import Credits, Fault, Sent, Wire, Write
from tests.ledger.simulation.store import REMEMBERED


@dataclass(slots=True)
class Operation:
    """Change of credits, which the program repeats under the same id until it is answered."""

    command: Credits
    begun: int
    waiting: bool = False
    answer: str | None = None

    def answered(self, reply: Any) -> None:
        """Keep the reply of the script; a broken connection has none."""
        self.waiting = False
        if not isinstance(reply, Fault):
            self.answer = reply


@dataclass(slots=True)
class Writer:
    """Other program on the store.

    Attributes:
        wire: None while it has no connection.
        operations: all that it has asked for.
    """

    wire: Wire | None = None
    operations: list[Operation] = field(default_factory=list)

    def change(self, dice: random.Random, now: int) -> Operation | None:
        """Ask for a change that was not answered once more, as long as it is remembered, or for a new one."""
        if self.wire is None:
            return None
        open_ones = [each for each in self.operations if each.answer is None and not each.waiting]
        again = [each for each in open_ones if each.begun + REMEMBERED // 2 > now]
        operation = dice.choice(again) if again else self._new(dice, now)
        operation.waiting = True
        self.wire.send(Sent(operation.command, operation.answered, load=True))
        return operation

    def _new(self, dice: random.Random, now: int) -> Operation:
        verb, amount = dice.choice(["grant", "grant", "spend", "spend", "set"]), int(dice.random() * 5)
        pool, planned = dice.choice(POOLS), dice.random() < 0.5
        name = f"o{len(self.operations)}"
        command = Credits(dice.choice(NAMES), name, verb, pool, amount, planned and pool == "contact")
        self.operations.append(Operation(command, now))
        return self.operations[-1]


def write(dice: random.Random) -> Write:
    """The plan, the status or the consent of an account, mostly good ones."""
    chance, account = dice.random(), dice.choice(NAMES)
    if chance < 0.3:
        return Write(account, active=dice.random() < 0.8)
    if chance < 0.6:
        return Write(account, consent=dice.random() < 0.8)
    return Write(account, plan=dice.choice(["growth", "growth", "free", "closed"]))
