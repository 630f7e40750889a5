"""Readiness of this process: the checks of `/readyz`, and a log line for each that fails."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from sidecar.observe.repeats import Repeats

CHECK_EVERY: Final = 1.0
"""Seconds between two readings of the checks."""


@dataclass(frozen=True, slots=True)
class Check:
    """Check of one dependency.

    Attributes:
        unavailable_reason: None while it is available; else a sentence, which the log and `/readyz` show as it is.
        required: True when the process is unready without it.
    """

    name: str
    unavailable_reason: str | None
    required: bool = True

    @property
    def ok(self) -> bool:
        """True while it is available."""
        return self.unavailable_reason is None


class Readiness:
    """Readiness of the process, and the watch that logs checks that fail.

    Args:
        checks: returns the current checks.
        repeats: the log.
    """

    def __init__(self, checks: Callable[[], Sequence[Check]], repeats: Repeats) -> None:
        self._checks = checks
        self._repeats = repeats
        self._missing: set[str] = set()
        self.stopping = False

    def now(self) -> tuple[Check, ...]:
        """Return every check in its current state."""
        checks = tuple(self._checks())
        return (*checks, Check("process", "stopping")) if self.stopping else checks

    @property
    def ready(self) -> bool:
        """True while all required checks pass."""
        return all(check.ok or not check.required for check in self.now())

    async def watch(self) -> None:
        """Log required checks that fail, with the reason that `/readyz` gives, or pass again, forever.

        In the first second nothing is logged: a dependency that is still connecting is not missing.
        """
        while True:
            await asyncio.sleep(CHECK_EVERY)
            for check in () if self.stopping else self.now():
                self._log(check)
            self._repeats.flush()

    def _log(self, check: Check) -> None:
        if check.required and not check.ok:
            self._missing.add(check.name)
            self._repeats.event("not_ready", "warning", plain=True, what=check.name, problem=check.unavailable_reason)
        elif check.name in self._missing:
            self._missing.discard(check.name)
            self._repeats.event("ready", what=check.name)
