"""Histories of calls, from admission to resolution, for the property test, and the meter of the cases that it met."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass
from typing import Final

from hypothesis import strategies as st

from sidecar.ledger.accounts import Hold
from sidecar.model import AmountKind, Demand, OnUnknown
from sidecar.outcome import CHARGE_RESERVE, CHARGE_UNMARKED, Charge
from sidecar.terms import ConsentMode, PlanTerms, Terms
from sidecar.window_rules import WINDOWS, Window
from tests.store.commands.consent_histories import CONSENT_CASES
from tests.store.support import demand, reveal

PLENTY: Final = 1_000_000
"""Limit of every window, so that few calls are refused."""


def rich(window: Window, included: int) -> Terms:
    """Terms under which an operation counts in all windows, and credits are included per `window`."""
    everywhere = dict.fromkeys(WINDOWS, PLENTY)
    quotas = {"requests": everywhere, "rows": everywhere, "tried": dict.fromkeys(WINDOWS, 1)}
    base = PlanTerms(True, quotas, {"contact": (window, included)})
    return Terms(ConsentMode.REQUIRED, None, None, base)


FORMS: Final = (
    (reveal("a", "b", "c"),),
    (reveal("c", "7", each=2), demand("rows", 4)),
    (Demand(AmountKind.QUOTA, "rows", 2, ("x", "é")), demand("contact", 2)),
    (demand("contact", 3),),
    (demand("contact", 7), demand("requests", fixed=True)),
    (demand("requests", fixed=True), demand("rows", 5)),
    (demand("contact", 1), demand("contact", 4)),
    (Demand(AmountKind.QUOTA, "tried", 2, shadow="p.yaml:1"), demand("contact", 1)),
)
AMOUNTS: Final = (CHARGE_RESERVE, *(Charge(amount=units) for units in (0, 1, 2, 4, 9, 30)))
DELIVERED: Final = (
    *(CHARGE_RESERVE, CHARGE_UNMARKED, CHARGE_UNMARKED),
    *(Charge(items=items) for items in ((), ("a",), ("c", "b"), ("7", "x"), ("a", "b", "c", "x", "é", "stranger"))),
)
ENDS: Final = (
    *("settle", "settle", "settle", "release", "release"),
    *("die", "die", "die", "late", "tombstone", "next", "open"),
)
"""Ends of calls: `die` is an owner that does, `next` an end in a later window."""


@dataclass(frozen=True, slots=True)
class CallHistory:
    """History of one call.

    Attributes:
        window: which windows the plan's credits are included in.
        unused: how many of those are left to be used.
        charges: what each demand costs, if it is settled.
        deferred: whether its owner defers it before it ends.
        twin: whether another call reserves the same before it ends, and ends in the same way.
        forget: whether the account forgets what it has paid before, so that items can be paid again.
    """

    form: tuple[Demand, ...]
    window: Window
    unused: int
    on_unknown: OnUnknown
    end: str
    charges: tuple[Charge, ...]
    forwarded: bool
    deferred: bool
    twin: bool
    forget: bool

    @property
    def settles(self) -> bool:
        return self.end in ("settle", "late") or (self.end == "next" and self.forwarded)

    @property
    def releases(self) -> bool:
        return self.end in ("release", "next")


def _histories(seed: int) -> list[CallHistory]:
    """Some calls. Drawn one by one they would use up what Hypothesis draws for a whole example."""
    dice = random.Random(seed)
    return [_history(dice) for _ in range(8 + seed % 9)]


def _history(dice: random.Random) -> CallHistory:
    form = dice.choice(FORMS if dice.random() < 0.5 else FORMS[:3])
    # Now and then a charge is of the other kind.
    others = dice.random() < 0.1
    charges = (dice.choice(DELIVERED if (each.items is None) == others else AMOUNTS) for each in form)
    return CallHistory(
        form=form,
        window=dice.choice(WINDOWS),
        unused=dice.choice((0, 1, 1, 2, 5, 100)),
        on_unknown=dice.choice([*OnUnknown, OnUnknown.RELEASE]),
        end=dice.choice(ENDS),
        charges=tuple(charges),
        forwarded=dice.random() < 0.5,
        deferred=dice.random() < 0.2,
        twin=dice.random() < 0.4,
        forget=dice.random() < 0.7,
    )


HISTORIES: Final = st.integers(0, 2**20).map(_histories)


class Meter(Counter[str]):
    """Counts what has been met with holds that were open, by what they had reserved and where."""

    def ended(self, how: str, hold: Hold) -> None:
        self[how] += 1
        for amount in hold.amounts:
            if not amount.reserved:
                continue
            for window in amount.windows:
                self[f"{how}, {amount.kind.value} in a {window}"] += 1
            if amount.items is not None:
                self[f"{how}, once"] += 1
            if amount.windows and 0 < amount.from_balance < amount.reserved:
                self[f"{how}, partly from the balance"] += 1

    def settled(self, hold: Hold, charges: list[Charge] | None) -> None:
        self.ended("settled", hold)
        for amount, charge in zip(hold.amounts, charges or (), strict=False):
            if amount.kind is AmountKind.CREDIT and amount.items is None and charge.amount is not None:
                self["credits settled beyond the reserve"] += charge.amount > amount.reserved
                self["credits settled below the reserve"] += charge.amount < amount.reserved
            if amount.items and charge.items is not None:
                self["some items settled"] += 0 < len(set(amount.items) & set(charge.items)) < len(amount.items)
            self["items charged unmarked"] += bool(amount.items) and charge.unmarked

    def lacks(self, least: int) -> dict[str, int]:
        """Return what was met less often than `least`."""
        return {what: self[what] for what in WANTED if self[what] < least}


_HOWS: Final = ("settled", "released", "expired, settled", "expired, released")
WANTED: Final = (
    *_HOWS,
    *(f"{how}, {what}" for how in _HOWS for what in ("once", "partly from the balance")),
    *(f"{how}, {kind} in a {window}" for how in _HOWS for kind in ("quota", "credit") for window in WINDOWS),
    *("expired, deferred", "deferred", "lapsed", "repeated", "late", "in a window that has ended", "tombstones"),
    *("credits settled beyond the reserve", "credits settled below the reserve"),
    "beyond a quota in shadow mode",
    *("some items settled", "items charged unmarked", "items that another call has paid"),
    *CONSENT_CASES,
)
"""All that a run has to meet."""
