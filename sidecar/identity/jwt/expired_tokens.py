"""Scopes of expired JWTs whose signature holds, for the challenge that asks their clients for a new token.

A client requests the scopes that a challenge names. A challenge with the base scopes only would lose the scopes that an
earlier challenge added. Keys are never fetched for an expired token: it is refused in any case.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from sidecar.config.settings.settings import IssuerSettings
from sidecar.errors import Refusal
from sidecar.identity.claims import expired
from sidecar.identity.jwt.issuer_keys import Keys, KeySet, is_verified
from sidecar.identity.jwt.jwt_claims import Token, caller, check
from sidecar.identity.recent import Recent, owner_of
from sidecar.model import Caller

MAX_EXPIRED: Final = 1000
"""Expired tokens cached by one process; one that is sent again costs no second verification."""


@dataclass(frozen=True, slots=True)
class _Verdict:
    """Scopes of an expired token, and the keys that verified it."""

    scopes: tuple[str, ...]
    table: Keys


class ExpiredTokens:
    """Refusals of expired tokens.

    Args:
        resource: the configured resource: the audience of tokens.
        declared: the scopes that the policy declares.
        capacity: the number of cached tokens.
    """

    def __init__(self, resource: str, declared: Collection[str] = (), capacity: int = MAX_EXPIRED) -> None:
        self._resource = resource
        self._declared = declared
        self._verdicts: Recent[bytes, _Verdict] = Recent(capacity)

    def with_scopes(
        self, refusal: Refusal, token: Token, digest: bytes, issuer: IssuerSettings, keys: KeySet, now: float
    ) -> Refusal:
        """Return the refusal with the token's scopes and issuer, if it has expired and has no other fault.

        Args:
            refusal: the refusal by `jwt_claims.check`.
            token: the refused token.
            digest: the cache key of the token.
            issuer: the issuer that its `iss` names.
            keys: the keys of the issuer.
            now: seconds since the epoch.
        """
        table = keys.known()
        if table is None:
            return refusal
        verdict = self._verdicts.get(digest)
        if verdict is None or verdict.table is not table:
            speaker = self._speaker(token, issuer, table, now)
            if speaker is None:
                return refusal
            verdict = _Verdict(tuple(sorted(speaker.scopes)), table)
            self._verdicts.put(digest, owner_of(speaker), verdict)
        return refusal.replace(scopes=verdict.scopes, specifics={**refusal.specifics, "issuer": issuer.id})

    def _speaker(self, token: Token, issuer: IssuerSettings, table: Keys, now: float) -> Caller | None:
        """Return the caller of an expired token as of its last second; None if it would be refused then, too."""
        try:
            speaker = caller(token, issuer, now, self._declared)
            if not expired(speaker.expires_at, issuer.leeway, now):
                return None
            check(token, issuer, self._resource, speaker.expires_at - 1)
            return speaker if is_verified(table, token) else None
        except Refusal:
            return None
