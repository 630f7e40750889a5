"""Which scope challenges were answered in vain: asking again would only open another login.

A client that is challenged for scopes sends its user to a login and comes back with a new token. If
that one lacks the scopes too, the person has declined, and the model is told instead. Pure, but for
what it remembers.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from sidecar.model import Caller

WINDOW: Final = 600.0
"""Seconds for which a challenge is remembered; a person may change their mind after that."""
MAX_CHALLENGES: Final = 10_000
"""Challenges remembered by one process; beyond that the oldest is forgotten, and made again."""

_Key = tuple[str, str, str, frozenset[str]]


@dataclass(frozen=True, slots=True)
class _Challenge:
    """When a caller was challenged, and the `iat` of the token that it had then."""

    at: float
    issued_at: int


class Challenges:
    """The scope challenges that this process made lately.

    Args:
        capacity: how many are remembered.
    """

    def __init__(self, capacity: int = MAX_CHALLENGES) -> None:
        self._capacity = capacity
        self._made: dict[_Key, _Challenge] = {}

    def declined(self, caller: Caller, scopes: Iterable[str], now: float) -> bool:
        """Whether these scopes were asked of this caller and not granted; if not, they are now asked.

        Args:
            caller: whose token lacks the scopes.
            scopes: what the challenge names; the order does not matter.
            now: seconds since the epoch.
        """
        key = (caller.issuer_id, caller.subject, caller.client_id, frozenset(scopes))
        made = self._made.get(key)
        if made is not None and made.at <= now < made.at + WINDOW:
            # The token that was challenged is not an answer, even if the issuer's clock is ahead. A
            # repetition does not move the time, or a busy old token would hide a new one's answer.
            return caller.issued_at > max(made.at, made.issued_at)
        self._made.pop(key, None)
        if len(self._made) >= self._capacity:
            self._made.pop(next(iter(self._made)))
        self._made[key] = _Challenge(now, caller.issued_at)
        return False
