"""Refusals of the account that is refused most: one number, since no metric may have an account as its label.

A client in a loop shows as one account with thousands of refusals a minute. The log names the account.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

MINUTE: Final = 60.0
MAX_ACCOUNTS: Final = 1_000
"""Accounts counted at a time."""


class BusiestAccount:
    """Count of the refusals of each account within a minute, in bounded memory.

    While `MAX_ACCOUNTS` have a count, a refusal of another account takes one from each of them (Misra and Gries 1982).
    So of N refusals in a minute, a count is too small by at most N / (`MAX_ACCOUNTS` + 1), and never too large.

    Args:
        clock: seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since = clock()
        self._counts: dict[tuple[str, str], int] = {}
        self._before = 0

    def refused(self, account: tuple[str, str]) -> None:
        """Count one refusal.

        Args:
            account: issuer id and account.
        """
        self._begin_minute()
        counts = self._counts
        if account in counts:
            counts[account] += 1
        elif len(counts) < MAX_ACCOUNTS:
            counts[account] = 1
        else:
            self._counts = {each: count - 1 for each, count in counts.items() if count > 1}

    @property
    def refusals(self) -> int:
        """Refusals of the busiest account, in this minute so far or in the one before, whichever has more."""
        self._begin_minute()
        return max(self._before, max(self._counts.values(), default=0))

    def _begin_minute(self) -> None:
        passed = self._clock() - self._since
        if passed < MINUTE:
            return
        self._before = max(self._counts.values(), default=0) if passed < 2 * MINUTE else 0
        self._since += passed - passed % MINUTE
        self._counts = {}
