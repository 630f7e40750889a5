"""What is simulated: the model's own functions, or others in their place to see that mistakes are found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sidecar.ledger import admission, settlement
from sidecar.ledger.accounts import AccountState
from sidecar.model import Admission, Application, OnUnknown
from sidecar.outcome import Action, Event, Receipt


class ViolationError(AssertionError):
    """Something that must never be so."""


def must(holds: bool, what: str, *facts: object) -> None:
    """Raise unless it holds; the facts are put into words only then."""
    if not holds:
        raise ViolationError(" ".join([what, *map(str, facts)]))


@dataclass(frozen=True, slots=True)
class Rules:
    """The functions that scripts are, and two habits of the sidecar.

    Attributes:
        repeats: whether what the store has not acknowledged is given again (`Courier._given`).
        undoes: whether an admission without an answer is released (`Store._undo`).
    """

    admit: Callable[[AccountState, Application, int], tuple[Admission, AccountState]] = admission.admit
    settle: Callable[..., tuple[Receipt, AccountState]] = settlement.settle
    release: Callable[..., tuple[Receipt, AccountState]] = settlement.release
    expire: Callable[[AccountState, int], int] = settlement.expire
    defer: Callable[..., tuple[bool, AccountState]] = settlement.defer
    follow: Callable[..., tuple[bool, AccountState]] = settlement.follow
    recall: Callable[..., tuple[Any, AccountState]] = settlement.recall
    action: Callable[[Event, OnUnknown, bool], Action] = settlement.action
    repeats: bool = True
    undoes: bool = True
