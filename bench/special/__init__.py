"""Workloads that are not calls in rounds: first verifications, idle streams, workers, accounts in the store."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bench.material import Keyring
from bench.rounds import Plan, Result
from bench.special import accounts, cold, idle, workers


@dataclass(frozen=True, slots=True)
class Special:
    """One of them: `measure` adds to `Result.further`."""

    about: str
    measure: Callable[[Plan, Keyring, Result], None]


SPECIAL: dict[str, Special] = {
    "cold": Special("calls that each have a new token", cold.measure),
    "idle": Special("streams that say nothing", idle.measure),
    "workers": Special("two workers against one", workers.measure),
    "growth-accounts": Special("accounts in the store", accounts.measure),
}
