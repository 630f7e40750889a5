"""Simulated functions: those of the model, or wrong ones in their place, which must be found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sidecar.ledger import admission, settlement
from sidecar.ledger.accounts import AccountState
from sidecar.model import AdmissionReply, Application, OnUnknown
from sidecar.outcome import Action, Event, Receipt


class ViolationError(AssertionError):
    """A violated invariant."""


def must(holds: bool, what: str, *facts: object) -> None:
    """Raise unless the condition holds, with the facts in words."""
    if not holds:
        raise ViolationError(" ".join([what, *map(str, facts)]))


@dataclass(frozen=True, slots=True)
class Rules:
    """Functions that stand for the scripts, and two rules of the sidecar.

    Attributes:
        repeats: whether what the store has not acknowledged is retried (`Outbox._on_reply`).
        undoes: whether an admission without an answer is released (`Store._release_unanswered`).
    """

    admit: Callable[[AccountState, Application, int], tuple[AdmissionReply, AccountState]] = admission.admit
    settle: Callable[..., tuple[Receipt, AccountState]] = settlement.settle
    release: Callable[..., tuple[Receipt, AccountState]] = settlement.release
    expire: Callable[[AccountState, int], int] = settlement.expire
    defer: Callable[..., tuple[bool, AccountState]] = settlement.defer
    follow: Callable[..., tuple[bool, AccountState]] = settlement.follow
    recall: Callable[..., tuple[Any, AccountState]] = settlement.recall
    action: Callable[[Event, OnUnknown, bool], Action] = settlement.action
    repeats: bool = True
    undoes: bool = True
