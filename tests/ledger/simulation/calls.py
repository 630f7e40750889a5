"""Calls of clients: their progress, their responses and their permitted costs."""

from __future__ import annotations

import random
from collections.abc import Sequence, Set
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

from sidecar.ledger.settlement import action
from sidecar.model import AmountKind, Application, Demand, Depth, OnUnknown
from sidecar.outcome import CHARGE_UNMARKED, Action, Charge, Event
from sidecar.terms import ConsentMode, PlanTerms, Terms
from tests.ledger.simulation.books import Books, Resolution
from tests.ledger.simulation.rules import must
from tests.store.support import CALLER

LEASE: Final = 90_000
"""Milliseconds: longer than the shortest window, so that windows end while calls are open."""

NAMES: Final = ("acme", "other")
POOLS: Final = ("contact", "export")
PLANS: Final = {
    "growth": PlanTerms(
        True, {"requests": {"minute": 9}, "rows": {"minute": 12, "day": 200}}, {"contact": ("minute", 3)}
    ),
    "free": PlanTerms(True, {"rows": {"minute": 5}}),
    "closed": PlanTerms(False),
}  # fmt: skip
TERMS: Final = Terms(ConsentMode.REQUIRED, "free", PLANS, PLANS["free"], tool="reveal")
ITEMS: Final = tuple("abcdefgh")
_FIXED: Final = Demand(AmountKind.QUOTA, "requests", 1, fixed=True)


class Seen(Enum):
    """Response that a client has seen."""

    NOTHING = "nothing"
    REFUSED = "refused"
    RESULT = "result"
    ERROR = "error"


class Phase(Enum):
    """Progress of a call in a sidecar."""

    ASKED = "asked"
    ADMITTED = "admitted"
    FORWARDED = "forwarded"
    RESOLVED = "resolved"  # its settle, release or deferral is written
    OVER = "over"


@dataclass(slots=True)
class SimCall:
    """Simulated call.

    Attributes:
        truth: what each demand really costs, as the backend's result says.
        charge_errors: the tool's.
        reached: whether the backend has got it.
        event: what the sidecar saw become of it.
        acknowledged: whether the store has said that it knows the call's end.
        orphaned: whether a sidecar died before the store had acknowledged the call's end.
        events: where its stream can be resumed.
    """

    application: Application
    truth: tuple[Charge, ...]
    charge_errors: bool
    phase: Phase = Phase.ASKED
    seen: Seen = Seen.NOTHING
    cancelled: bool = False
    reached: bool = False
    event: Event | None = None
    acknowledged: bool = False
    orphaned: bool = False
    events: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        return self.application.call_id

    @property
    def account(self) -> str:
        return self.application.caller.account

    def judge(self, books: Books, passed: Set[str], weak: bool) -> None:
        """Check the cost of a finished call against the settlement table.

        Args:
            books: of its account.
            passed: deferred calls whose response has passed on another stream.
            weak: the store has lost what came after some moment: an end that was acknowledged may be undone.
        """
        end = books.resolved.get(self.id)
        if end is None:
            must(weak or self.seen is not Seen.RESULT, "a result that nothing was held for:", self.id)
            return
        if end.expired:
            return  # by its lease: what that costs, and when it may, the books have checked
        if self.seen is Seen.REFUSED or not self.reached:
            must(not any(end.receipt.paid.values()), "paid without the backend:", self.id, end)
            must(not any(end.receipt.used.values()), "used without the backend:", self.id, end)
        self._end_is(end, self.id in passed)

    def _end_is(self, end: Resolution, passed: bool) -> None:
        """Check the row of the table: the true price, the reserve, or nothing."""
        if self.event is None:
            must((end.how, end.forwarded) == ("released", False), "resolved without a reason:", self.id, end)
            return
        todo = action(self.event, self.application.on_unknown, self.charge_errors)
        if todo is Action.DEFER:
            must(passed, "a deferred call was resolved without its response:", self.id, end)
            known = end.how == "released" or end.charges in (None, self.truth)
            must(known, "the price of a deferred call is neither the true one nor the reserve:", self.id, end)
        elif todo is Action.RELEASE:
            forwarded = self.event is not Event.NOT_SENT
            must((end.how, end.forwarded) == ("released", forwarded), "not released:", self.id, self.event, end)
        else:
            charges = self.truth if todo is Action.CHARGE_RESULT else None
            must((end.how, end.charges) == ("settled", charges), "another price:", self.id, self.event, end)


def make(dice: random.Random, number: int, owner: str, account: str) -> SimCall:
    """Return a call of one of four tools, with its true cost."""
    demands, truth, on_unknown = _TOOLS[int(dice.random() * len(_TOOLS))](dice)
    asked = Application(
        f"c{number}",
        owner,
        replace(CALLER, account=account),
        dry_run=False,
        depth=Depth.PRICE,
        terms=TERMS,
        demands=tuple(demands),
        on_unknown=on_unknown,
        lease=LEASE,
        request=f"r{int(dice.random() * 4)}" if dice.random() < 0.5 else None,
    )
    return SimCall(asked, tuple(truth), dice.random() < 0.3)


_Made = tuple[Sequence[Demand], Sequence[Charge], OnUnknown]


def _reveal(dice: random.Random) -> _Made:
    """Items that are paid once; perhaps not all of them are delivered."""
    items = tuple(dice.sample(ITEMS, 1 + int(dice.random() * 3)))
    each = 1 + int(dice.random() * 2)
    delivered = items[: int(dice.random() * (len(items) + 1))] if dice.random() < 0.4 else items
    return (
        [Demand(AmountKind.CREDIT, "contact", each * len(items), items, each), _FIXED],
        [CHARGE_UNMARKED if dice.random() < 0.2 else Charge(items=delivered), Charge()],
        OnUnknown.SETTLE,
    )


def _enrich(dice: random.Random) -> _Made:
    """Plain credits; a result may say more than was reserved."""
    units = int(dice.random() * 4)
    return [Demand(AmountKind.CREDIT, "contact", units)], [Charge(int(dice.random() * 5))], OnUnknown.RELEASE


def _search(dice: random.Random) -> _Made:
    """Rows; all that were returned count, even past the limit."""
    return [Demand(AmountKind.QUOTA, "rows", 3), _FIXED], [Charge(int(dice.random() * 6)), Charge()], OnUnknown.RELEASE


def _export(dice: random.Random) -> _Made:
    """Two pools, and one of them twice."""
    items = tuple(dice.sample(ITEMS, 2))
    demands = [
        Demand(AmountKind.CREDIT, "export", 2),
        Demand(AmountKind.CREDIT, "contact", 2, items),
        Demand(AmountKind.CREDIT, "contact", 1),
    ]
    return demands, [Charge(int(dice.random() * 3)), Charge(items=items[:1]), Charge(1)], OnUnknown.SETTLE


_TOOLS: Final = (_reveal, _reveal, _enrich, _search, _export)
