"""Refusals of JWTs whose signature a known key did not make, so that sending one again costs no verification.

A signature is a pure function of token and keys: a refusal holds while the same key set is in use. A newer set is
another object, so a new key is never missed, and looking a refusal up starts a fetch that is due as verifying would.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, NamedTuple

from sidecar.errors import Refusal
from sidecar.identity.jwt.issuer_keys import Keys, KeySet

MAX_REFUSED: Final = 1000
"""Refusals kept by one process, apart from verified tokens: a flood of new tokens evicts other refused ones only."""


class _Refused(NamedTuple):
    """A refusal, the keys that decided, and the time at which the token would be refused for another reason."""

    refusal: Refusal
    until: float
    keys: KeySet
    table: Keys


class RefusedTokens:
    """Refusals by the digests of their tokens; the least recently used is evicted.

    Args:
        capacity: the maximum number of refusals.
    """

    def __init__(self, capacity: int = MAX_REFUSED) -> None:
        self._capacity = capacity
        self._refused: OrderedDict[bytes, _Refused] = OrderedDict()

    def __len__(self) -> int:
        return len(self._refused)

    def put(self, digest: bytes, refusal: Refusal, until: float, keys: KeySet, table: Keys) -> None:
        """Store a refusal.

        Args:
            digest: of the token.
            refusal: for its signature.
            until: seconds since the epoch at which the token expires.
            keys: of its issuer.
            table: the keys that decided.
        """
        while len(self._refused) >= self._capacity:
            self._refused.popitem(last=False)
        # A copy: the raised one refers to the request through its traceback.
        self._refused[digest] = _Refused(refusal.replace(recurs=True), until, keys, table)

    def get(self, digest: bytes, now: float) -> Refusal | None:
        """Return the refusal of a token, to be raised; None if it has to be verified.

        Args:
            digest: of the token.
            now: seconds since the epoch.
        """
        known = self._refused.get(digest)
        if known is None:
            return None
        if now >= known.until or known.keys.current() is not known.table:
            del self._refused[digest]
            return None
        self._refused.move_to_end(digest)
        return known.refusal.with_traceback(None)  # that of the request before
