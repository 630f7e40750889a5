"""Memory of scope challenges that a new token did not satisfy: repeating one would only start another login.

A client that is challenged for scopes sends its user to a login and returns with a new token. If that token also
lacks the scopes, another login would not add them either, and the answer goes to the model instead. The cause is
unknown: the login may not offer the scopes, or the client may not request them. A token with the scopes shows that a
login does add them: its challenge is forgotten, so that a later login without them (after a revocation, on another
device) is challenged like the first one. The time of a token or of a consent shows nothing: every login has newer ones,
also one that adds nothing. Pure, except for this memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Set
from dataclasses import dataclass
from typing import Final

from sidecar.identity.recent import Owner, Recent, owner_of
from sidecar.model import Caller

WINDOW: Final = 600.0
"""Seconds for which a challenge is remembered; after that, a login may add the scopes."""
MAX_CHALLENGES: Final = 10_000
"""Challenges remembered by one process; beyond that the least recently used is evicted, and made again."""

_Key = tuple[str, str, str, frozenset[str]]


@dataclass(frozen=True, slots=True)
class _Challenge:
    """The time of a challenge, and the `iat` of the challenged token."""

    at: float
    issued_at: int


class StepUpHistory:
    """Recent scope challenges of this process.

    Args:
        capacity: the number of remembered challenges.
        evicted: called with the owner of each evicted challenge.
    """

    def __init__(
        self, capacity: int = MAX_CHALLENGES, evicted: Callable[[Owner | None], None] = lambda _: None
    ) -> None:
        self._made: Recent[_Key, _Challenge] = Recent(capacity, evicted)

    def unsatisfied(self, caller: Caller, scopes: Iterable[str], now: float) -> bool:
        """Return whether a token issued after a challenge for these scopes lacks them; otherwise record a challenge.

        Args:
            caller: its token lacks the scopes.
            scopes: the scopes in the challenge, in any order.
            now: seconds since the epoch.
        """
        owner = owner_of(caller)
        key = (*owner, frozenset(scopes))
        made = self._made.get(key)
        if made is not None and made.at <= now < made.at + WINDOW:
            # The challenged token is not an answer, even if the issuer's clock is ahead. A repeated challenge does not
            # move the time, or a busy old token would hide the answer of a new one.
            return caller.issued_at > max(made.at, made.issued_at)
        self._made.put(key, owner, _Challenge(now, caller.issued_at))
        return False

    def satisfied(self, caller: Caller, scopes: Set[str]) -> None:
        """Forget the caller's challenges for scopes that it now has.

        Args:
            caller: its token passed for an operation.
            scopes: the scopes that count for it.
        """
        if not len(self._made):  # asked at every call
            return
        for key in self._made.keys_of(owner_of(caller)):
            made = self._made.get(key)
            # A token from before the challenged one is of an earlier login, which says nothing about the next.
            if made is not None and key[3] <= scopes and caller.issued_at >= made.issued_at:
                self._made.pop(key)
