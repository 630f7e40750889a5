"""Pauses between the restarts of a worker."""

from __future__ import annotations

from typing import Final

STABLE_AFTER: Final = 10.0
"""Seconds of serving after which the death of a worker counts as its first one again: it did not die of its start."""
LONGEST: Final = 30.0
"""Seconds between two restarts at most."""


class BackOff:
    """Pauses that double while a worker dies soon after its start.

    The first death is followed by a restart at once: a crash must not halve the capacity for longer than needed.
    """

    def __init__(self) -> None:
        self._deaths = 0

    def pause(self, served: float) -> float:
        """Return the seconds until the next start, after a worker that served for so many seconds."""
        self._deaths = 1 if served >= STABLE_AFTER else self._deaths + 1
        return 0.0 if self._deaths == 1 else min(LONGEST, 2.0 ** (self._deaths - 2))
