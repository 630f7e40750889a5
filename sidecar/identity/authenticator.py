"""Gate 2: from a request's `Authorization` headers to a caller.

A JWT is verified once and remembered by its digest, until it expires, its issuer's keys change, or
the config does (a new config makes a new authenticator). Whatever is no JWT is asked about (`opaque`), where
an issuer is configured for it. Remembering is no grant: consent, account and budget are asked of the
store at every call, so a revocation is never outlived.

A token of three parts goes by its signature only, even if it is not well-formed or its issuer is unknown: to
ask about it would show an issuer the tokens of others.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from sidecar.config.settings import Issuer
from sidecar.identity.claims import bearer, expired, invalid
from sidecar.identity.claims_jwt import caller, check, is_jwt, issuer_of, read
from sidecar.identity.jwks import KeyTable
from sidecar.identity.keys import KeySet
from sidecar.identity.opaque import OpaqueTokens
from sidecar.identity.ring import KeyRing
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
    """A JWT that was good: for whom, from whom, and by which keys."""

    caller: Caller
    issuer: _Trusted
    table: KeyTable


class Authenticator:
    """Gate 2 for one config.

    Args:
        resource: the configured resource: the audience of tokens.
        issuers: the configured issuers; each has its own identifier.
        ring: what is kept of all issuers.
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
        configured = tuple(issuers)
        self._issuers = {issuer.issuer: _Trusted(issuer, ring.of(issuer)) for issuer in configured}
        self._opaque = _opaque(resource, configured, ring, clock)
        self._clock = clock
        self._capacity = capacity
        self._remembered: dict[bytes, _Verified] = {}

    async def authenticate(self, authorization: Sequence[str]) -> Caller:
        """Who sends the request.

        Args:
            authorization: the value of every `Authorization` header it has.

        Raises:
            Refusal: `token_missing`, `token_invalid`, or `issuer_unavailable` when the keys, or the
                issuer's word, that would tell cannot be had.
        """
        token = bearer(authorization)
        # Bytes of a header that are no UTF-8 arrive as lone surrogates, which UTF-8 cannot write.
        digest = hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
        if self._opaque is not None and not is_jwt(token):
            return await self._opaque.caller(token, digest)
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


def _opaque(resource: str, issuers: Iterable[Issuer], ring: KeyRing, clock: Callable[[], float]) -> OpaqueTokens | None:
    """The one issuer that is asked about opaque tokens."""
    for issuer in issuers:
        endpoint = ring.endpoint(issuer)
        if issuer.introspection is not None and endpoint is not None:
            return OpaqueTokens(resource, issuer, issuer.introspection, endpoint, monotonic=ring.monotonic, clock=clock)
    return None
