"""Gate 2: from a request's `Authorization` headers to a caller.

A token is verified once and remembered by its digest, until it expires, its issuer's keys change, or
the config does (a new config makes a new authenticator). Remembering is no grant: consent, account
and budget are asked of the store at every call, so a revocation is never outlived.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from sidecar.config.settings import Issuer
from sidecar.identity.claims import bearer, expired, invalid
from sidecar.identity.claims_jwt import caller, check, issuer_of, read
from sidecar.identity.jwks import KeyTable
from sidecar.identity.keys import KeyRing, KeySet
from sidecar.model import Caller

MAX_REMEMBERED: Final = 10_000
"""Tokens remembered by one process; beyond that the oldest is forgotten and verified again."""


@dataclass(frozen=True, slots=True)
class _Trusted:
    """A configured issuer and its keys."""

    settings: Issuer
    keys: KeySet


@dataclass(frozen=True, slots=True)
class _Verified:
    """A token that was good: for whom, from whom, and by which keys."""

    caller: Caller
    issuer: _Trusted
    table: KeyTable


class Authenticator:
    """Gate 2 for one config.

    Args:
        resource: the configured resource: the audience of tokens.
        issuers: the configured issuers; each has its own identifier.
        ring: the keys of all issuers.
        clock: seconds since the epoch.
        capacity: how many tokens are remembered.
    """

    def __init__(
        self,
        resource: str,
        issuers: Iterable[Issuer],
        ring: KeyRing,
        *,
        clock: Callable[[], float] = time.time,
        capacity: int = MAX_REMEMBERED,
    ) -> None:
        self._resource = resource
        self._issuers = {issuer.issuer: _Trusted(issuer, ring.of(issuer)) for issuer in issuers}
        self._clock = clock
        self._capacity = capacity
        self._remembered: dict[bytes, _Verified] = {}

    @property
    def ready(self) -> bool:
        """Whether the keys of at least one issuer can be used."""
        return any(trusted.keys.health().keys for trusted in self._issuers.values())

    async def authenticate(self, authorization: Sequence[str]) -> Caller:
        """Who sends the request.

        Args:
            authorization: the value of every `Authorization` header it has.

        Raises:
            Refusal: `token_missing`, `token_invalid`, or `issuer_unavailable` when the keys that would
                tell cannot be had.
        """
        token = bearer(authorization)
        # Bytes of a header that are no UTF-8 arrive as lone surrogates, which UTF-8 cannot write.
        digest = hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
        known = self._remembered.get(digest)
        if known is not None and self._holds(known):
            return known.caller
        self._remembered.pop(digest, None)
        verified = await self._verify(token)
        self._remember(digest, verified)
        return verified.caller

    def _holds(self, known: _Verified) -> bool:
        issuer = known.issuer
        return (
            not expired(known.caller.expires_at, issuer.settings.leeway, self._clock())
            and issuer.keys.current() is known.table
        )

    async def _verify(self, compact: str) -> _Verified:
        token = read(compact)
        issuer = self._issuers.get(issuer_of(token))
        if issuer is None:
            raise invalid("its issuer is not trusted here")
        check(token, issuer.settings, self._resource, self._clock())
        # Made before the signature is verified, given to nobody before: a token that could not
        # become a caller is refused without asking for keys.
        speaker = caller(token, issuer.settings)
        table = await issuer.keys.verify(token, speaker.issued_at, issuer.settings.leeway)
        return _Verified(speaker, issuer, table)

    def _remember(self, digest: bytes, verified: _Verified) -> None:
        if len(self._remembered) >= self._capacity:
            self._remembered.pop(next(iter(self._remembered)))
        self._remembered[digest] = verified
